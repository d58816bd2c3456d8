# SPDX-License-Identifier: Apache-2.0
"""The cases and peers compute what the references of `ophclip.ops` compute."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from torch import Tensor

from ophclip.bench import Scale, Session, cases, measure, search_peers
from ophclip.bench.loss_cases import BEYOND, RAW, huge_loss_case
from ophclip.bench.loss_peers import Problem, compiled_step, lean, step, two_matmuls
from ophclip.ops import reference

MAKERS = [step, compiled_step]


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def problem(size: int, dim: int, dtype: torch.dtype = torch.float32) -> Problem:
    session = Session(threads=1)
    a, b = (session.unit_rows(size, dim, seed, dtype) for seed in (0, 1))
    return a, b, torch.tensor(20.0)


def loss_and_gradients(loss: Callable[..., Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    value = loss(*leaves)
    return [value.detach(), *torch.autograd.grad(value, leaves)]


@pytest.mark.parametrize("peer", [lean, two_matmuls])
def test_a_loss_of_a_peer_and_its_gradients_are_those_of_the_reference(
    peer: Callable[..., Tensor],
) -> None:
    inputs = problem(37, 24)
    truth = loss_and_gradients(reference.contrastive_loss, [x.double() for x in inputs])
    for found, expected in zip(loss_and_gradients(peer, inputs), truth, strict=True):
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("make", MAKERS)
def test_a_step_sums_the_losses_of_its_problems(make: Callable[..., Callable[[], Tensor]]) -> None:
    problems = [problem(16, 8), problem(5, 8)]
    expected = sum(reference.contrastive_loss(*inputs) for inputs in problems)
    run = make(lean, problems)
    for _ in range(2):  # the second round starts from gradients that are there
        torch.testing.assert_close(run(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("at_once", [1 << 30, 60])
def test_torch_searches_the_same_by_chunks(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_peers, "SCORES_AT_ONCE", at_once)
    base, queries, _ = problem(103, 16)
    best, _ = reference.topk(queries[:4], base, 7)
    torch.testing.assert_close(search_peers.torch_search(base, queries[:4], 7)(), best)


def test_both_modes_of_faiss_search_the_same() -> None:
    pytest.importorskip("faiss")
    session = Session(threads=1)
    base, queries, _ = problem(100, 16)
    best, _ = reference.topk(queries[:4], base, 7)
    for with_blas in (False, True):
        found = search_peers.faiss_search(session, base, queries[:4], 7, with_blas=with_blas)()
        torch.testing.assert_close(found, best)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("scale", ["smoke", "full", "large"])
def test_names_of_cases_are_unique(device: str, scale: Scale) -> None:
    names = [case.name for case in cases(device, scale)]
    assert len(set(names)) == len(names) > 0


def test_large_adds_to_the_full_cases() -> None:
    for device in ("cpu", "cuda"):
        full, large = ({case.name for case in cases(device, scale)} for scale in ("full", "large"))
        assert full < large


@pytest.mark.parametrize("case", cases("cuda", "smoke"), ids=lambda case: case.name)
def test_cases_of_a_gpu_prepare_and_agree_on_the_host_too(case) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    result = measure(case, Session(threads=1, is_smoke=True))
    assert result.skipped == {}
    assert {"lean", "two matmuls"} <= set(result.ratios) or set(result.ratios) == {"torch"}


def test_a_batch_that_only_ours_can_hold_is_timed_in_a_process_of_its_own() -> None:
    result = measure(huge_loss_case(256, 32), Session(threads=1))
    assert result.ours_s is None
    assert result.figures["s"] > 0
    assert set(result.figures) == {"s", RAW, BEYOND}


@pytest.mark.gpu
@pytest.mark.parametrize("name", [case.name for case in cases("cuda", "smoke")])
def test_cases_of_a_gpu_are_timed_by_its_own_clock(name: str) -> None:
    (case,) = (case for case in cases("cuda", "smoke") if case.name == name)
    result = measure(case, Session(device="cuda", is_smoke=True))
    assert result.figures["TFLOP/s"] > 0
    assert result.ratios


def test_random_rows_have_length_one_and_follow_the_seed() -> None:
    session = Session(threads=1)
    rows = session.unit_rows(50, 16, 3)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(50))
    assert torch.equal(rows, session.unit_rows(50, 16, 3))
    assert not torch.equal(rows, session.unit_rows(50, 16, 4))
