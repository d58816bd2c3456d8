# SPDX-License-Identifier: Apache-2.0
"""Exact inner product searches that a user would otherwise write or install; each returns scores [Q, K]."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ophclip.bench.case import Runner, UnavailableError
from ophclip.bench.session import Session

FAISS_HINT = "not installed: pip install 'ophclip[faiss]'"
SCORES_AT_ONCE = 1 << 30  # beyond it torch would need more memory than it has: chunk by chunk, then merge


def faiss_search(session: Session, base: Tensor, queries: Tensor, k: int, *, with_blas: bool) -> Runner:
    """The flat inner product index of faiss, which turns BLAS off for few queries unless it is forced."""
    try:
        import faiss
    except ImportError as error:
        raise UnavailableError(FAISS_HINT) from error

    def index_of_base() -> Any:
        index = faiss.IndexFlatIP(base.shape[1])
        index.add(base.numpy())
        return index

    index = session.shared(("faiss", base.data_ptr(), base.shape), index_of_base)
    wanted = queries.numpy()

    def run() -> Tensor:
        faiss.omp_set_num_threads(session.threads)
        faiss.cvar.distance_compute_blas_threshold = 0 if with_blas else 1 << 30
        return torch.from_numpy(index.search(wanted, k)[0])

    return run


def torch_search(base: Tensor, queries: Tensor, k: int) -> Runner:
    """A matrix product and `torch.topk`; by chunks of the base where the scores would not fit."""
    chunk = max(k, SCORES_AT_ONCE // queries.shape[0])

    def run() -> Tensor:
        best = [
            torch.topk(queries @ part.T, min(k, len(part)), dim=1).values for part in torch.split(base, chunk)
        ]
        return best[0] if len(best) == 1 else torch.topk(torch.cat(best, dim=1), k, dim=1).values

    return run


def cuvs_search(session: Session, base: Tensor, queries: Tensor, k: int) -> Runner:
    """The brute force index of cuVS, in float16: it has no bfloat16."""
    try:
        from cuvs.neighbors import brute_force
    except ImportError as error:
        raise UnavailableError("not installed: pip install cuvs-cu13") from error

    def index_of_base() -> Any:
        return brute_force.build(base.half(), metric="inner_product")

    index = session.shared(("cuvs", base.data_ptr(), base.shape), index_of_base)
    wanted = queries.half()
    return lambda: torch.as_tensor(brute_force.search(index, wanted, k)[0], device=base.device)


def flashlib_search(base: Tensor, queries: Tensor, k: int) -> Runner:
    """FlashLib's fused nearest neighbours, which of rows of length 1 have the largest inner products."""
    try:
        from flashlib import flash_knn
    except ImportError as error:
        raise UnavailableError("not installed: pip install flashlib") from error

    def run() -> Tensor:
        squared_distances = flash_knn(queries[None], base[None], k)[0][0]
        scores: Tensor = 1 - squared_distances.float() / 2
        return scores

    return run
