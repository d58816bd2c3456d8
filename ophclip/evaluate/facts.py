# SPDX-License-Identifier: Apache-2.0
"""What every result says of its data, so that two results can be told to be of the same."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from ophclip.cache import FeatureCache
from ophclip.evaluate.datasets import Dataset
from ophclip.evaluate.rows import Rows


def data_facts(data: Dataset, cache: FeatureCache, rows: Iterable[Rows]) -> dict[str, Any]:
    """Return the facts of the data and of the weights that embedded it."""
    told: Counter[str] = Counter()
    for part in rows:
        told += part.told
    return {
        "dataset": data.name,
        "data_sha256": data_hash(data),
        "weights": cache.provenance["key"]["weights"],
        "fps": data.fps,
        "unit": data.unit,
        "source": data.source,
        "licence": data.licence,
        "notes": [*data.notes, *(f"{count} {what}" for what, count in sorted(told.items()))],
    }


def data_hash(data: Dataset) -> str:
    """Hash what is scored: ids, labels and class names, not where the files lie or in which order."""
    digest = hashlib.sha256(json.dumps([data.phase_names, data.instrument_names, data.fps]).encode())
    for item in sorted(data.items, key=lambda item: item.video_id):
        labels: list[Any] = [
            None if part is None else part.tolist() for part in (item.phases, item.instruments)
        ]
        if item.clips:
            labels.append([[clip.start_s, clip.end_s, clip.label] for clip in item.clips])
        digest.update(json.dumps([item.video_id, *labels]).encode())
    return digest.hexdigest()
