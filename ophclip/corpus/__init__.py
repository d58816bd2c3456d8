# SPDX-License-Identifier: Apache-2.0
"""What is trained on: videos, their titles, and what is said in the narrated ones."""

from __future__ import annotations

from ophclip.corpus.manifest import (
    Clip,
    Corpus,
    Kind,
    Video,
    read_corpus,
    read_lineage_captions,
    write_corpus,
)

__all__ = ["Clip", "Corpus", "Kind", "Video", "read_corpus", "read_lineage_captions", "write_corpus"]
