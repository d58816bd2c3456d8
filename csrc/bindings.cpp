// SPDX-License-Identifier: Apache-2.0
//
// The CPU kernels to Python: addresses come as integers, and Python keeps the tensors alive meanwhile.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "ops.h"

namespace py = pybind11;

namespace {

template <typename T>
T* at(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

ophclip::SparseRows sparse_rows(uintptr_t indptr, uintptr_t indices, uintptr_t weights, int64_t count) {
  return {at<const int64_t>(indptr), at<const int64_t>(indices), at<const float>(weights), count};
}

ophclip::ContrastiveProblem contrastive_problem(uintptr_t a, uintptr_t b, bool bf16, float scale, int64_t m,
                                                int64_t n, int64_t d, int64_t offset, uintptr_t indptr,
                                                uintptr_t indices, uintptr_t weights, int64_t num_positives,
                                                bool mean_log, uintptr_t grad_a, uintptr_t grad_b,
                                                size_t workspace_bytes, int threads) {
  ophclip::ContrastiveProblem problem;
  problem.a = at<const void>(a);
  problem.b = at<const void>(b);
  problem.bf16 = bf16;
  problem.scale = scale;
  problem.m = m;
  problem.n = n;
  problem.d = d;
  problem.offset = offset;
  problem.positives = sparse_rows(indptr, indices, weights, num_positives);
  problem.mean_log = mean_log;
  problem.workspace_bytes = workspace_bytes;
  problem.threads = threads;
  problem.grad_a = at<void>(grad_a);
  problem.grad_b = at<void>(grad_b);
  return problem;
}

void topk(uintptr_t queries, uintptr_t rows, uintptr_t panels, uintptr_t quantised, uintptr_t facts,
          uintptr_t centre, bool is_int8, int64_t q, int64_t n, int64_t d, int64_t k,
          uintptr_t exclude_indptr, uintptr_t exclude_indices, int64_t num_excluded, uintptr_t scores,
          uintptr_t ids, int threads) {
  ophclip::TopkProblem problem;
  problem.queries = at<const float>(queries);
  problem.rows = at<const float>(rows);
  problem.panels = at<const float>(panels);
  problem.quantised = {at<const uint32_t>(quantised), at<const float>(facts), at<const float>(centre),
                       is_int8};
  problem.q = q;
  problem.n = n;
  problem.d = d;
  problem.k = k;
  problem.exclude = sparse_rows(exclude_indptr, exclude_indices, 0, num_excluded);
  problem.threads = threads;
  py::gil_scoped_release released;
  ophclip::topk(problem, at<float>(scores), at<int64_t>(ids));
}

}  // namespace

PYBIND11_MODULE(_native, module) {
  module.doc() = "CPU kernels on raw addresses; see csrc/ops.h.";
  py::class_<ophclip::ContrastiveProblem>(module, "ContrastiveProblem", py::module_local())
      .def(py::init(&contrastive_problem), py::kw_only(), py::arg("a"), py::arg("b"), py::arg("bf16"),
           py::arg("scale"), py::arg("m"), py::arg("n"), py::arg("d"), py::arg("offset") = 0,
           py::arg("indptr") = 0, py::arg("indices") = 0, py::arg("weights") = 0,
           py::arg("num_positives") = 0, py::arg("mean_log") = false, py::arg("grad_a") = 0,
           py::arg("grad_b") = 0, py::arg("workspace_bytes") = size_t{64} << 20, py::arg("threads") = 1);
  py::class_<ophclip::ContrastiveResult>(module, "ContrastiveResult", py::module_local())
      .def_readonly("loss", &ophclip::ContrastiveResult::loss)
      .def_readonly("grad_scale", &ophclip::ContrastiveResult::grad_scale);
  module.def("contrastive", &ophclip::contrastive, py::arg("levels"),
             py::call_guard<py::gil_scoped_release>(), "Return a ContrastiveResult a level.");
  module.def("topk", &topk, py::kw_only(), py::arg("queries"), py::arg("rows"), py::arg("panels"),
             py::arg("quantised") = 0, py::arg("facts") = 0, py::arg("centre") = 0,
             py::arg("is_int8") = false, py::arg("q"), py::arg("n"), py::arg("d"), py::arg("k"),
             py::arg("exclude_indptr"), py::arg("exclude_indices"), py::arg("num_excluded"),
             py::arg("scores"), py::arg("ids"), py::arg("threads"));
  module.def("multiplies_bf16", &ophclip::multiplies_bf16);
  module.def("supported_isas", &ophclip::supported_isas);
  module.def("selected_isa", &ophclip::selected_isa);
}
