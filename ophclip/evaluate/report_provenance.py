# SPDX-License-Identifier: Apache-2.0
"""Where the numbers of a report come from: every fact, and how to compute all of it again."""

from __future__ import annotations

import json
from typing import Any

from ophclip.evaluate.plots_words import escaped
from ophclip.evaluate.report_parts import SECTIONS

FIRST = ("protocol", "weights", "prompts", "data_sha256", "source", "licence")
ELSEWHERE = ("dataset", "notes", "videos", "frames", "smoothed", *SECTIONS)
LONG = 12  # entries: of a longer list only the number is told


def provenance(numbers: dict[str, Any]) -> str:
    """Return the facts as a table, and the command; what has no place elsewhere in the report is here."""
    names = [*(name for name in FIRST if name in numbers), *(n for n in numbers if n not in FIRST)]
    rows = [
        f"<tr><th>{escaped(name)}</th><td><code>{escaped(told)}</code></td></tr>"
        for fact in names
        if fact not in ELSEWHERE
        for name, told in _told(fact, numbers[fact])
    ]
    part = f"{numbers['setting']}/seed-{numbers['seed']}" if "setting" in numbers else ""
    return (
        f'<h2>Where this comes from</h2><table class="facts">{"".join(rows)}</table>'
        f"<p>{_where(part)} To compute all of it again, in the folder of this file:</p>"
        "<pre>ophclip evaluate --from .</pre>"
    )


def _told(name: str, value: Any) -> list[tuple[str, str]]:
    if value is None or value == "":
        return []
    if name == "prompts":
        about = f"{value['file']} version {value['version']} ({value['variant']})"
        return [(name, about), ("prompts sha256", value["sha256"])]
    if isinstance(value, list) and len(value) > LONG:
        return [(name.replace("_", " "), f"{len(value)}, listed in metrics.json")]
    return [(name.replace("_", " "), value if isinstance(value, str) else json.dumps(value))]


def _where(part: str) -> str:
    if not part:
        return (
            "Every number stands in <code>metrics.json</code> beside this file, every prediction in "
            "<code>predictions.npz</code>."
        )
    return (
        "This is one probe of a series: its numbers and predictions are in "
        f"<code>{escaped(part)}</code>, and "
        "<code>metrics.json</code> beside this file has means over seeds of all settings."
    )
