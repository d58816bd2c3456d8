# SPDX-License-Identifier: Apache-2.0
"""The rewriting as a step of a build: what it changes and what failed goes into the build's report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ophclip.corpus.build.report import BuildReport
from ophclip.corpus.build.run import Tags
from ophclip.corpus.manifest import Corpus
from ophclip.corpus.rewrite.endpoint import Endpoint
from ophclip.corpus.rewrite.run import RewritePlan, plan_rewrite, rewrite_corpus


@dataclass
class RewriteStep:
    """Call it as the `rewrite` of `build_corpus`; with `is_dry` it plans and changes nothing."""

    endpoint: Endpoint
    cache: Path
    is_dry: bool = False
    plan: RewritePlan | None = None

    def __call__(self, corpus: Corpus, tags: Tags, report: BuildReport) -> Corpus:
        """Return the corpus rewritten, or as it is."""
        if self.is_dry:
            self.plan = plan_rewrite(corpus, tags, self.endpoint.model, self.cache)
            return corpus
        corpus, report.rewritten, failed = rewrite_corpus(corpus, tags, self.endpoint, self.cache)
        report.problems += failed
        return corpus
