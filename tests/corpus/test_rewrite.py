# SPDX-License-Identifier: Apache-2.0
"""The rewriter against a real HTTP server on this machine that answers well, badly, late or not at all."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ophclip.corpus import Clip, Corpus, Video
from ophclip.corpus.rewrite import Endpoint, plan_rewrite, rewrite_corpus
from ophclip.corpus.rewrite.endpoint import UnreachableError
from ophclip.errors import UsageError

Answer = Callable[[int, dict[str, Any]], tuple[int, str, dict[str, str]]]


class Server:
    """Answers with what `answer` makes of the number of a request and its body; keeps all requests."""

    def __init__(self) -> None:
        self.answer: Answer = lambda _, body: (200, chat(shouted(body)), {})
        self.requests: list[tuple[float, str, dict[str, str], dict[str, Any]]] = []
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with server._lock:
                    number = len(server.requests)
                    server.requests.append((time.monotonic(), self.path, dict(self.headers), body))
                status, text, headers = server.answer(number, body)
                if status == 0:  # hang up
                    self.connection.close()
                    return
                data = text.encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


def asked(body: dict[str, Any]) -> list[str]:
    return list(json.loads(body["messages"][1]["content"])["texts"])


def shouted(body: dict[str, Any]) -> str:
    return json.dumps({"texts": [text.split("\n")[0].upper() for text in asked(body)]})


def chat(content: str) -> str:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]})


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def corpus_of(clips: int, videos: int = 2) -> Corpus:
    made = {
        f"v{n}": Video(f"v{n}", Path(f"/v{n}.mp4"), "narrated", f"Title {n}", "old", "train")
        for n in range(videos)
    }
    texts = [
        Clip(f"v{n}_{i}", f"v{n}", i, i + 1.0, f"clip {i} of {n}")
        for n in range(videos)
        for i in range(clips)
    ]
    return Corpus(Path("/"), made, texts)


def endpoint(server: Server, **more: Any) -> Endpoint:
    return Endpoint(server.url, "m", **{"backoff_s": 0.01, "timeout_s": 5.0, **more})


def test_clips_and_titles_are_rewritten_and_kept(server: Server, tmp_path: Path) -> None:
    corpus = corpus_of(20)
    made, count, failed = rewrite_corpus(
        corpus, {"v0": ["tag one"]}, endpoint(server, api_key="secret"), tmp_path
    )
    assert failed == []
    assert count == 42
    assert [clip.text for clip in made.clips] == [clip.text.upper() for clip in corpus.clips]
    assert [video.title_structured for video in made.videos.values()] == ["TITLE 0", "TITLE 1"]
    assert made.videos["v0"].title == "Title 0"
    assert len(server.requests) == 5  # 16 + 4 clips a video, and the titles
    _, path, headers, body = server.requests[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret"
    assert body["model"] == "m"
    assert any("tag one" in text for _, _, _, body in server.requests for text in asked(body))
    again = rewrite_corpus(corpus, {"v0": ["tag one"]}, endpoint(server), tmp_path)
    assert again == (made, count, failed)
    assert len(server.requests) == 5, "answers are kept"
    assert not any(b"secret" in path.read_bytes() for path in tmp_path.rglob("*.json"))


def test_another_model_or_text_is_asked_anew(server: Server, tmp_path: Path) -> None:
    rewrite_corpus(corpus_of(2), {}, endpoint(server), tmp_path)
    rewrite_corpus(corpus_of(3), {}, endpoint(server), tmp_path)
    rewrite_corpus(corpus_of(3), {}, Endpoint(server.url, "other"), tmp_path)
    assert len(server.requests) == 3 + 2 + 3


@pytest.mark.parametrize("status", [429, 500, 503, 0])
def test_what_may_pass_is_tried_again(server: Server, tmp_path: Path, status: int) -> None:
    server.answer = lambda number, body: (
        (status, "busy", {}) if number in (0, 1) else (200, chat(shouted(body)), {})
    )
    made, _, failed = rewrite_corpus(corpus_of(2), {}, endpoint(server), tmp_path, threads=1)
    assert failed == []
    assert made.clips[0].text == "CLIP 0 OF 0"
    assert len(server.requests) == 5


def test_a_slow_endpoint_is_given_up_after_the_deadline_and_asked_again(
    server: Server, tmp_path: Path
) -> None:
    def answer(number: int, body: dict[str, Any]) -> tuple[int, str, dict[str, str]]:
        if number == 0:
            time.sleep(0.6)
        return 200, chat(shouted(body)), {}

    server.answer = answer
    made, _, failed = rewrite_corpus(corpus_of(2), {}, endpoint(server, timeout_s=0.2), tmp_path, threads=1)
    assert failed == []
    assert made.clips[0].text == "CLIP 0 OF 0"


def test_the_endpoint_says_how_long_to_wait(server: Server, tmp_path: Path) -> None:
    server.answer = lambda number, body: (
        (429, "", {"Retry-After": "0.5"}) if number == 0 else (200, chat(shouted(body)), {})
    )
    rewrite_corpus(corpus_of(1, videos=1), {}, endpoint(server), tmp_path, threads=1)
    assert server.requests[1][0] - server.requests[0][0] >= 0.45


def test_requests_are_spread_over_the_minute(server: Server, tmp_path: Path) -> None:
    rewrite_corpus(corpus_of(1, videos=3), {}, endpoint(server, requests_per_minute=600), tmp_path)
    times = sorted(request[0] for request in server.requests)
    assert times[-1] - times[0] >= 0.25  # four requests, 0.1 s apart


@pytest.mark.parametrize(
    "content",
    [
        "Sure! Here you are.",
        '{"texts": ["one"]}',
        '{"texts": ["", ""]}',
        '{"texts": [1, 2]}',
        '["a", "b"]',
        json.dumps({"texts": ["x" * 5000, "y"]}),
    ],
)
def test_garbage_keeps_the_text_and_is_told(server: Server, tmp_path: Path, content: str) -> None:
    def answer(_: int, body: dict[str, Any]) -> tuple[int, str, dict[str, str]]:
        return 200, chat(content if "clip 0 of 1" in asked(body) else shouted(body)), {}

    server.answer = answer
    made, count, failed = rewrite_corpus(corpus_of(2), {}, endpoint(server), tmp_path, threads=1)
    assert [clip.text for clip in made.clips] == ["CLIP 0 OF 0", "CLIP 1 OF 0", "clip 0 of 1", "clip 1 of 1"]
    assert count == 4
    assert [what for what, _ in failed] == ["clips v1_0 to v1_1"]
    assert "3 answers could not be used" in failed[0][1]
    server.answer = lambda _, body: (200, chat(f"```json\n{shouted(body)}\n```"), {})
    mended, _, failed = rewrite_corpus(corpus_of(2), {}, endpoint(server), tmp_path, threads=1)
    assert failed == []
    assert mended.clips[-1].text == "CLIP 1 OF 1"


@pytest.mark.parametrize("reply", ["<html>", "{}", '{"choices": []}', '{"choices": [{"message": {}}]}'])
def test_an_answer_of_another_protocol_is_an_error(server: Server, tmp_path: Path, reply: str) -> None:
    server.answer = lambda _, body: (200, reply, {})
    with pytest.raises(UnreachableError, match="not that of a chat endpoint"):
        rewrite_corpus(corpus_of(1), {}, endpoint(server, attempts=2), tmp_path, threads=1)


@pytest.mark.parametrize("status", [400, 401, 404])
def test_a_refusal_for_good_stops_at_once(server: Server, tmp_path: Path, status: int) -> None:
    server.answer = lambda _, body: (status, '{"error": "no such model"}', {})
    with pytest.raises(UsageError, match="no such model"):
        rewrite_corpus(corpus_of(200), {}, endpoint(server), tmp_path, threads=2)
    assert len(server.requests) <= 4


def test_a_redirect_is_refused_lest_the_key_goes_elsewhere(server: Server, tmp_path: Path) -> None:
    server.answer = lambda _, body: (307, "", {"Location": "http://127.0.0.1:9/steal"})
    with pytest.raises(UsageError, match="HTTP 307"):
        rewrite_corpus(corpus_of(1), {}, endpoint(server, api_key="secret"), tmp_path, threads=1)


def test_an_endpoint_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    nowhere = Endpoint("http://127.0.0.1:1/v1", "m", attempts=2, backoff_s=0.01)
    with pytest.raises(UnreachableError) as caught:
        rewrite_corpus(corpus_of(1), {}, nowhere, tmp_path)
    assert "run the same command again" in caught.value.remedy
    with pytest.raises(UsageError):
        Endpoint("ftp://x", "m")


def test_an_interrupted_rewriting_goes_on(server: Server, tmp_path: Path) -> None:
    server.answer = lambda number, body: (200, chat(shouted(body)), {}) if number < 2 else (403, "", {})
    with pytest.raises(UsageError):
        rewrite_corpus(corpus_of(20), {}, endpoint(server), tmp_path, threads=1)
    server.answer = lambda _, body: (200, chat(shouted(body)), {})
    before = len(server.requests)
    made, _, failed = rewrite_corpus(corpus_of(20), {}, endpoint(server), tmp_path, threads=1)
    assert failed == []
    assert len(server.requests) - before == 3
    assert all(clip.text.isupper() for clip in made.clips)


def test_damaged_answers_on_disk_are_asked_for_again(server: Server, tmp_path: Path) -> None:
    rewrite_corpus(corpus_of(1, videos=1), {}, endpoint(server), tmp_path)
    for path in tmp_path.rglob("*.json"):
        path.write_bytes(path.read_bytes()[:5])
    for _ in range(2):
        made, _, _ = rewrite_corpus(corpus_of(1, videos=1), {}, endpoint(server), tmp_path)
        assert made.clips[0].text == "CLIP 0 OF 0"
    assert len(server.requests) == 4


def test_a_plan_counts_and_sends_nothing(server: Server, tmp_path: Path) -> None:
    plan = plan_rewrite(corpus_of(20), {}, "m", tmp_path)
    assert (plan.requests, plan.answered, len(plan.first)) == (5, 0, 2)
    assert plan.sent_tokens > 5 * 100
    assert server.requests == []
    rewrite_corpus(corpus_of(20), {}, endpoint(server), tmp_path)
    later = plan_rewrite(corpus_of(20), {}, "m", tmp_path)
    assert (later.answered, later.sent_tokens, later.first) == (5, 0, [])
