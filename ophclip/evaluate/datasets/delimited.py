# SPDX-License-Identifier: Apache-2.0
"""Delimited text as datasets distribute it: any separator, with or without a header, a BOM tolerated."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

from ophclip.corpus.tables import parse_number
from ophclip.evaluate.datasets.reading import Findings

MAX_SECONDS, MAX_FRAMES = 10**6, 10**8  # a label at a later time would make rows without end
MAX_FRACTION_CHARACTERS = 40  # a longer number is no measurement, and would be slow to divide


def text_of(path: Path, findings: Findings) -> str:
    """Return the text of a file without a byte order mark; empty, with an error, where it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        findings.error("missing-file", "the file is missing", path)
    except OSError as error:
        findings.error("unreadable", f"cannot be read: {error.strerror}", path)
    except UnicodeDecodeError as error:
        line = path.read_bytes().count(b"\n", 0, error.start) + 1
        findings.error("unreadable", f"must be UTF-8, got byte 0x{error.object[error.start]:02x}", path, line)
    return ""


def rows_of(path: Path, findings: Findings, *, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the stripped fields of each row that is not blank."""
    text = io.StringIO(text_of(path, findings), newline="")
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            findings.error("malformed", f"the row must be well-formed, got an error: {error}", path, line)
            return
        if fields is None:
            return
        if any(fields):
            yield line, [value.strip() for value in fields]


def table(
    path: Path, columns: Sequence[str], findings: Findings, *, delimiter: str = ","
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the line number and the values by column of a table with a header, in any order and case.

    A header without one of `columns` is an error that ends the table; a row of another length is skipped
    with an error.
    """
    header: list[str] | None = None
    for line, fields in rows_of(path, findings, delimiter=delimiter):
        if header is None:
            header = [name.casefold() for name in fields]
            missing = [column for column in columns if column.casefold() not in header]
            if missing:
                said = f"the header must have {', '.join(columns)}, got {delimiter.join(fields)!r}"
                findings.error("malformed", said, path, line)
                return
        elif len(fields) != len(header):
            findings.error(
                "malformed", f"a row must have {len(header)} fields, got {len(fields)}", path, line
            )
        else:
            values = dict(zip(header, fields, strict=True))
            yield line, {column: values[column.casefold()] for column in columns} | values
    if header is None and all(finding.file != path for finding in findings.found):
        findings.error("malformed", "must start with a header, got an empty file", path, 1)


def number(
    text: str, what: str, findings: Findings, path: Path, line: int, *, most: int = MAX_SECONDS
) -> Fraction | None:
    """Return a decimal number from 0 to `most`, exactly; None, with an error, for anything else."""
    value = parse_number(text) if len(text) <= MAX_FRACTION_CHARACTERS else None
    if value is None or value < 0 or value > most:
        bounds = "of 0 or more" if value is None or value < 0 else f"up to {most:,}"
        findings.error("malformed", f"{what} must be a number {bounds}, got {text!r}", path, line)
        return None
    return Fraction(text.strip())


def rate(text: str, what: str, findings: Findings, path: Path, line: int) -> Fraction | None:
    """Return a number of frames a second from 1 to 1000; None, with an error, for anything else."""
    value = number(text, what, findings, path, line, most=1000)
    if value is not None and value < 1:
        findings.error("malformed", f"{what} must be 1 or more, got {text!r}", path, line)
        return None
    return value


def whole(text: str, what: str, findings: Findings, path: Path, line: int) -> int | None:
    """Return a whole number that is not negative (`12`, `12.0`); None, with an error, for anything else."""
    value = number(text, what, findings, path, line, most=MAX_FRAMES)
    if value is not None and value.denominator != 1:
        findings.error("malformed", f"{what} must be a whole number, got {text!r}", path, line)
        return None
    return None if value is None else int(value)
