# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "ablation.py"


@pytest.fixture(autouse=True)
def benchmarks_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))


def result(cell: str, seed: int, value: float) -> dict[str, Any]:
    from ablation_table import COLUMNS

    return {"cell": cell, "seed": seed, "scores": dict.fromkeys(COLUMNS, value)}


def test_the_table_holds_means_and_spreads_of_the_cells_that_ran() -> None:
    from ablation_cells import Cell
    from ablation_table import render

    cells = [Cell("a", "first", ()), Cell("b", "second", ()), Cell("c", "third", ())]
    results = {"a": [result("a", 0, 0.1), result("a", 1, 0.3)], "c": [result("c", 0, 0.25)]}
    rows = render(cells, results).splitlines()
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| first", "| third"]
    assert "20.0 ± 14.1" in rows[2]
    assert rows[2].endswith("| 2 |")
    assert "25.0 |" in rows[3]


def test_a_gain_is_paired_by_seed() -> None:
    from ablation_table import gain

    results = {
        "base": [result("base", 0, 0.1), result("base", 1, 0.5), result("base", 2, 0.2)],
        "more": [result("more", 1, 0.6), result("more", 0, 0.3)],
    }
    mean, error, pairs = gain(results, "more", "base", "phase_f1")
    assert (mean, pairs) == (pytest.approx(0.15), 2)
    assert error == pytest.approx(0.05)


def test_gains_are_those_of_the_seeds_that_both_cells_have() -> None:
    from ablation_cells import Cell
    from ablation_table import render_gains

    cells = [Cell("base", "the base", ()), Cell("more", "more", ()), Cell("none", "not run", ())]
    results = {
        "base": [result("base", 0, 0.1), result("base", 1, 0.5), result("base", 2, 0.2)],
        "more": [result("more", 1, 0.6), result("more", 0, 0.3)],
    }
    head, _, row = render_gains(cells, results, cells[0]).splitlines()
    assert head.startswith("| over the base | phase acc. |")
    assert row.startswith("| more | +15.0 ± 5.0 |")
    assert render_gains(cells, {"more": results["more"]}, cells[0]) == ""


def test_only_the_table_of_a_document_is_replaced(tmp_path: Path) -> None:
    from ablation_table import BEGIN, END, put_into

    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for _ in range(2):
        put_into(page, "| new |")
        assert page.read_text() == f"before\n{BEGIN}\n| new |\n{END}\nafter\n"
    page.write_text("no marks")
    with pytest.raises(ValueError, match="must hold the lines"):
        put_into(page, "| new |")


def test_every_cell_is_a_valid_configuration_with_a_name_of_its_own() -> None:
    from ablation import CONFIG
    from ablation_cells import all_cells, named

    from ophclip.config import load_config
    from ophclip.pretrain import PretrainConfig

    cells = all_cells()
    assert len({cell.name for cell in cells}) == len({cell.label for cell in cells}) == len(cells)
    for cell in cells:
        load_config(PretrainConfig, CONFIG, cell.settings)
    ks = {load_config(PretrainConfig, CONFIG, cell.settings).num_retrieved for cell in cells}
    assert ks >= {0, 1, 2, 4, 8, 16}
    assert named(cells, []) == cells
    with pytest.raises(ValueError, match="no cell 'k3'"):
        named(cells, ["k3"])


def test_a_smaller_pool_lacks_silent_training_videos_alone(tmp_path: Path) -> None:
    from ablation_cells import with_pool

    from ophclip.corpus import Corpus, Video

    def video(name: str, kind: Any, split: str) -> Video:
        return Video(name, tmp_path / name, kind, name, name, split)

    videos = [video(f"s{i}", "silent", "train") for i in range(8)]
    others = [video("n", "narrated", "train"), video("t", "silent", "test")]
    corpus = Corpus(tmp_path, {v.video_id: v for v in [*others, *videos]}, [])
    assert list(with_pool(corpus, 0.25).videos) == ["n", "t", "s0", "s1"]
    assert list(with_pool(corpus, 1.0).videos) == list(corpus.videos)


def test_a_run_is_not_repeated_and_other_settings_are_refused(tmp_path: Path) -> None:
    import ablation
    from ablation_cells import World, all_cells, named

    world = World(narrated=8, silent=8, test=8, seconds=4, size=64, frame=16, fps=1.0)
    ablation.prepare(tmp_path, world, [1.0])
    [cell] = named(all_cells(), ["k4"])
    settings = ("steps=4", "retrieval_warmup_steps=0")
    result = ablation.run_cell(tmp_path, world, settings, cell, 0)
    stored = tmp_path / "cells" / "k4" / "seed-0" / "result.json"
    written = stored.stat().st_mtime_ns
    assert ablation.run_cell(tmp_path, world, settings, cell, 0) == result
    assert stored.stat().st_mtime_ns == written
    assert all(0 <= score <= 1 for score in result["scores"].values())
    assert "retrieval, K = 4" in ablation.write_table(tmp_path, all_cells(), None)
    with pytest.raises(SystemExit, match="other settings"):
        ablation.run_cell(tmp_path, world, (*settings, "lr=1.0"), cell, 0)
