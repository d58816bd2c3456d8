# SPDX-License-Identifier: Apache-2.0
"""The memory of silent videos, and the search in it."""

from ophclip.retrieval.bank import SilentBank, load_bank
from ophclip.retrieval.duplicates import Duplicates, source_of

__all__ = ["Duplicates", "SilentBank", "load_bank", "source_of"]
