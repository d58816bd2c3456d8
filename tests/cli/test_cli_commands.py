# SPDX-License-Identifier: Apache-2.0
"""Commands as a user types them: what goes to stdout, what to stderr, and the exit code."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest

from ophclip import console
from ophclip.cache import FrameRows, build_cache, find_inputs
from ophclip.cli.main import COMMANDS, main, ophclip
from ophclip.evaluate.report_rules import RULES
from ophclip.pretrain import speed
from ophclip.video import Geometry


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code, and the text on both streams."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on stdout; anything else there is an error."""
        return json.loads(self.out)

    @property
    def remedy(self) -> str:
        """The last line of an error, after checking that it is one."""
        message, remedy = self.err.splitlines()[-2:]
        assert message.startswith("error: ")
        assert "Traceback" not in self.err
        assert self.out == ""
        return remedy


Call = Callable[..., Done]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Iterator[Call]:
    before = signal.getsignal(signal.SIGTERM)

    def run(*arguments: object) -> Done:
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return Done(caught.value.code, out, err)

    yield run
    signal.signal(signal.SIGTERM, before)
    console.set_quiet(False)


@pytest.fixture(scope="module")
def run(untrained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the run, into which commands write."""
    return Path(shutil.copytree(untrained_run, tmp_path_factory.mktemp("cli") / "run"))


@pytest.fixture(scope="module")
def config(simulated_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration of a small pretraining, with its cache of frames."""
    folder = tmp_path_factory.mktemp("config")
    cache = folder / "frames.zarr"
    build_cache(find_inputs([simulated_corpus]), cache, encoder=FrameRows(Geometry(32, 32, "crop")), fps=2)
    path = folder / "small.toml"
    path.write_text(
        f'corpus = "{simulated_corpus}"\ncache = "{cache}"\n'
        "steps = 2\ndim = 32\nclip_frames = 1\nvideo_frames = 2\nclip_steps = 1\n"
        "batch_clips = 2\nbatch_videos = 1\ndevice = 'cpu'\n"
    )
    return path


def leaves() -> dict[str, click.Command]:
    """Every command that does something, by the words that call it."""
    context = click.Context(ophclip)
    found: dict[str, click.Command] = {}
    for name in COMMANDS:
        command = ophclip.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            found |= {f"{name} {inner}": leaf for inner, leaf in command.commands.items()}
        else:
            found[name] = command
    return found


@pytest.mark.parametrize("words", [*COMMANDS, *leaves()])
def test_every_command_has_help(words: str, call: Call) -> None:
    for flag in ("--help", "-h"):
        done = call(*words.split(), flag)
        assert done.code == 0
        assert done.out.startswith(f"Usage: ophclip {words} ")
        assert done.err == ""


@pytest.mark.parametrize(("words", "command"), leaves().items())
def test_every_command_knows_json_and_quiet_and_has_a_sentence(words: str, command: click.Command) -> None:
    options = {name for parameter in command.params for name in parameter.opts}
    assert {"--json", "--quiet"} <= options, words
    assert (command.help or "").rstrip().endswith("."), words


def test_the_program_without_a_command_shows_its_help_and_exits_2(call: Call) -> None:
    done = call()
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Usage: ophclip ")
    assert "error:" not in done.err


def test_evaluate_prints_a_table_of_scores_with_their_rules(
    call: Call, run: Path, simulated_corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    done = call("evaluate", run, "--dataset", "simulated", "--root", simulated_corpus)
    assert done.code == 0
    numbers = json.loads((run / "evaluate-simulated" / "metrics.json").read_text())
    assert "accuracy.per_video_mean" in done.out
    assert f"{numbers['phase']['accuracy.per_video_mean']:.3f}" in done.out
    assert RULES["accuracy.per_video_mean"] in done.out
    assert str(run / "evaluate-simulated" / "report.html") in done.out.replace("\n", "")
    assert "cache: 3 of 3 videos" in done.err


def test_evaluate_as_json_is_one_object_and_quiet_says_nothing_else(
    call: Call, run: Path, simulated_corpus: Path
) -> None:
    done = call("evaluate", run, "--dataset", "simulated", "--root", simulated_corpus, "--json", "--quiet")
    assert (done.code, done.err) == (0, "")
    numbers = json.loads((run / "evaluate-simulated" / "metrics.json").read_text())
    assert {name: done.json[name] for name in numbers} == numbers
    assert done.json["phase_accuracy"] == numbers["phase"]["accuracy.per_video_mean"]
    assert Path(done.json["report"]).is_file()


def test_evaluate_lists_its_datasets(call: Call) -> None:
    assert "simulated" in call("evaluate", "--list").out


def test_search_prints_moments_or_one_object(call: Call, run: Path) -> None:
    done = call("search", run, "the keratome", "-k", 2, "--json", "--quiet")
    assert (done.code, done.err) == (0, "")
    assert done.json["text"] == "the keratome"
    first, _second = done.json["moments"]
    assert set(first) == {"video_id", "path", "time_s", "score", "title"}
    table = call("search", run, "the keratome", "-k", 2)
    assert table.code == 0
    assert first["video_id"] in table.out
    assert f"{first['score']:.3f}" in table.out


def test_pretrain_prints_a_summary_or_one_object(call: Call, config: Path, tmp_path: Path) -> None:
    done = call("pretrain", config, "--out", tmp_path / "a", "--json", "--quiet")
    assert (done.code, done.err) == (0, "")
    assert done.json["steps"] == 2
    assert done.json["out"] == str(tmp_path / "a")
    table = call("pretrain", config, "--out", tmp_path / "b", "--set", "steps=1")
    assert table.code == 0
    assert "num narrated" in table.out
    assert "pretrain: 1 of 1 steps" in table.err


def test_pretrain_times_its_steps_and_writes_nothing(
    call: Call, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "LEAST_S", 0.0)
    monkeypatch.chdir(tmp_path)
    settings = ["--set", "ssl=none", "--set", "num_retrieved=2"]
    done = call("pretrain", config, "--benchmark", "--json", "--quiet", *settings)
    assert (done.code, done.err) == (0, "")
    for level, pairs in (("clip", 2), ("video", 1)):
        measured = done.json[level]
        assert (measured["steps"], measured["pairs_a_step"]) == (1, pairs)
        assert set(measured["shares"]) >= {"data", "forward", "loss", "backward", "optimiser"}
        assert sum(measured["shares"].values()) == pytest.approx(1)
        assert measured["pairs_per_s"] == pytest.approx(1000 * pairs / measured["ms_a_step"])
    assert done.json["video"]["shares"]["retrieval"] > 0
    assert done.json["peak_mib"] > 0
    assert list(tmp_path.iterdir()) == []
    table = call("pretrain", config, "--benchmark", *settings)
    assert "optimiser, %" in table.out


def test_doctor_prints_one_object_with_every_finding(call: Call) -> None:
    done = call("doctor", "--json")
    assert done.code == 0
    assert {"ophclip", "native", "native_reason", "gpu", "versions", "decodes", "advice"} <= set(done.json)


@pytest.mark.parametrize("width", [80, 120])
def test_doctor_fits_the_terminal(call: Call, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    done = call("doctor")
    assert done.code == 0
    assert "native kernels" in done.out
    assert "libavcodec" in done.out
    assert max(map(len, done.out.splitlines())) <= width


@pytest.mark.parametrize(
    ("arguments", "code", "says", "remedy"),
    [
        (
            ["evaluate", "{none}", "--dataset", "simulated", "--root", "{corpus}"],
            2,
            "is not a run",
            "pretrain",
        ),
        (
            ["evaluate", "{run}", "--dataset", "simulatd", "--root", "{corpus}"],
            2,
            "no dataset 'simulatd'",
            "did you mean 'simulated'?",
        ),
        (["evaluate", "{run}", "--dataset", "simulated", "--root", "{none}"], 2, "is not a folder", "--root"),
        (["evaluate", "{run}", "--dataset", "simulated"], 2, "--root", "see ophclip evaluate --help"),
        (
            ["evaluate", "{run}", "--dataset", "simulated", "--root", "{corpus}", "--prompts", "{none}"],
            2,
            "is not a prompts file: No such file",
            "simulated.toml",
        ),
        (["evaluate", "{run}", "--dataset", "x", "--root", ".", "--variant", "y"], 2, "'y'", "--help"),
        (
            ["evaluate", "{run}", "--dataset", "simulated", "--root", "{corpus}", "--out", "{file}/out"],
            1,
            "{file}/out: Not a directory",
            "check that path",
        ),
        (["search", "{none}", "x"], 2, "is not a run", "pretrain"),
        (["search", "{run}", " "], 2, "must not be empty", "write what"),
        (["search", "{run}", "x", "-k", "0"], 2, "at least 1", "ask for 10"),
        (["search", "{run}", "x", "-k", "many"], 2, "'many'", "see ophclip search --help"),
        (["search", "{run}", "x", "--device", "tpu"], 2, "no device 'tpu'", "--device auto"),
        (["search", "{run}", "x", "--device", "cuda:99"], 2, "no device 'cuda:99'", "--device auto"),
        (["search", "{damaged}", "x"], 4, "cannot be loaded", "--resume"),
        (["pretrain", "{none}", "--out", "{none}"], 2, "no configuration file", "check the path"),
        (
            ["pretrain", "{config}", "--out", "{none}", "--set", "stesp=1"],
            2,
            "unknown key 'stesp'",
            "did you mean 'steps'?",
        ),
        (["pretrain", "{config}", "--out", "{none}", "--set", "steps"], 2, "key=value", "--set steps=100"),
        (["pretrain", "{config}", "--out", "{none}", "--set", "steps=x"], 2, "must be an integer", "mend"),
        (["cache", "build", "{file}", "--out", "{none}", "--encoder", "no-such"], 2, "no-such", ""),
        (["doctor", "now"], 2, "unexpected extra argument", "see ophclip doctor --help"),
    ],
)
def test_an_error_is_one_line_its_remedy_and_a_code(
    call: Call,
    run: Path,
    config: Path,
    simulated_corpus: Path,
    tmp_path: Path,
    arguments: list[str],
    code: int,
    says: str,
    remedy: str,
) -> None:
    file, damaged = tmp_path / "file.mp4", tmp_path / "damaged"
    file.write_bytes(b"not a video")
    damaged.mkdir()
    shutil.copy(run / "model.toml", damaged)
    (damaged / "model.safetensors").write_bytes(b"torn")
    places = {
        "none": tmp_path / "none",
        "corpus": simulated_corpus,
        "run": run,
        "config": config,
        "file": file,
        "damaged": damaged,
    }
    done = call(*(argument.format(**places) for argument in arguments))
    assert done.code == code
    assert remedy in done.remedy
    assert says.format(**places) in done.err
    assert not (tmp_path / "none").exists()


def test_a_finished_command_with_failed_items_exits_3_and_lists_them(call: Call, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    done = call("cache", "build", tmp_path / "broken.mp4", "--out", tmp_path / "c.zarr")
    assert done.code == 3
    assert "failed: broken: " in done.out


def test_a_video_that_cannot_be_read_ends_an_evaluation_with_exit_1(
    call: Call, run: Path, simulated_corpus: Path, tmp_path: Path
) -> None:
    corpus = Path(shutil.copytree(simulated_corpus, tmp_path / "corpus"))
    next((corpus / "videos").glob("test-00000.*")).write_bytes(b"not a video")
    done = call("evaluate", run, "--dataset", "simulated", "--root", corpus, "--out", tmp_path / "out")
    assert done.code == 1
    assert "test-00000" in done.err
    assert "mend or fetch" in done.remedy


def test_an_unforeseen_error_names_its_kind_and_the_way_to_its_traceback(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("ophclip.doctor.diagnose", fail)
    done = call("doctor")
    assert done.code == 1
    assert "error: ZeroDivisionError: by zero" in done.err
    assert done.remedy == "run again with --debug for the traceback"
    assert "Traceback" in call("--debug", "doctor").err


def test_debug_keeps_the_exit_code_and_the_remedy_last(call: Call, tmp_path: Path) -> None:
    done = call("search", tmp_path, "x", "--debug")
    assert done.code == 2
    assert "Traceback" in done.err
    assert done.err.splitlines()[-1] == "pass a pretrain output"
