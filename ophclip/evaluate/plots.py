# SPDX-License-Identifier: Apache-2.0
"""Charts whose rows share one horizontal scale, drawn for the report and as a picture of their own.

In the report a row is HTML around a strip of SVG, so that names stay legible and the strip fills whatever
width there is. As a picture, a chart is one SVG file of a fixed width. The same numbers always give the
same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from ophclip.evaluate.plots_colours import fill_css, fill_defs, look, number_of
from ophclip.evaluate.plots_runs import BOX, short
from ophclip.evaluate.plots_words import escaped

WIDTH, GUTTER, RIGHT = 960, 210, 60  # of a picture, of its names and of its values
GAP, LINE, PAD = 6, 16, 10  # between rows, a line of text, around the picture
MAX_LABEL = 30  # characters of a name in a picture: there is no room for more

PICTURE_STYLE = (
    "text{font:11px system-ui,'DejaVu Sans',sans-serif;fill:#1f2933}.soft{fill:#52606d}.end{text-anchor:end}"
    ".mid{text-anchor:middle}.grid{stroke:#cbd2d9;fill:none}.track{fill:#eef1f4}.bar{fill:#0b7285}"
    ".mark{fill:#1f2933}.veil{fill:#fff;fill-opacity:.65}.hit{fill:#0b7285}.false{fill:#e8590c}"
    ".onbar{fill:#fff}.true{fill:#7b8794}.number{font-size:10px;paint-order:stroke;stroke-width:3px}"
)


@dataclass(frozen=True)
class Text:
    """A few characters on a strip: `at` is a share of its width, `top` the height of their base line."""

    at: float
    top: float
    text: str
    style: str


@dataclass(frozen=True)
class Row:
    """A name, a strip of SVG in a box `BOX` wide and as high as the chart's rows, and a value.

    `key` is the value's place in metrics.json.
    """

    name: str
    marks: str
    detail: str = ""  # stands behind the name, muted
    value: float | None = None
    key: tuple[str, ...] = ()
    texts: tuple[Text, ...] = ()
    spoken: str = ""  # what the strip shows, for those who cannot see it


@dataclass(frozen=True)
class Axis:
    """Ticks as (share of the width, text), and what they count."""

    ticks: Sequence[tuple[float, str]]
    title: str


@dataclass(frozen=True)
class Chart:
    """Rows on one scale. `labels` are the classes whose fills it uses, `names` all classes."""

    rows: Sequence[Row]
    height: int  # of a strip
    axis: Axis | None = None
    labels: Sequence[int] = field(default_factory=list)
    names: Sequence[str] = field(default_factory=list)


def readable(key: str) -> str:
    """Return a class key as a person reads it."""
    return key.replace("_", " ")


def format_number(value: float | None, digits: int = 3) -> str:
    """Return a score as the report and the terminal show it."""
    return "n/a" if value is None else f"{value:.{digits}f}"


def number_html(
    value: float | None, key: Sequence[str], digits: int = 3, *, scale: float = 1, signed: bool = False
) -> str:
    """Return a number with its exact value and its place in the JSON, for machines that read along."""
    place = escaped(json.dumps(list(key)))
    shown = "n/a" if value is None else f"{scale * value:{'+' if signed else ''},.{digits}f}"
    return f'<data value="{"" if value is None else value!r}" data-key="{place}">{shown}</data>'


def chart_html(chart: Chart, rows: Sequence[Row] | None = None) -> str:
    """Return a chart as HTML, or some of its rows; the scale is the same."""
    parts = [_row_html(row, chart) for row in (chart.rows if rows is None else rows)]
    if chart.axis:
        strip = _axis_svg(chart.axis, f'class="strip" height="{2 * LINE}"')
        parts.append(f'<div class="row axis"><span></span>{strip}<span></span></div>')
    return f'<div class="chart">{"".join(parts)}</div>'


def chart_svg(chart: Chart) -> str:
    """Return a chart as a picture of its own: an SVG file."""
    pitch, width = chart.height + GAP, WIDTH - GUTTER - RIGHT
    parts = []
    for index, row in enumerate(chart.rows):
        top = PAD + index * pitch
        middle = top + chart.height / 2 + 4
        parts.append(
            f'<text class="end" x="{GUTTER - 10}" y="{short(middle)}">{_picture_name(row)}</text>'
            f'<svg x="{GUTTER}" y="{top}" width="{width}" height="{chart.height}">{_strip(row, chart)}</svg>'
        )
        if row.key:
            shown = format_number(row.value, 2)
            parts.append(f'<text class="end" x="{WIDTH - PAD}" y="{short(middle)}">{shown}</text>')
    bottom = PAD + len(chart.rows) * pitch
    if chart.axis:
        place = f'x="{GUTTER}" y="{bottom}" width="{width}" height="{2 * LINE}"'
        parts.append(_axis_svg(chart.axis, place))
        bottom += 2 * LINE + GAP
    legend, bottom = _legend_svg(chart, bottom)
    return picture("".join(parts) + legend, WIDTH, bottom + PAD, chart.labels)


def picture(inner: str, width: int, height: int, labels: Sequence[int] = ()) -> str:
    """Return SVG elements as a file with all that they need, on white."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}"><style>{PICTURE_STYLE}{fill_css(labels)}</style>'
        f'{fill_defs(labels)}<rect width="100%" height="100%" fill="#fff"/>{inner}</svg>\n'
    )


def legend_html(labels: Sequence[int], names: Sequence[str]) -> str:
    """Return the legend of these classes as a list: fill, number, name."""
    entries = [
        f'<li><svg class="swatch" width="18" height="14" aria-hidden="true">'
        f'<rect class="{look(label)}" width="18" height="14"/></svg>'
        f"<b>{number_of(label)}</b> {escaped(readable(names[label]))}</li>"
        for label in labels
    ]
    return f'<ul class="legend">{"".join(entries)}</ul>'


def shortened(name: str, most: int = MAX_LABEL) -> str:
    """Return a name in no more than `most` characters."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _row_html(row: Row, chart: Chart) -> str:
    name = escaped(row.name)
    detail = f'<span class="soft">{escaped(row.detail)}</span>' if row.detail else ""
    value = number_html(row.value, row.key, 2) if row.key else ""
    spoken = escaped(row.spoken or f"{row.name} {format_number(row.value, 2) if row.key else ''}".strip())
    return (
        f'<div class="row"><span class="name" title="{name}"><span>{name}</span>{detail}</span>'
        f'<svg class="strip" height="{chart.height}" role="img" aria-label="{spoken}">'
        f'{_strip(row, chart)}</svg><span class="value">{value}</span></div>'
    )


def _strip(row: Row, chart: Chart) -> str:
    grid = "".join(
        f"M{short(share * BOX)} 0v{chart.height}" for share, _ in (chart.axis.ticks if chart.axis else ())
    )
    lines = f'<path class="grid" d="{grid}" vector-effect="non-scaling-stroke"/>' if grid else ""
    texts = "".join(
        f'<text class="{text.style}" x="{100 * text.at:.2f}%" y="{short(text.top)}">'
        f"{escaped(text.text)}</text>"
        for text in row.texts
    )
    return (
        f'<svg viewBox="0 0 {BOX} {chart.height}" width="100%" height="{chart.height}" '
        f'preserveAspectRatio="none">{lines}{row.marks}</svg>{texts}'
    )


def _axis_svg(axis: Axis, place: str) -> str:
    ticks = "".join(
        f'<text class="soft {_anchor(share)}" x="{100 * share:.2f}%" y="12">{escaped(text)}</text>'
        for share, text in axis.ticks
    )
    title = f'<text class="soft" x="0" y="{LINE + 12}">{escaped(axis.title)}</text>'
    return f'<svg {place} aria-hidden="true">{ticks}{title}</svg>'


def _anchor(share: float) -> str:
    if share < 0.02:
        return "start"
    return "end" if share > 0.98 else "mid"


def _picture_name(row: Row) -> str:
    detail = f' <tspan class="soft">{escaped(row.detail)}</tspan>' if row.detail else ""
    return f"{escaped(shortened(row.name))}{detail}"


def _legend_svg(chart: Chart, top: int) -> tuple[str, int]:
    columns = 4
    width = (WIDTH - 2 * PAD) // columns
    parts = []
    for index, label in enumerate(chart.labels):
        x, y = PAD + index % columns * width, top + index // columns * (LINE + 2)
        name = escaped(shortened(readable(chart.names[label])))
        parts.append(
            f'<rect class="{look(label)}" x="{x}" y="{y}" width="18" height="12"/>'
            f'<text x="{x + 24}" y="{y + 10}">{number_of(label)} {name}</text>'
        )
    return "".join(parts), top + -(-len(chart.labels) // columns) * (LINE + 2)
