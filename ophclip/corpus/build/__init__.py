# SPDX-License-Identifier: Apache-2.0
"""From a folder of downloads to a corpus: find, read, mend, cut, decide what is narrated, write."""

from __future__ import annotations

from ophclip.corpus.build.report import BuildReport, histogram
from ophclip.corpus.build.run import build_corpus
from ophclip.corpus.build.settings import BuildSettings

__all__ = ["BuildReport", "BuildSettings", "build_corpus", "histogram"]
