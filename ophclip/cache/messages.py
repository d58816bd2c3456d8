# SPDX-License-Identifier: Apache-2.0
"""What a supervisor and its worker processes tell each other."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ophclip.cache.encoder import Encoder
from ophclip.cache.location import Location
from ophclip.cache.report import Outcome
from ophclip.errors import OphclipError, UsageError
from ophclip.video import Decoder

PULSE_S = 0.25  # between two signs of life

FINISH = "finish"  # to a worker: no further video comes
STOP = "stop"  # to a worker: finish the commit in hand, drop the rest


@dataclass(frozen=True)
class Setup:
    """What a worker needs to know before its first video."""

    out: Location
    provenance: dict[str, Any]
    make_encoder: Callable[[str], Encoder]  # of a device
    fps: float | Fraction
    decoder: Decoder
    batch_size: int
    fills_batches: bool
    is_quiet: bool
    engines: int | None = None  # that a device decodes with; None: as it has
    workers_a_device: int = 1

    def pickled(self) -> bytes:
        """Return it as bytes.

        Raises:
            UsageError: the encoder cannot be sent.
        """
        try:
            return pickle.dumps(self)
        except Exception as error:  # pickle raises what it likes: PicklingError, TypeError, AttributeError
            raise UsageError(
                f"the encoder must pickle to reach the worker processes, got {error}",
                remedy="pass make_encoder, a function of a module; or workers=0",
            ) from error


@dataclass(frozen=True)
class Given:
    """Makes an encoder by handing over the one it was given."""

    encoder: Encoder

    def __call__(self, device: str) -> Encoder:
        return self.encoder


@dataclass(frozen=True)
class Ready:
    """The worker has its encoder and its journal; it decodes `side_by_side` videos."""

    side_by_side: int = 1


@dataclass(frozen=True)
class Turned:
    """A stage begins with a video."""

    stage: str
    video_id: str


@dataclass(frozen=True)
class Planned:
    """A video was probed: how many seconds it may take if the user does not say."""

    video_id: str
    seconds: float


@dataclass(frozen=True)
class Pulse:
    """The worker lives; the videos that are worked on now, each with the seconds spent on it so far.

    `is_shared`: several are worked on together.
    """

    spent_s: dict[str, float]
    is_shared: bool = False


@dataclass(frozen=True)
class Done:
    """A video is settled."""

    outcome: Outcome


@dataclass(frozen=True)
class Fatal:
    """What would fail for every video: the build ends with this error."""

    error: BaseException

    @classmethod
    def of(cls, error: BaseException) -> Fatal:
        """Wrap an error, or what it says where it cannot be sent."""
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            said = f"{type(error).__name__}: {error}"
            return cls(OphclipError(said, remedy="run with --workers 0 --debug to see where"))
        return cls(error)


Message = Ready | Turned | Planned | Pulse | Done | Fatal
