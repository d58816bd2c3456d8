# SPDX-License-Identifier: Apache-2.0
"""The journal in an object store: lines in objects that are written once, and merged so that few are left.

_journal/<kind>/0/<writer>-<number>.jsonl    one line: written by one PUT, which is the commit
_journal/<kind>/1/...                        the lines of one writer, merged by itself
_journal/<kind>/2/...                        the lines of many writers, merged where objects have become many
_journal/<kind>-<writer>.jsonl               as on a disk, in a cache that was copied from there; only read

What is merged is removed only once its lines lie on a higher level, and a reader lists the levels in turn. So
it meets every line at least once; one that it meets twice says the same twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ophclip.cache.layout import JOURNAL
from ophclip.cache.location import ObjectPath
from ophclip.cache.objects import Listed, at_once
from ophclip.errors import StorageError

LEVELS = (0, 1, 2)
MAX_SMALL = 1000  # objects below the last level, before a writer that begins merges them
LINES_EACH = 2000  # of a merged object, some 500 bytes each
MAX_TRIES = 10  # of reading, while others merge


def journal_objects(cache: ObjectPath, kind: str) -> dict[str, bytes]:
    """Return every object of a journal by its name below `_journal`, in the order of levels and names.

    Raises:
        StorageError: the store cannot be read.
    """
    folder = cache / JOURNAL
    for _ in range(MAX_TRIES):
        names = [name for name in _names(folder, folder.bucket.files(folder.key)) if _is_copied(name, kind)]
        for level in LEVELS:
            names += _names(folder, folder.joinpath(kind, str(level)).list())
        try:
            texts = list(at_once(lambda name: (folder / name).read_bytes(), names))
        except FileNotFoundError:
            continue  # merged since it was listed: its lines lie in another object now
        return dict(zip(names, texts, strict=True))
    raise StorageError(f"{folder} changes faster than it is read", remedy="try again later")


def object_name(kind: str, level: int, writer: str, number: int) -> str:
    """Return the name of a writer's object below `_journal`."""
    return f"{kind}/{level}/{writer}-{number:06d}.jsonl"


def merge(
    cache: ObjectPath, kind: str, objects: Mapping[str, bytes], level: int, writer: str, number: int
) -> None:
    """Write the lines of some objects to few of a higher level, and remove those objects."""
    folder = cache / JOURNAL
    for place, text in enumerate(_portions(objects)):
        name = object_name(kind, level, writer, number + place)
        folder.bucket.create((folder / name).key, text)
    folder.bucket.delete([(folder / name).key for name in objects])


def merge_if_many(cache: ObjectPath, kind: str, writer: str) -> None:
    """Merge the small objects that others left, if they are so many that opening would take long.

    Also while those others write: they know their own lines, and merging twice does no harm.
    """
    folder = cache / JOURNAL
    count = sum(1 for level in LEVELS[:-1] for _ in folder.joinpath(kind, str(level)).list())
    if count > MAX_SMALL:
        objects = journal_objects(cache, kind)
        last = f"{kind}/{LEVELS[-1]}/"
        small = {
            name: text
            for name, text in objects.items()
            if not name.startswith(last) and not _is_copied(name, kind)
        }
        merge(cache, kind, small, LEVELS[-1], writer, 0)


def _names(folder: ObjectPath, found: Iterable[Listed]) -> list[str]:
    return [each.key.removeprefix(f"{folder.key}/") for each in found]


def _is_copied(name: str, kind: str) -> bool:
    return name.startswith(f"{kind}-") and name.endswith(".jsonl")


def _portions(objects: Mapping[str, bytes]) -> Iterator[bytes]:
    lines = list(dict.fromkeys(line for text in objects.values() for line in text.splitlines(keepends=True)))
    for first in range(0, len(lines), LINES_EACH):
        yield b"".join(lines[first : first + LINES_EACH])
