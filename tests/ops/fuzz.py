# SPDX-License-Identifier: Apache-2.0
"""Random calls of the native operators, right and wrong: `python tests/ops/fuzz.py --seconds 600`.

Each call has a number, from which all of it follows: `--first N --calls 1` repeats the one that failed. A
right call must equal the reference, a wrong one must raise ValueError; memory may not grow.
"""

from __future__ import annotations

import argparse
import itertools
import random
import time
from collections.abc import Callable
from typing import Any

import psutil
import torch
from torch import Tensor

from ophclip.ops import contrastive_loss, pack, reference, topk
from ophclip.ops.register import contrastive as operator

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SIZES = (0, 1, 2, 3, 5, 13, 14, 15, 28, 31, 32, 33, 64, 100, 129, 300, 513)
DIMS = (0, 1, 2, 3, 4, 7, 8, 31, 32, 33, 64, 65, 130, 257, 768)
SETTLED_CALLS = 200  # by then every path has its buffers
GROWTH_MIB = 96


def matrix(dice: random.Random, rows: int, dim: int, dtype: torch.dtype) -> Tensor:
    """Rows of some scale, laid out in some way: whole, strided, or transposed."""
    size = dice.choice([1e-6, 1.0, 1.0, 1.0, 30.0])
    layout = dice.choice(["whole", "strided", "transposed", "offset"])
    if layout == "strided":
        whole = torch.randn(2 * rows, 3 * dim)[::2, ::3]
    elif layout == "transposed":
        whole = torch.randn(dim, rows).T
    elif layout == "offset":
        whole = torch.randn(rows + 1, dim + 1)[1:, 1:]
    else:
        whole = torch.randn(rows, dim)
    if rows > 1 and dice.random() < 0.2:
        whole[dice.randrange(rows)] = whole[dice.randrange(rows)]
    return (size * whole / max(1, dim) ** 0.5).to(dtype)


def lists(dice: random.Random, rows: int, columns: int, *, fewest: int) -> tuple[Tensor, Tensor]:
    counts = torch.tensor([dice.randint(fewest, fewest + 4) for _ in range(rows)], dtype=torch.int64)
    indptr = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    return indptr, torch.randint(0, max(1, columns), (int(indptr[-1]),))


def spoil(dice: random.Random, indptr: Tensor, indices: Tensor, columns: int) -> tuple[Tensor, Tensor]:
    """Lists that no operator may follow."""
    indptr, indices = indptr.clone(), indices.clone()
    kind = dice.choice(["past the end", "negative", "falling", "too long", "start"])
    if kind in ("past the end", "negative") and indices.numel():
        far = columns + dice.choice([0, 1, 1 << 40])
        indices[dice.randrange(indices.numel())] = far if kind == "past the end" else -1 - far
    elif kind == "falling" and indptr.numel() > 2:
        indptr[1] = indptr[-1] + 1
    elif kind == "too long":
        indptr[-1] += dice.choice([1, 1 << 40])
    else:
        indptr[0] = dice.choice([-1, 1, 1 << 40])
    return indptr, indices


def refused(call: Any) -> None:
    try:
        call()
    except ValueError:
        return
    raise AssertionError("a wrong call was not refused")


def fuzz_loss(dice: random.Random) -> None:
    m, n, d = dice.choice(SIZES), dice.choice(SIZES), dice.choice(DIMS)
    dtype = dice.choice(DTYPES)
    a, b = matrix(dice, m, d, dtype), matrix(dice, n, d, dtype)
    scale = torch.tensor(dice.choice([0.0, 1e-8, 0.5, -3.0, 14.3, 100.0]))
    options: dict[str, Any] = {"reduction": dice.choice(["logsum", "meanlog"])}
    workspace = {"workspace_mib": dice.choice([1, 64])}
    if dice.random() < 0.5:
        options["offset"] = dice.randint(-1, max(0, n - m))
        is_right = 0 <= options["offset"] <= n - m
    else:
        indptr, indices = lists(dice, m, n, fewest=1)
        is_right = n > 0 or m == 0
        if dice.random() < 0.3:
            indptr, indices = spoil(dice, indptr, indices, n)
            is_right = False
        weights = torch.rand(indices.shape) + 0.1 if dice.random() < 0.5 else None
        options["positives"] = (indptr, indices, weights)
    if is_right:
        compare_losses([a, b, scale], options, workspace)
        return
    refused(lambda: contrastive_loss(a, b, scale, **options, **workspace))
    if "positives" in options and n > 0:  # past the checks of Python, to those of the kernels
        lists_of_level = [*options["positives"][:2], a.new_empty(0)]
        refused(lambda: operator([a], [b], [scale], lists_of_level, [0], [False], 1, True))


def compare_losses(inputs: list[Tensor], options: dict[str, Any], workspace: dict[str, int]) -> None:
    found, ours = with_gradients(lambda *x: contrastive_loss(*x, **options, **workspace), inputs)
    truth, exact = with_gradients(
        lambda *x: reference.contrastive_loss(*x, **options), [x.double() for x in inputs]
    )
    a, b, scale = (x.detach().double() for x in inputs)
    step = 1e-5 if inputs[0].dtype == torch.float32 else 2e-2  # relative, of an element
    longest = [float(x.norm(dim=1).max()) if x.shape[0] else 0.0 for x in (a, b)]
    logit = abs(float(scale)) * longest[0] * longest[1]
    assert abs(found - truth) <= 1e-5 * (1 + logit), f"loss {found}, not {truth}"
    for name, one, other, length in zip("ab", ours, exact, reversed(longest), strict=True):
        # A logit is off by a rounding of its size, and its softmax by as much.
        rounding = 1e-6 * (1 + logit) * abs(float(scale)) * length
        if one.dtype == torch.float16:
            rounding += 6e-8 * one.numel() ** 0.5  # the step of its smallest numbers
        if one.dtype == torch.bfloat16:
            rounding += 2**-8 * abs(float(scale)) * length  # its softmax is multiplied in bfloat16
        distance = float((one.double() - other).norm())
        assert distance <= step * float(other.norm()) + rounding, f"gradient of {name}: off by {distance}"


def with_gradients(loss: Callable[..., Tensor], inputs: list[Tensor]) -> tuple[float, tuple[Tensor, ...]]:
    leaves = [x.detach().requires_grad_() for x in inputs]
    value = loss(*leaves)
    return float(value.detach()), torch.autograd.grad(value, leaves[:2])


def fuzz_search(dice: random.Random) -> None:
    q, n, d = dice.choice(SIZES), dice.choice(SIZES), dice.choice(DIMS)
    queries, base = matrix(dice, q, d, dice.choice(DTYPES)), matrix(dice, n, d, dice.choice(DTYPES))
    k = dice.choice([0, 1, 2, 10, n, n + 1, -1])
    exclude = lists(dice, q, n, fewest=0) if dice.random() < 0.5 else None
    is_right = 0 <= k <= n and (n > 0 or exclude is None or exclude[1].numel() == 0)
    if exclude is not None and dice.random() < 0.3:
        exclude, is_right = spoil(dice, *exclude, n), False
    wanted = pack(base, dice.choice(["fp32", "bf16", "int8"])) if dice.random() < 0.8 else base
    if dice.random() < 0.05 and queries.numel():
        queries = queries.clone()
        queries[0, 0] = float("nan")
        is_right = False
    if not is_right:
        refused(lambda: topk(queries, wanted, k, exclude=exclude))
        return
    scores, ids = topk(queries, wanted, k, exclude=exclude)
    plain, plain_ids = topk(queries, base, k, exclude=exclude)
    assert torch.equal(scores, plain), "what is scanned changed the scores"
    assert torch.equal(ids, plain_ids), "what is scanned changed the ids"
    compare_scores(scores, ids, queries.double(), base.double(), exclude)


def compare_scores(
    scores: Tensor, ids: Tensor, queries: Tensor, base: Tensor, exclude: reference.Exclusions | None
) -> None:
    """Hold each score to that of its row, and all of them to the best there are."""
    exact = queries @ base.T
    if exclude is not None:
        indptr, indices = exclude
        exact[torch.repeat_interleave(torch.arange(len(queries)), indptr.diff()), indices] = -torch.inf
    best = exact.topk(scores.shape[1], dim=1).values
    found = ids >= 0
    assert bool((found == torch.isfinite(best)).all()), "a place is filled that should not be, or the reverse"
    lengths = queries.norm(dim=1).amax() * base.norm(dim=1).amax() if found.any() else torch.zeros(())
    rounding = 1e-6 * float(lengths)
    own = exact.gather(1, ids.clamp_min(0)) if exact.numel() else best
    for name, other in (("of its row", own), ("of the best", best)):
        off = (scores.double() - other)[found].abs()
        assert not off.numel() or float(off.max()) <= rounding, f"a score is off that {name} by {off.max()}"


def run(first: int, calls: int | None, seconds: float) -> tuple[int, int]:
    """Return the number of calls, and by how many MiB memory has grown since the early ones."""
    process = psutil.Process()
    start, settled = time.monotonic(), 0
    for done in itertools.count():
        if done == calls or (calls is None and time.monotonic() - start > seconds):
            grown = process.memory_info().rss - settled if done > SETTLED_CALLS else 0
            return done, grown >> 20
        if done == SETTLED_CALLS:
            settled = process.memory_info().rss
        torch.manual_seed(first + done)
        dice = random.Random(first + done)
        try:
            dice.choice([fuzz_loss, fuzz_search])(dice)
        except Exception as error:
            raise SystemExit(f"call {first + done} failed: {type(error).__name__}: {error}") from error
    raise AssertionError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--calls", type=int)
    options = parser.parse_args()
    done, grown = run(options.first, options.calls, options.seconds)
    print(f"{done} calls, memory grew by {grown} MiB")
    if grown > GROWTH_MIB:
        raise SystemExit(f"memory must not grow by more than {GROWTH_MIB} MiB")


if __name__ == "__main__":
    main()
