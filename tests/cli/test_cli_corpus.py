# SPDX-License-Identifier: Apache-2.0
"""`ophclip corpus build` and `info` as a user types them."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest

from ophclip import console
from ophclip.cli.main import main
from ophclip.corpus import read_corpus
from ophclip.video import write_video

Call = Callable[..., tuple[int, str, str]]
CUES = (
    "1\n00:00:00,000 --> 00:00:04,000\nNow the fake oh emulsification of the nucleus.\n\n"
    "2\n00:00:05,000 --> 00:00:09,000\nThen the lens is injected into the bag.\n"
)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Iterator[Call]:
    before = signal.getsignal(signal.SIGTERM)

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(["corpus", *map(str, arguments)])
        out, err = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, out, err

    yield run
    signal.signal(signal.SIGTERM, before)
    console.set_quiet(False)


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    folder = tmp_path / "downloads"
    folder.mkdir()
    for name in ("a", "b"):
        write_video(folder / f"{name}.mp4", (np.zeros((32, 32, 3), np.uint8) for _ in range(12)), 1)
    (folder / "a.srt").write_text(CUES)
    return folder


def test_build_prints_a_histogram_with_the_threshold(call: Call, downloads: Path, tmp_path: Path) -> None:
    code, out, err = call("build", downloads, "--out", tmp_path / "corpus")
    assert code == 0
    assert "narrated from 0.25 on" in out
    assert "2 videos, 1 narrated" in out
    assert "1 misheard terms mended" in out
    assert "corpus: 2 of 2 videos" in err
    corpus = read_corpus(tmp_path / "corpus")
    assert [video.kind for video in corpus.videos.values()] == ["narrated", "silent"]


def test_build_lists_what_is_wrong_and_exits_with_3(call: Call, downloads: Path, tmp_path: Path) -> None:
    (downloads / "b.srt").write_text("rubbish")
    for number in range(30):
        (downloads / f"c{number}.mp4").touch()
    code, out, _ = call("build", downloads, "--out", tmp_path / "corpus", "--quiet", "--workers", 1)
    assert code == 3
    assert f"problem: {downloads}/b.srt: must have cues" in out
    assert "... and 11 more: all are in build.json" in out
    assert "31 videos are not in the corpus" in out
    code, out, _ = call("build", downloads, "--out", tmp_path / "corpus", "--json")
    told = json.loads(out)
    assert code == 3
    assert len(told["problems"]) == 31
    assert told["narrated"] == 1


def test_options_reach_the_build(call: Call, downloads: Path, tmp_path: Path) -> None:
    options = ("--window-s", "1-4", "--no-correct", "--min-words-per-s", "0.1", "--test-share", "0.99")
    code, out, _ = call("build", downloads, "--out", tmp_path / "corpus", "--json", *options)
    assert code == 0
    told = json.loads(out)
    assert set(told["clips"]) == {"1-4"}
    assert told["corrections"] == 0
    assert told["min_words_per_s"] == 0.1
    assert {video.split for video in read_corpus(tmp_path / "corpus").videos.values()} == {"test"}


@pytest.mark.parametrize(
    "options",
    [
        ("--window-s", "5-3"),
        ("--prefer", "whisperz"),
        ("--min-words-per-s", "-1"),
        ("--dry-run",),
        ("--rewrite", "http://127.0.0.1:1/v1"),
        ("--rewrite", "gopher://x", "--model", "m"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(
    call: Call, downloads: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    code, out, err = call("build", downloads, "--out", tmp_path / "corpus", *options)
    assert (code, out) == (2, "")
    assert err.splitlines()[-2].startswith("error: ")
    assert not (tmp_path / "corpus" / "videos.csv").exists()


def test_a_dry_run_shows_requests_and_writes_nothing(call: Call, downloads: Path, tmp_path: Path) -> None:
    rewrite = ("--rewrite", "http://127.0.0.1:1/v1", "--model", "m", "--dry-run")
    code, out, _ = call("build", downloads, "--out", tmp_path / "corpus", *rewrite)
    assert code == 0
    assert "phacoemulsification of the nucleus" in out
    assert "tokens sent" in out
    code, out, _ = call("build", downloads, "--out", tmp_path / "corpus", *rewrite, "--json")
    assert json.loads(out)["requests"] == 2
    assert not (tmp_path / "corpus" / "videos.csv").exists()


def test_a_model_rewrites_with_the_key_of_the_environment(
    call: Call, downloads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            keys.append(self.headers["Authorization"])
            texts = [f"Rewritten {text[:3]}" for text in json.loads(body["messages"][1]["content"])["texts"]]
            data = json.dumps({"choices": [{"message": {"content": json.dumps({"texts": texts})}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("MY_KEY", "sesame")
    try:
        url = f"http://127.0.0.1:{server.server_port}/v1"
        options = ("--rewrite", url, "--model", "m", "--api-key-env", "MY_KEY")
        code, out, err = call("build", downloads, "--out", tmp_path / "corpus", *options)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert code == 0
    assert "clips and titles rewritten" in out
    assert set(keys) == {"Bearer sesame"}
    assert "sesame" not in out + err
    corpus = read_corpus(tmp_path / "corpus")
    assert all(clip.text.startswith("Rewritten ") for clip in corpus.clips)
    assert all(video.title_structured.startswith("Rewritten ") for video in corpus.videos.values())


def test_info_tells_what_is_there(call: Call, downloads: Path, tmp_path: Path) -> None:
    call("build", downloads, "--out", tmp_path / "corpus", "--quiet")
    code, out, _ = call("info", tmp_path / "corpus")
    assert code == 0
    assert "terms named" in out
    assert "phacoemulsification" in out
    code, out, _ = call("info", tmp_path / "corpus", "--json", "--no-media")
    assert json.loads(out)["videos"] == {"narrated": 1, "silent": 1, "total": 2}
    (downloads / "b.mp4").unlink()
    code, out, _ = call("info", tmp_path / "corpus")
    assert code == 3
    assert "no length: b" in out
    code, _, err = call("info", downloads)
    assert code == 2
    assert "videos.csv" in err


def test_info_reads_a_simulated_corpus(call: Call, simulated_corpus: Path) -> None:
    code, out, _ = call("info", simulated_corpus, "--json", "--quiet")
    assert code == 0
    assert json.loads(out)["hours"]["total"] > 0
