# SPDX-License-Identifier: Apache-2.0
"""A worker process: takes videos from its supervisor, stores them with a journal of its own, and says so.

It lives no longer than its supervisor: the system kills it with its parent, and so does a closed pipe.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
from multiprocessing.connection import Connection

from ophclip import console
from ophclip.cache.clock import StageClock
from ophclip.cache.encoder import side_by_side, source_for
from ophclip.cache.extract import Extraction, Recipe
from ophclip.cache.flow import Channel, ClosedError
from ophclip.cache.inputs import CacheInput
from ophclip.cache.messages import FINISH, PULSE_S, Done, Fatal, Message, Planned, Pulse, Ready, Setup, Turned
from ophclip.cache.processes import end_with_parent
from ophclip.cache.writer import open_writer
from ophclip.errors import OphclipError

MAX_TASKS = 64


def work(connection: Connection, setup: bytes, device: str, threads: int) -> None:
    """Be a worker until the supervisor says that it is over, and end the process."""
    end_with_parent()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, str(threads))  # read when torch is imported, which the encoder does
    line = _Line(connection)
    code = 0
    try:
        _serve(line, setup, device, threads)
    except ClosedError:
        pass  # told to stop
    except BaseException as error:
        line.say(Fatal.of(error))
        code = 1
    sys.stderr.flush()
    os._exit(code)  # a thread may still sit in a decoder


class _Line:
    """The connection to the supervisor, which several threads share."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def say(self, message: Message) -> None:
        with self._lock:
            self._connection.send(message)

    def hear(self) -> CacheInput | str:
        heard: CacheInput | str = self._connection.recv()
        return heard


def _serve(line: _Line, pickled: bytes, device: str, threads: int) -> None:
    setup: Setup = pickle.loads(pickled)
    console.set_quiet(setup.is_quiet)
    encoder = setup.make_encoder(device)
    if dict(encoder.key) != setup.provenance["key"]:
        raise OphclipError(
            f"a worker must make the encoder of this build, got {dict(encoder.key)}",
            remedy="make_encoder must give the same encoder on every device",
        )
    count = side_by_side(encoder, setup.decoder, device, setup.engines, setup.workers_a_device)
    sources = [
        source_for(encoder, setup.decoder, device, batch_size=setup.batch_size, threads=threads)
        for _ in range(count)
    ]
    clock = StageClock(lambda stage, video_id: line.say(Turned(stage, video_id)))
    recipe = Recipe(encoder, sources, setup.fps, setup.batch_size, setup.fills_batches)
    tasks: Channel[CacheInput] = Channel(MAX_TASKS)
    with open_writer(setup.out, setup.provenance) as writer:
        extraction = Extraction(
            recipe, writer, clock, lambda video_id, seconds: line.say(Planned(video_id, seconds))
        )
        line.say(Ready(count))
        _start(_listen, line, tasks, extraction)
        _start(_pulse, line, clock)
        for outcome in extraction.outcomes(tasks):
            line.say(Done(outcome))


def _listen(line: _Line, tasks: Channel[CacheInput], extraction: Extraction) -> None:
    while True:
        try:
            heard = line.hear()
        except (EOFError, OSError):
            os._exit(1)  # the supervisor is gone
        if isinstance(heard, CacheInput):
            tasks.put(heard)
        elif heard == FINISH:
            tasks.finish()
        else:
            extraction.stop()


def _pulse(line: _Line, clock: StageClock) -> None:
    while True:
        time.sleep(PULSE_S)
        try:
            line.say(Pulse(clock.tick(PULSE_S), clock.is_shared))
        except OSError:
            os._exit(1)


def _start(target: object, *arguments: object) -> None:
    threading.Thread(target=target, args=arguments, daemon=True).start()  # type: ignore[arg-type]
