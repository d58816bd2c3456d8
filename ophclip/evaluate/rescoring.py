# SPDX-License-Identifier: Apache-2.0
"""Score stored predictions again: no model, no data."""

from __future__ import annotations

from pathlib import Path

from ophclip.evaluate.predictions import NAME, load_predictions
from ophclip.evaluate.results import Results, write_scores
from ophclip.evaluate.series import rescore_series, stored_series


def rescore(source: Path, out: Path | None = None) -> Results:
    """Compute metrics, plots and report again from what an evaluation has stored.

    `source` is a folder of results (of one, or of a series of probes) or a predictions file; what is written
    goes beside it, or into `out`.

    Raises:
        UsageError: there are no predictions.
        DamageError: they are damaged.
    """
    if source.is_dir() and not (source / NAME).is_file() and stored_series(source):
        return rescore_series(source, out or source)
    predictions = load_predictions(source)
    return write_scores(out or (source if source.is_dir() else source.parent), predictions)
