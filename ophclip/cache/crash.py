# SPDX-License-Identifier: Apache-2.0
"""Named points at which a test kills the process, as a power cut or `kill -9` would."""

from __future__ import annotations

import os
import signal

VARIABLE = "OPHCLIP_CRASH_AT"

# In the order in which a commit passes them.
CRASH_POINTS = (
    "before-data",
    "mid-data",
    "after-data",
    "after-metadata",
    "before-rename",
    "after-rename",
    "before-journal",
    "torn-journal",
    "after-journal",
)

# Passed as well, after "before-rename", where a committed video is replaced.
REPLACEMENT_POINTS = ("after-revoke", "mid-replacement")


def crashes_at(point: str) -> bool:
    """Return whether this process is to die at `point`: whether OPHCLIP_CRASH_AT names it."""
    return os.environ.get(VARIABLE) == point


def crash_point(point: str) -> None:
    """Die by SIGKILL here if OPHCLIP_CRASH_AT names this point; do nothing otherwise."""
    if crashes_at(point):
        os.kill(os.getpid(), signal.SIGKILL)
