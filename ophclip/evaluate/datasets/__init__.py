# SPDX-License-Identifier: Apache-2.0
"""Adapters: each reads one dataset as it is distributed."""

from ophclip.evaluate.datasets.dataset import Dataset, Item, load_dataset, names

__all__ = ["Dataset", "Item", "load_dataset", "names"]
