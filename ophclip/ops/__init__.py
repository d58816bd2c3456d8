# SPDX-License-Identifier: Apache-2.0
"""Fused operators over embeddings: contrastive losses and exact maximum inner product search."""

from ophclip.ops.contrastive import Level, contrastive_loss, hierarchical_contrastive_loss
from ophclip.ops.native import NativeStatus, native_status
from ophclip.ops.pack import PackedBase, pack, repack
from ophclip.ops.packed_file import load_packed
from ophclip.ops.topk import topk

__all__ = [
    "Level",
    "NativeStatus",
    "PackedBase",
    "contrastive_loss",
    "hierarchical_contrastive_loss",
    "load_packed",
    "native_status",
    "pack",
    "repack",
    "topk",
]
