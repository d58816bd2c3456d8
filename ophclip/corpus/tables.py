# SPDX-License-Identifier: Apache-2.0
"""Strict CSV tables: read with the line number of every row, written whole or not at all."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ophclip.errors import OphclipError, UsageError
from ophclip.files import replace_file

SHOWN_PROBLEMS = 5  # bad rows that one error names before it only counts them
MAX_FIELD_CHARACTERS = 16 * 2**20

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_NEEDS_QUOTES = re.compile(r'[",\r\n]|^\s|\s$')


@dataclass(frozen=True)
class Row:
    """One row of a table: the line of the file on which it starts, and its values by column."""

    line: int
    values: dict[str, str]


@dataclass
class Problems:
    """The bad rows of one file, collected so that a person can mend several at once."""

    path: Path
    messages: list[str] = field(default_factory=list)

    def add(self, line: int, message: str) -> None:
        """Note that the row that starts on `line` (counted from 1) is bad."""
        self.messages.append(f"{self.path}:{line}: {message}")

    def raise_if_any(self) -> None:
        """Raise one UsageError that names the first few bad rows and counts the others."""
        if not self.messages:
            return
        shown = self.messages[:SHOWN_PROBLEMS]
        if len(self.messages) > len(shown):
            shown.append(f"... and {len(self.messages) - SHOWN_PROBLEMS} more bad rows")
        mend = "that row" if len(self.messages) == 1 else "these rows"
        raise UsageError("\n".join(shown), remedy=f"mend {mend} in {self.path.name}, or take them out")


def read_rows(path: Path, columns: Sequence[str], problems: Problems) -> Iterator[Row]:
    """Yield the rows of a UTF-8, comma-separated file with a header, a byte order mark tolerated.

    All `columns` must be in the header, in any order; other columns are carried along. Blank lines are
    skipped. A row with too few or too many fields is added to `problems` and skipped; the caller adds
    what it finds itself and ends with `problems.raise_if_any()`.

    Raises:
        UsageError: the file is missing or unreadable, not UTF-8, empty, or lacks a column.
    """
    reader = csv.reader(io.StringIO(_read_text(path), newline=""), strict=True)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            values = _next_record(reader)
        except csv.Error as error:
            problems.add(line, f"the row must be well-formed CSV, got an error: {error}")
            break
        if values is None:
            break
        if not values:
            continue
        if header is None:
            header = _checked_header(path, line, values, columns)
        elif len(values) != len(header):
            problems.add(line, f"a row must have {len(header)} fields as the header has, got {len(values)}")
        else:
            yield Row(line, dict(zip(header, values, strict=True)))
    if header is None and not problems.messages:
        raise UsageError(
            f"{path} must start with a header, got an empty file", remedy=_header_remedy(columns)
        )


def parse_number(text: str) -> float | None:
    """Return a finite decimal number, or None where `text` is anything else (NaN, infinity, 1_000)."""
    if not _NUMBER.fullmatch(text.strip()):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table that `read_rows` reads back to equal values; readers see the old file or the new one.

    Raises:
        OphclipError: the file cannot be written.
        UsageError: a value cannot be encoded as UTF-8.
    """
    text = "".join(",".join(map(_quoted, row)) + "\n" for row in (columns, *rows))
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{path}: text must be encodable as UTF-8, got {text[error.start]!r}",
            remedy="replace lone surrogates in titles and texts",
        ) from error
    try:
        replace_file(path, data)
    except OSError as error:
        raise OphclipError(
            f"cannot write {path}: {error.strerror or error}", remedy="check the folder and the free space"
        ) from error


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise UsageError(f"no file {path}", remedy="check the path") from error
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", remedy="pass a readable file") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"{path}:{line}: the file must be UTF-8, got byte 0x{data[error.start]:02x}",
            remedy="save it as UTF-8 (a spreadsheet calls this 'CSV UTF-8')",
        ) from error


def _next_record(reader: Iterator[list[str]]) -> list[str] | None:
    previous = csv.field_size_limit(MAX_FIELD_CHARACTERS)
    try:
        return next(reader, None)
    finally:
        csv.field_size_limit(previous)


def _checked_header(path: Path, line: int, header: list[str], columns: Sequence[str]) -> list[str]:
    names = [name.strip() for name in header]
    missing = [column for column in columns if column not in names]
    if missing:
        separated = len(names) == 1 and re.search(r"[;\t|]", names[0])
        raise UsageError(
            f"{path}:{line}: the header must have the columns {', '.join(columns)}, "
            f"got {', '.join(names)}: {', '.join(missing)} missing",
            remedy="save it with commas between the fields" if separated else _header_remedy(columns),
        )
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    if repeated:
        raise UsageError(
            f"{path}:{line}: the header must name each column once, got {', '.join(repeated)} twice",
            remedy="take the second one out",
        )
    return names


def _header_remedy(columns: Sequence[str]) -> str:
    return f"begin the file with the line: {','.join(columns)}"


def _quoted(value: str) -> str:
    return '"' + value.replace('"', '""') + '"' if _NEEDS_QUOTES.search(value) else value
