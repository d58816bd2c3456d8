# SPDX-License-Identifier: Apache-2.0
"""A packed base in a file: mapped rather than read, and refused when it is not what was written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from accuracy import unit_rows
from safetensors.torch import save_file

from ophclip.ops import load_packed, pack, topk

PRECISIONS = ["fp32", "bf16", "int8"]


def saved(path: Path, precision: str, num_rows: int = 100, dim: int = 24) -> bytes:
    pack(unit_rows(num_rows, dim, 0), precision).save(path)  # type: ignore[arg-type]
    return path.read_bytes()


def split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header and the tensors of a safetensors file."""
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


def joined(header: dict[str, Any], tensors: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + tensors


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("num_rows", "dim"), [(0, 24), (1, 1), (31, 5), (32, 24), (33, 7), (5, 0)])
def test_a_saved_base_reads_back(precision: str, num_rows: int, dim: int, tmp_path: Path) -> None:
    rows = torch.randn(num_rows, dim, generator=torch.Generator().manual_seed(0))
    base = pack(rows, precision)  # type: ignore[arg-type]
    base.save(tmp_path / "base")
    read = load_packed(tmp_path / "base")
    assert (len(read), read.dim, read.precision, read.nbytes) == (num_rows, dim, precision, base.nbytes)
    assert all(torch.equal(tensor, read.tensors()[name]) for name, tensor in base.tensors().items())
    assert torch.equal(read.rows, rows)
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_mapped_base_is_searched_like_the_one_in_memory(precision: str, tmp_path: Path) -> None:
    base, queries = pack(unit_rows(3000, 40, 0), precision), unit_rows(20, 40, 1)  # type: ignore[arg-type]
    expected = topk(queries, base, 10)
    base.save(tmp_path / "base")
    assert all(map(torch.equal, topk(queries, load_packed(tmp_path / "base"), 10), expected))


def test_a_base_that_is_in_use_can_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "base"
    saved(path, "int8")
    old = load_packed(path)
    before = old.rows.clone()
    pack(unit_rows(200, 24, 5), "int8").save(path)
    assert torch.equal(old.rows, before)
    assert len(load_packed(path)) == 200


@pytest.mark.parametrize("precision", PRECISIONS)
def test_tensors_start_on_cache_lines(precision: str, tmp_path: Path) -> None:
    saved(tmp_path / "base", precision, num_rows=45, dim=37)
    tensors = load_packed(tmp_path / "base").tensors()
    assert all(tensors[name].data_ptr() % 64 == 0 for name in ("panels", "facts", "rows") if name in tensors)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("precision", PRECISIONS)
def test_opening_a_base_reads_next_to_nothing(precision: str, tmp_path: Path) -> None:
    saved(tmp_path / "base", precision, num_rows=100_000, dim=256)  # 98 MiB and more
    program = """
import sys
from pathlib import Path
import safetensors.torch
from ophclip.ops import load_packed
def resident_mib():
    return int(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0]) // 1024
before = resident_mib()
base = load_packed(Path(sys.argv[1]))
print(resident_mib() - before, sys.argv[1] in Path("/proc/self/maps").read_text())
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "base")], capture_output=True, text=True, timeout=120
    )
    grown_mib, is_mapped = done.stdout.split()
    assert int(grown_mib) < 24, done.stderr
    assert is_mapped == "True"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_file_that_is_not_whole_is_refused(precision: str, tmp_path: Path) -> None:
    path = tmp_path / "base"
    whole = saved(path, precision)
    for content in (
        b"",
        whole[:7],
        whole[:40],
        whole[: len(whole) // 2],
        whole[:-1],
        whole + b"\0",
        b"x" * 100,
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is not a packed base"):
            load_packed(path)


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "base"
    save_file({"panels": torch.zeros(2, 4, 32)}, path)
    with pytest.raises(ValueError, match="its format must be 1, got None"):
        load_packed(path)
    with pytest.raises(FileNotFoundError):
        load_packed(tmp_path / "none")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("packed_base", "2", "its format must be 1, got '2'"),
        ("precision", "fp8", "precision must be fp32, bf16 or int8"),
        ("precision", "bf16", "100 rows in bf16 must be"),
        ("precision", "fp32", "100 rows in fp32 must be"),
        ("num_rows", "99", "99 rows in int8 must be"),
        ("num_rows", "-5", "sizes must not be negative"),
        ("num_rows", "many", "invalid literal"),
        ("dim", "23", "100 rows in int8 must be"),
        ("sha256", "0" * 64, "its facts are not those that were written"),
    ],
)
def test_a_header_that_was_changed_is_refused(key: str, value: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "base"
    header, tensors = split(saved(path, "int8"))
    path.write_bytes(joined({**header, "__metadata__": {**header["__metadata__"], key: value}}, tensors))
    with pytest.raises(ValueError, match=says):
        load_packed(path)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
@pytest.mark.parametrize("name", ["facts", "centre"])
def test_facts_that_were_changed_are_refused(name: str, precision: str, tmp_path: Path) -> None:
    path = tmp_path / "base"
    header, tensors = split(saved(path, precision))
    place = header[name]["data_offsets"][0] + 5
    changed = bytearray(tensors)
    changed[place] ^= 1
    path.write_bytes(joined(header, bytes(changed)))
    with pytest.raises(ValueError, match="its facts are not those that were written"):
        load_packed(path)
