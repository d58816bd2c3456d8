# SPDX-License-Identifier: Apache-2.0
"""The test split of a simulated corpus: phases and instruments at every second."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ophclip.corpus import read_corpus
from ophclip.corpus.simulate.truth import Truth, read_truth
from ophclip.corpus.simulate.vocabulary import INSTRUMENTS, PHASES
from ophclip.errors import UsageError
from ophclip.evaluate.datasets.dataset import UNSCORED, Dataset, Item

IDLE = "idle"


def load(root: Path, *, keep_background: bool = False) -> Dataset:
    """Read the test videos of a corpus that `ophclip corpus simulate` wrote."""
    truth = read_truth(root)
    videos = read_corpus(root).select(split="test")
    if not videos:
        raise UsageError(f"{root} has no test videos", remedy="simulate the corpus with --test 20, say")
    untold = [video.video_id for video in videos if video.video_id not in truth]
    if untold:
        raise UsageError(
            f"{root / 'truth.csv'} says nothing of test video {untold[0]!r}",
            remedy="simulate the corpus anew",
        )
    phases = [phase.key for phase in PHASES] + ([IDLE] if keep_background else [])
    return Dataset(
        name="simulated",
        items=[_item(video.video_id, video.path, truth[video.video_id], phases) for video in videos],
        phase_names=phases,
        instrument_names=[instrument.key for instrument in INSTRUMENTS],
        prompts="simulated.toml",
        source="ophclip corpus simulate",
        licence="Apache-2.0",
        notes=["idle seconds are a class" if keep_background else "idle seconds are not scored"],
    )


def _item(video_id: str, path: Path, truth: Truth, phases: list[str]) -> Item:
    number = {phase: index for index, phase in enumerate(phases)}
    present = [[term.key in seen for term in INSTRUMENTS] for seen in truth.instruments]
    return Item(
        video_id=video_id,
        path=path,
        phases=np.array([number.get(phase, UNSCORED) for phase in truth.phases], dtype=np.int64),
        instruments=np.array(present, dtype=np.int64).reshape(len(present), len(INSTRUMENTS)),
    )
