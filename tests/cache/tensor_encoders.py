# SPDX-License-Identifier: Apache-2.0
"""An encoder of tensors, for worker processes to import; apart, so that others need no torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from cache_corpus import Statistics
from numpy.typing import NDArray

from ophclip.video import FrameFormat


class TensorStatistics(Statistics):
    """`Statistics` of tensors, where frames come as such."""

    frame_format = FrameFormat(as_tensors=True)

    def __call__(self, frames: NDArray[np.uint8] | torch.Tensor) -> NDArray[Any]:
        pixels = torch.as_tensor(frames).double()
        std, mean = torch.std_mean(pixels, dim=(1, 2), correction=0)
        rows: NDArray[Any] = torch.cat([mean, std], dim=1).half().numpy()
        return rows
