# SPDX-License-Identifier: Apache-2.0
"""What every test shares: the rule for GPU tests, and a small simulated corpus with an untrained run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available() or os.environ.get("OPHCLIP_REQUIRE_GPU") == "1":
        return  # where a GPU is required, a missing one must fail, not skip
    skip = pytest.mark.skip(reason="no CUDA device; OPHCLIP_REQUIRE_GPU=1 turns this into a failure")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def simulated_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One narrated, three silent and three test videos of twelve seconds; tests only read it."""
    from ophclip.corpus.simulate import simulate

    root = tmp_path_factory.mktemp("simulated")
    simulate(root, narrated=1, silent=3, test=3, seconds=12, size=64, workers=1, seed=5)
    return root


@pytest.fixture(scope="session")
def untrained_run(tmp_path_factory: pytest.TempPathFactory, simulated_corpus: Path) -> Path:
    """A run on the simulated corpus before its first step; tests that write into it take a copy."""
    from ophclip.models import ModelConfig, build_model, save_model

    run = tmp_path_factory.mktemp("run")
    save_model(build_model(ModelConfig(dim=32, image_size=32), seed=3), run)
    (run / "config.toml").write_text(f'corpus = "{simulated_corpus}"\n')
    return run


@pytest.fixture(scope="session")
def _threads_at_the_start() -> int:
    return torch.get_num_threads()


@pytest.fixture(autouse=True)
def _same_threads_for_every_test(_threads_at_the_start: int) -> Iterator[None]:
    # Some tests and fixtures set torch's threads; what is computed afterwards would differ in its last bits.
    torch.set_num_threads(_threads_at_the_start)
    yield
    torch.set_num_threads(_threads_at_the_start)
