# SPDX-License-Identifier: Apache-2.0
"""Each promise of docs/reliability.md stands beside a test that is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "reliability.md").read_text()


def test_the_tests_that_promises_name_exist() -> None:
    named = re.findall(r"`(tests/\S+\.py)::(\w+)`", TEXT)
    assert len(named) > 20
    for file, function in named:
        tree = ast.parse((ROOT / file).read_text())
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, function


def test_the_files_that_commands_name_exist() -> None:
    files = re.findall(r"`pytest (tests/\S+\.py)", TEXT)
    assert len(files) > 10
    assert [file for file in files if not (ROOT / file).exists()] == []
