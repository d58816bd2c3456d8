# SPDX-License-Identifier: Apache-2.0
"""Exact top-k search: a packed base in every precision on the CPU, bfloat16 rows on a GPU, and its memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor

from ophclip.bench.case import Case, Contest, Runner, Target, UnavailableError
from ophclip.bench.memory import in_fresh_process
from ophclip.bench.search_peers import cuvs_search, faiss_search, flashlib_search, torch_search
from ophclip.bench.session import Session
from ophclip.ops import PackedBase, pack, topk
from ophclip.ops.pack import PackPrecision

BYTES = {"fp32": 4, "bf16": 2, "int8": 1}  # of one element of the base, as it is scanned
COPIES = 3  # of the base on a GPU: the rows, those of cuVS, and room for what torch multiplies
GROWTH = "MiB that memory grows with N"


def packed_search_case(
    precision: str, num_queries: int, num_rows: int, dim: int, k: int, targets: Sequence[Target] = ()
) -> Case:
    """A base packed in `precision`; the peers search the same rows in float32, as ours must answer."""

    def prepare(session: Session) -> Contest:
        base = _base(session, num_rows, dim, torch.float32)
        queries = session.unit_rows(num_queries, dim, 1)
        packed = session.shared(
            ("packed", precision, num_rows, dim), lambda: pack(base, cast(PackPrecision, precision))
        )
        peers: dict[str, Callable[[], Runner]] = {
            "faiss": partial(faiss_search, session, base, queries, k, with_blas=False),
            "faiss with BLAS": partial(faiss_search, session, base, queries, k, with_blas=True),
            "torch": lambda: torch_search(base, queries, k),
        }
        return _contest(queries, packed, k, peers, precision, 1e-4, num_rows * dim)

    name = f"top-k {precision} Q={num_queries} N={_short(num_rows)} D={dim} k={k}"
    return Case(name, f"top-k {precision}", prepare, tuple(targets))


def device_search_case(
    num_queries: int, num_rows: int, dim: int, k: int, targets: Sequence[Target] = ()
) -> Case:
    """bfloat16 queries and rows where they lie."""

    def prepare(session: Session) -> Contest:
        _check_device_memory(session, COPIES * BYTES["bf16"] * num_rows * dim)
        base = _base(session, num_rows, dim, torch.bfloat16)
        queries = session.unit_rows(num_queries, dim, 1, torch.bfloat16)
        peers: dict[str, Callable[[], Runner]] = {"torch": lambda: torch_search(base, queries, k)}
        if session.device.type == "cuda":
            peers["cuvs"] = lambda: cuvs_search(session, base, queries, k)
            peers["flashlib"] = lambda: flashlib_search(base, queries, k)
        return _contest(queries, base, k, peers, "bf16", 2e-2, num_rows * dim)

    name = f"top-k bf16 Q={num_queries} N={_short(num_rows)} D={dim} k={k}"
    return Case(name, "top-k bf16", prepare, tuple(targets))


def search_memory_case(precision: str, num_rows: tuple[int, int], dim: int) -> Case:
    """Peak memory beyond base and output at two sizes of the base: it must not grow with the base."""

    def prepare(session: Session) -> Contest:
        def figures() -> dict[str, float]:
            small, large = (_memory(session, precision, rows, dim) for rows in num_rows)
            return {
                f"MiB beyond base and output at N={_short(num_rows[0])}": small,
                f"at N={_short(num_rows[1])}": large,
                GROWTH: large - small,
            }

        return Contest(figures=figures)

    name = f"memory of top-k {precision} Q=32 D={dim} k=10"
    return Case(name, "top-k memory", prepare, (Target(GROWTH, most=2.0),))


def _contest(
    queries: Tensor,
    base: PackedBase | Tensor,
    k: int,
    peers: dict[str, Callable[[], Runner]],
    precision: str,
    tolerance: float,
    elements: int,
) -> Contest:
    return Contest(
        ours=lambda: topk(queries, base, k)[0],
        peers=peers,
        flops=2.0 * queries.shape[0] * elements,
        rate=precision,
        bytes_read=BYTES[precision] * elements,
        tolerance=tolerance,
    )


def _check_device_memory(session: Session, needed: int) -> None:
    if session.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(session.device)
        if free < needed:
            raise UnavailableError(f"needs {needed >> 30} GiB of free device memory, there are {free >> 30}")


def _base(session: Session, num_rows: int, dim: int, dtype: torch.dtype) -> Tensor:
    return session.shared(("base", num_rows, dim, dtype), lambda: session.unit_rows(num_rows, dim, 0, dtype))


def _memory(session: Session, precision: str, num_rows: int, dim: int) -> float:
    task = {"what": "search", "precision": precision, "num_rows": num_rows, "dim": dim}
    ends = {"num_queries": 32, "k": 10, "device": str(session.device), "threads": session.threads}
    return in_fresh_process(task | ends)["MiB beyond outputs"]


def _short(count: int) -> str:
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if count >= size and count % size == 0:
            return f"{count // size}{letter}"
    return str(count)
