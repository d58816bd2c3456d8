# SPDX-License-Identifier: Apache-2.0
"""Build on the machines of a Ray cluster: each task stores some videos as a local build with one worker does.

So a decoder that crashes or hangs costs its video alone, as ever. What Ray adds is that a whole worker or
machine may die: what was in its hands is tried again elsewhere, video by video. All machines write to the
same place, which must be a shared folder or an object store.
"""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ophclip import console
from ophclip.cache.cluster_task import WORKERS_A_GPU, store_some
from ophclip.cache.inputs import CacheInput
from ophclip.cache.messages import Fatal, Setup
from ophclip.cache.report import Outcome
from ophclip.cache.supervisor import GRACE_S
from ophclip.cache.writer import Writer
from ophclip.cache.writing import given_up
from ophclip.errors import OphclipError, UsageError

MAX_VIDEOS = 16  # of a task: each starts a process and loads the encoder
TASKS_A_CPU = 4  # at least, so that the last ones end at about the same time
MAX_TRIES = 3  # of a video on whose worker the machine gave up
WAIT_S = 0.5


@dataclass(frozen=True)
class Task:
    """Some videos for one worker; `tries` are those that ended with the death of theirs."""

    items: dict[str, CacheInput]
    tries: int = 0


def on_cluster(
    todo: Sequence[CacheInput],
    setup: Setup,
    writer: Writer,
    *,
    address: str,
    device: str,
    most: int,
    deadline_s: float | None,
) -> Generator[Outcome, None, None]:
    """Store the videos by tasks of a Ray cluster and yield what became of each, as they end.

    `address` is that of a running cluster, or "" for the one that RAY_ADDRESS names or that runs here, and
    else one that is started for this build. At most `most` tasks run at once; 0: as many as it takes.

    Raises:
        UsageError: Ray is not installed, or there is no cluster at `address`.
        OphclipError: what a task met that would meet every video: a machine that does not see the cache.
    """
    with _connected(address):
        driver = _Driver(todo, setup, writer, device, most, deadline_s)
        try:
            yield from driver.outcomes()
        finally:
            driver.cancel()


class _Driver:
    def __init__(
        self,
        todo: Sequence[CacheInput],
        setup: Setup,
        writer: Writer,
        device: str,
        most: int,
        deadline_s: float | None,
    ) -> None:
        import ray

        if isinstance(setup.out, Path):
            setup = replace(setup, out=setup.out.absolute())  # workers are in folders of their own
        self._setup, self._writer, self._device = setup.pickled(), writer, device
        self._deadline_s, self._most = deadline_s, most
        on_gpu = device.startswith("cuda")
        self._submit = ray.remote(store_some).options(
            name="ophclip",
            num_returns="streaming",
            max_retries=0,  # tried again here, where it is known what is left of a task
            num_cpus=WORKERS_A_GPU if on_gpu else 1,
            num_gpus=1 if on_gpu else 0,
        )
        self._waiting = deque(_divided(todo, int(ray.cluster_resources().get("CPU", 1))))
        self._running: dict[Any, Task] = {}

    def outcomes(self) -> Iterator[Outcome]:
        import ray

        while self._waiting or self._running:
            while self._waiting and not (self._most and len(self._running) >= self._most):
                task = self._waiting.popleft()
                stream = self._submit.remote(
                    self._setup, list(task.items.values()), self._device, self._deadline_s
                )
                self._running[stream] = task
            ready, _ = ray.wait(list(self._running), timeout=WAIT_S, fetch_local=False)
            for stream in ready:
                yield from self._hear(stream)

    def _hear(self, stream: Any) -> Iterator[Outcome]:
        import ray
        from ray.exceptions import RayError, RayTaskError

        task = self._running[stream]
        try:
            message = ray.get(next(stream))
        except StopIteration:
            del self._running[stream]
            if task.items:
                yield from self._try_again(task, "ended without a word")
        except RayTaskError as error:
            raise OphclipError(
                f"a task failed on the cluster: {error.cause!r}", remedy="run with --debug, or without --ray"
            ) from error
        except RayError as error:  # the worker or its machine is gone
            del self._running[stream]
            yield from self._try_again(task, type(error).__name__)
        else:
            if isinstance(message, Fatal):
                raise message.error
            if task.items.pop(message.video_id, None):
                yield message

    def _try_again(self, task: Task, how: str) -> Iterator[Outcome]:
        """Hand out anew what is left of a task, each video alone, or give up on it."""
        console.say(f"a worker of the cluster died ({how}) with {len(task.items)} videos in hand")
        for video_id, item in task.items.items():
            if task.tries + 1 < MAX_TRIES:
                self._waiting.append(Task({video_id: item}, task.tries + 1))
            else:
                yield given_up(item, f"its worker died {MAX_TRIES} times ({how})", self._writer)

    def cancel(self) -> None:
        """Stop what runs: each task finishes the commit in hand; what does not end in time is killed."""
        import ray

        for stream in self._running:
            ray.cancel(stream)
        end = time.monotonic() + GRACE_S
        while self._running and time.monotonic() < end:
            ready, _ = ray.wait(list(self._running), timeout=WAIT_S, fetch_local=False)
            for stream in ready:
                if _is_over(stream):
                    del self._running[stream]
        for stream in self._running:
            ray.cancel(stream, force=True)


def _is_over(stream: Any) -> bool:
    """Take one message from a cancelled task; return whether it was the last."""
    import ray
    from ray.exceptions import RayError

    try:
        ray.get(next(stream))
    except (StopIteration, RayError):
        return True
    return False


def _divided(todo: Sequence[CacheInput], num_cpus: int) -> Iterator[Task]:
    size = max(1, min(MAX_VIDEOS, len(todo) // (TASKS_A_CPU * max(1, num_cpus))))
    for first in range(0, len(todo), size):
        items = (replace(item, path=item.path.absolute()) for item in todo[first : first + size])
        yield Task({item.video_id: item for item in items})


@contextmanager
def _connected(address: str) -> Iterator[None]:
    """Be connected to a cluster; one that is started here ends with the block."""
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            "--ray needs the package ray", remedy="install it: pip install 'ophclip[ray]'"
        ) from error
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address or None, include_dashboard=False, logging_level="warning", log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"no Ray cluster at {address or 'this machine'}: {error}",
            remedy="start one: ray start --head; then pass --ray ADDRESS",
        ) from error
    try:
        if handler is not None:
            signal.signal(signal.SIGTERM, handler)  # Ray would end the process at once
        yield
    finally:
        ray.shutdown()
