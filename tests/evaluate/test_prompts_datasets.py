# SPDX-License-Identifier: Apache-2.0
"""Every class of every dataset has sentences of its own."""

from __future__ import annotations

import pytest

from ophclip.evaluate.datasets.registry import ADAPTERS, adapter_of
from ophclip.evaluate.prompts import VARIANTS, load_prompts

WITH_CLASSES = [name for name in ADAPTERS if adapter_of(name).facts.classes and name != "simulated"]
OF_SEVERAL = {"cataract_phases.toml", "catreldet.toml", "catinstseg.toml"}


@pytest.mark.parametrize("name", WITH_CLASSES)
def test_every_class_has_several_sentences(name: str) -> None:
    facts = adapter_of(name).facts
    task = "phases" if facts.task == "phase" else "instruments"
    classes = [*facts.classes, *([facts.background] if facts.background else [])]
    prompts = load_prompts(facts.prompts)
    for variant in VARIANTS:
        found = prompts.for_classes(task, classes, variant)
        assert all(found.positives)
        assert all(found.negatives)
    described = prompts.for_classes(task, classes, "description").positives
    assert min(map(len, described)) >= 2
    if facts.prompts not in OF_SEVERAL:
        assert set(prompts.tables["names"][task]) == set(classes)


@pytest.mark.parametrize("file", sorted({adapter_of(name).facts.prompts for name in WITH_CLASSES}))
def test_no_sentence_is_said_of_two_classes_of_any_variant(file: str) -> None:
    prompts = load_prompts(file)
    for task, names in prompts.tables["names"].items():
        sentences = [
            text for told in prompts.for_classes(task, list(names), "all").positives for text in told
        ]
        assert len({text.casefold() for text in sentences}) == len(sentences)


def test_a_file_of_several_datasets_has_only_their_classes() -> None:
    for file in OF_SEVERAL:
        users = [adapter_of(name).facts for name in WITH_CLASSES if adapter_of(name).facts.prompts == file]
        wanted = {key for facts in users for key in (*facts.classes, facts.background) if key}
        tables = load_prompts(file).tables["names"]
        assert {key for names in tables.values() for key in names} == wanted
