# SPDX-License-Identifier: Apache-2.0
"""The adapters by the name that `--dataset` takes; each module is imported when it is used."""

from __future__ import annotations

import importlib

from ophclip.errors import UsageError, did_you_mean
from ophclip.evaluate.datasets.reading import Adapter

_PACKAGE = "ophclip.evaluate.datasets"

ADAPTERS = {
    "cat21": "cat21:ADAPTER",
    "cataract101": "cataract101:ADAPTER",
    "cataract1k-phase": "cataract1k_phase:ADAPTER",
    "catreldet": "catreldet:ADAPTER",
    "catreldet-implantation": "catreldet:IMPLANTATION",
    "catreldet-irrigation-aspiration": "catreldet:IRRIGATION_ASPIRATION",
    "catreldet-phacoemulsification": "catreldet:PHACOEMULSIFICATION",
    "catreldet-rhexis": "catreldet:RHEXIS",
    "lensid": "lensid:ADAPTER",
    "ophnet-phase": "ophnet_phase:ADAPTER",
    "ophnet-operation": "ophnet_operation:ADAPTER",
    "cataract1k-instruments": "cataract1k_instruments:ADAPTER",
    "catinstseg": "catinstseg:ADAPTER",
    "catinstseg-cadis": "catinstseg:FROM_CADIS",
    "cadis": "cadis:ADAPTER",
    "cataracts": "cataracts:ADAPTER",
    "folder": "folder:ADAPTER",
    "simulated": "simulated:ADAPTER",
}


def names() -> list[str]:
    """Name the datasets that can be evaluated."""
    return list(ADAPTERS)


def adapter_of(name: str) -> Adapter:
    """Return the adapter of a dataset.

    Raises:
        UsageError: there is no such dataset.
    """
    if name not in ADAPTERS:
        raise UsageError(f"no dataset {name!r}", remedy=did_you_mean(name, ADAPTERS))
    module, attribute = ADAPTERS[name].split(":")
    adapter: Adapter = getattr(importlib.import_module(f"{_PACKAGE}.{module}"), attribute)
    return adapter
