# SPDX-License-Identifier: Apache-2.0
"""The type of what gives the folder of a simulated download by the name of its layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Layout = Callable[[str], Path]
