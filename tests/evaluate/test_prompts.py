# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from ophclip.corpus.simulate.vocabulary import INSTRUMENTS, PHASES
from ophclip.errors import UsageError
from ophclip.evaluate.prompts import FOLDER, VARIANTS, Variant, load_prompts

GOOD = """
version = 3
[template]
phases = ["the {} step", "we do the {}"]
negatives = ["no {} in view"]
[names.phases]
cut = "incision"
tear = "rhexis"
[description.phases]
cut = ["the blade enters the cornea"]
tear = ["the capsule is torn in a circle"]
"""


def write(folder: Path, text: str) -> str:
    path = folder / "own.toml"
    path.write_text(text)
    return str(path)


def test_a_file_of_the_user_is_read_by_its_path(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    prompts = load_prompts(path)
    assert (prompts.name, prompts.version) == ("own.toml", 3)
    assert prompts.sha256 == hashlib.sha256(GOOD.encode()).hexdigest()


@pytest.mark.parametrize(
    ("variant", "sentences"),
    [
        ("name", ["rhexis"]),
        ("template", ["the rhexis step", "we do the rhexis"]),
        ("description", ["the capsule is torn in a circle"]),
        ("all", ["rhexis", "the rhexis step", "we do the rhexis", "the capsule is torn in a circle"]),
    ],
)
def test_each_variant_chooses_its_sentences(tmp_path: Path, variant: Variant, sentences: list[str]) -> None:
    prompts = load_prompts(write(tmp_path, GOOD)).for_classes("phases", ["tear", "cut"], variant)
    assert prompts.positives[0] == sentences
    assert prompts.negatives == [["no rhexis in view"], ["no incision in view"]]


def test_a_class_without_a_prompt_is_refused(tmp_path: Path) -> None:
    prompts = load_prompts(write(tmp_path, GOOD))
    with pytest.raises(UsageError, match=r"own\.toml has no prompt for phase 'sew'"):
        prompts.for_classes("phases", ["cut", "sew"], "all")
    with pytest.raises(UsageError, match="no prompt for instrument 'knife'"):
        prompts.for_classes("instruments", ["knife"], "all")


def test_a_task_without_classes_needs_no_prompts(tmp_path: Path) -> None:
    prompts = load_prompts(write(tmp_path, GOOD)).for_classes("instruments", [], "all")
    assert prompts.positives == prompts.negatives == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("version = 3", "", "version must be an integer, got None"),
        ("version = 3", 'version = "3"', "version must be an integer, got '3'"),
        ("[template]", "[templates]", r"there must be a table \[template\]"),
        ('negatives = ["no {} in view"]', "", "template.negatives must be a list of sentences, got None"),
        ('["the blade enters the cornea"]', "[]", "description.phases.cut must be a list of sentences"),
        ('["the blade enters the cornea"]', '"the blade"', "description.phases.cut must be a list"),
        ('["the blade enters the cornea"]', '[" "]', "description.phases.cut must hold sentences, got ' '"),
        ('["the blade enters the cornea"]', '["a", "a"]', "must hold each sentence once"),
        ('tear = "rhexis"', "", "'tear' must be in both names.phases and description.phases"),
        ('tear = ["the', 'teer = ["the', "'tear' must be in both"),
        ('tear = "rhexis"', "tear = 4", "names.phases.tear must be a plain name, got 4"),
        (
            'tear = "rhexis"',
            'tear = "Incision"',
            "'Incision' must describe one of the phases, got it for 'cut'",
        ),
    ],
)
def test_gaps_and_duplicates_are_named(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(UsageError, match=says) as caught:
        load_prompts(path)
    assert str(path) in caught.value.message
    assert "simulated.toml" in caught.value.remedy


@pytest.mark.parametrize("content", [b"version = ", b"\xff\xfe", None])
def test_what_is_no_prompts_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "own.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match="is not a prompts file"):
        load_prompts(str(path))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.name)
def test_every_prompts_file_of_the_package_is_sound(path: Path) -> None:
    assert load_prompts(path.name).version >= 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_simulated_corpus_has_prompts_for_all_it_shows_and_nothing_else(variant: Variant) -> None:
    prompts = load_prompts("simulated.toml")
    phases = [*(phase.key for phase in PHASES), "idle"]
    instruments = [instrument.key for instrument in INSTRUMENTS]
    assert set(prompts.tables["names"]["phases"]) == set(phases)
    assert set(prompts.tables["names"]["instruments"]) == set(instruments)
    assert len(prompts.for_classes("phases", phases, variant).positives) == len(phases)
    assert len(prompts.for_classes("instruments", instruments, variant).positives) == len(instruments)


def test_the_example_of_the_documents_is_sound(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "formats.md").read_text()
    (example,) = re.findall(r"```toml\n(version.*?)```", text, re.DOTALL)
    prompts = load_prompts(write(tmp_path, example)).for_classes("phases", ["incision"], "template")
    assert prompts.positives == [["a view of corneal incision during eye surgery"]]
