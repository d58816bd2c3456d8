# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pickle

from ophclip.errors import DamageError, OphclipError, UsageError, did_you_mean


def test_errors_survive_the_trip_between_processes() -> None:
    for kind in (OphclipError, UsageError, DamageError):
        error = pickle.loads(pickle.dumps(kind("a must be b, got c", remedy="do d")))
        assert type(error) is kind
        assert (error.message, error.remedy, error.exit_code) == (
            "a must be b, got c",
            "do d",
            kind.exit_code,
        )


def test_did_you_mean_names_the_closest_or_all() -> None:
    assert did_you_mean("stesp", ["steps", "lr"]) == "did you mean 'steps'?"
    assert did_you_mean("zzz", ["steps", "lr"]) == "choose one of: lr, steps"
