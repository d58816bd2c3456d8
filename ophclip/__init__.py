# SPDX-License-Identifier: Apache-2.0
"""Hierarchical, retrieval-augmented video-language pretraining for eye surgery."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ophclip._version import __version__

if TYPE_CHECKING:
    from ophclip.cache import open_cache

__all__ = ["__version__", "open_cache"]


def __getattr__(name: str) -> Any:
    # Lazy, so that `ophclip --help` and `import ophclip` load neither torch nor zarr.
    if name == "open_cache":
        from ophclip.cache import open_cache

        return open_cache
    raise AttributeError(f"module 'ophclip' has no attribute {name!r}")
