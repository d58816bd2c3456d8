# SPDX-License-Identifier: Apache-2.0
"""Where a cache lies: in a local folder, or below a prefix of an object store (`s3://bucket/prefix`)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ophclip.cache.objects import Bucket, Listed, bucket
from ophclip.errors import UsageError

URL = re.compile(r"s3:/{1,2}(?P<bucket>[^/]+)/*(?P<key>.*)", re.DOTALL)  # a Path keeps one slash of the two


@dataclass(frozen=True)
class ObjectPath:
    """An object or a prefix of an object store, with those methods of a `Path` that readers need."""

    bucket_name: str
    key: str  # without slashes at its ends

    def __str__(self) -> str:
        return f"s3://{self.bucket_name}/{self.key}"

    def __truediv__(self, name: str | Path) -> ObjectPath:
        return self.joinpath(str(name))

    def joinpath(self, *names: str) -> ObjectPath:
        """Return the path of something below this one."""
        return ObjectPath(self.bucket_name, "/".join((self.key, *names)) if self.key else "/".join(names))

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition("/")[2]

    @property
    def bucket(self) -> Bucket:
        """The bucket, to ask for more than a `Path` offers."""
        return bucket(self.bucket_name)

    def read_bytes(self) -> bytes:
        """Return the object.

        Raises:
            FileNotFoundError: it is not there.
            StorageError: the store cannot be reached, or refuses.
            UsageError: there is no such bucket.
        """
        return self.bucket.get(self.key)

    def is_file(self) -> bool:
        """Return whether there is such an object; raises as `read_bytes` does."""
        try:
            self.bucket.size(self.key)
        except FileNotFoundError:
            next(self.bucket.list(self.key), None)  # which says it, where there is no such bucket at all
            return False
        return True

    def list(self) -> Iterator[Listed]:
        """Yield the objects below this prefix; raises as `read_bytes` does."""
        return self.bucket.list(self.key)


Location = Path | ObjectPath
AnyLocation = TypeVar("AnyLocation", Path, ObjectPath)


def location(text: str | Location) -> Location:
    """Read where a cache lies: a path, or the URL of an object store.

    Raises:
        UsageError: the URL names no prefix, or another kind of store.
    """
    if isinstance(text, ObjectPath):
        return text
    match = URL.fullmatch(str(text))
    if match:
        key = "/".join(part for part in match["key"].split("/") if part)
        if not key or ".." in key.split("/") or "." in key.split("/"):
            raise UsageError(f"{text} must name a prefix of its bucket", remedy="pass s3://BUCKET/NAME.zarr")
        return ObjectPath(match["bucket"], key)
    kind = re.match(r"([a-z][a-z0-9+.-]+)://", str(text))
    if kind:
        raise UsageError(f"{text}: {kind[1]}:// is not supported", remedy="name a local folder, or s3://")
    return Path(text)


def local(place: Location, doing: str) -> Path:
    """Return a location that must be a local folder.

    Raises:
        UsageError: it is an object store.
    """
    if isinstance(place, ObjectPath):
        raise UsageError(f"{place}: {doing} needs a local folder", remedy="name a local folder")
    return place


def size_of(place: Location) -> int:
    """Return the size in bytes of a file or an object; raises as `sha256_of` does."""
    return place.bucket.size(place.key) if isinstance(place, ObjectPath) else place.stat().st_size


def sha256_of(place: Location) -> str:
    """Return the SHA-256 of a file or an object as hexadecimal digits.

    Raises:
        OSError: it is not there, or cannot be read.
        StorageError: the object store cannot be reached, or refuses.
    """
    if isinstance(place, ObjectPath):
        checksum = hashlib.sha256()
        for piece in place.bucket.chunks(place.key):
            checksum.update(piece)
        return checksum.hexdigest()
    with place.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
