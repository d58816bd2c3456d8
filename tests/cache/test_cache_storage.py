# SPDX-License-Identifier: Apache-2.0
"""Full disks and folders that cannot be written: nothing is half-stored, and the next run goes on."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cache_children import finish, start
from cache_corpus import provenance, random_rows, store, write_cache

from ophclip.cache import open_cache
from ophclip.cache.commit import CacheWriter
from ophclip.cache.verify import verify_cache
from ophclip.errors import StorageError

PAGE = 4096


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 pages, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={64 * PAGE}", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def leave_free(disk: Path, pages: int) -> None:
    filler = disk / "filler"
    filler.unlink(missing_ok=True)
    state = os.statvfs(disk)
    filler.write_bytes(b"x" * ((state.f_bavail - pages) * state.f_frsize))


def test_a_disk_that_fills_at_any_step_commits_nothing_and_the_next_run_completes(small_disk: Path) -> None:
    path = write_cache(small_disk / "c.zarr", {"a": random_rows(1, 3)})
    rows = random_rows(2, 900)  # three pages of rows, four of metadata, one of journal
    for pages in range(6):
        leave_free(small_disk, pages)
        with pytest.raises(StorageError) as caught, CacheWriter(path, provenance()) as writer:
            store(writer, "b", rows)
        assert caught.value.message == f"cannot write {path}: No space left on device"
        assert "run the same command again" in caught.value.remedy
        assert open_cache(path).ids == ["a"]
        assert list((path / "videos").glob(".tmp-*")) == []
    leave_free(small_disk, 16)
    write_cache(path, {"b": rows})
    assert open_cache(path).ids == ["a", "b"]
    np.testing.assert_array_equal(open_cache(path)["b"], rows)


def store_with_small_files(path: Path, limit: int, outcome: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with CacheWriter(path, provenance()) as writer:
            store(writer, "b", random_rows(2, 900))
    except StorageError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        outcome.write_text(error.message)


@pytest.mark.parametrize("limit", [100, 5000, 10_900])
def test_a_file_that_may_not_grow_is_a_storage_error(limit: int, tmp_path: Path) -> None:
    """The rows, of 10,800 bytes, or the metadata, which is longer, do not fit."""
    path = write_cache(tmp_path / "c.zarr", {"a": random_rows(1, 3)})
    assert finish(start(store_with_small_files, path, limit, tmp_path / "outcome")) == 0
    assert (tmp_path / "outcome").read_text() == f"cannot write {path}: File too large"
    assert open_cache(path).ids == ["a"]
    assert list((path / "videos").glob(".tmp-*")) == []
    write_cache(path, {"b": random_rows(2, 900)})
    assert open_cache(path)["b"].tobytes() == random_rows(2, 900).tobytes()


def store_many(writer: CacheWriter) -> None:
    for number in range(100):
        store(writer, f"v{number:02d}", random_rows(number, 1))


def store_beyond_a_full_journal(path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with CacheWriter(path, provenance()) as writer:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, hard))
        with pytest.raises(StorageError, match="File too large"):
            store_many(writer)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        store(writer, "w", random_rows(0, 1))


def test_a_journal_line_that_does_not_fit_leaves_no_half_line(tmp_path: Path) -> None:
    path = tmp_path / "c.zarr"
    assert finish(start(store_beyond_a_full_journal, path)) == 0
    cache = open_cache(path)
    assert cache.ids == [f"v{number:02d}" for number in range(len(cache) - 1)] + ["w"]
    assert 3 < len(cache) < 20


def store_without_rights(folder: Path, outcome: Path) -> None:
    descriptor = os.open(outcome, os.O_CREAT | os.O_WRONLY)
    os.chdir(folder)
    if os.geteuid() == 0:
        os.setresuid(65534, 65534, 65534)  # root may write everywhere
    try:
        CacheWriter(Path("c.zarr"), provenance()).close()
    except StorageError as error:
        os.write(descriptor, str(error).encode())


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_that_may_not_be_written_is_a_storage_error(exists: bool, tmp_path: Path) -> None:
    folder = tmp_path / "read-only"
    folder.mkdir()
    path = folder / "c.zarr"
    if exists:
        write_cache(path, {"a": random_rows(1, 3)})
        (path / "_journal").chmod(0o555)
    folder.chmod(0o555)
    assert finish(start(store_without_rights, folder, tmp_path / "outcome")) == 0
    says = (tmp_path / "outcome").read_text()
    assert says.startswith("cannot write c.zarr: Permission denied; ")
    assert "mend the permissions" in says
    folder.chmod(0o755)
    assert path.exists() == exists


def store_while_a_call_fails(path: Path, call: str, number: int, outcome: Path) -> None:
    """Store a video while the `number`-th call of a system function ends in an input/output error."""
    real, calls = getattr(os, call), iter(range(10_000))

    def failing(*arguments: object, **options: object) -> object:
        if next(calls) == number:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(*arguments, **options)

    said = os.open(outcome, os.O_CREAT | os.O_WRONLY)
    write = os.write
    setattr(os, call, failing)
    try:
        with CacheWriter(path, provenance()) as writer:
            store(writer, "b", random_rows(2, 900))
        write(said, b"stored" if next(calls) > number else b"not reached")
    except StorageError as error:
        write(said, error.message.encode())


@pytest.mark.parametrize(("call", "least"), [("fsync", 9), ("write", 3), ("rename", 1), ("mkdir", 2)])
def test_an_input_output_error_at_any_call_commits_nothing_and_the_next_run_completes(
    call: str, least: int, tmp_path: Path
) -> None:
    path, number = tmp_path / "c.zarr", 0
    while True:
        shutil.rmtree(path, ignore_errors=True)
        write_cache(path, {"a": random_rows(1, 3)})
        outcome = tmp_path / f"outcome-{number}"
        assert finish(start(store_while_a_call_fails, path, call, number, outcome)) == 0
        number += 1
        if outcome.read_text() == "not reached":
            break
        if outcome.read_text() == "stored":
            continue  # where it does no harm, as making a folder that is there
        assert outcome.read_text() == f"cannot write {path}: Input/output error"
        assert open_cache(path).ids == ["a"]
        write_cache(path, {"b": random_rows(2, 900)})
        assert open_cache(path)["b"].tobytes() == random_rows(2, 900).tobytes()
        assert verify_cache(path).findings == []
    assert number > least
