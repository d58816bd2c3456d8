# SPDX-License-Identifier: Apache-2.0
"""A real S3 server on the loopback, and before it a proxy that does to requests what bad networks do."""

from __future__ import annotations

import http.client
import logging
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from moto.server import ThreadedMotoServer

BUCKET = "surgery"

# What the proxy does with a request: pass it on, or one of these.
FAIL = "answer with 500"
FAIL_LATE = "pass it on, and answer with 500"
HANG = "say nothing"
HANG_LATE = "pass it on, and say nothing"
CUT = "close the connection in the middle of the answer"
DENY = "answer with 403"
REFUSE = "answer with 501"
DENIED = (
    b"<Error><Code>InvalidAccessKeyId</Code><Message>The key does not exist in our records.</Message></Error>"
)


@dataclass
class Request:
    """A request as the proxy sees it, counted for each method and path."""

    method: str
    path: str
    count: int
    is_conditional: bool


@dataclass
class Proxy:
    """`fate` decides on each request; "" passes it on."""

    port: int
    fate: Callable[[Request], str] = lambda _: ""
    seen: list[Request] = field(default_factory=list)
    sent: int = 0  # bytes of answers
    is_over: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def s3_server() -> Iterator[int]:
    """Run moto's server with an empty bucket; give its port."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        _, port = server.get_host_and_port()
        put = urllib.request.Request(f"http://127.0.0.1:{port}/{BUCKET}", method="PUT")
        urllib.request.urlopen(put).close()
        yield port
    finally:
        server.stop()


class ProxyServer(ThreadingHTTPServer):
    """Listens for requests to the server at port `target`."""

    daemon_threads = True

    def __init__(self, target: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.target, self.lock = target, threading.Lock()
        self.proxy = Proxy(self.server_address[1])


class Handler(BaseHTTPRequestHandler):
    """Does to each request what its server's `proxy` decides."""

    protocol_version = "HTTP/1.1"
    server: ProxyServer

    def log_message(self, *_: object) -> None:
        pass

    def finish(self) -> None:
        with suppress(OSError):  # who asked has given up
            super().finish()

    def handle_one(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.server.lock:
            same = (self.command, self.path)
            count = sum((each.method, each.path) == same for each in self.server.proxy.seen)
            request = Request(*same, count, "If-None-Match" in self.headers)
            self.server.proxy.seen.append(request)
        fate = self.server.proxy.fate(request)
        if fate == HANG:
            self.hang()
        elif fate == FAIL:
            self.answer(500, b"<Error><Code>InternalError</Code><Message>We are sorry.</Message></Error>")
        elif fate == DENY:
            self.answer(403, DENIED)
        elif fate == REFUSE:
            self.answer(501, b"<Error><Code>NotImplemented</Code><Message>No.</Message></Error>")
        else:
            self.pass_on(body, fate)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_one  # noqa: N815

    def pass_on(self, body: bytes, fate: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.target, timeout=30)
        connection.request(self.command, self.path, body, dict(self.headers))
        response = connection.getresponse()
        data, headers = response.read(), response.headers
        connection.close()
        if fate == HANG_LATE:
            self.hang()
        elif fate == FAIL_LATE:
            self.answer(500, b"")
        else:
            self.answer(response.status, data, headers, is_cut=fate == CUT)

    def hang(self) -> None:
        self.server.proxy.is_over.wait(60)
        self.close_connection = True

    def answer(self, status: int, data: bytes, headers: Message | None = None, is_cut: bool = False) -> None:
        self.close_connection = is_cut
        with self.server.lock:
            self.server.proxy.sent += len(data)
        self.send_response(status)
        length = (headers or {}).get("Content-Length", str(len(data)))
        kept = ("ETag", "Last-Modified", "Content-Type", "Content-Range", "x-amz-version-id")
        for name in kept:
            if headers and name in headers:
                self.send_header(name, headers[name])
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            with suppress(OSError):  # who asked has given up
                self.wfile.write(data[: len(data) // 2] if is_cut else data)


@contextmanager
def proxy_to(server_port: int) -> Iterator[Proxy]:
    """Run a proxy in front of the server at a port."""
    server = ProxyServer(server_port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.proxy
    finally:
        server.proxy.is_over.set()
        server.shutdown()
        server.server_close()
