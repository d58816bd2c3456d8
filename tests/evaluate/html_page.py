# SPDX-License-Identifier: Apache-2.0
"""A page of HTML taken apart, for the tests of what is written in one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

VOID = ("meta", "br", "img", "link", "input", "hr")


@dataclass
class Number:
    """A number as a page shows it: its exact value, its place in the JSON, and the text."""

    value: str
    place: list[str]
    text: str = ""

    def found_in(self, document: Any) -> Any:
        """Return what stands at its place."""
        for part in self.place:
            document = document[int(part) if isinstance(document, list) else part]
        return document


class Page(HTMLParser):
    """The tags of a page with their attributes, its text without styles, and its numbers."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.numbers: list[Number] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "data":
            found = dict(attrs)
            self.numbers.append(Number(found["value"] or "", json.loads(found["data-key"] or "")))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text += data
        if self._open and self._open[-1] == "data":
            self.numbers[-1].text += data

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"<{tag}> is closed before what is in it"

    def names(self) -> set[str]:
        """Return the names of the tags."""
        return {tag for tag, _ in self.tags}


def assert_loads_nothing(html: str) -> None:
    """Fail where a page has a script, or anything that a browser would fetch."""
    page = Page(html)
    assert page.names().isdisjoint({"script", "link", "iframe", "object", "embed", "img", "image", "base"})
    loads = {"src", "href", "xlink:href", "data", "srcset", "poster", "action", "background"}
    named = {name for _, attributes in page.tags for name in attributes}
    assert named.isdisjoint(loads)
    assert not {name for name in named if name.startswith("on")}
    assert "@import" not in html
    assert html.count("url(") == html.count("url(#")
    policies = [found["content"] for tag, found in page.tags if "http-equiv" in found and tag == "meta"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]
