# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from pathlib import Path

import pytest

from ophclip.config import load_config, to_toml
from ophclip.errors import UsageError
from ophclip.pretrain.config import PretrainConfig
from ophclip.pretrain.schedule import RetrievalSchedule, retrieval_schedule

ROOT = Path(__file__).parents[2]
FULL = ROOT / "configs" / "ophclip.toml"


def config(**changes: object) -> PretrainConfig:
    return PretrainConfig(corpus=Path("c"), cache=Path("k"), **changes)  # type: ignore[arg-type]


def test_the_full_method_is_a_valid_configuration_with_every_part_on() -> None:
    loaded = load_config(PretrainConfig, FULL)
    assert loaded.ssl == "simsiam"
    assert loaded.video_steps > 0
    assert loaded.num_retrieved > 0
    assert loaded.lambda_ret > 0
    assert loaded.encode_retrieved > 0


METHOD = [
    "temperature",
    "learn_temperature",
    "max_scale",
    "symmetric",
    "reduction",
    "equal_texts",
    "ssl",
    "lambda_ss",
    "ssl_hidden",
    "ssl_dim",
    "ssl_bottleneck",
    "temporally_consistent",
    "num_retrieved",
    "lambda_ret",
    "second_view",
    "fuse",
    "fuse_beta",
    "retrieved_weight",
    "min_similarity",
    "bank_key",
    "bank_momentum",
    "exclude_same_source",
    "exclude_titles",
    "retrieval_warmup_epochs",
    "refresh_every_epochs",
]


@pytest.mark.parametrize("name", METHOD)
def test_every_choice_of_the_method_says_where_it_comes_from(name: str) -> None:
    source = (ROOT / "ophclip" / "pretrain" / "config.py").read_text()
    found = re.search(rf'^    {name}: [^\n]+\n    """(.+?)"""', source, re.MULTILINE | re.DOTALL)
    assert found is not None
    assert re.search(r"paper|lineage|ours", found[1])


@pytest.mark.parametrize("changes", [{"fuse": "mean"}, {"num_retrieved": 0}])
def test_a_second_view_that_nothing_is_done_with_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="second_view serves a term of retrieval"):
        config(second_view=True, **changes)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("bank_momentum", 1.0),
        ("bank_momentum", -0.1),
        ("retrieved_weight", 0.0),
        ("lambda_ret", float("nan")),
        ("max_scale", 0.5),
        ("refresh_every_steps", 0),
        ("retrieval_warmup_epochs", -1.0),
        ("fuse_beta", -1.0),
    ],
)
def test_a_value_out_of_range_is_named(key: str, value: float) -> None:
    with pytest.raises(UsageError, match=key):
        config(**{key: value})


@pytest.mark.parametrize("override", ["ssl=mixup", "fuse=sum", "bank_key=title", "equal_texts=drop"])
def test_an_unknown_choice_lists_the_known_ones(override: str) -> None:
    with pytest.raises(UsageError, match="must be one of"):
        load_config(PretrainConfig, FULL, [override])


def test_a_configuration_reads_back_as_it_was_written(tmp_path: Path) -> None:
    made = config(bank_key="sum", fuse="mean", retrieval_warmup_steps=7)
    (tmp_path / "config.toml").write_text(to_toml(made))
    assert load_config(PretrainConfig, tmp_path / "config.toml") == made


def test_retrieval_waits_and_refreshes_by_epochs_unless_steps_are_set() -> None:
    assert retrieval_schedule(config(), 120.5) == RetrievalSchedule(121, 120)
    changed = config(retrieval_warmup_epochs=0.0, refresh_every_epochs=0.001)
    assert retrieval_schedule(changed, 120.5) == RetrievalSchedule(0, 1)
    changed = config(retrieval_warmup_steps=3, refresh_every_steps=9)
    assert retrieval_schedule(changed, 120.5) == RetrievalSchedule(3, 9)
