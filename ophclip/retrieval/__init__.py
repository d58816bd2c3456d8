# SPDX-License-Identifier: Apache-2.0
"""The memory of silent videos, and the search in it."""

from ophclip.retrieval.bank import SilentBank, load_bank

__all__ = ["SilentBank", "load_bank"]
