# SPDX-License-Identifier: Apache-2.0
"""A simulated corpus: phases and instruments at every second; its test split is scored."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from ophclip.corpus import read_corpus
from ophclip.corpus.simulate.truth import Truth, read_truth
from ophclip.corpus.simulate.vocabulary import INSTRUMENTS, PHASES
from ophclip.errors import OphclipError
from ophclip.evaluate.datasets.reading import BACKGROUND, Adapter, Facts, Findings, Reading, Recording, Span

FACTS = Facts(
    name="simulated",
    title="Simulated eye surgery",
    task="phase and instruments",
    unit="second",
    classes=tuple(phase.key for phase in PHASES),
    licence="Apache-2.0",
    where="ophclip corpus simulate",
    split="train and test; test is scored",
    eval_split="test",
    background="idle",
    prompts="simulated.toml",
)


def _read(root: Path, findings: Findings, thorough: bool) -> Reading:
    try:
        truth = read_truth(root)
        videos = list(read_corpus(root).videos.values())
    except OphclipError as error:
        findings.error("unreadable", error.message, root / "truth.csv")
        return Reading([])
    recordings = []
    for video in videos:
        if video.video_id in truth:
            table = root / "truth.csv"
            recordings.append(
                _recording(video.video_id, video.path, video.split, table, truth[video.video_id])
            )
        else:
            said = f"says nothing of {video.split} video {video.video_id!r}"
            findings.error("unlabelled-video", said, root / "truth.csv")
    return Reading(
        recordings,
        phases=tuple(phase.key for phase in PHASES),
        instruments=tuple(instrument.key for instrument in INSTRUMENTS),
    )


def _recording(video_id: str, path: Path, split: str, table: Path, truth: Truth) -> Recording:
    number = {phase.key: index for index, phase in enumerate(PHASES)}
    present = [[term.key in seen for term in INSTRUMENTS] for seen in truth.instruments]
    return Recording(
        video_id,
        path,
        table,
        split=split,
        spans=tuple(
            Span(Fraction(second), Fraction(second + 1), number.get(phase, BACKGROUND))
            for second, phase in enumerate(truth.phases)
        ),
        presence=np.array(present, dtype=np.int64).reshape(len(present), len(INSTRUMENTS)),
        length=Fraction(len(truth.phases)),
    )


ADAPTER = Adapter(FACTS, _read)
