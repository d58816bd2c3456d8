# SPDX-License-Identifier: Apache-2.0
"""The silent bank at the size of the paper's: retrieval, refresh and overwriting, beside plain torch."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ophclip.bench import Case, Contest, Session, Target
from ophclip.bench.case import FASTEST, Runner
from ophclip.retrieval import SilentBank

DIM = 768
NUM_SILENT, NUM_QUERIES, K = 30_636, 64, 4  # the paper's silent videos; a batch of titles
OVERWRITTEN = 64  # silent videos that a step encodes anew
TITLE_TOKENS = 40
SHARE = "% of the text tower's forward and backward pass on the same titles"


def bank_cases(*, is_smoke: bool) -> list[Case]:
    """Retrieval from a bank as it is, after a few slots were overwritten, and after all were refreshed."""
    num_silent = 2_000 if is_smoke else NUM_SILENT
    size = f"Q={NUM_QUERIES} M={num_silent} D={DIM} k={K}"
    return [
        Case(f"bank retrieve {size}", "bank", _kept(num_silent, 0), (Target(FASTEST, least=1.0),)),
        Case(f"bank overwrite {OVERWRITTEN} and retrieve {size}", "bank", _kept(num_silent, OVERWRITTEN)),
        Case(f"bank refresh and retrieve {size}", "bank", _kept(num_silent, num_silent)),
        Case(
            f"bank share of a step {size}", "bank", _share(num_silent, is_smoke), (Target(SHARE, most=1.0),)
        ),
    ]


def _kept(num_silent: int, written: int) -> Callable[[Session], Contest]:
    def prepare(session: Session) -> Contest:
        rows = session.shared("bank", lambda: session.unit_rows(num_silent, DIM, 0))
        queries = session.unit_rows(NUM_QUERIES, DIM, 1)
        fresh = session.unit_rows(written, DIM, 2)
        bank = SilentBank([str(i) for i in range(num_silent)], DIM)
        bank.update(bank.ids, rows, rows, 0)
        bank.retrieve(queries, K)
        ids = bank.ids[:written]

        def ours() -> Tensor:
            if written:
                bank.update(ids, fresh, fresh, 1)
            return bank.retrieve(queries, K)[0]

        return Contest(ours=ours, peers={"torch": lambda: _peer(rows.clone(), queries, fresh)})

    return prepare


def _share(num_silent: int, is_smoke: bool) -> Callable[[Session], Contest]:
    def prepare(session: Session) -> Contest:
        def figures() -> dict[str, float]:
            contest = _kept(num_silent, 0)(session)
            assert contest.ours is not None
            retrieval = statistics.median(session.time_s(contest.ours) for _ in range(1 if is_smoke else 20))
            step = session.time_s(_text_step(is_smoke))
            return {"ms of retrieval": 1000 * retrieval, "s of the pass": step, SHARE: 100 * retrieval / step}

        return Contest(figures=figures)

    return prepare


def _text_step(is_smoke: bool) -> Callable[[], object]:
    """A text tower as large as Bio_ClinicalBERT reads the queries' titles: less than a step does."""
    from transformers import BertConfig, BertModel

    size = {"num_hidden_layers": 1, "hidden_size": 96, "intermediate_size": 96} if is_smoke else {}
    tower = BertModel(BertConfig(**size))
    titles = torch.randint(0, 28_996, (NUM_QUERIES, TITLE_TOKENS), generator=torch.Generator().manual_seed(0))
    return lambda: tower(titles).last_hidden_state.mean(dim=1).square().sum().backward()


def _peer(keys: Tensor, queries: Tensor, fresh: Tensor) -> Runner:
    """What a user would write: normalise and assign, multiply and sort."""
    values, slots = keys.clone(), torch.arange(len(fresh))

    def run() -> Tensor:
        if len(fresh):
            keys[slots], values[slots] = F.normalize(fresh, dim=1), F.normalize(fresh, dim=1)
        return torch.topk(F.normalize(queries, dim=1) @ keys.T, K, dim=1).values

    return run
