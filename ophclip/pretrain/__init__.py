# SPDX-License-Identifier: Apache-2.0
"""Hierarchical, retrieval-augmented pretraining."""

from ophclip.pretrain.config import PretrainConfig
from ophclip.pretrain.distributed import is_first_process
from ophclip.pretrain.loop import pretrain
from ophclip.pretrain.speed import measure_speed
from ophclip.pretrain.trainer import RunSummary

__all__ = ["PretrainConfig", "RunSummary", "is_first_process", "measure_speed", "pretrain"]
