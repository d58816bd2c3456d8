# SPDX-License-Identifier: Apache-2.0
"""Ask an OpenAI-compatible endpoint, patiently: what may pass is tried again, slower each time."""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from email.message import Message
from typing import IO, Any

from ophclip.errors import OphclipError, UsageError

PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})  # what another attempt may cure
MAX_WAIT_S = 60.0
MAX_REPLY_BYTES = 16 * 2**20


class UnreachableError(OphclipError):
    """The endpoint gave no usable answer in all attempts."""


@dataclass
class Endpoint:
    """Where to ask, and how patiently.

    `url` is the base that ends in /v1, or the full address of its chat/completions. A request takes at most
    `timeout_s`; one that fails in a way that may pass is sent `attempts` times in all, after `backoff_s`,
    twice that, and so on, or what the endpoint asks for. `requests_per_minute` holds over all threads.
    """

    url: str
    model: str
    api_key: str | None = None
    timeout_s: float = 120.0
    attempts: int = 5
    backoff_s: float = 1.0
    requests_per_minute: float | None = None
    _next_s: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Check the address."""
        if not self.url.startswith(("http://", "https://")):
            raise UsageError(
                f"the endpoint must be an http(s) address, got {self.url!r}",
                remedy="pass --rewrite http://localhost:8000/v1",
            )
        if not self.url.rstrip("/").endswith("/chat/completions"):
            self.url = self.url.rstrip("/") + "/chat/completions"
        # A redirect is refused: it would carry the key to another host.
        self._opener = urllib.request.build_opener(_NoRedirects)

    def ask(self, body: dict[str, Any]) -> str:
        """Send one request and return the text of the answer.

        Raises:
            UsageError: the endpoint refuses it for good: a wrong key, model or address.
            UnreachableError: it failed in every attempt.
        """
        data = json.dumps(body).encode()
        reason = ""
        for number in range(self.attempts):
            if number:
                time.sleep(min(self.backoff_s * 2 ** (number - 1), MAX_WAIT_S))
            self._wait_for_turn()
            try:
                return self._send(data)
            except urllib.error.HTTPError as error:
                reason = f"HTTP {error.code}: {_told_by(error)}"
                if error.code not in PASSING:
                    raise UsageError(
                        f"{self.url} refuses the request: {reason}",
                        remedy="check the address, --model, and the key in the environment",
                    ) from error
                self._hold(error.headers)
            except (OSError, http.client.HTTPException) as error:  # refused, reset, timed out, cut short
                reason = f"{type(error).__name__}: {error}"
            except (ValueError, KeyError, IndexError, TypeError):
                reason = "the answer is not that of a chat endpoint"
        raise UnreachableError(
            f"{self.url}: {self.attempts} attempts failed, the last with {reason}",
            remedy="check that it runs; run the same command again: what was answered is kept",
        )

    def _send(self, data: bytes) -> str:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        request = urllib.request.Request(self.url, data=data, headers=headers, method="POST")
        with self._opener.open(request, timeout=self.timeout_s) as response:
            content = json.loads(response.read(MAX_REPLY_BYTES))["choices"][0]["message"]["content"]
        if not isinstance(content, str):
            raise ValueError("content must be text")
        return content

    def _wait_for_turn(self) -> None:
        with self._lock:
            now = time.monotonic()
            turn_s = max(now, self._next_s)
            if self.requests_per_minute:
                self._next_s = turn_s + 60 / self.requests_per_minute
        time.sleep(turn_s - now)

    def _hold(self, headers: Message) -> None:
        """Let all threads wait for as long as the endpoint asks."""
        try:
            wait_s = min(float(headers.get("Retry-After", "0")), MAX_WAIT_S)
        except ValueError:
            return  # a date: the usual waiting has to do
        with self._lock:
            self._next_s = max(self._next_s, time.monotonic() + wait_s)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        return None


def _told_by(error: urllib.error.HTTPError) -> str:
    try:
        text = error.read(400).decode("utf-8", "replace")
    except OSError:
        text = ""
    return " ".join(text.split()) or error.reason
