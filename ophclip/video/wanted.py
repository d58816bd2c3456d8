# SPDX-License-Identifier: Apache-2.0
"""Which single pictures DALI is asked for, by number, and whether those that come are the ones.

DALI pads a truncated file without a word, and numbers the frames of some containers differently: so each
picture is checked by its number and its time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ophclip.video.probe import VideoInfo
from ophclip.video.sampling import SamplingPlan

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Wanted:
    """The pictures that a plan needs of a video, each once, in order; all arrays are `[n]`."""

    info: VideoInfo
    numbers: NDArray[np.int64]  # of frames in presentation order, from 0
    times_s: NDArray[np.float64]  # since the first frame
    repeats: NDArray[np.int64]  # rows of the plan that show the picture

    @classmethod
    def of(cls, info: VideoInfo, plan: SamplingPlan) -> Wanted:
        """Return what `plan` needs."""
        pts, repeats = np.unique(plan.pts, return_counts=True)
        times_s = (pts - info.pts[0]) * float(info.time_base)
        return cls(info, np.searchsorted(info.pts, pts), times_s, repeats)

    def __len__(self) -> int:
        return len(self.numbers)

    def are(self, first: int, numbers: NDArray[np.int64], times_s: NDArray[np.float64]) -> bool:
        """Return whether pictures of these numbers and times are those wanted from `first` on."""
        here = slice(first, first + len(numbers))
        tolerance_s = 0.5 * float(self.info.time_base) + 1e-6
        late = np.abs(times_s - self.times_s[here]) > tolerance_s
        return bool((numbers == self.numbers[here]).all() and not late.any())


@contextmanager
def listing(videos: Sequence[Wanted]) -> Iterator[Path]:
    """Write DALI's list of all pictures, a line each, the videos one after another; removed in the end.

    DALI splits the lines of its list at blanks: a link gives any file a plain name.
    """
    with tempfile.TemporaryDirectory(prefix="ophclip-dali-") as folder:
        path = Path(folder) / "frames.txt"
        with path.open("w", encoding="utf-8") as file:
            for video_number, wanted in enumerate(videos):
                suffix = wanted.info.path.suffix
                link = Path(folder) / f"{video_number}{suffix if suffix[1:].isalnum() else ''}"
                link.symlink_to(wanted.info.path)
                file.writelines(f"{link} 0 {number} {number + 1}\n" for number in wanted.numbers.tolist())
        yield path


def segments(videos: Sequence[Wanted], first: int, count: int) -> Iterator[tuple[int, int, int]]:
    """Divide `count` pictures of the list from its place `first` on: yield video, place in it, and number."""
    starts = np.concatenate(([0], np.cumsum([len(wanted) for wanted in videos])))
    while count:
        video = int(np.searchsorted(starts, first, side="right")) - 1
        taken = min(count, int(starts[video + 1]) - first)
        yield video, first - int(starts[video]), taken
        first, count = first + taken, count - taken
