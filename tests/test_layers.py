# SPDX-License-Identifier: Apache-2.0
"""The order of the layers: a module imports only from layers before its own."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ophclip

PACKAGE = Path(ophclip.__file__).parent

LAYERS = [
    {"errors", "_version", "files"},
    {"config", "console"},
    {"ops"},
    {"bench"},
    {"video"},
    {"corpus"},
    {"cache"},
    {"models"},
    {"retrieval"},
    {"pretrain", "evaluate"},
    {"explorer"},
    {"demo", "doctor"},
    {"cli"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}

# Heavy or optional packages: each has one door into the project, opened only when used.
ONE_DOOR = ["nvidia", "faiss", "transformers", "ray", "obstore", "cuvs", "flashlib", "wandb"]


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def part_of(module: Path) -> str:
    return module.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute in this project"
            assert node.module is not None
            yield node.module
            if node.module == "ophclip":
                yield from (f"ophclip.{alias.name}" for alias in node.names)


def layer_violations(module: Path, text: str) -> list[str]:
    own = part_of(module)
    violations = []
    for name in imported_names(ast.parse(text)):
        head, _, rest = name.partition(".")
        if head != "ophclip" or not rest:
            continue
        other = rest.partition(".")[0]
        allowed = other == own or RANK.get(other, -1) < RANK[own]
        if not allowed and other not in ("__version__", "_native", "_cuda"):
            violations.append(f"{module.relative_to(PACKAGE)} imports {name}")
    return violations


def test_every_part_of_the_package_has_a_layer() -> None:
    assert {part_of(module) for module in modules()} - {"__init__"} == set(RANK)


def test_modules_import_only_from_layers_before_their_own() -> None:
    found = [
        violation
        for module in modules()
        if part_of(module) != "__init__"
        for violation in layer_violations(module, module.read_text())
    ]
    assert found == []


def test_the_layer_check_finds_a_violation() -> None:
    planted = "from ophclip.models import load_encoder"
    assert layer_violations(PACKAGE / "cache" / "build.py", planted) != []


def test_metrics_import_numpy_only() -> None:
    modules = sorted((PACKAGE / "evaluate" / "metrics").glob("*.py"))
    names = {name for module in modules for name in imported_names(ast.parse(module.read_text()))}
    other = {name for name in names if not name.startswith("ophclip.evaluate.metrics.")}
    assert {name.partition(".")[0] for name in other} - set(sys.stdlib_module_names) == {"numpy"}


@pytest.mark.parametrize("package", ONE_DOOR)
def test_a_heavy_package_is_imported_in_one_module_inside_functions(package: str) -> None:
    doors = []
    for module in modules():
        tree = ast.parse(module.read_text())
        if any(name.partition(".")[0] == package for name in imported_names(tree)):
            doors.append(module.relative_to(PACKAGE))
            top_level = ast.Module([n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)], [])
            assert package not in {name.partition(".")[0] for name in imported_names(top_level)}
    assert len(doors) <= 1, doors


def test_help_imports_neither_torch_nor_numpy() -> None:
    program = (
        "import sys\n"
        "from ophclip.cli.main import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit as stop:\n    assert stop.code in (0, None)\n"
        "print(sorted({'torch', 'numpy', 'zarr', 'av', 'rich'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "pretrain" in done.stdout
