# SPDX-License-Identifier: Apache-2.0
"""From video files to committed rows in one process: probe, decode, encode and write, each ahead of the next.

The last stage runs in the caller's thread, where a signal can be held back until a commit is done.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from ophclip.cache.batching import encode_alone, encode_together
from ophclip.cache.clock import StageClock
from ophclip.cache.decoding import Decoding, grouped
from ophclip.cache.encoder import Encoder, encode
from ophclip.cache.flow import Channel, Flow, Shared
from ophclip.cache.inputs import CacheInput
from ophclip.cache.ordering import one_by_one
from ophclip.cache.pieces import Job
from ophclip.cache.reading import OnPlan, Prober
from ophclip.cache.report import Outcome
from ophclip.cache.writer import Writer
from ophclip.cache.writing import written
from ophclip.video import FrameSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ophclip.video.frames import Pixels

PROBED_AHEAD = 1  # videos
BATCHES_AHEAD = 2  # of frames before the encoder, and of rows behind it
IDLE_S = 0.2  # that videos wait for others, to be decoded together or to fill a batch of the encoder


@dataclass(frozen=True)
class Recipe:
    """What is done to every video.

    Each of the `sources`, which are alike, decodes videos beside the others. With `fills_batches` short
    videos share a batch of the encoder.
    """

    encoder: Encoder
    sources: Sequence[FrameSource]
    fps: float | Fraction
    batch_size: int
    fills_batches: bool = False


class Extraction:
    """Stores videos one after the other, while the stages of the next ones run ahead."""

    def __init__(
        self, recipe: Recipe, writer: Writer, clock: StageClock, on_plan: OnPlan = lambda *_: None
    ) -> None:
        self._recipe, self._writer, self._clock = recipe, writer, clock
        self._prober = Prober(recipe.fps, writer, clock, on_plan)
        self._flow = Flow()

    def outcomes(self, items: Iterable[CacheInput] | Channel[CacheInput]) -> Generator[Outcome, None, None]:
        """Store the videos and yield what became of each; in their order, if one is decoded at a time.

        Raises:
            UsageError: the encoder does not give the rows it promised.
            StorageError: the cache cannot be written.
            ClosedError: it was stopped.
        """
        ahead, fills, sources = self._flow.ahead, self._recipe.fills_batches, self._recipe.sources
        inputs = self._flow.adopt(items) if isinstance(items, Channel) else items
        try:
            jobs = ahead((self._prober.probed(item) for item in inputs), PROBED_AHEAD, "probe", IDLE_S)
            groups = Shared(grouped(jobs, sources[0].group_of))
            decoders = [Decoding(source, self._clock).pieces(groups) for source in sources]
            depth = BATCHES_AHEAD * len(sources)
            frames = self._flow.merged(decoders, depth, "decode", IDLE_S if fills else None)
            if fills:
                rows = encode_together(frames, self._encode, self._recipe.batch_size)
            else:
                rows = encode_alone(frames, self._encode)
            encoded = ahead(rows, BATCHES_AHEAD, "encode")
            in_turn = one_by_one(encoded) if len(sources) > 1 else encoded
            yield from written(in_turn, self._writer, self._clock)
        finally:
            self.stop()
            self._flow.join()

    def stop(self) -> None:
        """End `outcomes`, also from another thread; a commit that has begun is finished."""
        self._flow.close()

    def _encode(self, frames: Pixels, job: Job) -> NDArray[Any]:
        with self._clock.working("encode", job.item.video_id):
            return encode(self._recipe.encoder, frames)
