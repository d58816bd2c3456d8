# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import click

from ophclip.cli.lazy import LazyGroup

COMMANDS = {
    "build": ("ophclip.cli.cache.build:build", "Build a cache; what is stored already is skipped."),
    "info": ("ophclip.cli.cache.info:info", "Say what a cache holds and how it was made."),
    "pack": ("ophclip.cli.cache.pack:pack", "Merge a cache into few large files."),
    "export": ("ophclip.cli.cache.export:export", "Write a cache as npy, safetensors or webdataset files."),
    "ls": ("ophclip.cli.cache.ls:ls", "List the videos of a cache, and those that failed."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
def cache() -> None:
    """Decode once, encode, store; resumable."""
