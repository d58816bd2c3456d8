# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ophclip.errors import UsageError
from ophclip.pretrain.config import PretrainConfig
from ophclip.pretrain.losses import Rows, solve
from ophclip.pretrain.objective import Objective
from ophclip.pretrain.self_supervision import SimCLR, SimSiam
from ophclip.pretrain.views import draw_view

CONFIG = PretrainConfig(corpus=Path("c"), cache=Path("k"), dim=6, ssl_hidden=8, ssl_dim=8, ssl_bottleneck=4)


def rows(count: int, seed: int) -> Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))


def test_identical_views_under_identity_heads_reach_the_minimum() -> None:
    heads = SimSiam(6, 8, 6, 4)
    heads.projector = nn.Identity()  # type: ignore[assignment]
    heads.predictor = nn.Identity()  # type: ignore[assignment]
    view = Rows.whole(rows(5, 0))
    torch.testing.assert_close(heads(view, view), torch.tensor(-1.0))
    torch.testing.assert_close(heads(view, Rows.whole(-rows(5, 0))), torch.tensor(1.0))


def test_the_loss_is_the_mean_negative_cosine_of_both_predictions() -> None:
    heads = SimSiam(6, 8, 8, 4)
    x, y = rows(7, 0), rows(7, 1)
    z1, z2 = heads.projector(x), heads.projector(y)
    cosine = sum(F.cosine_similarity(heads.predictor(p), z).mean() for p, z in ((z1, z2), (z2, z1)))
    torch.testing.assert_close(heads(Rows.whole(x), Rows.whole(y)), -cosine / 2)


def test_the_target_gets_no_gradient() -> None:
    heads = SimSiam(6, 8, 6, 4)
    heads.projector = nn.Identity()  # type: ignore[assignment]
    first, second = rows(5, 0).requires_grad_(), rows(5, 1).requires_grad_()
    # Only the prediction of the first view reaches it: with a constant predictor nothing does.
    for parameter in heads.predictor.parameters():
        nn.init.zeros_(parameter)
    nn.init.ones_(heads.predictor[-1].bias)
    heads(Rows.whole(first), Rows.whole(second)).backward()
    for leaf in (first, second):
        assert leaf.grad is None or not leaf.grad.any()


def test_the_projector_ends_in_batch_norm_without_scale() -> None:
    heads = SimSiam(6, 8, 8, 4)
    projected = heads.projector(rows(64, 0))
    torch.testing.assert_close(projected.mean(0), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(projected.var(0, unbiased=False), torch.ones(8), atol=1e-2, rtol=0)
    assert sum(isinstance(layer, nn.Linear) for layer in heads.projector) == 3
    assert sum(isinstance(layer, nn.Linear) for layer in heads.predictor) == 2


def test_a_batch_of_one_is_finite() -> None:
    for ssl in ("simsiam", "simclr"):
        made = Objective(dataclasses.replace(CONFIG, ssl=ssl), has_frames=True)
        view = Rows.whole(rows(1, 0))
        loss = made.clip_loss(view, view, torch.zeros(1, dtype=torch.int64), torch.tensor(10.0), (view, view))
        assert torch.isfinite(loss.total)


def test_simclr_contrasts_the_projections_of_both_views() -> None:
    heads = SimCLR(6, 8, 8)
    x, y = rows(9, 0), rows(9, 1)
    z1, z2 = (F.normalize(heads.projector(each), dim=1) for each in (x, y))
    logits, target = 10 * z1 @ z2.T, torch.arange(9)
    expected = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    total, _ = solve([heads(Rows.whole(x), Rows.whole(y), torch.tensor(10.0))])
    torch.testing.assert_close(total, expected)


def test_the_weight_of_self_supervision_scales_its_part() -> None:
    texts = torch.arange(5)
    clips, narrations, *views = (Rows.whole(rows(5, seed)) for seed in range(4))
    for ssl in ("simsiam", "simclr"):
        made = Objective(dataclasses.replace(CONFIG, ssl=ssl, lambda_ss=0.25), has_frames=True)
        loss = made.clip_loss(clips, narrations, texts, torch.tensor(10.0), (views[0], views[1]))
        torch.testing.assert_close(
            loss.total.detach(), loss.parts["clip"] + 0.25 * loss.parts["ssl"], rtol=1e-5, atol=1e-6
        )


def test_features_have_no_views() -> None:
    assert not Objective(CONFIG, has_frames=False).needs_views
    assert Objective(CONFIG, has_frames=True).needs_views
    assert not Objective(dataclasses.replace(CONFIG, lambda_ss=0.0), has_frames=True).needs_views
    with pytest.raises(UsageError, match="ssl = 'simsiam' needs views of frames") as raised:
        Objective(dataclasses.replace(CONFIG, ssl="simsiam"), has_frames=False)
    assert raised.value.remedy is not None
    assert "--stream frames" in raised.value.remedy


def test_heads_start_the_same_for_the_same_seed() -> None:
    torch.manual_seed(1)
    first = Objective(CONFIG, has_frames=True).state_dict()
    torch.manual_seed(2)
    second = Objective(CONFIG, has_frames=True).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def clips(num_clips: int = 3, num_frames: int = 2, side: int = 24) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(num_clips, 3, 6, 6, generator=generator)
    frame = F.interpolate(coarse, size=(side, side), mode="bilinear").permute(0, 2, 3, 1)
    return (255 * frame[:, None].expand(-1, num_frames, -1, -1, -1)).to(torch.uint8)


def test_a_view_has_the_shape_of_its_clips_and_values_of_pixels() -> None:
    view = draw_view(clips(), np.random.default_rng(0))
    assert view.shape == clips().shape
    assert view.dtype == torch.float32
    assert view.min() >= 0
    assert view.max() <= 1


def test_views_depend_on_the_generator_alone() -> None:
    first, again, other = (draw_view(clips(), np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_frames_of_a_view_differ_unless_it_is_temporally_consistent() -> None:
    still = clips()  # both frames of a clip are the same
    each = draw_view(still, np.random.default_rng(0))
    alike = draw_view(still, np.random.default_rng(0), temporally_consistent=True)
    assert not torch.equal(each[:, 0], each[:, 1])
    assert torch.equal(alike[:, 0], alike[:, 1])


def test_a_fifth_of_the_views_is_grey_and_half_is_blurred() -> None:
    noise = torch.randint(0, 256, (400, 1, 16, 16, 3), generator=torch.Generator().manual_seed(0))
    view = draw_view(noise.to(torch.uint8), np.random.default_rng(0))
    inside = (view > 0.02).all(-1) & (view < 0.98).all(-1)  # clamping makes colour of grey
    spread = (view.amax(-1) - view.amin(-1)) * inside
    is_grey = spread.flatten(1).amax(1) < 1e-3
    assert 0.12 < is_grey.float().mean() < 0.28


@pytest.mark.parametrize("side", [1, 2, 7])
def test_tiny_frames_have_views(side: int) -> None:
    frames = torch.zeros(2, 1, side, side, 3, dtype=torch.uint8)
    assert torch.isfinite(draw_view(frames, np.random.default_rng(0))).all()
