# SPDX-License-Identifier: Apache-2.0
"""The words of eye surgery: terms with synonyms, found in text, and mended where a recogniser misheard them."""
