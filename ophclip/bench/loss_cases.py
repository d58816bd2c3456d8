# SPDX-License-Identifier: Apache-2.0
"""Contrastive losses, forward and backward: one problem, several levels, batches that eager cannot hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ophclip.bench.case import Case, Contest, Runner, Target
from ophclip.bench.loss_peers import Problem, compiled_step, in_fp32, inf_cl, lean, liger, step, two_matmuls
from ophclip.bench.memory import SCALE, in_fresh_process
from ophclip.bench.session import Session
from ophclip.ops import Level, contrastive_loss, hierarchical_contrastive_loss

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
TOLERANCE = {"fp32": 1e-4, "bf16": 1e-2}  # of the loss
RAW = "MiB beyond inputs, gradients included"
BEYOND = "MiB beyond inputs and gradients"
PRODUCTS_KEPT = 6  # B^2 D flop where the logits are kept: they, and one product for each gradient
PRODUCTS_RECOMPUTED = 8  # and where B x B does not fit and the logits are made twice


def loss_case(
    precision: str, size: int, dim: int, targets: Sequence[Target] = (), *, with_compiled: bool = True
) -> Case:
    """One symmetric problem of B = `size` rows a side beside every peer."""

    def prepare(session: Session) -> Contest:
        problem = _problem(session, precision, size, dim)
        is_emulated = precision == "bf16" and session.emulates_bf16()
        lean_one, clip = (in_fp32(loss) if is_emulated else loss for loss in (lean, two_matmuls))
        peers: dict[str, Callable[[], Runner]] = {}
        if with_compiled:
            peers["lean compiled"] = lambda: compiled_step(lean_one, [problem])
        peers["lean"] = lambda: step(lean_one, [problem])
        peers["two matmuls"] = lambda: step(clip, [problem])
        products = PRODUCTS_KEPT
        if session.device.type == "cuda":
            peers |= {"inf-cl": lambda: inf_cl(problem), "liger": lambda: liger(problem)}
            products = PRODUCTS_RECOMPUTED
        return Contest(
            ours=step(contrastive_loss, [problem]),
            peers=peers,
            flops=products * size * size * dim,
            rate=precision,
            tolerance=TOLERANCE[precision],
        )

    return Case(f"loss {precision} B={size} D={dim}", _section(precision), prepare, tuple(targets))


def large_loss_case(size: int, dim: int, targets: Sequence[Target] = ()) -> Case:
    """A float32 batch at which B x B takes gigabytes: time beside lean eager, and peak memory of both."""

    def prepare(session: Session) -> Contest:
        problem = _problem(session, "fp32", size, dim)

        def figures() -> dict[str, float]:
            ours, theirs = (_memory(session, who, size, dim) for who in ("ours", "lean"))
            return {
                RAW: ours["raw MiB"],
                BEYOND: ours["MiB beyond outputs"],
                f"{RAW} of lean": theirs["raw MiB"],
                f"{BEYOND} of lean": theirs["MiB beyond outputs"],
            }

        return Contest(
            ours=step(contrastive_loss, [problem]),
            peers={"lean": lambda: step(lean, [problem])},
            flops=PRODUCTS_KEPT * size * size * dim,
            rounds=2,
            figures=figures,
        )

    return Case(f"loss fp32 B={size} D={dim}", "loss fp32, large", prepare, tuple(targets))


def huge_loss_case(size: int, dim: int) -> Case:
    """A float32 batch that only a tiled loss can hold: does it run, how long, with how much memory?"""

    def prepare(session: Session) -> Contest:
        def figures() -> dict[str, float]:
            found = _memory(session, "ours", size, dim)
            return {"s": found["s"], RAW: found["raw MiB"], BEYOND: found["MiB beyond outputs"]}

        return Contest(figures=figures)

    return Case(f"loss fp32 B={size} D={dim} alone", "loss fp32, large", prepare)


def hierarchy_case(sizes: Sequence[int], dim: int, *, with_compiled: bool = True) -> Case:
    """Levels of clips, videos and retrieval in one call, beside a lean loss for each of them."""

    def prepare(session: Session) -> Contest:
        problems = [_problem(session, "fp32", size, dim) for size in sizes]
        peers: dict[str, Callable[[], Runner]] = {}
        if with_compiled:
            peers["lean compiled"] = lambda: compiled_step(lean, problems)
        peers["lean"] = lambda: step(lean, problems)
        flops = sum(PRODUCTS_KEPT * size * size * dim for size in sizes)
        return Contest(ours=_hierarchy(problems), peers=peers, flops=flops, tolerance=TOLERANCE["fp32"])

    name = f"{len(sizes)} levels fp32 B={','.join(map(str, sizes))} D={dim}"
    return Case(name, "hierarchical loss", prepare)


def _hierarchy(problems: Sequence[Problem]) -> Runner:
    leaves = [[x.detach().clone().requires_grad_() for x in problem] for problem in problems]

    def run() -> Tensor:
        for leaf in (leaf for problem in leaves for leaf in problem):
            leaf.grad = None
        total, _ = hierarchical_contrastive_loss([Level(a, b, scale) for a, b, scale in leaves])
        total.backward()  # type: ignore[no-untyped-call]
        return total.detach()

    return run


def _section(precision: str) -> str:
    return f"loss {precision}, forward and backward"


def _problem(session: Session, precision: str, size: int, dim: int) -> Problem:
    a, b = (session.unit_rows(size, dim, seed, DTYPES[precision]) for seed in (0, 1))
    return a, b, torch.tensor(SCALE, device=session.device)


def _memory(session: Session, who: str, size: int, dim: int) -> dict[str, float]:
    task = {"what": "loss", "who": who, "dtype": "float32", "size": size, "dim": dim}
    return in_fresh_process(task | {"device": str(session.device), "threads": session.threads})
