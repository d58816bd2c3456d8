# SPDX-License-Identifier: Apache-2.0
"""Times ours and its peers in turn, round by round, so that a machine that drifts slows all of them alike."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from ophclip.bench.case import Case, Contest, Runner, UnavailableError
from ophclip.bench.result import Ratio, Result, half_range
from ophclip.bench.session import Session

LEAST_ROUNDS, MOST_ROUNDS = 5, 200
FAR_BEHIND, ITS_ROUNDS = 3.0, 2  # a peer so much slower than the fastest of all is timed in two rounds only

Loop = Callable[[Runner, Callable[[], None], int], list[float]]


def measure(case: Case, session: Session, loop: Loop | None = None) -> Result:
    """Run one case; `loop(ours, time_peers, rounds)` returns the seconds of ours in each round."""
    result = Result(case.name, case.section)
    try:
        _run(case.prepare(session), session, result, loop or _in_turn(session))
    except UnavailableError as error:
        result.skipped["all of it"] = str(error)
    session.tidy()
    result.judge(case.targets)
    return result


def attempt(case: Case, session: Session) -> Result:
    """`measure`, but a failure of ours is a result too: the cases after it are still run."""
    try:
        return measure(case, session)
    except Exception as error:
        failed = Result(case.name, case.section, error=_described(error))
        failed.judge(case.targets)
        session.tidy()
        return failed


def _run(contest: Contest, session: Session, result: Result, loop: Loop) -> None:
    if contest.ours is not None:
        before = contest.floor_s(session.rate, session.bytes_per_s)
        _compete(contest, contest.ours, session, result, loop)
        after = contest.floor_s(session.rate, session.bytes_per_s)  # others may have slowed either
        result.floor_s = min(before, after) if before and after else None
        if session.device.type == "cuda":
            result.figures |= _throughput(contest, result) | _device_memory(contest.ours)
    if contest.figures is not None:
        result.figures |= contest.figures()


def _in_turn(session: Session) -> Loop:
    def loop(ours: Runner, time_peers: Callable[[], None], rounds: int) -> list[float]:
        taken = []
        for _ in range(rounds):
            time_peers()
            taken.append(session.time_s(ours))
        return taken

    return loop


def _compete(contest: Contest, ours: Runner, session: Session, result: Result, loop: Loop) -> None:
    answer = ours()  # warms up
    peers = _ready_peers(contest, answer, result.skipped)
    rounds, far_behind = _plan(ours, peers, session, contest.rounds)
    times: dict[str, list[float]] = {name: [] for name in peers}

    def time_peers() -> None:
        for name, peer in peers.items():
            if name not in far_behind or len(times[name]) < ITS_ROUNDS:
                times[name].append(session.time_s(peer))

    taken = loop(ours, time_peers, rounds)
    result.rounds = len(taken)
    result.ours_s, result.spread_s = statistics.median(taken), half_range(taken)
    result.ratios = {name: Ratio.of_rounds(seconds, taken) for name, seconds in times.items()}


def _ready_peers(contest: Contest, answer: Tensor, skipped: dict[str, str]) -> dict[str, Runner]:
    """Build the peers and run each once; one that cannot run, or disagrees with ours, is skipped."""
    ready = {}
    for name, build in contest.peers.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a peer's compiler may be talkative
                peer = build()
                theirs = peer()
        except UnavailableError as error:
            skipped[name] = str(error)
            continue
        except Exception as error:  # whatever a peer raises, ours can still be timed
            skipped[name] = _described(error)
            continue
        difference = _difference(answer, theirs)
        if difference <= contest.tolerance:
            ready[name] = peer
        else:
            skipped[name] = f"disagrees with ours: {difference:.2g} of the largest value"
    return ready


def _plan(
    ours: Runner, peers: dict[str, Runner], session: Session, fixed: int | None
) -> tuple[int, set[str]]:
    """Return the number of rounds that fit the session's seconds a case, and the peers far behind."""
    if session.is_smoke or fixed is not None:
        return (1 if session.is_smoke else fixed or 1), set()
    alone = session.time_s(ours)
    taken = {name: session.time_s(peer) for name, peer in peers.items()}
    fastest = min([alone, *taken.values()])
    behind = {name for name, seconds in taken.items() if seconds > FAR_BEHIND * fastest}
    round_s = alone + sum(seconds for name, seconds in taken.items() if name not in behind)
    return int(min(MOST_ROUNDS, max(LEAST_ROUNDS, session.seconds / round_s))), behind


def _difference(ours: Tensor, theirs: Tensor) -> float:
    mine, other = ours.detach().double().cpu(), theirs.detach().double().cpu()
    if mine.shape != other.shape or not bool(torch.isfinite(other).all()):
        return float("inf")
    return float((mine - other).abs().max() / mine.abs().max().clamp_min(1e-30))


def _described(error: Exception) -> str:
    lines = (line.strip() for line in str(error).splitlines() if line.strip())
    return f"{type(error).__name__}: {next(lines, 'no message')}"


def _throughput(contest: Contest, result: Result) -> dict[str, float]:
    assert result.ours_s is not None
    figures = {"TFLOP/s": contest.flops / result.ours_s / 1e12}
    if contest.bytes_read:
        figures["GB/s"] = contest.bytes_read / result.ours_s / 1e9
    return figures


def _device_memory(run: Runner) -> dict[str, float]:
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()  # with the gradients of the last round, which this one replaces
    run()
    return {"MiB beyond inputs and outputs": (torch.cuda.max_memory_allocated() - before) / (1 << 20)}
