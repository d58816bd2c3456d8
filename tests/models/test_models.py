# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ophclip.errors import DamageError, UsageError
from ophclip.models import ModelConfig, build_model, load_encoder, load_model, save_model
from ophclip.models.encoders import default_precision
from ophclip.models.tiny import TinyText
from ophclip.models.tokens import Tokens
from ophclip.video import FrameFormat


def frames(count: int, side: int = 96) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def test_tiny_is_the_same_network_every_time() -> None:
    one, other = load_encoder("tiny"), load_encoder("tiny")
    assert one.key == other.key
    assert np.array_equal(one(frames(3)), other(frames(3)))
    assert one(frames(3)).shape == (3, *one.row_shape)
    assert one(frames(3)).dtype == np.float16


def test_rows_do_not_depend_on_the_batch() -> None:
    encoder = load_encoder("tiny")
    together = encoder(frames(5))
    alone = np.concatenate([encoder(frame[None]) for frame in frames(5)])
    np.testing.assert_allclose(together, alone, atol=2e-3)


def test_the_precision_changes_the_rows_a_little_and_the_key() -> None:
    exact, short = load_encoder("tiny"), load_encoder("tiny", precision="bf16")
    assert (exact.key["precision"], short.key["precision"]) == ("fp32", "bf16")
    assert {**exact.key, "precision": ""} == {**short.key, "precision": ""}, "of the same weights"
    one, other = exact(frames(4)).astype(np.float32), short(frames(4)).astype(np.float32)
    assert not np.array_equal(one, other)
    assert np.linalg.norm(one - other) < 0.02 * np.linalg.norm(one)
    assert (default_precision("cpu"), default_precision("cuda:1")) == ("fp32", "bf16")


def test_a_precision_that_there_is_not_is_refused() -> None:
    with pytest.raises(UsageError, match="must be fp32 or bf16, got 'fp8'"):
        load_encoder("tiny", precision="fp8")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_tensors_give_the_rows_of_arrays(precision: str) -> None:
    encoder = load_encoder("tiny", precision=precision)
    assert encoder.frame_format == FrameFormat(as_tensors=True)
    assert np.array_equal(encoder(torch.from_numpy(frames(3))), encoder(frames(3)))


def test_an_encoder_that_is_not_here_is_an_error() -> None:
    with pytest.raises(UsageError, match="'no-such-model' is not on this machine"):
        load_encoder("no-such-model")


def test_a_saved_model_embeds_the_same(tmp_path: Path) -> None:
    model = build_model(ModelConfig(dim=16, image_size=64), seed=3).eval()
    save_model(model, tmp_path)
    read = load_model(tmp_path)
    batch = torch.from_numpy(frames(4, 64))
    with torch.no_grad():
        assert torch.equal(model.embed_frames(batch), read.embed_frames(batch))
        assert torch.equal(model.embed_text(["a", "b c"]), read.embed_text(["a", "b c"]))
    encoder = load_encoder(str(tmp_path))
    with torch.no_grad():
        expected = F.normalize(model.embed_frames(batch), dim=1).half()
    np.testing.assert_allclose(encoder(frames(4, 64)), expected.numpy(), atol=2e-3)
    assert encoder.geometry.height == 64


def test_a_features_model_is_its_frozen_tower_and_its_head(tmp_path: Path) -> None:
    config = ModelConfig(dim=16, feature_dim=384)
    model = build_model(config).eval()
    assert model.vision is None
    with pytest.raises(UsageError, match="reads features of 'tiny'"):
        model.embed_frames(torch.from_numpy(frames(1)))
    save_model(model, tmp_path)
    features = torch.from_numpy(load_encoder("tiny")(frames(2)).astype(np.float32))
    with torch.no_grad():
        expected = F.normalize(model.embed_features(features), dim=1)
    np.testing.assert_allclose(load_encoder(str(tmp_path))(frames(2)), expected.numpy(), atol=5e-3)


def test_seeds_build_different_models() -> None:
    one, other, same = (build_model(ModelConfig(dim=8), seed=seed) for seed in (0, 1, 0))
    assert not torch.equal(one.image_projection.weight, other.image_projection.weight)
    assert torch.equal(one.image_projection.weight, same.image_projection.weight)


def test_building_a_model_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    build_model(ModelConfig(dim=8), seed=5)
    load_encoder("tiny")
    assert torch.equal(torch.rand(1), expected)


def test_frames_of_any_leading_shape_are_embedded() -> None:
    model = build_model(ModelConfig(dim=8, image_size=32)).eval()
    batch = torch.from_numpy(frames(6, 32))
    with torch.no_grad():
        flat = model.embed_frames(batch)
        torch.testing.assert_close(model.embed_frames(batch.view(2, 3, 32, 32, 3)), flat.view(2, 3, 8))


def test_text_ignores_case_and_survives_empty_and_long_text() -> None:
    model = build_model(ModelConfig(dim=8)).eval()
    with torch.no_grad():
        upper, lower, empty, long = model.embed_text(["The PHACO Probe", "the phaco probe", "", "x " * 500])
    torch.testing.assert_close(upper, lower)
    assert torch.isfinite(empty).all()
    assert torch.isfinite(long).all()


def test_text_is_pooled_by_attention_over_its_tokens() -> None:
    tower = TinyText().eval()
    tokens = Tokens.of(tower.tokenize(["the phaco probe", "rhexis"], 77))
    rows, mask = tower.embedding(tokens.ids), tokens.mask
    scores = tower.importance(rows).squeeze(-1).masked_fill(~mask, -torch.inf)
    pooled = (scores.softmax(1)[:, :, None] * rows).sum(1)
    expected = pooled + tower.mix(pooled)
    found = tower(tokens, 77)
    torch.testing.assert_close(found, expected)
    weights = list(tower.parameters())
    ours, plain = (torch.autograd.grad(y.square().sum(), weights) for y in (found, expected))
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_only_the_first_tokens_are_read() -> None:
    model = build_model(ModelConfig(dim=8)).eval()
    with torch.no_grad():
        short, same = (model.embed_text([text], max_tokens=2) for text in ("one two three", "one two four"))
    assert torch.equal(short, same)


def test_the_scale_is_clamped_at_one_hundred() -> None:
    model = build_model(ModelConfig(dim=8, temperature=0.1))
    torch.testing.assert_close(model.scale, torch.tensor(10.0))
    with torch.no_grad():
        model.log_scale.fill_(9.0)
    torch.testing.assert_close(model.scale, torch.tensor(100.0))


def test_a_folder_that_is_no_run_or_a_damaged_one_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a run"):
        load_model(tmp_path)
    save_model(build_model(ModelConfig(dim=8)), tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(DamageError, match="cannot be loaded"):
        load_model(tmp_path)
