# SPDX-License-Identifier: Apache-2.0
"""What the documents say of keys and columns is what the program has."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from pathlib import Path

import pytest

from ophclip.cache.layout import VideoAttributes
from ophclip.corpus.builder.run import CORRECTION_COLUMNS
from ophclip.corpus.manifest import CLIP_COLUMNS, VIDEO_COLUMNS
from ophclip.corpus.simulate.truth import COLUMNS as TRUTH_COLUMNS
from ophclip.pretrain.config import PretrainConfig

ROOT = Path(__file__).parent.parent


def key_table() -> dict[str, str]:
    """Read the keys of docs/method.md and the default that stands beside each."""
    section = (ROOT / "docs" / "method.md").read_text().split("## Configuration keys")[1].split("\n## ")[0]
    table: dict[str, str] = {}
    for line in re.findall(r"^\| `.*$", section, re.MULTILINE):
        keys, defaults = (cell.strip() for cell in line.split("|")[1:3])
        names = re.findall(r"`(\w+)`", keys)
        values = [value.strip("` ") for value in defaults.split(",")]
        table |= dict(zip(names, values if len(values) == len(names) else values * len(names), strict=False))
    return table


def test_every_pretraining_key_is_documented_with_its_default() -> None:
    documented = key_table()
    fields = {field.name: field.default for field in dataclasses.fields(PretrainConfig)}
    assert set(documented) == set(fields)
    for name, default in fields.items():
        if default is dataclasses.MISSING:
            assert documented[name] == "must be set"
        elif isinstance(default, int | float) and not isinstance(default, bool):
            assert float(documented[name]) == default, name
        else:
            assert documented[name].strip('"').lower() == str(default).lower(), name


def test_the_table_of_all_keys_says_what_the_configuration_does() -> None:
    spec = importlib.util.spec_from_file_location("key_table", ROOT / "docs" / "key_table.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    page = (ROOT / "docs" / "pretraining.md").read_text()
    assert script.with_table(page) == page, "run python docs/key_table.py"


@pytest.mark.parametrize("columns", [VIDEO_COLUMNS, CLIP_COLUMNS, TRUTH_COLUMNS, CORRECTION_COLUMNS])
def test_the_tables_of_a_corpus_are_documented(columns: tuple[str, ...]) -> None:
    assert ",".join(columns) in (ROOT / "docs" / "formats.md").read_text()


def test_the_attributes_of_a_cached_video_are_documented() -> None:
    text = (ROOT / "docs" / "formats.md").read_text()
    assert [name for name in VideoAttributes.__annotations__ if f"`{name}`" not in text] == []


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "docs/method.md",
        "docs/formats.md",
        "docs/cache.md",
        "docs/corpus.md",
        "docs/datasets.md",
        "docs/evaluation.md",
        "docs/models.md",
        "docs/reliability.md",
        "docs/scale.md",
        "docs/pretraining.md",
        "docs/ablation.md",
    ],
)
def test_links_between_documents_lead_somewhere(name: str) -> None:
    document = ROOT / name
    links = re.findall(r"\]\(([^)#:]+)\)", document.read_text())
    written = [
        link for link in links if not link.endswith((".jpg", ".png"))
    ]  # pictures are made by `make docs`
    assert [link for link in written if not (document.parent / link).exists()] == []
