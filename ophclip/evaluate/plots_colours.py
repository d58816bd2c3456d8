# SPDX-License-Identifier: Apache-2.0
"""One look a class: twelve colours that the colour-blind tell apart, times nine textures, and a number.

The colours were chosen for the largest least distance (in OKLab) between any two of them, and a larger one
between neighbours, as seen with normal sight and with each of the three kinds of colour blindness.
"""

from __future__ import annotations

from collections.abc import Iterable

COLOURS = (
    "#999933",
    "#54278f",
    "#f0e442",
    "#56b4e9",
    "#882255",
    "#ccbb44",
    "#1e88e5",
    "#d81b60",
    "#99ddff",
    "#cc79a7",
    "#117733",
    "#aa4499",
)

# What is drawn over the colour, in a tile of 6 x 6; the first texture is none.
TEXTURES = (
    "",
    "M-1 1 1 -1M0 6 6 0M5 7 7 5",
    "M0 3h6",
    "M3 0v6",
    "M-1 5 1 7M0 0 6 6M5 -1 7 1",
    "M0 3h6M3 0v6",
    "M0 0 6 6M0 6 6 0",
    "M2 3h2",
    "M0 1.5h6M0 4.5h6",
)


def number_of(label: int) -> int:
    """Return the number that stands for a class in figures: they count from 1."""
    return label + 1


def look(label: int) -> str:
    """Return the CSS class of a class's fill."""
    return f"c{label}"


def ink(label: int) -> str:
    """Return the colour of text on a class's fill: black or white, whichever contrasts more."""
    return "#000" if _luminance(_colour(label)) > 0.18 else "#fff"


def fill_css(labels: Iterable[int]) -> str:
    """Return the CSS of these classes' fills, and of the numbers that stand on them (with a halo)."""
    rules = []
    for label in sorted(set(labels)):
        fill = f"url(#t{label})" if _texture(label) else _colour(label)
        rules.append(f".{look(label)}{{fill:{fill}}}")
        rules.append(f".n{label}{{fill:{ink(label)};stroke:{_colour(label)}}}")
    return "".join(rules)


def fill_defs(labels: Iterable[int]) -> str:
    """Return the SVG definitions that the fills of these classes need."""
    patterns = [
        f'<pattern id="t{label}" width="6" height="6" patternUnits="userSpaceOnUse">'
        f'<rect width="6" height="6" fill="{_colour(label)}"/>'
        f'<path d="{_texture(label)}" stroke="{ink(label)}" stroke-width="1.2" '
        'stroke-opacity=".75"/></pattern>'
        for label in sorted(set(labels))
        if _texture(label)
    ]
    return f"<defs>{''.join(patterns)}</defs>" if patterns else ""


def _colour(label: int) -> str:
    return COLOURS[label % len(COLOURS)]


def _texture(label: int) -> str:
    return TEXTURES[label // len(COLOURS) % len(TEXTURES)]


def _luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
