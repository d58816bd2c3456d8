# SPDX-License-Identifier: Apache-2.0
"""Self-supervision of the visual tower: two augmented views of a clip, brought together.

SimSiam (Chen & He, arXiv 2011.10566) is what OphCLIP names; SimCLR (arXiv 2002.05709) is what its lineage
does. The heads serve training alone and are not part of the model.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ophclip.ops import Level
from ophclip.pretrain.losses import Rows, Term


class Projector(nn.Sequential):
    """Three layers with batch norm, the last without scale and shift: `[B, D]` to `[B, out]`."""

    def __init__(self, dim: int, hidden: int, out: int) -> None:
        super().__init__(
            *_layer(dim, hidden),
            *_layer(hidden, hidden),
            nn.Linear(hidden, out, bias=False),
            nn.BatchNorm1d(out, affine=False),
        )


class Predictor(nn.Sequential):
    """Two layers with a bottleneck: `[B, out]` to `[B, out]`."""

    def __init__(self, out: int, bottleneck: int) -> None:
        super().__init__(*_layer(out, bottleneck), nn.Linear(bottleneck, out))


class SimSiam(nn.Module):
    """Each view predicts the other's projection, which gets no gradient."""

    def __init__(self, dim: int, hidden: int, out: int, bottleneck: int) -> None:
        super().__init__()
        self.projector = Projector(dim, hidden, out)
        self.predictor = Predictor(out, bottleneck)

    def forward(self, first: Rows, second: Rows) -> Tensor:
        """Return this rank's share of the loss, a scalar in [-1, 1], for embeddings of two views.

        The heads see the rows of all ranks, so that batch norm takes its statistics of the whole batch. A
        batch of one row has none: it is normalised by the running ones.
        """
        self.train(first.all.shape[0] > 1)
        projected = [self.projector(rows.all.float()) for rows in (first, second)]
        predicted = [self.predictor(z) for z in projected]
        own = slice(first.offset, first.offset + first.own.shape[0])
        loss = 0.5 * (_distance(predicted[0], projected[1], own) + _distance(predicted[1], projected[0], own))
        return loss / first.all.shape[0]


class SimCLR(nn.Module):
    """The projections of one clip's views are contrasted with those of the other clips.

    Each view is an anchor against the other view of all clips; views of the same side are no negatives.
    """

    def __init__(self, dim: int, hidden: int, out: int) -> None:
        super().__init__()
        self.projector = Projector(dim, hidden, out)

    def forward(self, first: Rows, second: Rows, scale: Tensor) -> Term:
        """Return the contrast of embeddings of two views as a term named "ssl"."""
        self.train(first.all.shape[0] > 1)
        z1, z2 = (F.normalize(self.projector(rows.all.float()), dim=1) for rows in (first, second))
        if first.is_whole:
            return Term("ssl", [Level(z1, z2, scale)])
        own = slice(first.offset, first.offset + first.own.shape[0])
        columns = torch.arange(first.all.shape[0], device=z1.device)[own]
        positives = (torch.arange(columns.numel() + 1, device=z1.device), columns, None)
        sides = [(z1[own], z2), (z2[own], z1)]
        return Term("ssl", [Level(a, b, scale, first.share / 2, positives=positives) for a, b in sides])


def _distance(predicted: Tensor, projected: Tensor, own: slice) -> Tensor:
    similarity = F.cosine_similarity(predicted[own], projected[own].detach(), dim=1)
    return -similarity.sum()


def _layer(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True)]
