# SPDX-License-Identifier: Apache-2.0
"""Plain-PyTorch twins of the native operators: fallback, oracle and baseline at once.

They take the same arguments as the public functions and hold the full logits. Shape letters: M rows of a,
N rows of b or of the base, D embedding, P positives, Q queries, K neighbours.
"""

from __future__ import annotations

import torch
from torch import Tensor

Positives = tuple[Tensor, Tensor, Tensor | None]  # CSR: indptr [M+1], indices [P], weights [P] or None
Exclusions = tuple[Tensor, Tensor]  # CSR: indptr [Q+1], indices [P]

SCORES_AT_ONCE = 1 << 24  # elements of the score matrix that the top-k reference holds


def contrastive_loss(
    a: Tensor,  # [M, D]
    b: Tensor,  # [N, D]
    scale: Tensor,  # []
    *,
    offset: int = 0,
    positives: Positives | None = None,
    reduction: str = "logsum",
) -> Tensor:
    """Return the loss as a scalar, float32 (float64 for float64 inputs); see `ops.contrastive_loss`."""
    dtype = torch.float64 if a.dtype == torch.float64 else torch.float32
    if a.shape[0] == 0:
        return (a.to(dtype).sum() + 0 * b.to(dtype).sum()) * scale.to(dtype)
    logits = scale.to(dtype) * (a.to(dtype) @ b.to(dtype).T)
    if positives is None:
        return _symmetric(logits, offset)
    return _multi_positive(logits, *positives, reduction)


def topk(
    queries: Tensor,  # [Q, D]
    base: Tensor,  # [N, D]
    k: int,
    *,
    exclude: Exclusions | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the best scores `[Q, K]` and ids `[Q, K]`, equal scores by lower id; see `ophclip.ops.topk`."""
    num_queries = queries.shape[0]
    scores = queries.new_empty((num_queries, k), dtype=torch.float32)
    ids = torch.empty((num_queries, k), dtype=torch.int64, device=queries.device)
    if k == 0 or num_queries == 0:
        return scores, ids
    columns = base.float().T
    step = max(1, SCORES_AT_ONCE // max(1, base.shape[0]))
    for start in range(0, num_queries, step):
        block = slice(start, min(start + step, num_queries))
        matrix = queries[block].float() @ columns
        if exclude is not None:
            _mask(matrix, exclude, block)
        scores[block], ids[block] = _select(matrix, k)
    return scores, ids


def _symmetric(logits: Tensor, offset: int) -> Tensor:
    rows = torch.arange(logits.shape[0], device=logits.device)
    matched = logits[rows, rows + offset]
    across = torch.logsumexp(logits, dim=1) - matched
    down = torch.logsumexp(logits, dim=0)[rows + offset] - matched
    return (across.mean() + down.mean()) / 2


def _multi_positive(
    logits: Tensor, indptr: Tensor, indices: Tensor, weights: Tensor | None, reduction: str
) -> Tensor:
    num_rows = logits.shape[0]
    row = torch.repeat_interleave(torch.arange(num_rows, device=logits.device), indptr.diff())
    scores = logits[row, indices]
    weight = torch.ones_like(scores) if weights is None else weights.to(logits)
    if reduction == "meanlog":
        share = weight / logits.new_zeros(num_rows).index_add(0, row, weight)[row]
        numerator = logits.new_zeros(num_rows).index_add(0, row, share * scores)
    else:
        peak = logits.new_full((num_rows,), -torch.inf).scatter_reduce(0, row, scores.detach(), "amax")
        mass = logits.new_zeros(num_rows).index_add(0, row, weight * torch.exp(scores - peak[row]))
        numerator = torch.log(mass) + peak
    return (torch.logsumexp(logits, dim=1) - numerator).mean()


def _mask(scores: Tensor, exclude: Exclusions, block: slice) -> None:
    indptr, indices = exclude
    bounds = indptr[block.start : block.stop + 1]
    columns = indices[int(bounds[0]) : int(bounds[-1])]
    rows = torch.repeat_interleave(torch.arange(scores.shape[0], device=scores.device), bounds.diff())
    scores[rows, columns] = -torch.inf


def _select(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    # torch.topk leaves open which of several equal scores it takes: keep all above the k-th score, then the
    # lowest ids among those equal to it.
    last = torch.topk(scores, k, dim=1).values[:, -1:]
    above, equal = scores > last, scores == last
    places = k - above.sum(dim=1, keepdim=True)
    kept = above | (equal & (equal.cumsum(dim=1) <= places))
    ids = kept.nonzero()[:, 1].view(-1, k)
    best, order = torch.gather(scores, 1, ids).sort(dim=1, descending=True, stable=True)
    ids = torch.gather(ids, 1, order)
    return best, ids.masked_fill(best == -torch.inf, -1)
