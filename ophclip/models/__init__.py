# SPDX-License-Identifier: Apache-2.0
"""Encoders by name, the dual encoder that pretraining trains, and its files."""

from ophclip.models.dual_encoder import DualEncoder, ModelConfig, build_model, load_model, save_model
from ophclip.models.encoders import RUN_FEATURES, Features, ModuleEncoder, load_encoder
from ophclip.models.lineage import ImportReport, load_lineage_weights

__all__ = [
    "RUN_FEATURES",
    "DualEncoder",
    "Features",
    "ImportReport",
    "ModelConfig",
    "ModuleEncoder",
    "build_model",
    "load_encoder",
    "load_lineage_weights",
    "load_model",
    "save_model",
]
