# SPDX-License-Identifier: Apache-2.0
"""What each number means, in one sentence that says over what it is averaged; and which come first."""

from __future__ import annotations

PER_VIDEO = "over phases true or predicted in a video, averaged over videos"
POOLED = "over phases true or predicted, all videos together"
POOLED_ALL = "over all phases, all videos together; absent ones count as 0"
FIRED = "Share of absent instruments reported as present"
COSINE = "The same if every positive cosine counted as a report"

RULES = {
    "accuracy.per_video_mean": "Share of scored frames that are right in each video, averaged over videos",
    "accuracy.pooled": "Share of scored frames that are right, all videos together",
    "accuracy.chance_uniform": "What guessing each phase equally often would reach",
    "accuracy.chance_majority": "What always naming the most frequent phase would reach",
    "f1.per_video_mean.present": f"Macro F1 {PER_VIDEO}",
    "f1.pooled.present": f"Macro F1 {POOLED}",
    "f1.pooled.all": f"Macro F1 {POOLED_ALL}",
    "precision.per_video_mean.present": f"Macro precision {PER_VIDEO}",
    "precision.pooled.present": f"Macro precision {POOLED}",
    "precision.pooled.all": f"Macro precision {POOLED_ALL}",
    "recall.per_video_mean.present": f"Macro recall {PER_VIDEO}",
    "recall.pooled.present": f"Macro recall {POOLED}",
    "recall.pooled.all": f"Macro recall {POOLED_ALL}",
    "jaccard.pooled.present": f"Macro Jaccard index {POOLED}",
    "jaccard.pooled.all": f"Macro Jaccard index {POOLED_ALL}",
    "map.pooled.defined_classes": "Mean average precision over instruments that occur, all frames together",
    "map.chance_prevalence": "What a random ranking would reach: the mean share of frames with an instrument",
    "fpr.micro.prompt_softmax": f"{FIRED}, all instruments together",
    "fpr.macro.prompt_softmax": f"{FIRED}, for each instrument, averaged over instruments",
    "fpr.micro.cosine_sigmoid": f"{COSINE}, all instruments together",
    "fpr.macro.cosine_sigmoid": f"{COSINE}, averaged over instruments",
    "fpr.macro.at_95_recall": "The same at the threshold that finds 95 % of an instrument's frames, averaged",
}

# The numbers at the top of the report and in the table of a comparison: section, name, plain name, the
# name of what chance would give, and whether more is better.
HEADLINES = (
    ("phase", "accuracy.per_video_mean", "phase accuracy", "accuracy.chance_uniform", True),
    ("phase", "f1.per_video_mean.present", "phase F1", "", True),
    ("instrument", "map.pooled.defined_classes", "instrument mAP", "map.chance_prevalence", True),
    ("instrument", "fpr.micro.prompt_softmax", "false reports (FPR)", "", False),
)
