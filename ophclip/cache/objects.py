# SPDX-License-Identifier: Apache-2.0
"""An S3 bucket through obstore: bounded in time and in requests at once, with errors that say what to do.

Endpoint, region and credentials come from the usual AWS_* variables. Every request has a time limit and is
tried again a few times, so that no call hangs and a server's bad minute does no harm.
"""

from __future__ import annotations

import ipaddress
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from tempfile import SpooledTemporaryFile
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ophclip.cache.object_errors import NO_CREDENTIALS, RangeError, explained, no_credentials, short_form
from ophclip.errors import StorageError, UsageError

MAX_REQUESTS = 32  # of one process at once
MAX_RETRIES = 6
TRIES = 3  # of what obstore does not try again: changes after a time-out, listings that broke off
TIMEOUT_VARIABLE = "OPHCLIP_S3_TIMEOUT"  # seconds a request may take
TIMEOUT_S, CONNECT_S, RETRY_S = 60.0, 10.0, 90.0  # of a request, of its connection, until the last retry
BACKOFF_S, MAX_BACKOFF_S = 0.2, 5.0
PART_BYTES = 8 << 20  # of a large upload
SPOOL_BYTES = 16 << 20  # of an upload in memory; what is longer waits in a temporary file

Result = TypeVar("Result")
Item = TypeVar("Item")


@dataclass(frozen=True)
class Listed:
    """An object of a listing."""

    key: str
    size: int  # bytes
    modified: datetime


class Bucket:
    """One bucket. A missing object is a `FileNotFoundError`, all else a `StorageError` or `UsageError`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._stores: dict[int, Any] = {}  # of this process; a forked one cannot use its parent's
        self._knows_conditions = True

    def get(self, key: str) -> bytes:
        """Return an object."""
        import obstore

        return self._try(key, lambda store: bytes(obstore.get(store, key).bytes()))

    def get_ranges(self, key: str, starts: Sequence[int], lengths: Sequence[int]) -> list[Any]:
        """Return ranges of bytes of one object, each as a buffer; one past the end is an `IndexError`."""
        import obstore

        try:
            return list(
                self._try(key, lambda store: obstore.get_ranges(store, key, starts=starts, lengths=lengths))
            )
        except RangeError as error:
            raise IndexError(f"{self.url(key)} is too short") from error

    def chunks(self, key: str) -> Iterator[Any]:
        """Yield an object in pieces, as they come."""
        import obstore

        stream = iter(self._try(key, lambda store: obstore.get(store, key)))
        while (piece := self._try(key, lambda _: next(stream, None))) is not None:
            yield piece

    def size(self, key: str) -> int:
        """Return the size of an object in bytes."""
        import obstore

        return int(self._try(key, lambda store: obstore.head(store, key))["size"])

    def put(self, key: str, data: bytes | SpooledTemporaryFile[bytes]) -> None:
        """Store an object, whole or not at all; what was there is replaced."""
        import obstore

        def put(store: Any) -> None:
            if not isinstance(data, bytes):
                data.seek(0)
            obstore.put(store, key, data, chunk_size=PART_BYTES, max_concurrency=4)

        self._try(key, put, tries=TRIES)

    def create(self, key: str, data: bytes) -> bool:
        """Store an object unless one is there, whole or not at all; return whether it now has these bytes.

        A store that knows no such condition replaces it: use keys that nobody else writes.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError

        def create(store: Any) -> bool:
            try:
                obstore.put(store, key, data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
            return True

        if self._knows_conditions:
            try:
                # Where it is there, an earlier try may have come through after all.
                return self._try(key, create, tries=TRIES) or self.get(key) == data
            except NotImplementedError:
                self._knows_conditions = False
        self.put(key, data)
        return True

    def list(self, prefix: str) -> Iterator[Listed]:
        """Yield the objects below a prefix, in the order of their keys."""
        last, left = "", TRIES  # obstore does not ask again for a page whose transfer broke off
        while True:
            try:
                for found in self._pages(prefix, last):
                    last = found.key
                    yield found
                return
            except StorageError:
                left -= 1
                if not left:
                    raise
                time.sleep(BACKOFF_S)

    def files(self, prefix: str) -> Iterator[Listed]:
        """Yield the objects that lie directly below a prefix."""
        import obstore

        found = self._try(prefix, lambda store: obstore.list_with_delimiter(store, prefix), tries=TRIES)
        for each in found["objects"]:
            yield Listed(each["path"], each["size"], each["last_modified"])

    def _pages(self, prefix: str, after: str) -> Iterator[Listed]:
        import obstore

        def begin(store: Any) -> Any:
            return iter(obstore.list(store, prefix, offset=after or None, chunk_size=1000))

        stream = self._try(prefix, begin)
        while (page := self._try(prefix, lambda _: next(stream, None))) is not None:
            for found in page:
                yield Listed(found["path"], found["size"], found["last_modified"])

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; those that are not there are none to remove."""
        import obstore

        if keys:
            self._try(keys[0], lambda store: obstore.delete(store, list(keys)), tries=TRIES)

    def url(self, key: str) -> str:
        """Return the URL of a key."""
        return f"s3://{self.name}/{key}"

    def _try(self, key: str, act: Callable[[Any], Result], tries: int = 1) -> Result:
        for left in reversed(range(tries)):
            try:
                with explained(self.name, key):
                    return act(self._store())
            except StorageError:
                if not left:
                    raise
                time.sleep(BACKOFF_S)
        raise AssertionError("a loop that ends by return or raise")

    def _store(self) -> Any:
        process = os.getpid()
        if process not in self._stores:
            _check_not_forked()
            self._stores[process] = _connect(self.name)
        return self._stores[process]


def at_once(act: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield `act(item)` of each, in order, while some are under way at once, not far ahead."""
    pool, ahead = ThreadPoolExecutor(MAX_REQUESTS), deque[Future[Result]]()
    try:
        for item in items:
            ahead.append(pool.submit(act, item))
            if len(ahead) > 2 * MAX_REQUESTS:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


_user: list[int] = []  # the process that has started obstore's threads, which do not survive a fork


def _check_not_forked() -> None:
    if not _user:
        _user.append(os.getpid())
    if _user[0] != os.getpid():
        raise UsageError(
            "a process that was forked cannot read object stores, for its parent does",
            remedy="start workers with spawn: DataLoader(..., multiprocessing_context='spawn')",
        )


def _connect(bucket: str) -> Any:
    try:
        from obstore.store import S3Store
    except ImportError as error:
        raise UsageError(
            "s3:// needs the package obstore", remedy="install it: pip install 'ophclip[s3]'"
        ) from error
    timeout_s = _timeout_s()
    options: dict[str, Any] = {
        "timeout": timedelta(seconds=timeout_s),
        "connect_timeout": timedelta(seconds=min(CONNECT_S, timeout_s)),
    }
    if _is_loopback(os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""):
        options["allow_http"] = True
    backoff = {
        "init_backoff": timedelta(seconds=BACKOFF_S),
        "max_backoff": timedelta(seconds=MAX_BACKOFF_S),
        "base": 2,
    }
    retries: dict[str, Any] = {
        "max_retries": MAX_RETRIES,
        "retry_timeout": timedelta(seconds=min(RETRY_S, 3 * timeout_s)),
        "backoff": backoff,
    }
    try:
        return S3Store(bucket, client_options=options, retry_config=retries)
    except Exception as error:  # a variable is missing, or says what obstore cannot read
        if any(sign in str(error) for sign in NO_CREDENTIALS):
            raise no_credentials(f"s3://{bucket}") from error
        raise UsageError(f"s3://{bucket}: {short_form(error)}", remedy="mend the AWS_* variables") from error


def _timeout_s() -> float:
    text = os.environ.get(TIMEOUT_VARIABLE, "")
    try:
        seconds = float(text) if text else TIMEOUT_S
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 86400:
        raise UsageError(f"{TIMEOUT_VARIABLE} must be seconds, got {text!r}", remedy="set 60, or unset it")
    return seconds


def _is_loopback(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@cache
def bucket(name: str) -> Bucket:
    """Return the bucket of a name."""
    return Bucket(name)
