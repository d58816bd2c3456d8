# SPDX-License-Identifier: Apache-2.0
"""Search for moments: the choice of rows against brute force, and whole searches of a small corpus."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ophclip.cache import open_cache
from ophclip.corpus import read_corpus
from ophclip.errors import DamageError, UsageError
from ophclip.explorer import search as module
from ophclip.explorer.search import CANDIDATES, MIN_GAP_S, Pool, best_moments, search
from ophclip.models import load_model

TEXT = "the phaco probe breaks up the nucleus"
QUERY = torch.eye(8)[:1]


def pool_of(scores: list[list[float]], times_s: list[list[float]] | None = None) -> Pool:
    """Make a pool in which row t of video v scores `scores[v][t]`; seconds 0, 1, 2, ... by default."""
    flat = np.concatenate([np.array(video, dtype=np.float32) for video in scores])
    rows = torch.zeros(len(flat), 8)
    rows[:, 0] = torch.from_numpy(flat)
    clocks = times_s if times_s is not None else [list(range(len(video))) for video in scores]
    owners = np.repeat(np.arange(len(scores)), [len(video) for video in scores])
    return Pool(rows, owners, np.concatenate([np.array(clock, dtype=np.float64) for clock in clocks]))


def brute_force(pool: Pool, k: int) -> list[int]:
    """Look at every row, best first, lower row first among equals."""
    scores = pool.rows[:, 0].numpy()
    found: list[int] = []
    for row in sorted(range(len(scores)), key=lambda row: (-scores[row], row)):
        near = [
            other
            for other in found
            if pool.owners[other] == pool.owners[row]
            and abs(pool.times_s[other] - pool.times_s[row]) < MIN_GAP_S
        ]
        if not near:
            found.append(row)
        if len(found) == k:
            break
    return found


def widths_of(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Write down how many rows each search asks for."""
    widths: list[int] = []

    def counted(query: torch.Tensor, base: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        widths.append(k)
        return topk(query, base, k)

    topk = module.topk
    monkeypatch.setattr(module, "topk", counted)
    return widths


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.9]), min_size=1, max_size=30), min_size=1, max_size=4
    ),
    st.integers(1, 12),
    st.sampled_from([0.0, 0.04, 1.0, 7.0]),
)
def test_moments_equal_a_look_at_every_row(scores: list[list[float]], k: int, step_s: float) -> None:
    pool = pool_of(scores, [[step_s * second for second in range(len(video))] for video in scores])
    found = best_moments(QUERY, pool, k)
    assert [row for row, _ in found] == brute_force(pool, k)
    assert [score for _, score in found] == [float(pool.rows[row, 0]) for row, _ in found]


def test_planted_moments_are_found_best_first() -> None:
    scores = [[0.0] * 60, [0.0] * 60]
    scores[1][40], scores[0][12], scores[1][7] = 0.9, 0.8, 0.7
    scores[1][38] = 0.85  # beside the best one: the same moment
    pool = pool_of(scores)
    found = best_moments(QUERY, pool, 3)
    assert [(int(pool.owners[row]), float(pool.times_s[row])) for row, _ in found] == [
        (1, 40),
        (0, 12),
        (1, 7),
    ]


def test_moments_of_one_video_lie_at_least_the_gap_apart_and_those_of_two_need_not() -> None:
    pool = pool_of([[0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [0.85, 0.1]])
    found = best_moments(QUERY, pool, 10)
    assert [(int(pool.owners[row]), float(pool.times_s[row])) for row, _ in found] == [(0, 0), (1, 0), (0, 5)]


def test_a_large_pool_is_asked_for_few_rows_once(monkeypatch: pytest.MonkeyPatch) -> None:
    widths = widths_of(monkeypatch)
    pool = pool_of(np.random.default_rng(0).random((20, 500)).tolist())
    assert len(best_moments(QUERY, pool, 4)) == 4
    assert widths == [4 * CANDIDATES]


def test_a_search_widens_where_frames_lie_close_until_enough_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    widths = widths_of(monkeypatch)
    crowded = [0.9] * 200, [0.01 * frame for frame in range(200)]
    spread = [0.5] * 10, [10.0 * frame for frame in range(10)]
    pool = pool_of([crowded[0], spread[0], [0.1] * 5000], [crowded[1], spread[1], list(range(5000))])
    found = best_moments(QUERY, pool, 2)
    assert [(int(pool.owners[row]), float(pool.times_s[row])) for row, _ in found] == [(0, 0.0), (1, 0.0)]
    assert widths == [20, 40, 80, 160, 320]


def test_a_pool_with_too_few_moments_is_seen_to_its_end_once(monkeypatch: pytest.MonkeyPatch) -> None:
    widths = widths_of(monkeypatch)
    assert len(best_moments(QUERY, pool_of([[0.5] * 30]), 100)) == 6
    assert widths == [30]


@pytest.fixture(scope="module")
def run(untrained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the run to which searches add their store."""
    return Path(shutil.copytree(untrained_run, tmp_path_factory.mktemp("searched") / "run"))


@pytest.fixture
def own_run(run: Path, simulated_corpus: Path, tmp_path: Path) -> Path:
    """A run with a corpus of its own to damage, not searched yet."""
    corpus = shutil.copytree(simulated_corpus, tmp_path / "corpus")
    own = Path(shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("moments.zarr")))
    (own / "config.toml").write_text(f'corpus = "{corpus}"\n')
    return own


def test_search_ranks_the_seconds_of_silent_training_videos(run: Path, simulated_corpus: Path) -> None:
    found = search(run, TEXT, 4)
    cache = open_cache(run / "moments.zarr")
    silent = {video.video_id: video for video in read_corpus(simulated_corpus).select("silent", "train")}
    assert set(cache.ids) == set(silent)
    with torch.inference_mode():
        query = load_model(run).embed_text([TEXT])[0].numpy()
    query /= np.linalg.norm(query)
    cosines = {video_id: np.float32(cache[video_id]) @ query for video_id in cache}
    assert found[0].score == pytest.approx(max(scores.max() for scores in cosines.values()), abs=1e-3)
    for moment in found:
        row = int(np.flatnonzero(cache.times(moment.video_id) == moment.time_s)[0])
        assert moment.score == pytest.approx(cosines[moment.video_id][row], abs=1e-3)
        assert moment.title == silent[moment.video_id].title
        assert moment.path == str(silent[moment.video_id].path)
    assert [moment.score for moment in found] == sorted((moment.score for moment in found), reverse=True)


def test_a_second_search_reuses_the_store(run: Path) -> None:
    first = search(run, TEXT, 3)
    rows = {path: path.stat().st_mtime_ns for path in (run / "moments.zarr").rglob("c/0/0")}
    assert rows
    assert search(run, TEXT, 3) == first
    assert {path: path.stat().st_mtime_ns for path in (run / "moments.zarr").rglob("c/0/0")} == rows


def test_a_moment_is_plain_json_types(run: Path) -> None:
    (moment,) = search(run, TEXT, 1)
    assert {name: type(value) for name, value in moment.as_dict().items()} == {
        "video_id": str,
        "path": str,
        "time_s": float,
        "score": float,
        "title": str,
    }


@pytest.mark.parametrize(
    ("text", "k", "says"),
    [("", 1, "text must not be empty"), (" \n", 1, "text must not be empty"), ("x", 0, "at least 1, got 0")],
)
def test_what_cannot_be_searched_is_refused(run: Path, text: str, k: int, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        search(run, text, k)


def test_a_run_without_silent_videos_is_refused(own_run: Path) -> None:
    videos = own_run.parent / "corpus" / "videos.csv"
    videos.write_text(videos.read_text().replace(",train\n", ",other\n"))
    with pytest.raises(UsageError, match="has no silent training videos"):
        search(own_run, TEXT)


def test_a_run_that_does_not_name_its_corpus_is_refused(own_run: Path) -> None:
    for content in ("", "corpus = [", "corpus = 3"):
        (own_run / "config.toml").write_text(content)
        with pytest.raises(UsageError, match=r"config\.toml does not name a corpus"):
            search(own_run, TEXT)


def test_an_unreadable_video_is_left_out_with_a_warning(
    own_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = own_run.parent / "corpus" / "videos"
    next(folder.glob("silent-00001.*")).write_bytes(b"not a video" * 50)
    found = search(own_run, TEXT, 20)
    assert {moment.video_id for moment in found} == {"silent-00000", "silent-00002"}
    assert "warning: 1 of 3 videos are left out; silent-00001:" in capsys.readouterr().err
    # One that was readable before and has gone since would not play: it is left out too.
    next(folder.glob("silent-00000.*")).unlink()
    assert {moment.video_id for moment in search(own_run, TEXT, 20)} == {"silent-00002"}
    next(folder.glob("silent-00002.*")).unlink()
    with pytest.raises(UsageError, match="none of the run's silent videos can be read"):
        search(own_run, TEXT)


def test_a_damaged_store_is_mended_by_the_next_search(run: Path, tmp_path: Path) -> None:
    before = search(run, TEXT, 3)
    own = Path(shutil.copytree(run, tmp_path / "run"))
    chunk = next((own / "moments.zarr").rglob("c/0/0"))
    chunk.write_bytes(chunk.read_bytes()[:-2])
    assert search(own, TEXT, 3) == before
    (own / "moments.zarr" / "zarr.json").write_text("{")
    with pytest.raises(DamageError, match=r"moments\.zarr"):
        search(own, TEXT, 3)
