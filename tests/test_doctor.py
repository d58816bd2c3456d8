# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.metadata
import json

import av
import pytest

from ophclip.doctor import DECODED, Diagnosis, _advice, diagnose
from ophclip.ops import native_status
from ophclip.ops.native import NativeStatus

GOOD = NativeStatus(True, "avx2", None, True, None)
ALL = dict.fromkeys(DECODED, True)


@pytest.fixture(scope="module")
def found() -> Diagnosis:
    return diagnose()


def test_versions_are_those_that_are_installed(found: Diagnosis) -> None:
    assert found.versions["torch"] == importlib.metadata.version("torch")
    assert set(found.versions.values()) > {None}, "no machine needs both builds of DALI"
    for package, version in found.versions.items():
        installed = {d.metadata["Name"] for d in importlib.metadata.distributions(name=package)}
        assert (version is None) == (not installed), package


def test_native_kernels_are_reported_as_the_operators_find_them(found: Diagnosis) -> None:
    status = native_status()
    assert (found.native, found.isa, found.native_reason) == (status.available, status.isa, status.reason)
    assert (found.native_cuda, found.native_cuda_reason) == (status.cuda, status.cuda_reason)
    assert found.native_cuda_path == status.cuda_path
    assert found.native == (found.native_reason is None)


def test_codecs_that_are_reported_can_be_opened(found: Diagnosis) -> None:
    for name, present in found.decodes.items():
        opened = [
            decoder
            for decoder in DECODED[name]
            if decoder in av.codec.codecs_available and av.codec.Codec(decoder, "r").is_decoder
        ]
        assert bool(opened) == present, name
    assert found.decodes["h264"]
    assert found.encodes == {"h264": True, "vp9": True}
    assert found.decoders["pyav"]


def test_av1_needs_a_software_decoder() -> None:
    assert "av1" not in DECODED["av1"]


def test_the_diagnosis_is_plain_json(found: Diagnosis) -> None:
    assert json.loads(json.dumps(found.as_dict())) == found.as_dict()


@pytest.mark.parametrize(
    ("native", "gpu", "dali", "missing", "says"),
    [
        (GOOD, None, False, None, []),
        (GOOD, "H100", True, None, []),
        (GOOD, "H100", False, None, ["pip install 'ophclip[gpu]'"]),
        (NativeStatus(True, "avx2", None, False, "not built"), None, False, None, []),
        (NativeStatus(True, "avx2", None, False, "not built"), "H100", True, None, ["where nvcc is at hand"]),
        (NativeStatus(False, None, "not built", False, "no"), None, False, None, ["a C++20 compiler"]),
        (
            NativeStatus(False, None, "OPHCLIP_ISA must be ...", False, "no"),
            None,
            False,
            None,
            ["unset OPHCLIP_ISA"],
        ),
        (GOOD, None, False, "hevc", ["videos in hevc will be listed as failed"]),
    ],
)
def test_advice_names_what_is_missing_and_nothing_else(
    native: NativeStatus, gpu: str | None, dali: bool, missing: str | None, says: list[str]
) -> None:
    advice = _advice(native, gpu, dali, ALL | ({missing: False} if missing else {}))
    assert len(advice) == len(says)
    assert all(part in line for part, line in zip(says, advice, strict=True))
