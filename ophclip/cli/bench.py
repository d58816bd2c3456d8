# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Any

import click

from ophclip import console
from ophclip.cli.options import json_option, quiet_option, resolve_device
from ophclip.errors import EXIT_OK, EXIT_PARTIAL, UsageError

if TYPE_CHECKING:
    from ophclip.bench import Case, Result, Scale, Session


@click.command()
@click.option("--only", default="", metavar="SUBSTRING", help="Run the cases with this in their name.")
@click.option("--list", "is_listing", is_flag=True, help="Name the cases and stop.")
@click.option("--smoke", is_flag=True, help="The smallest sizes, one round each: does it run at all?")
@click.option("--large", is_flag=True, help="Also the cases that take minutes each.")
@click.option(
    "--threads",
    default=0,
    type=click.IntRange(min=0),
    help="CPU threads of ours and of every peer; 0, the default, is one a CPU.",
)
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    help="cpu, cuda or cuda:N; auto takes a GPU if there is one.",
)
@json_option
@quiet_option
def bench(
    only: str, is_listing: bool, smoke: bool, large: bool, threads: int, device: str, as_json: bool
) -> int:
    """Time the kernels beside what one would otherwise write or install, on this machine.

    Takes some ten minutes; --list names the cases and --only picks some. Ctrl-C shows what was measured.
    """
    if smoke and large:
        raise UsageError("--smoke and --large exclude one another", remedy="pass one of them")
    from ophclip.bench import Session

    device = resolve_device(device)
    chosen = _chosen(device, "smoke" if smoke else "large" if large else "full", only)
    if is_listing:
        _list(chosen, as_json)
        return EXIT_OK
    session = Session(device=device, threads=threads, is_smoke=smoke)
    results: list[Result] = []
    is_whole = False
    try:
        _measure(chosen, session, results)
        is_whole = True
    finally:  # what was measured before Ctrl-C is shown too
        _show(results, session, as_json, is_whole)
    return EXIT_PARTIAL if any(result.error for result in results) else EXIT_OK


def _chosen(device: str, scale: Scale, only: str) -> list[Case]:
    from ophclip.bench import cases

    known = cases(device, scale)
    chosen = [case for case in known if only in case.name]
    if not chosen:
        raise UsageError(f"no case has {only!r} in its name", remedy="ophclip bench --list names them")
    return chosen


def _list(chosen: list[Case], as_json: bool) -> None:
    targets = {case.name: [target.text for target in case.targets] for case in chosen}
    if as_json:
        console.emit_json({"cases": targets})
        return
    for name, texts in targets.items():
        console.emit(f"{name}: {', '.join(texts)}" if texts else name)


def _measure(chosen: list[Case], session: Session, results: list[Result]) -> None:
    from ophclip.bench import attempt

    with console.progress("bench", len(chosen), "cases") as progress:
        for case in chosen:
            progress.note(case.name)
            results.append(attempt(case, session))
            progress.advance()


def _show(results: list[Result], session: Session, as_json: bool, is_whole: bool) -> None:
    from ophclip.bench import machine_facts, render

    facts: dict[str, Any] = machine_facts(session, shlex.join(["ophclip", *sys.argv[1:]]))
    if as_json:
        measured = [result.as_dict() for result in results]
        console.emit_json({**facts, "is_whole": is_whole, "results": measured})
        return
    for line in render(results, facts):
        console.emit(line)
