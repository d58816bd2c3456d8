# SPDX-License-Identifier: Apache-2.0
"""Build a cache: probe, plan, decode, encode and commit each video; what is stored already is skipped."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from typing import Any

from ophclip import console
from ophclip._version import __version__
from ophclip.cache.clock import StageClock
from ophclip.cache.cluster import on_cluster
from ophclip.cache.cluster_task import WORKERS_A_GPU
from ophclip.cache.encoder import Encoder, default_batch_size, side_by_side, source_for
from ophclip.cache.extract import Extraction, Recipe
from ophclip.cache.inputs import CacheInput
from ophclip.cache.limits import MaxFailures
from ophclip.cache.location import Location
from ophclip.cache.messages import Given, Setup
from ophclip.cache.report import BuildReport, Outcome, ReportedProgress
from ophclip.cache.supervisor import supervised
from ophclip.cache.threads import threads_each
from ophclip.cache.todo import Retry, check_ids, sorted_out
from ophclip.cache.writer import Writer, open_writer
from ophclip.video import Decoder, FrameSource, check_fps


def build_cache(
    inputs: Sequence[CacheInput],
    out: Location,
    *,
    encoder: Encoder,
    fps: float | Fraction,
    decoder: Decoder = "auto",
    device: str = "cpu",
    batch_size: int | None = None,
    fills_batches: bool | None = None,
    engines: int | None = None,
    workers: int = 0,
    make_encoder: Callable[[str], Encoder] | None = None,
    devices: Sequence[str] = (),
    deadline_s: float | None = None,
    retry: Retry | None = None,
    max_failures: MaxFailures | None = None,
    ray: str | None = None,
) -> BuildReport:
    """Store one row a sampled frame of every input; videos that are already stored are skipped.

    Frames go to the encoder in batches of at most `batch_size`, by default 32, or 256 on a GPU. With
    `fills_batches`, the default on a GPU, every batch has exactly that size: short videos share one, and the
    last is filled up. A GPU decodes as many videos side by side as it has `engines`, by default those that
    are known of it.

    A video whose file has changed since is stored anew. A video that cannot be read is recorded with its
    reason and the build goes on; it is left alone by later builds until its file changes or `retry` asks for
    it.

    With `workers` = 0 the work is done in this process, and no deadline is kept. Otherwise that many worker
    processes do it: a video on which one works for more than `deadline_s` seconds, by default some that
    grow with its length, or on which one dies, fails alone. Each worker takes the next of `devices` (default:
    `device`) and its encoder is `make_encoder(device)`, both of which must pickle; without `make_encoder`,
    `encoder` itself is pickled. The rows do not depend on the number of workers.

    With `ray`, the address of a Ray cluster or "" (see `cluster.on_cluster`), its machines do the work, in at
    most `workers` tasks at once, or as many as they take where that is 0.

    Raises:
        UsageError: `out` holds rows of another encoder, rate, geometry or decoder, or the encoder cannot be
            sent to the workers.
        StorageError: `out` cannot be written; nothing is half-stored.
        TooManyFailuresError: more videos failed in this run than `max_failures`.
    """
    size = default_batch_size(device) if batch_size is None else batch_size
    source = source_for(encoder, decoder, device, batch_size=size)
    report = BuildReport(decoder=source.name)
    provenance = provenance_of(
        encoder, fps=float(check_fps(fps)), decoder=source.name, decoder_version=source.version
    )
    check_ids(inputs)
    setup = Setup(
        out,
        provenance,
        make_encoder or Given(encoder),
        fps,
        decoder,
        size,
        device.startswith("cuda") if fills_batches is None else fills_batches,
        console.is_quiet(),
        engines,
    )
    with open_writer(out, provenance) as writer, console.progress("cache", len(inputs), "videos") as progress:
        counted, todo = ReportedProgress(report, progress), list[CacheInput]()
        for item in sorted_out(inputs, writer, retry):
            if isinstance(item, Outcome):
                counted.add(item)
            else:
                todo.append(item)
        report.workers = min(workers, len(todo))
        if ray is not None and todo:
            setup = replace(setup, workers_a_device=WORKERS_A_GPU)
            outcomes = on_cluster(
                todo, setup, writer, address=ray, device=device, most=workers, deadline_s=deadline_s
            )
        elif report.workers:
            outcomes = _by_processes(todo, setup, writer, report.workers, devices or (device,), deadline_s)
        else:
            outcomes = _here(todo, setup, writer, encoder, source, device)
        with closing(outcomes) as running:
            for outcome in running:
                counted.add(outcome)
                if max_failures:
                    max_failures.check(report, len(inputs))
    report.sort(item.video_id for item in inputs)
    return report


def _here(
    todo: Sequence[CacheInput],
    setup: Setup,
    writer: Writer,
    encoder: Encoder,
    source: FrameSource,
    device: str,
) -> Generator[Outcome, None, None]:
    """Store the videos in this process, as many side by side as the device has engines."""
    others = range(1, side_by_side(encoder, setup.decoder, device, setup.engines))
    size = setup.batch_size
    sources = [source, *(source_for(encoder, setup.decoder, device, batch_size=size) for _ in others)]
    recipe = Recipe(encoder, sources, setup.fps, size, setup.fills_batches)
    return Extraction(recipe, writer, StageClock()).outcomes(todo)


def _by_processes(
    todo: Sequence[CacheInput],
    setup: Setup,
    writer: Writer,
    workers: int,
    devices: Sequence[str],
    deadline_s: float | None,
) -> Generator[Outcome, None, None]:
    """Store the videos by `workers` processes, spread over `devices`."""
    return supervised(
        todo,
        replace(setup, workers_a_device=-(-workers // len(devices))),
        writer,
        devices=devices,
        workers=workers,
        threads=threads_each(workers),
        deadline_s=deadline_s,
    )


def provenance_of(encoder: Encoder, *, fps: float, decoder: str, decoder_version: str) -> dict[str, Any]:
    """Return what a cache is keyed by; `versions` are recorded, but may differ."""
    return {
        "encoder": encoder.name,
        "key": dict(encoder.key),
        "row_shape": list(encoder.row_shape),
        "dtype": encoder.dtype,
        "geometry": str(encoder.geometry),
        "fps": fps,
        "decoder": decoder,
        "versions": {"ophclip": __version__, "decoder": decoder_version},
    }
