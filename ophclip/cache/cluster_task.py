# SPDX-License-Identifier: Apache-2.0
"""What a machine of a cluster does: store some videos, as a local build does, and say what became of each."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Iterator, Sequence

from ophclip import console
from ophclip.cache.inputs import CacheInput
from ophclip.cache.layout import read_root
from ophclip.cache.messages import Fatal, Setup
from ophclip.cache.report import Outcome
from ophclip.cache.root import check_provenance
from ophclip.cache.supervisor import supervised
from ophclip.cache.writer import open_writer
from ophclip.errors import OphclipError, UsageError

WORKERS_A_GPU = 2


def store_some(
    pickled: bytes, items: Sequence[CacheInput], device: str, deadline_s: float | None
) -> Iterator[Outcome | Fatal]:
    """Store some videos on the machine that this runs on; the body of a task."""
    setup: Setup = pickle.loads(pickled)
    console.set_quiet(True)
    try:
        _check_shared(setup)
        workers = WORKERS_A_GPU if device.startswith("cuda") else 1
        with open_writer(setup.out, setup.provenance) as writer:
            yield from supervised(
                items,
                setup,
                writer,
                devices=(device,),
                workers=min(workers, len(items)),
                threads=1,
                deadline_s=deadline_s,
            )
    except OphclipError as error:
        yield Fatal.of(error)


def _check_shared(setup: Setup) -> None:
    """Check that this machine sees the cache that the build began: else it would make one of its own."""
    try:
        check_provenance(setup.out, read_root(setup.out), setup.provenance)
    except UsageError as error:
        raise OphclipError(
            f"the machine {socket.gethostname()} does not see the cache: {error.message}",
            remedy="name an --out that all machines share, or s3://BUCKET/NAME.zarr",
        ) from error
