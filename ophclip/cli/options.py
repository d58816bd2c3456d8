# SPDX-License-Identifier: Apache-2.0
"""Options that every command shares, so that they read and behave the same everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ophclip import console

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

json_option: Decorator = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")

quiet_option: Decorator = click.option(
    "--quiet",
    is_flag=True,
    expose_value=False,
    callback=lambda _context, _parameter, value: console.set_quiet(value),
    help="No talk and no progress on stderr.",
)

set_option: Decorator = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one configuration key."
)

seed_option: Decorator = click.option(
    "--seed", default=0, show_default=True, help="Seed of everything that is drawn."
)
