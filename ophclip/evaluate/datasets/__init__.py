# SPDX-License-Identifier: Apache-2.0
"""Adapters: each reads one dataset as it is distributed."""

from ophclip.evaluate.datasets.dataset import Clip, Dataset, Item, load_dataset
from ophclip.evaluate.datasets.labels import UNSCORED
from ophclip.evaluate.datasets.registry import names

__all__ = ["UNSCORED", "Clip", "Dataset", "Item", "load_dataset", "names"]
