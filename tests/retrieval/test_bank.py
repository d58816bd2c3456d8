# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ophclip.errors import DamageError, OphclipError, UsageError
from ophclip.retrieval import SilentBank, load_bank
from ophclip.retrieval.bank import Key


def rows(count: int, dim: int = 8, seed: int = 0) -> Tensor:
    return 3 * torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def filled(count: int = 6, dim: int = 8, *, key: Key = "text", momentum: float = 0.0) -> SilentBank:
    bank = SilentBank([f"s{i}" for i in range(count)], dim, key=key, momentum=momentum)
    bank.update(bank.ids, rows(count, dim, 0), rows(count, dim, 1), step=5)
    return bank


def test_rows_are_normalised_and_detached() -> None:
    bank = SilentBank(["a"], 2)
    bank.update(["a"], torch.tensor([[3.0, 4.0]], requires_grad=True), torch.ones(1, 2), step=1)
    torch.testing.assert_close(bank.keys, torch.tensor([[0.6, 0.8]]))
    assert not bank.keys.requires_grad


def test_an_overwritten_slot_is_what_is_retrieved() -> None:
    bank = filled()
    query = torch.arange(1.0, 9.0)[None]
    bank.retrieve(query, 1)  # packed before it changes
    bank.update(["s4"], query, torch.ones(1, 8), step=9)
    scores, slots = bank.retrieve(query, 1)
    assert slots.tolist() == [[4]]
    torch.testing.assert_close(scores, torch.ones(1, 1))


@settings(max_examples=60, deadline=None)
@given(
    key=st.sampled_from(["text", "visual", "sum"]),
    count=st.integers(1, 130),
    updates=st.lists(st.lists(st.integers(0, 129), max_size=40, unique=True), max_size=4),
    k=st.integers(1, 9),
)
def test_what_is_kept_packed_finds_what_the_rows_hold(
    key: Key, count: int, updates: list[list[int]], k: int
) -> None:
    bank = filled(count, key=key)
    queries = rows(3, seed=7)
    for number, changed in enumerate(updates):
        names = [f"s{i}" for i in changed if i < count]
        seed = 10 + number
        bank.update(names, rows(len(names), seed=seed), rows(len(names), seed=seed + 50), step=6 + number)
        if number % 2:
            bank.retrieve(queries, 1)
    searched = {
        "text": bank.keys,
        "visual": bank.values,
        "sum": F.normalize(bank.keys + bank.values, dim=1),
    }[key]
    expected = (F.normalize(queries, dim=1) @ searched.T).topk(min(k, count), dim=1)
    scores, slots = bank.retrieve(queries, min(k, count))
    torch.testing.assert_close(scores, expected.values, rtol=1e-5, atol=1e-6)
    assert torch.equal(slots, expected.indices)


def test_momentum_keeps_a_share_of_what_was_there() -> None:
    bank = filled(momentum=0.75)
    torch.testing.assert_close(bank.keys, F.normalize(rows(6, 8, 0), dim=1))  # at first there is nothing
    old, fresh = bank.values[2].clone(), F.normalize(rows(1, seed=3), dim=1)
    bank.update(["s2"], rows(1, seed=2), rows(1, seed=3), step=8)
    torch.testing.assert_close(bank.values[2], F.normalize(0.75 * old + 0.25 * fresh[0], dim=0))


def test_momentum_keeps_nothing_of_a_slot_that_counts_as_never_written() -> None:
    bank = filled(momentum=0.75)
    bank.steps.fill_(-1)
    bank.update(bank.ids, rows(6, seed=2), rows(6, seed=3), step=8)
    torch.testing.assert_close(bank.values, F.normalize(rows(6, seed=3), dim=1))


def test_age_is_that_of_the_oldest_slot() -> None:
    bank = filled()
    bank.update(["s0"], torch.ones(1, 8), torch.ones(1, 8), step=9)
    assert bank.ages(9).tolist() == [0, 4, 4, 4, 4, 4]
    assert bank.max_age(9) == 4
    assert SilentBank(["a"], 2).max_age(9) == 10
    assert SilentBank([], 2).max_age(9) == 0


def test_excluded_slots_are_not_retrieved() -> None:
    bank = filled()
    exclude = (torch.tensor([0, 1, 1]), torch.tensor([0]))
    _, slots = bank.retrieve(bank.keys[:2], 6, exclude=exclude)
    assert 0 not in slots[0]
    assert slots[0, -1] == -1
    assert sorted(slots[1].tolist()) == list(range(6))


def test_slots_that_are_not_similar_enough_are_left_out() -> None:
    bank = filled()
    scores, slots = bank.retrieve(bank.keys[:3], 6, min_similarity=0.2)
    plain_scores, plain_slots = bank.retrieve(bank.keys[:3], 6)
    kept = plain_scores >= 0.2
    assert torch.equal(slots, torch.where(kept, plain_slots, -1))
    assert bool(torch.isneginf(scores[~kept]).all())
    assert not bool(kept.all())


def test_a_small_bank_gives_what_it_has_and_warns_once(capsys: pytest.CaptureFixture[str]) -> None:
    bank = filled(3)
    for _ in range(2):
        _, slots = bank.retrieve(bank.keys, 5)
        assert slots.shape == (3, 3)
    assert capsys.readouterr().err.count("holds 3 silent videos, fewer than num_retrieved = 5") == 1


def test_an_empty_bank_retrieves_nothing_and_says_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bank = SilentBank([], 8)
    scores, slots = bank.retrieve(torch.ones(2, 8), 4)
    assert scores.shape == slots.shape == (2, 0)
    assert "no silent videos" in capsys.readouterr().err
    bank.save(tmp_path / "bank")
    assert len(load_bank(tmp_path / "bank")) == 0


def test_no_queries_find_nothing() -> None:
    scores, slots = filled().retrieve(torch.ones(0, 8), 4)
    assert scores.shape == slots.shape == (0, 4)


def test_a_saved_bank_reads_back_and_is_searched_alike(tmp_path: Path) -> None:
    bank = filled(momentum=0.5, key="sum")
    for _ in range(2):  # the second save replaces the first
        bank.save(tmp_path / "bank")
    read = load_bank(tmp_path / "bank", momentum=0.5, key="sum")
    assert read.ids == bank.ids
    assert all(torch.equal(getattr(read, name), getattr(bank, name)) for name in ("keys", "values", "steps"))
    assert torch.equal(read.retrieve(rows(2), 3)[1], bank.retrieve(rows(2), 3)[1])
    assert [entry.name for entry in (tmp_path / "bank").iterdir()] == ["bank.safetensors"]
    written = {(tmp_path / "bank" / "bank.safetensors").read_bytes()}
    for _ in range(8):
        bank.save(tmp_path / "again")
        written.add((tmp_path / "again" / "bank.safetensors").read_bytes())
    assert len(written) == 1, "the same bank has the same bytes"


@pytest.mark.parametrize("damage", ["cut", "flipped", "other", "gone", "empty"])
def test_a_damaged_bank_is_an_error(damage: str, tmp_path: Path) -> None:
    filled().save(tmp_path / "bank")
    file = tmp_path / "bank" / "bank.safetensors"
    data = bytearray(file.read_bytes())
    if damage == "flipped":
        data[-9] ^= 1
    replaced = {"cut": data[: len(data) // 2], "flipped": data, "other": b'{"a": 1}', "empty": b""}
    file.unlink() if damage == "gone" else file.write_bytes(replaced[damage])
    with pytest.raises(DamageError, match="is not a bank"):
        load_bank(tmp_path / "bank")


def test_a_process_killed_while_it_saves_leaves_the_old_bank_or_the_new(tmp_path: Path) -> None:
    program = (
        "import sys, torch\n"
        "from pathlib import Path\n"
        "from ophclip.retrieval import SilentBank\n"
        "bank = SilentBank([f's{i}' for i in range(3000)], 64)\n"
        "for step in range(10**6):\n"
        "    bank.update(bank.ids, torch.full((3000, 64), step + 1.0), torch.ones(3000, 64), step)\n"
        "    bank.save(Path(sys.argv[1]))\n"
    )
    folder = tmp_path / "bank"
    process = subprocess.Popen([sys.executable, "-c", program, str(folder)])
    while not (folder / "bank.safetensors").exists():
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(set(load_bank(folder).steps.tolist())) == 1


def test_wrong_use_is_an_error() -> None:
    with pytest.raises(UsageError, match="never written"):
        SilentBank(["a"], 2).retrieve(torch.ones(1, 2), 1)
    with pytest.raises(UsageError, match="distinct"):
        SilentBank(["a", "a"], 2)
    with pytest.raises(UsageError, match="momentum"):
        SilentBank(["a"], 2, momentum=1.0)
    with pytest.raises(UsageError, match="'other'"):
        filled().update(["other"], torch.ones(1, 8), torch.ones(1, 8), step=6)
    with pytest.raises(UsageError, match="one twice"):
        filled().update(["s1", "s1"], torch.ones(2, 8), torch.ones(2, 8), step=6)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_embedding_that_is_not_finite_is_refused_and_named(value: float) -> None:
    bank, bad = filled(), torch.ones(2, 8)
    before = bank.keys.clone()
    bad[1, 3] = value
    with pytest.raises(OphclipError, match="video embedding of silent video 's5' is not finite at step 6"):
        bank.update(["s1", "s5"], torch.ones(2, 8), bad, step=6)
    assert torch.equal(bank.keys, before)
