# SPDX-License-Identifier: Apache-2.0
"""Simulated surgery in the on-disk layouts of real datasets: to try adapters on, and to test them."""

from ophclip.corpus.simulate.layouts.write import LAYOUTS, write_layout

__all__ = ["LAYOUTS", "write_layout"]
