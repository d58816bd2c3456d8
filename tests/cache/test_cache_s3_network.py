# SPDX-License-Identifier: Apache-2.0
"""Caches in an object store whose network fails, hangs or refuses: whole videos or none, and said in time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cache_corpus import (
    build,
    check_visible,
    contents,
)
from s3_places import keys, new_place, use
from s3_server import (
    CUT,
    DENY,
    FAIL,
    FAIL_LATE,
    HANG,
    HANG_LATE,
    REFUSE,
    Proxy,
    Request,
)

from ophclip.cache import (
    CacheInput,
    objects,
    open_cache,
)
from ophclip.cache.content import content_hash
from ophclip.cache.location import ObjectPath
from ophclip.cache.objects import TIMEOUT_VARIABLE
from ophclip.errors import StorageError, UsageError

pytest.importorskip("obstore")

POINTS = ("mid-data", "after-data", "after-metadata", "before-journal", "after-journal")


def first_try(fate: str, *methods: str) -> Any:
    return lambda request: fate if request.method in methods and request.count == 0 else ""


@pytest.mark.parametrize("fate", [FAIL, FAIL_LATE])
def test_a_server_that_fails_each_request_once_does_no_harm(
    fate: str, proxy: Proxy, clips: list[CacheInput], built: Path
) -> None:
    place = new_place()
    proxy.fate = first_try(fate, "GET", "PUT", "POST", "HEAD")
    build(clips, place)
    assert content_hash(open_cache(place)) == content_hash(open_cache(built))
    assert contents(place) == contents(built)  # type: ignore[arg-type]


@pytest.mark.parametrize("fate", [HANG, HANG_LATE, CUT])
def test_requests_that_hang_or_break_off_are_made_again(
    fate: str, proxy: Proxy, clips: list[CacheInput], built: Path
) -> None:
    place = new_place()
    hung = set[str]()

    def fates(request: Request) -> str:
        kind = f"{request.method} {request.path.split('/c', 1)[-1][-12:]}"  # a few of them take long enough
        if request.count or kind in hung or len(hung) > 1 or request.method == "HEAD":
            return ""
        hung.add(kind)
        return fate

    proxy.fate = fates
    build(clips, place)
    assert contents(place) == contents(built)  # type: ignore[arg-type]
    assert hung


def test_a_listing_that_breaks_off_is_made_again(proxy: Proxy, clips: list[CacheInput], built: Path) -> None:
    place = new_place()
    build(clips, place)
    cut: list[Request] = []

    def fate(request: Request) -> str:
        if "list-type" not in request.path or request.count:
            return ""
        cut.append(request)
        return CUT

    proxy.seen.clear()
    proxy.fate = fate
    assert contents(place) == contents(built)  # type: ignore[arg-type]
    assert any("delimiter" in request.path for request in cut)
    assert len(cut) == 4, "what lies directly in the journal, and its three levels"


def test_a_server_that_says_nothing_ends_a_build_in_time_and_commits_nothing(
    proxy: Proxy, clips: list[CacheInput], built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "MAX_RETRIES", 0)
    monkeypatch.setenv(TIMEOUT_VARIABLE, "0.5")
    place = new_place()
    build(clips[:2], place)
    proxy.fate = lambda request: HANG if request.method == "PUT" and "v2" in request.path else ""
    with pytest.raises(StorageError, match="s3://") as raised:
        build(clips, place)
    assert "AWS_ENDPOINT_URL" in raised.value.remedy
    assert "goes on" in raised.value.remedy
    proxy.fate = lambda _: ""
    assert open_cache(place).ids == ["v0", "v1"]
    build(clips, place)
    assert content_hash(open_cache(place)) == content_hash(open_cache(built))


def test_a_commit_whose_answer_is_lost_is_whole(
    proxy: Proxy, clips: list[CacheInput], built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "MAX_RETRIES", 0)
    place = new_place()
    proxy.fate = lambda request: FAIL_LATE if "_journal/commits/0/" in request.path else ""
    with pytest.raises(StorageError):
        build(clips, place)
    proxy.fate = lambda _: ""
    assert check_visible(place, contents(built)) <= {"v0"}  # type: ignore[arg-type]
    build(clips, place)
    assert contents(place) == contents(built)  # type: ignore[arg-type]


def test_a_store_without_conditional_writes_serves_too(
    proxy: Proxy, clips: list[CacheInput], built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "MAX_RETRIES", 0)
    place = new_place()
    proxy.fate = lambda request: REFUSE if request.is_conditional else ""
    build(clips, place)
    assert contents(place) == contents(built)  # type: ignore[arg-type]
    assert sum(request.is_conditional for request in proxy.seen) == 1, "it is asked once"


def test_a_missing_bucket_is_named(place: ObjectPath, clips: list[CacheInput]) -> None:
    nowhere = ObjectPath("no-such-bucket", "c.zarr")
    for act in (lambda: open_cache(nowhere), lambda: build(clips, nowhere)):
        with pytest.raises(UsageError, match="there is no bucket 'no-such-bucket'") as raised:
            act()
        assert "create it" in raised.value.remedy


def test_no_cache_at_a_prefix_is_said(place: ObjectPath) -> None:
    with pytest.raises(UsageError, match=f"no cache at {place}"):
        open_cache(place)


def test_something_else_at_a_prefix_is_left_alone(place: ObjectPath, clips: list[CacheInput]) -> None:
    place.bucket.put(f"{place.key}/notes.txt", b"mine")
    with pytest.raises(UsageError, match="exists and is not a cache"):
        build(clips, place)
    assert keys(place) == ["notes.txt"]


def test_wrong_credentials_are_said_with_the_servers_words(proxy: Proxy, clips: list[CacheInput]) -> None:
    proxy.fate = lambda _: DENY
    place = new_place()
    for act in (lambda: open_cache(place), lambda: build(clips, place)):
        with pytest.raises(StorageError, match="access denied") as raised:
            act()
        assert "AWS_SECRET_ACCESS_KEY" in raised.value.remedy


def test_no_network_is_said_in_time(place: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "http://127.0.0.1:9")
    monkeypatch.setenv(TIMEOUT_VARIABLE, "0.3")
    with pytest.raises(StorageError, match="s3://surgery") as raised:
        open_cache(place)
    assert "check the network and AWS_ENDPOINT_URL (http://127.0.0.1:9)" in raised.value.remedy


def test_no_credentials_are_said(place: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(StorageError, match="no credentials were found") as raised:
        open_cache(place)
    assert "AWS_ACCESS_KEY_ID" in raised.value.remedy


@pytest.mark.parametrize("text", ["0", "-1", "soon", "nan"])
def test_a_time_limit_that_is_none_is_refused(
    text: str, place: ObjectPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TIMEOUT_VARIABLE, text)
    with pytest.raises(UsageError, match=TIMEOUT_VARIABLE):
        open_cache(place)
