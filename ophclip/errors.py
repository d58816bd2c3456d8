# SPDX-License-Identifier: Apache-2.0
"""Errors that a user can act on: what is wrong, what to do, and which exit code says so."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_OK = 0
EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_PARTIAL = 3
EXIT_DAMAGE = 4
EXIT_INTERRUPTED = 130


class OphclipError(Exception):
    """An expected failure: `message` says what is wrong, `remedy` what to do about it.

    Messages read "X must R, got V" and carry the path, key or video id they speak of.
    """

    exit_code = EXIT_ERROR

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}"

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling between worker processes.
        return (_rebuild, (type(self), self.message, self.remedy))


class UsageError(OphclipError):
    """The command, configuration or argument cannot be carried out as written."""

    exit_code = EXIT_USAGE


class DamageError(OphclipError):
    """Stored data is not what was committed."""

    exit_code = EXIT_DAMAGE


class StorageError(OphclipError):
    """The store cannot be written or reached: whatever came next would fail too."""


def _rebuild(kind: type[OphclipError], message: str, remedy: str) -> OphclipError:
    return kind(message, remedy=remedy)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a remedy that names the closest of the `known` names, or all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"choose one of: {', '.join(names)}"
