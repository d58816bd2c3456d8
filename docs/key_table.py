# SPDX-License-Identifier: Apache-2.0
"""Writes the table of all pretraining keys into docs/pretraining.md, from what config.py says of each."""

from __future__ import annotations

import ast
import inspect
from dataclasses import MISSING, fields
from itertools import pairwise
from pathlib import Path

from ophclip.pretrain import config
from ophclip.pretrain.config import PretrainConfig

PAGE = Path(__file__).with_name("pretraining.md")
BEGIN, END = "<!-- keys: python docs/key_table.py -->\n", "<!-- end of keys -->\n"


def key_table() -> str:
    """Return the table: key, default and meaning, in the order of the configuration."""
    meanings = _meanings()
    lines = ["| key | default | meaning |", "|---|---|---|"]
    for field in fields(PretrainConfig):
        default = "must be set" if field.default is MISSING else f"`{_as_toml(field.default)}`"
        lines.append(f"| `{field.name}` | {default} | {meanings[field.name]} |")
    return "\n".join(lines) + "\n"


def with_table(page: str) -> str:
    """Return the page with the table of today between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{key_table()}\n{END}{after}"


def _meanings() -> dict[str, str]:
    """Read the text below each field of the configuration."""
    tree = ast.parse(inspect.getsource(config))
    body = next(
        node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "PretrainConfig"
    )
    meanings = {}
    for field, text in pairwise(body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            assert isinstance(field.target, ast.Name)
            meanings[field.target.id] = " ".join(str(text.value.value).split()).replace("|", "\\|")
    return meanings


def _as_toml(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
