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

py::tuple contrastive(uintptr_t a, uintptr_t b, float scale, int64_t m, int64_t n, int64_t d, int64_t offset,
                      uintptr_t indptr, uintptr_t indices, uintptr_t weights, int64_t num_positives,
                      bool mean_log, uintptr_t grad_a, uintptr_t grad_b, size_t workspace_bytes,
                      int threads) {
  ophclip::ContrastiveProblem problem;
  problem.a = at<const float>(a);
  problem.b = at<const float>(b);
  problem.scale = scale;
  problem.m = m;
  problem.n = n;
  problem.d = d;
  problem.offset = offset;
  problem.positives = sparse_rows(indptr, indices, weights, num_positives);
  problem.mean_log = mean_log;
  problem.workspace_bytes = workspace_bytes;
  problem.threads = threads;
  ophclip::ContrastiveResult result;
  {
    py::gil_scoped_release released;
    result = ophclip::contrastive(problem, at<float>(grad_a), at<float>(grad_b));
  }
  return py::make_tuple(result.loss, result.grad_scale);
}

void topk(uintptr_t queries, uintptr_t rows, uintptr_t panels, int64_t q, int64_t n, int64_t d, int64_t k,
          uintptr_t exclude_indptr, uintptr_t exclude_indices, int64_t num_excluded, uintptr_t scores,
          uintptr_t ids, int threads) {
  ophclip::TopkProblem problem;
  problem.queries = at<const float>(queries);
  problem.rows = at<const float>(rows);
  problem.panels = at<const float>(panels);
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
  module.def("contrastive", &contrastive, py::kw_only(), py::arg("a"), py::arg("b"), py::arg("scale"),
             py::arg("m"), py::arg("n"), py::arg("d"), py::arg("offset"), py::arg("indptr"),
             py::arg("indices"), py::arg("weights"), py::arg("num_positives"), py::arg("mean_log"),
             py::arg("grad_a"), py::arg("grad_b"), py::arg("workspace_bytes"), py::arg("threads"),
             "Return (loss, grad_scale).");
  module.def("topk", &topk, py::kw_only(), py::arg("queries"), py::arg("rows"), py::arg("panels"),
             py::arg("q"), py::arg("n"), py::arg("d"), py::arg("k"), py::arg("exclude_indptr"),
             py::arg("exclude_indices"), py::arg("num_excluded"), py::arg("scores"), py::arg("ids"),
             py::arg("threads"));
  module.def("supported_isas", &ophclip::supported_isas);
  module.def("selected_isa", &ophclip::selected_isa);
}
