# SPDX-License-Identifier: Apache-2.0
"""Views of clips that lie on a GPU are those of clips on the CPU, and stay there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from ophclip.pretrain.augment import augment_clips
from ophclip.pretrain.views import draw_view

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("view", [augment_clips, draw_view])
def test_a_view_does_not_depend_on_the_device(view: Callable[..., Tensor]) -> None:
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 2, 32, 40, 3), dtype=np.uint8))
    found = view(frames.cuda(), np.random.default_rng(1))
    assert found.device.type == "cuda"
    torch.testing.assert_close(found.cpu(), view(frames, np.random.default_rng(1)), atol=1e-3, rtol=1e-3)
