# SPDX-License-Identifier: Apache-2.0
"""What a person sees: results on stdout, talk and progress on stderr, one JSON object on request."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.console import Console

_quiet = False
LOG_INTERVAL_S = 10.0  # between progress lines where stderr is a file, as in a job's log


class Progress(Protocol):
    """A running count of work done; `note` is a short text shown beside it."""

    def advance(self, count: int = 1) -> None: ...

    def note(self, text: str) -> None: ...


def set_quiet(quiet: bool) -> None:
    """Silence talk and progress on stderr; errors, warnings and results still show."""
    global _quiet
    _quiet = quiet


def is_quiet() -> bool:
    """Return whether talk and progress are silenced."""
    return _quiet


def printable(text: str) -> str:
    """Return `text` with a mark for every control character but the line break and the tab.

    Titles and file names come from strangers; an escape sequence in one would reach the terminal.
    """
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def say(message: str) -> None:
    """Tell the user what is going on, on stderr."""
    if not _quiet:
        print(printable(message), file=sys.stderr, flush=True)


def warn(message: str) -> None:
    """Tell the user of something to know about, on stderr, also when quiet."""
    print(f"warning: {printable(message)}", file=sys.stderr, flush=True)


def report_error(message: str, remedy: str) -> None:
    """Say on stderr what went wrong, and on its last line what to do about it."""
    print(f"error: {printable(message)}\n{printable(remedy)}", file=sys.stderr, flush=True)


def emit_json(result: Any) -> None:
    """Print one JSON object on stdout: the result of a command under `--json`."""
    print(json.dumps(result, indent=2, sort_keys=False, allow_nan=False, default=str))


def emit(text: str) -> None:
    """Print a line of a command's result on stdout."""
    print(printable(text))


def emit_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout; a column whose cells are all numbers is aligned right."""
    from rich.table import Table
    from rich.text import Text

    # Text, so that a title with [brackets] is shown and not read as markup.
    table = Table(title=Text(printable(title)), title_justify="left", title_style="bold")
    for index, column in enumerate(columns):
        numeric = all(_is_number(row[index]) for row in rows)
        table.add_column(column, justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    _rich_console(stderr=False).print(table)


@contextmanager
def progress(description: str, total: int | None, unit: str) -> Iterator[Progress]:
    """Show how much of `total` units is done, with rate and time left, until the block ends."""
    if _quiet:
        yield _SilentProgress()
    elif sys.stderr.isatty():
        yield from _bar(description, total, unit)
    else:
        log = _LogProgress(description, total, unit)
        yield log
        log.close()


def _bar(description: str, total: int | None, unit: str) -> Iterator[Progress]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}  {task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with RichProgress(*columns, console=_rich_console(stderr=True), transient=False) as display:
        yield _BarProgress(display, display.add_task(description, total=total, unit=unit, rate="", note=""))


class _SilentProgress:
    def advance(self, count: int = 1) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class _BarProgress:
    def __init__(self, display: Any, task: Any) -> None:
        self._display, self._task = display, task
        self._start, self._done = time.monotonic(), 0

    def advance(self, count: int = 1) -> None:
        self._done += count
        rate = self._done / max(time.monotonic() - self._start, 1e-9)
        self._display.update(self._task, advance=count, rate=f"{rate:,.1f}/s")

    def note(self, text: str) -> None:
        self._display.update(self._task, note=text)


class _LogProgress:
    """Progress for a log file: a plain line every few seconds and one at the end."""

    def __init__(self, description: str, total: int | None, unit: str) -> None:
        self._description, self._total, self._unit = description, total, unit
        self._start = self._reported = time.monotonic()
        self._done, self._last_reported, self._note = 0, -1, ""

    def advance(self, count: int = 1) -> None:
        self._done += count
        if time.monotonic() - self._reported >= LOG_INTERVAL_S:
            self.report()

    def note(self, text: str) -> None:
        self._note = text

    def close(self) -> None:
        if self._done != self._last_reported:
            self.report()

    def report(self) -> None:
        self._reported, self._last_reported = time.monotonic(), self._done
        elapsed = max(self._reported - self._start, 1e-9)
        rate = self._done / elapsed
        of_total = f" of {self._total}" if self._total is not None else ""
        left = ""
        if self._total is not None and 0 < self._done < self._total:
            left = f", {(self._total - self._done) / rate:.0f} s left"
        note = f"  {self._note}" if self._note else ""
        line = f"{self._description}: {self._done}{of_total} {self._unit}, {rate:,.1f}/s{left}{note}"
        print(line, file=sys.stderr, flush=True)


def _rich_console(*, stderr: bool) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)  # rich honours NO_COLOR itself


def _is_number(text: str) -> bool:
    try:
        float(text.rstrip("%xs").replace(",", "").strip() or "x")
    except ValueError:
        return text in ("-", "n/a")
    return True
