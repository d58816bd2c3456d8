# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from ophclip.errors import DamageError, UsageError
from ophclip.retrieval import SilentBank, load_bank


def filled(count: int = 6, dim: int = 8) -> SilentBank:
    bank = SilentBank([f"s{i}" for i in range(count)], dim)
    generator = torch.Generator().manual_seed(0)
    keys, values = torch.randn(2, count, dim, generator=generator)
    bank.update(bank.ids, 3 * keys, values, step=5)
    return bank


def test_rows_are_normalised_and_detached() -> None:
    bank = SilentBank(["a"], 2)
    bank.update(["a"], torch.tensor([[3.0, 4.0]], requires_grad=True), torch.ones(1, 2), step=1)
    torch.testing.assert_close(bank.keys, torch.tensor([[0.6, 0.8]]))
    assert not bank.keys.requires_grad


def test_an_overwritten_slot_is_what_is_retrieved() -> None:
    bank = filled()
    query = F.normalize(torch.arange(1.0, 9.0)[None], dim=1)
    bank.update(["s4"], query, torch.ones(1, 8), step=9)
    scores, slots = bank.retrieve(query, 1)
    assert slots.tolist() == [[4]]
    torch.testing.assert_close(scores, torch.ones(1, 1))


def test_age_is_that_of_the_oldest_slot() -> None:
    bank = filled()
    bank.update(["s0"], torch.ones(1, 8), torch.ones(1, 8), step=9)
    assert bank.max_age(9) == 4
    assert SilentBank(["a"], 2).max_age(9) == 10


def test_excluded_slots_are_not_retrieved() -> None:
    bank = filled()
    _, slots = bank.retrieve(bank.keys[:1], 5, exclude=(torch.tensor([0, 1]), torch.tensor([0])))
    assert 0 not in slots


def test_a_saved_bank_reads_back(tmp_path: Path) -> None:
    bank = filled()
    for _ in range(2):  # the second save replaces the first
        bank.save(tmp_path / "bank")
    read = load_bank(tmp_path / "bank")
    assert read.ids == bank.ids
    assert all(torch.equal(getattr(read, name), getattr(bank, name)) for name in ("keys", "values", "steps"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["bank"]


def test_a_damaged_bank_is_an_error(tmp_path: Path) -> None:
    filled().save(tmp_path / "bank")
    (tmp_path / "bank" / "ids.json").write_text('["only one"]')
    with pytest.raises(DamageError, match="is not a bank"):
        load_bank(tmp_path / "bank")
    (tmp_path / "bank" / "bank.safetensors").write_bytes(b"short")
    with pytest.raises(DamageError, match="is not a bank"):
        load_bank(tmp_path / "bank")


def test_wrong_use_is_an_error() -> None:
    with pytest.raises(UsageError, match="num_retrieved = 7 silent videos, got 6"):
        filled().retrieve(torch.ones(1, 8), 7)
    with pytest.raises(UsageError, match="never written"):
        SilentBank(["a"], 2).retrieve(torch.ones(1, 2), 1)
    with pytest.raises(UsageError, match="distinct"):
        SilentBank(["a", "a"], 2)
