# SPDX-License-Identifier: Apache-2.0
"""Decoded and encoded video on disk: written once, crash-safe, read at the speed of memory."""

from ophclip.cache.build import build_cache
from ophclip.cache.derive import derive_cache
from ophclip.cache.encoder import Encoder, FrameRows
from ophclip.cache.export import ExportFormat, ExportReport, export_cache
from ophclip.cache.inputs import CacheInput, find_inputs
from ophclip.cache.limits import MaxFailures
from ophclip.cache.merge import MergeReport, merge_caches
from ophclip.cache.pack import PackReport, pack_cache
from ophclip.cache.parts import Part
from ophclip.cache.report import BuildReport
from ophclip.cache.store import FeatureCache, open_cache
from ophclip.cache.todo import Retry

__all__ = [
    "BuildReport",
    "CacheInput",
    "Encoder",
    "ExportFormat",
    "ExportReport",
    "FeatureCache",
    "FrameRows",
    "MaxFailures",
    "MergeReport",
    "PackReport",
    "Part",
    "Retry",
    "build_cache",
    "derive_cache",
    "export_cache",
    "find_inputs",
    "merge_caches",
    "open_cache",
    "pack_cache",
]
