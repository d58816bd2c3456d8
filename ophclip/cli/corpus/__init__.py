# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import click

from ophclip.cli.lazy import LazyGroup

COMMANDS = {
    "build": (
        "ophclip.cli.corpus.build:build",
        "Build a corpus from downloaded videos and their transcripts.",
    ),
    "info": ("ophclip.cli.corpus.info:info", "Say what a corpus holds: videos, hours, clips, terms."),
    "simulate": (
        "ophclip.cli.corpus.simulate:simulate",
        "Draw eye surgery with titles, narrations and truth.",
    ),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
def corpus() -> None:
    """Build a corpus of narrated and silent videos from downloads, or simulate one."""
