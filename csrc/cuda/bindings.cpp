// SPDX-License-Identifier: Apache-2.0
//
// Python module ophclip._cuda: device addresses, sizes and the stream are integers. The caller owns all
// memory, makes the tensors' device current and keeps every tensor alive until the stream has passed the
// call. A wrong argument raises ValueError, a CUDA error RuntimeError with CUDA's own text.
#include <pybind11/pybind11.h>

#include <string>

#include "cuda_ops.h"

#ifndef OPHCLIP_CUDA_MODULE
#define OPHCLIP_CUDA_MODULE _cuda
#endif

namespace py = pybind11;
using namespace ophclip::cuda;

namespace {

template <typename T>
T* at(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

void raise_on_error(const Status& status) {
  if (status.code < 0) throw py::value_error(status.message);
  if (!status.ok()) throw std::runtime_error(status.message);
}

void require(uintptr_t address, bool needed, const char* name) {
  if (needed && address == 0) throw py::value_error(std::string(name) + " must be a device address, got 0");
}

Dtype dtype_of(const std::string& name) {
  if (name == "float32") return Dtype::kFloat32;
  if (name == "bfloat16") return Dtype::kBFloat16;
  if (name == "float16") return Dtype::kFloat16;
  throw py::value_error("dtype must be float32, bfloat16 or float16, got " + name);
}

Reduction reduction_of(const std::string& name) {
  if (name == "logsum") return Reduction::kLogSum;
  if (name == "meanlog") return Reduction::kMeanLog;
  throw py::value_error("reduction must be logsum or meanlog, got " + name);
}

SparseRows sparse_rows(uintptr_t indptr, uintptr_t indices, uintptr_t weights, int64_t count) {
  if (count < 0) throw py::value_error("the number of sparse entries must not be negative");
  require(indices, indptr && count, "indices");
  return {at<const int64_t>(indptr), at<const int64_t>(indices), at<const float>(weights), count};
}

ContrastiveProblem contrastive_problem(uintptr_t a, uintptr_t b, uintptr_t scale, int64_t m, int64_t n,
                                       int64_t d, int64_t a_stride, int64_t b_stride,
                                       const std::string& dtype, int64_t offset, uintptr_t indptr,
                                       uintptr_t indices, uintptr_t weights, int64_t num_positives,
                                       const std::string& reduction, size_t budget_bytes) {
  if (m < 0 || n < 0 || d < 0) throw py::value_error("sizes must not be negative");
  require(a, m && d, "a");
  require(b, n && d, "b");
  require(scale, true, "scale");
  ContrastiveProblem problem;
  problem.a = at<const void>(a);
  problem.b = at<const void>(b);
  problem.scale = at<const float>(scale);
  problem.m = m;
  problem.n = n;
  problem.d = d;
  problem.a_stride = a_stride;
  problem.b_stride = b_stride;
  problem.dtype = dtype_of(dtype);
  problem.offset = indptr ? 0 : offset;
  problem.positives = sparse_rows(indptr, indices, weights, num_positives);
  problem.reduction = reduction_of(reduction);
  problem.budget_bytes = budget_bytes;
  return problem;
}

void forward(const ContrastiveProblem& problem, uintptr_t saved, uintptr_t loss, uintptr_t workspace,
             size_t workspace_bytes, uintptr_t stream) {
  require(saved, contrastive_saved_floats(problem) != 0, "saved");
  require(loss, true, "loss");
  raise_on_error([&] {
    py::gil_scoped_release release;
    return contrastive_forward(problem, at<float>(saved), at<float>(loss),
                               {at<void>(workspace), workspace_bytes}, at<void>(stream));
  }());
}

void backward(const ContrastiveProblem& problem, uintptr_t saved, uintptr_t grad_loss, uintptr_t grad_a,
              uintptr_t grad_b, uintptr_t grad_scale, uintptr_t workspace, size_t workspace_bytes,
              uintptr_t stream) {
  require(saved, contrastive_saved_floats(problem) != 0, "saved");
  require(grad_loss, true, "grad_loss");
  require(grad_a, problem.m && problem.d, "grad_a");
  require(grad_b, problem.n && problem.d, "grad_b");
  require(grad_scale, true, "grad_scale");
  raise_on_error([&] {
    py::gil_scoped_release release;
    return contrastive_backward(problem, at<const float>(saved), at<const float>(grad_loss), at<void>(grad_a),
                                at<void>(grad_b), at<float>(grad_scale),
                                {at<void>(workspace), workspace_bytes}, at<void>(stream));
  }());
}

TopkProblem topk_problem(uintptr_t queries, uintptr_t base, int64_t q, int64_t n, int64_t d, int64_t k,
                         int64_t query_stride, int64_t base_stride, const std::string& dtype,
                         uintptr_t exclude_indptr, uintptr_t exclude_indices, int64_t num_excluded) {
  if (q < 0 || n < 0 || d < 0 || k < 0) throw py::value_error("sizes must not be negative");
  require(queries, q && d, "queries");
  require(base, n && d, "base");
  TopkProblem problem;
  problem.queries = at<const void>(queries);
  problem.base = at<const void>(base);
  problem.q = q;
  problem.n = n;
  problem.d = d;
  problem.k = k;
  problem.query_stride = query_stride;
  problem.base_stride = base_stride;
  problem.dtype = dtype_of(dtype);
  problem.exclude = sparse_rows(exclude_indptr, exclude_indices, 0, num_excluded);
  return problem;
}

void run_topk(const TopkProblem& problem, uintptr_t scores, uintptr_t ids, uintptr_t nonfinite,
              uintptr_t workspace, size_t workspace_bytes, uintptr_t stream) {
  require(scores, problem.q && problem.k, "scores");
  require(ids, problem.q && problem.k, "ids");
  require(nonfinite, true, "nonfinite");
  raise_on_error([&] {
    py::gil_scoped_release release;
    return topk(problem, at<float>(scores), at<int64_t>(ids), at<int32_t>(nonfinite),
                {at<void>(workspace), workspace_bytes}, at<void>(stream));
  }());
}

}  // namespace

PYBIND11_MODULE(OPHCLIP_CUDA_MODULE, module) {
  using py::arg;
  module.doc() = "CUDA kernels on raw device addresses; see csrc/cuda/cuda_ops.h";

  py::class_<ContrastiveProblem>(module, "ContrastiveProblem", py::module_local())
      .def(py::init(&contrastive_problem), py::kw_only(), arg("a"), arg("b"), arg("scale"), arg("m"),
           arg("n"), arg("d"), arg("a_stride"), arg("b_stride"), arg("dtype"), arg("offset") = 0,
           arg("indptr") = 0, arg("indices") = 0, arg("weights") = 0, arg("num_positives") = 0,
           arg("reduction") = "logsum", arg("budget_bytes") = size_t{64} << 20)
      .def_property_readonly("saved_floats", &contrastive_saved_floats)
      .def_property_readonly("forward_workspace_bytes", &contrastive_forward_workspace_bytes)
      .def_property_readonly("backward_workspace_bytes", &contrastive_backward_workspace_bytes);
  module.def("contrastive_forward", &forward, arg("problem"), py::kw_only(), arg("saved"), arg("loss"),
             arg("workspace"), arg("workspace_bytes"), arg("stream") = 0);
  module.def("contrastive_backward", &backward, arg("problem"), py::kw_only(), arg("saved"), arg("grad_loss"),
             arg("grad_a"), arg("grad_b"), arg("grad_scale"), arg("workspace"), arg("workspace_bytes"),
             arg("stream") = 0);

  py::class_<TopkProblem>(module, "TopkProblem", py::module_local())
      .def(py::init(&topk_problem), py::kw_only(), arg("queries"), arg("base"), arg("q"), arg("n"), arg("d"),
           arg("k"), arg("query_stride"), arg("base_stride"), arg("dtype"), arg("exclude_indptr") = 0,
           arg("exclude_indices") = 0, arg("num_excluded") = 0)
      .def_property_readonly("workspace_bytes", &topk_workspace_bytes);
  module.def("topk", &run_topk, arg("problem"), py::kw_only(), arg("scores"), arg("ids"), arg("nonfinite"),
             arg("workspace"), arg("workspace_bytes"), arg("stream") = 0);

  module.def("device_count", [] {
    int count = 0;
    raise_on_error(device_count(&count));
    return count;
  });
  module.def("runtime_version", [] {
    int version = 0;
    raise_on_error(runtime_version(&version));
    return version;
  });
  module.def("kernel_path", [] {
    const char* name = nullptr;
    raise_on_error(kernel_path(&name));
    return std::string(name);
  });
  module.def("compiled_architectures", [] { return std::string(compiled_architectures()); });
}
