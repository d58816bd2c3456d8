# SPDX-License-Identifier: Apache-2.0
"""Evaluation: datasets as they are distributed, named protocols, metrics with their averaging rule."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ophclip.evaluate.predictions import Predictions, VideoPrediction, load_predictions
    from ophclip.evaluate.probe_protocol import probe
    from ophclip.evaluate.protocol import evaluate
    from ophclip.evaluate.rescoring import rescore
    from ophclip.evaluate.results import Results

_HOMES = {
    "Predictions": "predictions",
    "Results": "results",
    "VideoPrediction": "predictions",
    "evaluate": "protocol",
    "load_predictions": "predictions",
    "probe": "probe_protocol",
    "rescore": "rescoring",
}
__all__ = ["Predictions", "Results", "VideoPrediction", "evaluate", "load_predictions", "probe", "rescore"]


def __getattr__(name: str) -> Any:
    # Lazy, so that `ophclip.evaluate.metrics` needs NumPy alone.
    if name in _HOMES:
        return getattr(importlib.import_module(f"ophclip.evaluate.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'ophclip.evaluate' has no attribute {name!r}")
