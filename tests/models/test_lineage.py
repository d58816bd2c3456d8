# SPDX-License-Identifier: Apache-2.0
"""Import of a state dict with the lineage's keys, against a torchvision ResNet written out in plain torch."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor

from ophclip.errors import DamageError, UsageError
from ophclip.models import DualEncoder, ModelConfig, build_model, load_lineage_weights
from ophclip.models.lineage import resnet_name

DEPTHS, WIDTHS = (3, 4, 6, 3), (4, 8, 16, 32)  # ResNet-50's depths, a sixteenth of its widths
TEXT_DIM = 16


def resnet_tensors(depths: tuple[int, ...], widths: tuple[int, ...]) -> Iterator[tuple[str, Tensor]]:
    """Draw the tensors of torchvision's bottleneck ResNet: 1 x 1, 3 x 3 and 1 x 1 convolutions a block."""

    def conv(name: str, out_width: int, in_width: int, side: int) -> tuple[str, Tensor]:
        fan_in = in_width * side * side
        return f"{name}.weight", torch.randn(out_width, in_width, side, side) * (2 / fan_in) ** 0.5

    def norm(name: str, width: int) -> Iterator[tuple[str, Tensor]]:
        yield f"{name}.weight", 0.5 + torch.rand(width)
        yield f"{name}.bias", 0.1 * torch.randn(width)
        yield f"{name}.running_mean", 0.1 * torch.randn(width)
        yield f"{name}.running_var", 0.5 + torch.rand(width)
        yield f"{name}.num_batches_tracked", torch.tensor(7)

    yield conv("conv1", widths[0], 3, 7)
    yield from norm("bn1", widths[0])
    in_width = widths[0]
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True), start=1):
        for block in range(depth):
            name = f"layer{stage}.{block}"
            yield conv(f"{name}.conv1", width, in_width, 1)
            yield conv(f"{name}.conv2", width, width, 3)
            yield conv(f"{name}.conv3", 4 * width, width, 1)
            for number, norm_width in enumerate((width, width, 4 * width), start=1):
                yield from norm(f"{name}.bn{number}", norm_width)
            if block == 0:
                yield conv(f"{name}.downsample.0", 4 * width, in_width, 1)
                yield from norm(f"{name}.downsample.1", 4 * width)
            in_width = 4 * width


def resnet_features(tensors: dict[str, Tensor], depths: tuple[int, ...], pixels: Tensor) -> Tensor:
    """Run that ResNet in evaluation mode up to its global average: `[N, 3, H, W]` to `[N, F]`."""

    def norm(maps: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            tensors[f"{name}.{kind}"] for kind in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(maps, mean, var, weight, bias, eps=1e-5)

    def conv(maps: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = tensors[f"{name}.weight"]
        return F.conv2d(maps, weight, stride=stride, padding=weight.shape[-1] // 2)

    maps = F.relu(norm(conv(pixels, "conv1", 2), "bn1"))
    maps = F.max_pool2d(maps, 3, stride=2, padding=1)
    for stage, depth in enumerate(depths, start=1):
        for block in range(depth):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            shortcut = maps
            if f"{name}.downsample.0.weight" in tensors:
                shortcut = norm(conv(maps, f"{name}.downsample.0", stride), f"{name}.downsample.1")
            maps = F.relu(norm(conv(maps, f"{name}.conv1"), f"{name}.bn1"))
            maps = F.relu(norm(conv(maps, f"{name}.conv2", stride), f"{name}.bn2"))
            maps = F.relu(norm(conv(maps, f"{name}.conv3"), f"{name}.bn3") + shortcut)
    return maps.mean(dim=(2, 3))


@pytest.fixture(scope="module")
def resnet50(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("resnet50")
    config = transformers.ResNetConfig(
        embedding_size=WIDTHS[0], hidden_sizes=[4 * width for width in WIDTHS], depths=list(DEPTHS)
    )
    transformers.ResNetModel(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def model(resnet50: str, towers: dict[str, str]) -> DualEncoder:
    return build_model(ModelConfig(vision=resnet50, text=towers["bert"], dim=TEXT_DIM)).eval()


@pytest.fixture(scope="module")
def released(towers: dict[str, str]) -> dict[str, Tensor]:
    """A state dict as the lineage's files hold it."""
    torch.manual_seed(3)
    visual = dict(resnet_tensors(DEPTHS, WIDTHS))
    bert = transformers.AutoModel.from_pretrained(towers["bert"]).state_dict()
    linear = {"weight": torch.randn(TEXT_DIM, 4 * WIDTHS[-1]), "bias": torch.randn(TEXT_DIM)}
    return {
        **{f"backbone_img.model.{name}": tensor for name, tensor in visual.items()},
        **{f"backbone_img.global_embedder.{name}": tensor for name, tensor in linear.items()},
        **{f"backbone_text.model.{name}": torch.randn_like(tensor) for name, tensor in bert.items()},
        "backbone_text.model.embeddings.position_ids": torch.arange(64)[None],
        "logit_scale": torch.tensor(2.6),
    }


def saved(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


def test_imported_features_equal_those_of_a_torchvision_resnet(
    model: DualEncoder, released: dict[str, Tensor], tmp_path: Path
) -> None:
    report = load_lineage_weights(model, saved(released, tmp_path / "weights.pth"))
    prefix = "backbone_img.model."
    visual = {key.removeprefix(prefix): value for key, value in released.items() if key.startswith(prefix)}
    frames = torch.randint(0, 256, (2, 96, 96, 3), dtype=torch.uint8)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = ((frames / 255 - mean) / std).permute(0, 3, 1, 2)
    linear = (released[f"backbone_img.global_embedder.{kind}"] for kind in ("weight", "bias"))
    with torch.no_grad():
        features = resnet_features(visual, DEPTHS, pixels)
        torch.testing.assert_close(model.vision(frames), features, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(
            model.embed_frames(frames), F.linear(features, *linear), atol=1e-4, rtol=1e-4
        )
    word = "embeddings.word_embeddings.weight"
    assert torch.equal(model.text.model.state_dict()[word], released[f"backbone_text.model.{word}"])
    assert report.missing == ["log_scale"]
    assert report.unused == [
        "backbone_text.model.embeddings.position_ids",
        "backbone_text.model.pooler.dense.bias",
        "backbone_text.model.pooler.dense.weight",
        "logit_scale",
    ]
    assert len(report.loaded) + len(report.unused) == len(released)


def test_every_tensor_of_a_full_resnet50_has_a_place() -> None:
    with torch.device("meta"):
        own = transformers.ResNetModel(transformers.ResNetConfig()).state_dict()
        given = dict(resnet_tensors((3, 4, 6, 3), (64, 128, 256, 512)))
    assert {resnet_name(name): tensor.shape for name, tensor in given.items()} == {
        name: tensor.shape for name, tensor in own.items()
    }
    assert resnet_name("fc.weight") is None


def wrapped(tensors: dict[str, Tensor], path: Path) -> Path:
    parallel = {f"module.{name}": tensor for name, tensor in tensors.items()}
    optimizer = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 8e-5, "params": [0]}]}
    return saved({"epoch": 3, "state_dict": parallel, "optimizer": optimizer, "scheduler": {}}, path)


def zipped(tensors: dict[str, Tensor], path: Path) -> Path:
    inner = saved(tensors, path.with_suffix(".pth"))
    with zipfile.ZipFile(path.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(inner, "PeskaVLP/weights.pth")
        archive.writestr("__MACOSX/PeskaVLP/._weights.pth", b"resource fork")
    return path.with_suffix(".zip")


def as_safetensors(tensors: dict[str, Tensor], path: Path) -> Path:
    from safetensors.torch import save_file

    save_file(tensors, path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


def legacy(tensors: dict[str, Tensor], path: Path) -> Path:
    torch.save(tensors, path, _use_new_zipfile_serialization=False)
    return path


@pytest.mark.parametrize("save", [wrapped, zipped, as_safetensors, legacy])
def test_every_form_of_the_file_gives_the_same_weights(
    save: Callable[[dict[str, Tensor], Path], Path],
    model: DualEncoder,
    released: dict[str, Tensor],
    tmp_path: Path,
) -> None:
    load_lineage_weights(model, save(released, tmp_path / "weights.pth"))
    found = model.state_dict()
    assert torch.equal(found["image_projection.bias"], released["backbone_img.global_embedder.bias"])
    assert torch.equal(
        found["vision.model.encoder.stages.3.layers.0.shortcut.convolution.weight"],
        released["backbone_img.model.layer4.0.downsample.0.weight"],
    )


def test_unmatched_keys_are_listed_on_both_sides(
    towers: dict[str, str], released: dict[str, Tensor], tmp_path: Path
) -> None:
    model = build_model(ModelConfig(text=towers["bert"], dim=TEXT_DIM, feature_dim=384))
    kept = {key: value for key, value in released.items() if key.startswith("backbone_text.")}
    extra = {f"backbone_img.model.layer9.{number}": torch.zeros(1) for number in range(30)}
    report = load_lineage_weights(model, saved(kept | extra, tmp_path / "weights.pth"))
    assert report.missing == ["image_projection.bias", "image_projection.weight", "log_scale"]
    assert set(extra) < set(report.unused)
    lines = report.lines()
    assert "in the file, without a place in the model: 33" in lines
    assert "  and 13 more" in lines
    assert "  image_projection.weight" in lines


def test_nothing_is_set_when_something_does_not_fit(
    model: DualEncoder, released: dict[str, Tensor], tmp_path: Path
) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    narrow = released | {"backbone_img.global_embedder.weight": torch.zeros(8, 4 * WIDTHS[-1])}
    with pytest.raises(UsageError, match=r"global_embedder\.weight must have the shape \[16, 128\]"):
        load_lineage_weights(model, saved(narrow, tmp_path / "narrow.pth"))
    broken = released | {"backbone_img.global_embedder.bias": torch.full((TEXT_DIM,), float("nan"))}
    with pytest.raises(DamageError, match=r"global_embedder\.bias must be finite"):
        load_lineage_weights(model, saved(broken, tmp_path / "broken.pth"))
    with pytest.raises(UsageError, match="must hold backbone_img"):
        load_lineage_weights(model, saved({"encoder.weight": torch.zeros(1)}, tmp_path / "other.pth"))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_resnet_that_strides_elsewhere_is_an_error(
    towers: dict[str, str], released: dict[str, Tensor], tmp_path: Path
) -> None:
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[16], depths=[1], downsample_in_bottleneck=True
    )
    transformers.ResNetModel(config).save_pretrained(tmp_path / "resnet")
    model = build_model(ModelConfig(vision=str(tmp_path / "resnet"), text=towers["bert"], dim=TEXT_DIM))
    with pytest.raises(UsageError, match="must halve its maps in the 3 x 3 convolutions"):
        load_lineage_weights(model, saved(released, tmp_path / "weights.pth"))


class Hostile:
    """Creates a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (open, (str(self.path), "w"))


def test_a_pickle_with_code_is_refused_and_not_run(model: DualEncoder, tmp_path: Path) -> None:
    path = saved({"state_dict": {}, "x": Hostile(tmp_path / "ran")}, tmp_path / "weights.pth")
    with pytest.raises(UsageError, match=r"holds \S*open, which is not a tensor and may run code"):
        load_lineage_weights(model, path)
    assert not (tmp_path / "ran").exists()


def test_files_that_are_no_weights_are_named(
    model: DualEncoder, released: dict[str, Tensor], tmp_path: Path
) -> None:
    whole = saved(released, tmp_path / "whole.pth").read_bytes()
    contents = {
        "cut": whole[: len(whole) // 2],
        "noise": bytes(range(256)) * 9,
        "empty": b"",
        "text": b"<html>",
    }
    for name, content in contents.items():
        path = tmp_path / f"{name}.pth"
        path.write_bytes(content)
        with pytest.raises(DamageError, match=f"{name}.pth cannot be read"):
            load_lineage_weights(model, path)
    with pytest.raises(UsageError, match="no weights at"):
        load_lineage_weights(model, tmp_path / "absent.pth")
    with pytest.raises(UsageError, match="must hold a state dict, got a list"):
        load_lineage_weights(model, saved([1, 2], tmp_path / "list.pth"))


def test_a_zip_must_hold_one_file_of_weights(model: DualEncoder, tmp_path: Path) -> None:
    for number, names in enumerate(([], ["a.pth", "b.pth"])):
        path = tmp_path / f"{number}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("README", "read me")
            for name in names:
                archive.writestr(name, b"")
        with pytest.raises(UsageError, match=f"must hold one file of weights, got {len(names)}"):
            load_lineage_weights(model, path)
    path = tmp_path / "flipped.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights.pth", b"x" * 1000)
    content = bytearray(path.read_bytes())
    content[500] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DamageError, match=r"flipped\.zip cannot be read"):
        load_lineage_weights(model, path)
