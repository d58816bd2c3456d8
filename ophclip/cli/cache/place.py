# SPDX-License-Identifier: Apache-2.0
"""Where a cache lies, as an argument or option of a command: a local folder or `s3://bucket/prefix`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from ophclip.cache.location import Location


class Place(click.ParamType):  # type: ignore[type-arg]
    """A local path or the URL of an object store."""

    name = "cache"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Location:
        """Read the argument."""
        from ophclip.cache.location import location

        return location(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Complete local paths."""
        return click.Path().shell_complete(ctx, param, incomplete)


class LocalPlace(Place):
    """A local path, where what is made there cannot lie in an object store."""

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Read the argument."""
        from ophclip.cache.location import local

        return local(super().convert(value, param, ctx), self._doing)


PLACE = Place()
