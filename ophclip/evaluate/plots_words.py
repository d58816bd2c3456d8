# SPDX-License-Identifier: Apache-2.0
"""Words of strangers within HTML and SVG: titles, ids and class names may hold anything."""

from __future__ import annotations

from html import escape

from ophclip.console import printable


def escaped(text: str) -> str:
    """Return text for HTML and XML, in elements and attributes.

    Control characters and lone surrogates, which neither can hold, are marked as such.
    """
    return escape(printable(text))
