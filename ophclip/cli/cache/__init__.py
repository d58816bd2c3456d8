# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import click

from ophclip.cli.lazy import LazyGroup

COMMANDS = {
    "build": ("ophclip.cli.cache.build:build", "Build a cache; what is stored already is skipped."),
    "plan": ("ophclip.cli.cache.plan:plan", "Say what a build would do and take; decodes ten seconds."),
    "info": ("ophclip.cli.cache.info:info", "Say what a cache holds and how it was made."),
    "merge": ("ophclip.cli.cache.merge:merge", "Join caches that were built in the same way."),
    "pack": ("ophclip.cli.cache.pack:pack", "Merge a cache into few large files."),
    "export": ("ophclip.cli.cache.export:export", "Write a cache as npy, safetensors or webdataset files."),
    "ls": ("ophclip.cli.cache.ls:ls", "List the videos of a cache, and those that failed."),
    "verify": ("ophclip.cli.cache.verify:verify", "Find damage: read all, compare with what was committed."),
    "repair": ("ophclip.cli.cache.repair:repair", "Extract anew what is damaged, and nothing else."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
def cache() -> None:
    """Decode once, encode, store; resumable."""
