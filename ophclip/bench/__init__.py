# SPDX-License-Identifier: Apache-2.0
"""Ours beside its peers: cases, peers, clocks and the table, for `ophclip bench` and `make bench` alike."""

from ophclip.bench.case import Case, Contest, Target, UnavailableError
from ophclip.bench.measure import attempt, measure
from ophclip.bench.record import machine_facts
from ophclip.bench.result import Ratio, Result, Verdict
from ophclip.bench.session import Session
from ophclip.bench.suite import Scale, cases
from ophclip.bench.table import render

__all__ = [
    "Case",
    "Contest",
    "Ratio",
    "Result",
    "Scale",
    "Session",
    "Target",
    "UnavailableError",
    "Verdict",
    "attempt",
    "cases",
    "machine_facts",
    "measure",
    "render",
]
