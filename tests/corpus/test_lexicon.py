# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.util
import inspect
import re
import sys
import tomllib
from importlib.resources import files
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ophclip.corpus.lexicon import (
    CATEGORIES,
    load_corrector,
    load_lexicon,
    load_tagger,
    structured_title,
)
from ophclip.corpus.lexicon.normal import normal_word, normal_words
from ophclip.corpus.lexicon.sound import distance, sound_of
from ophclip.corpus.mending import mend
from ophclip.corpus.simulate.vocabulary import INSTRUMENTS, PHASES, PROCEDURES
from ophclip.corpus.transcripts import Word

LEXICON = load_lexicon()


def corrected(text: str) -> str:
    words = list(normal_words(text))
    for repair in reversed(load_corrector().find(words)):
        words[repair.first : repair.after] = [repair.meant]
    return " ".join(words)


def found(text: str) -> dict[tuple[str, str], str]:
    return {(m.term.category, m.term.term_id): text[m.start : m.end] for m in load_tagger().find(text)}


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_file_of_the_lexicon_is_well_formed(category: str) -> None:
    text = files("ophclip.corpus.lexicon").joinpath(f"{category}.toml").read_text(encoding="utf-8")
    data = tomllib.loads(text)
    assert data.pop("category") == category
    ids = [term_id for entries in data.values() for term_id in entries]
    assert len(set(ids)) == len(ids), "an id stands in two fields"
    owners: dict[tuple[str, ...], str] = {}
    for entries in data.values():
        for term_id, names in entries.items():
            assert re.fullmatch(r"[a-z][a-z0-9_]*", term_id)
            assert names, term_id
            for name in names:
                assert name == " ".join(name.split()) != "", (term_id, name)
                words = normal_words(name)
                assert words, name
                assert words not in owners, f"{name!r} stands for {owners.get(words)} and {term_id}"
                owners[words] = term_id


def test_the_lexicon_is_large_enough_to_be_of_use() -> None:
    assert len(LEXICON.terms) > 900
    assert sum(len(term.names) for term in LEXICON.terms.values()) > 3000
    for category in CATEGORIES:
        assert sum(term.category == category for term in LEXICON.terms.values()) >= 50, category


def test_the_classes_of_the_simulator_are_terms() -> None:
    for category, terms in (("surgery", PROCEDURES), ("phase", PHASES), ("instrument", INSTRUMENTS)):
        for term in terms:
            assert (category, term.key) in LEXICON.terms
            assert (category, term.key) in found(f"now the {term.name}, here")


def test_every_name_is_found_by_itself() -> None:
    tagger = load_tagger()
    for term in LEXICON.terms.values():
        for name in term.names:
            mentions = tagger.find(f"x {name} x")
            assert any(m.term == term and f"x {name} x"[m.start : m.end] == name for m in mentions), name


def test_confusions_stand_for_terms_and_are_none_themselves() -> None:
    known = {word for words in LEXICON.names for word in words}
    for confusion in LEXICON.confusions:
        assert confusion.heard
        assert confusion.heard != normal_words(confusion.meant)
        if not confusion.near:
            assert confusion.heard not in LEXICON.names, confusion
        unknown = {word for word in normal_words(confusion.meant) if word not in known}
        assert unknown <= {"ophthalmology", "pseudophakic", "gonioscopy", "keratoplasty"}, confusion
    always = [confusion.heard for confusion in LEXICON.confusions if not confusion.near]
    assert len(set(always)) == len(always)


def test_the_longest_name_wins_and_case_marks_and_spelling_do_not_matter() -> None:
    text = "IRRIGATION-ASPIRATION handpiece; haemorrhage, Descemet's membranes & trypan blue"
    assert found(text) == {
        ("instrument", "irrigation_aspiration_handpiece"): "IRRIGATION-ASPIRATION handpiece",
        ("anatomy", "descemet_membrane"): "Descemet's membranes",
        ("medication", "trypan_blue"): "trypan blue",
    }
    assert normal_word("haemostasis") == "hemostasis"
    assert [normal_word(word) for word in ("lenses", "biopsies", "sutures", "iris", "glass", "forceps")] == [
        "lens",
        "biopsy",
        "suture",
        "iris",
        "glass",
        "forcep",
    ]


def test_a_name_may_be_of_several_categories() -> None:
    assert {("surgery", "phacoemulsification_surgery"), ("phase", "phacoemulsification")} <= set(
        found("phaco")
    )


@pytest.mark.parametrize(
    ("heard", "meant"),
    [
        ("a fake oh emulsification", "a phacoemulsification"),
        ("round rexis", "round rhexis"),
        ("caps a low rexis", "capsulorhexis"),
        ("hydro dissection now", "hydrodissection now"),
        ("tribe a collect me", "trabeculectomy"),
        ("the vitrious", "the vitreous"),
        ("a small terigium", "a small pterygium"),
        ("capsulorexis", "capsulorhexis"),
        ("the victor cuts the gel", "the vitrector cuts the gel"),
        ("corner incision with the keratome", "corneal incision with the keratome"),
    ],
)
def test_misheard_terms_are_mended(heard: str, meant: str) -> None:
    assert corrected(heard) == " ".join(normal_words(meant))


@pytest.mark.parametrize(
    "text",
    [
        "Victor said hello from the corner of the room",
        "we listened to disco in the capital of the country",
        "four steps to success, people in purple",
        "in the nucleus and the retina we aspirate the rest",
        "a phakic lens, intravitreally injected",
        "vitrectomy a little and the cornea again",
        "pick the axis of the lens, a multiplying factor",
        "",
    ],
)
def test_sense_is_left_alone(text: str) -> None:
    assert corrected(text) == " ".join(normal_words(text))


def test_everyday_english_is_left_alone() -> None:
    modules = (inspect, re, tomllib, importlib.util, pytest, __import__("argparse"), __import__("logging"))
    modules += tuple(__import__(name) for name in ("decimal", "threading", "subprocess", "random", "email"))
    words = changes = 0
    for module in modules:
        members = [module, *vars(module).values()]
        for text in {
            member.__doc__ for member in members if isinstance(getattr(member, "__doc__", None), str)
        }:
            forms = normal_words(text)
            words += len(forms)
            changes += len(load_corrector().find(forms))
    assert words > 10_000
    assert changes * 4000 < words


def test_nothing_is_mended_across_a_sentence_and_marks_stay() -> None:
    words = [
        Word(i, i + 1.0, text) for i, text in enumerate(["Fake.", "Oh,", "hydro", "dissection,", "Rexis!"])
    ]
    mended, told = mend(words)
    assert [word.text for word in mended] == ["Fake.", "Oh,", "hydrodissection,", "Rhexis!"]
    assert mended[2] == Word(2, 4, "hydrodissection,")
    assert told == [(2, "hydro dissection", "hydrodissection"), (4, "Rexis", "rhexis")]


def test_sounds_agree_where_spellings_do_not() -> None:
    for one, other in [
        ("phaco", "faco"),
        ("rhexis", "rexis"),
        ("pterygium", "terigium"),
        ("cystotome", "sistotome"),
    ]:
        assert sound_of([one]) == sound_of([other])
    assert sound_of(["tree", "fine"]) == sound_of(["trephine"])
    assert sound_of(["cornea"]) != sound_of(["corner", "x"])


@settings(max_examples=200, deadline=None)
@given(st.text("abc", max_size=7), st.text("abc", max_size=7), st.integers(0, 8))
def test_the_edit_distance_is_a_distance(a: str, b: str, limit: int) -> None:
    full = distance(a, b, 20)
    assert distance(b, a, 20) == full
    assert distance(a, b, limit) == min(full, limit + 1)
    assert (full == 0) == (a == b)
    assert abs(len(a) - len(b)) <= full <= max(len(a), len(b))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_tagged_and_mended(text: str) -> None:
    for mention in load_tagger().find(text):
        assert text[mention.start : mention.end].strip()
    corrected(text)


def test_structured_titles_have_their_parts_in_order() -> None:
    title = "25G vitrectomy for macular hole: ILM peeling with ILM forceps and brilliant blue #RetinaSurgery"
    assert structured_title(load_tagger(), title) == (
        "Pars plana vitrectomy | internal limiting membrane peeling | internal limiting membrane forceps | "
        "brilliant blue G | macular hole"
    )
    assert structured_title(load_tagger(), "Case 12, part 2 final!!") == ""
    assert structured_title(load_tagger(), "Case 12", ["#CataractSurgery"]).startswith("Phacoemulsification")


def test_the_narration_adds_to_a_title_but_does_not_name_the_surgery() -> None:
    said = {("phase", "capsulorhexis"): 20, ("phase", "leak_test"): 1, ("surgery", "trabeculectomy"): 5}
    assert structured_title(load_tagger(), "PHACO today", (), said) == (
        "Phacoemulsification cataract surgery | capsulorhexis"
    )


@pytest.fixture(scope="module")
def measuring() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "corpus_words.py"
    spec = importlib.util.spec_from_file_location("corpus_words", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_terms_of_drawn_narrations_are_found_and_mended(measuring: ModuleType) -> None:
    figures = measuring.measure(400, seed=5)
    assert figures["clean"]["recall"] > 0.97
    assert figures["clean"]["precision"] > 0.75
    assert figures["misheard"]["recall"] < 0.7
    assert figures["misheard_and_mended"]["recall"] > 0.9
    assert figures["misheard_and_mended_without_confusions"]["recall"] > figures["misheard"]["recall"]
    assert figures["clean_sentences_changed"] <= 2
    assert figures["damage"]["restored"] > 0.8
    assert figures["damage"]["another"] < 0.02
