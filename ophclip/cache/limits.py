# SPDX-License-Identifier: Apache-2.0
"""How many videos may fail before a build gives up: a wrong folder or codec is better met at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ophclip.cache.report import BuildReport
from ophclip.errors import OphclipError, UsageError


class TooManyFailuresError(OphclipError):
    """More videos failed than the caller allows."""


@dataclass(frozen=True)
class MaxFailures:
    """The most failures of one run: a number, or a percentage of all inputs."""

    limit: float
    is_percentage: bool = False

    @classmethod
    def parse(cls, text: str) -> MaxFailures:
        """Read `N` or `P%`.

        Raises:
            UsageError: it is neither.
        """
        digits = text.removesuffix("%")
        is_percentage = digits != text
        try:
            limit = float(digits) if is_percentage else int(digits)
        except ValueError:
            limit = -1
        if not 0 <= limit <= (100 if is_percentage else float("inf")):
            raise UsageError(
                f"max failures must be a number or a percentage, got {text!r}", remedy="pass 20 or 5%, say"
            )
        return cls(limit, is_percentage)

    def check(self, report: BuildReport, num_inputs: int) -> None:
        """Check that no more videos failed in this run than may.

        Raises:
            TooManyFailuresError: more did.
        """
        allowed = self.limit / 100 * num_inputs if self.is_percentage else self.limit
        num_failed = len(report.failed) - len(report.not_retried)
        if num_failed > allowed:
            known = set(report.not_retried)
            reasons = [reason for name, reason in report.failed.items() if name not in known]
            raise TooManyFailuresError(
                f"stopped: {num_failed} of {num_inputs} videos failed, {self} may; "
                f"most often: {_most_frequent(reasons)}",
                remedy="ophclip cache ls lists them; what was stored stays, and the same command goes on",
            )

    def __str__(self) -> str:
        return f"{self.limit:g}%" if self.is_percentage else f"{self.limit:g}"


def _most_frequent(reasons: list[str]) -> str:
    # Without the paths, which tell the same reason of two videos apart.
    kinds = Counter(reason.partition(": ")[2] or reason for reason in reasons)
    return kinds.most_common(1)[0][0]
