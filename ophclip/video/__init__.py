# SPDX-License-Identifier: Apache-2.0
"""From a file to frames: container facts, which frame shows at which second, and decoding them."""

from ophclip.video.decode import BATCH_SIZE, Decoder, FrameSource, open_source
from ophclip.video.encode import write_video
from ophclip.video.frames import FrameFormat, Normalization
from ophclip.video.geometry import Geometry
from ophclip.video.probe import VideoInfo, probe
from ophclip.video.sampling import SamplingPlan, check_fps, plan_sampling

__all__ = [
    "BATCH_SIZE",
    "Decoder",
    "FrameFormat",
    "FrameSource",
    "Geometry",
    "Normalization",
    "SamplingPlan",
    "VideoInfo",
    "check_fps",
    "open_source",
    "plan_sampling",
    "probe",
    "write_video",
]
