# SPDX-License-Identifier: Apache-2.0
"""Decoded and encoded video on disk: written once, crash-safe, read at the speed of memory."""

from ophclip.cache.build import BuildReport, build_cache
from ophclip.cache.derive import derive_cache
from ophclip.cache.encoder import Encoder, FrameRows
from ophclip.cache.inputs import CacheInput, find_inputs
from ophclip.cache.store import FeatureCache, open_cache

__all__ = [
    "BuildReport",
    "CacheInput",
    "Encoder",
    "FeatureCache",
    "FrameRows",
    "build_cache",
    "derive_cache",
    "find_inputs",
    "open_cache",
]
