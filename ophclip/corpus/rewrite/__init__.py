# SPDX-License-Identifier: Apache-2.0
"""Let a language model clean narrations and write titles, through any OpenAI-compatible endpoint."""

from __future__ import annotations

from ophclip.corpus.rewrite.endpoint import Endpoint
from ophclip.corpus.rewrite.run import CACHE, RewritePlan, plan_rewrite, rewrite_corpus
from ophclip.corpus.rewrite.step import RewriteStep

__all__ = ["CACHE", "Endpoint", "RewritePlan", "RewriteStep", "plan_rewrite", "rewrite_corpus"]
