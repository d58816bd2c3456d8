# SPDX-License-Identifier: Apache-2.0
"""What each number means, in one sentence that says over what it is averaged."""

from __future__ import annotations

PER_VIDEO = "over phases true or predicted in a video, averaged over videos"
PER_VIDEO_ALL = "over all phases in each video, absent ones count as 0, averaged over videos"
POOLED = "over phases true or predicted, all videos together"
POOLED_ALL = "over all phases, all videos together; absent ones count as 0"
FIRED = "Share of absent instruments reported as present"
COSINE = "The same if every positive cosine counted as a report"

MACRO = {
    f"{name}.{averaging}": f"Macro {plain} {rule}"
    for name, plain in (
        ("f1", "F1"),
        ("precision", "precision"),
        ("recall", "recall"),
        ("jaccard", "Jaccard index"),
    )
    for averaging, rule in (
        ("per_video_mean.present", PER_VIDEO),
        ("per_video_mean.all", PER_VIDEO_ALL),
        ("pooled.present", POOLED),
        ("pooled.all", POOLED_ALL),
    )
}
SEGMENTAL = {
    f"segmental_f1_at_{overlap}.{averaging}": f"F1 of stretches that overlap by {overlap} %, {rule}"
    for overlap in (10, 25, 50)
    for averaging, rule in (
        ("per_video_mean", "averaged over videos"),
        ("pooled", "counted over all videos together"),
    )
}

RULES = {
    "accuracy.per_video_mean": "Share of scored frames that are right in each video, averaged over videos",
    "accuracy.pooled": "Share of scored frames that are right, all videos together",
    "accuracy.chance_uniform": "What guessing each phase equally often would reach",
    "accuracy.chance_majority": "What always naming the most frequent phase would reach",
    **MACRO,
    "edit.per_video_mean": "1 - edit distance of the sequences of phases / the longer, averaged over videos",
    **SEGMENTAL,
    "map.pooled.defined_classes": "Mean average precision over instruments that occur, all frames together",
    "map.chance_prevalence": "What a random ranking would reach: the mean share of frames with an instrument",
    "fpr.micro.prompt_softmax": f"{FIRED}, all instruments together",
    "fpr.macro.prompt_softmax": f"{FIRED}, for each instrument, averaged over instruments",
    "fpr.micro.probe_sigmoid": f"{FIRED}, all instruments together",
    "fpr.macro.probe_sigmoid": f"{FIRED}, for each instrument, averaged over instruments",
    "fpr.micro.cosine_sigmoid": f"{COSINE}, all instruments together",
    "fpr.macro.cosine_sigmoid": f"{COSINE}, averaged over instruments",
    "fpr.macro.at_95_recall": "The same at the threshold that finds 95 % of an instrument's frames, averaged",
}
