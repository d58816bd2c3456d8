# SPDX-License-Identifier: Apache-2.0
"""Places for caches in the S3 server of the tests, and what writes there."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cache_children import build_child, start
from cache_corpus import (
    provenance,
    random_rows,
    store,
)
from s3_server import (
    BUCKET,
)

from ophclip.cache import (
    CacheInput,
    objects,
)
from ophclip.cache.location import ObjectPath
from ophclip.cache.objects import TIMEOUT_VARIABLE, Bucket
from ophclip.cache.remote_commit import RemoteWriter

_numbers = itertools.count()


def use(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv(TIMEOUT_VARIABLE, "1")
    monkeypatch.setattr("ophclip.cache.location.bucket", cache(Bucket))  # no connection of another test
    monkeypatch.setattr(objects, "BACKOFF_S", 0.01)


def new_place() -> ObjectPath:
    return ObjectPath(BUCKET, f"caches/c{next(_numbers)}.zarr")


def in_environment(variables: dict[str, str], inputs: Sequence[CacheInput], place: ObjectPath) -> None:
    os.environ.update(variables)
    build_child(inputs, place)  # type: ignore[arg-type]


def build_elsewhere(inputs: Sequence[CacheInput], place: ObjectPath, crash_at: str = "") -> Any:
    variables = {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "OPHCLIP_S3"))}
    return start(in_environment, variables, inputs, place, crash_at=crash_at)


def write(place: ObjectPath, names: Sequence[str]) -> None:
    with RemoteWriter(place, provenance()) as writer:
        for name in names:
            store(writer, name, random_rows(len(name), 5))  # type: ignore[arg-type]


def keys(place: ObjectPath, *below: str) -> list[str]:
    return [found.key.removeprefix(f"{place.key}/") for found in place.joinpath(*below).list()]


def copy_folder(folder: Path, place: ObjectPath, *, without: str = "/.") -> None:
    """Copy a folder to a bucket as any tool does; leave out what has `without` in its name."""
    for path in folder.rglob("*"):
        if path.is_file() and without not in path.as_posix():
            place.bucket.put((place / path.relative_to(folder)).key, path.read_bytes())
