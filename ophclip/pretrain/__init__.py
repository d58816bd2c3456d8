# SPDX-License-Identifier: Apache-2.0
"""Hierarchical, retrieval-augmented pretraining."""

from ophclip.pretrain.config import PretrainConfig
from ophclip.pretrain.loop import RunSummary, pretrain

__all__ = ["PretrainConfig", "RunSummary", "pretrain"]
