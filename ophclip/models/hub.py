# SPDX-License-Identifier: Apache-2.0
"""The one door to transformers: networks, tokenizers and pixel statistics that are on this machine.

Nothing is fetched: a name is a folder or stands in the hub's cache on this machine, and the error for any
other says how to fetch it. The library's own talk is kept off stderr; what matters of it, weights that a file
lacks, is an error here.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ophclip.errors import DamageError, UsageError
from ophclip.models.pixels import IMAGENET_MEAN, IMAGENET_STD

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
SHOWN_KEYS = 5  # of a list of missing weights, in an error


def load_network(name: str) -> Any:
    """Load a transformers network by name or folder, in float32 and evaluation mode.

    A dense pooler behind the last layer is dropped: it belongs to the task that the network was made for, the
    towers here do not use it, and many files lack its weights.

    Raises:
        UsageError: the network is not on this machine, or its file lacks weights.
        DamageError: the folder's files cannot be read.
    """
    from transformers import AutoModel

    network, info = _load(name, lambda: AutoModel.from_pretrained(name, output_loading_info=True, **_LOCAL))
    _drop_dense_pooler(network)
    kept = network.state_dict().keys()
    missing = sorted(key for key in info["missing_keys"] if key in kept)
    if missing:
        raise UsageError(
            f"model {name!r} must hold every weight of a {type(network).__name__}, but {len(missing)} are "
            f"missing: {', '.join(missing[:SHOWN_KEYS])}",
            remedy="fetch the model again, or name the folder that it was saved to",
        )
    return network.float().eval()


def build_network(folder: str) -> Any:
    """Build the network that the config.json of a folder describes, as `load_network` would give it.

    Its weights are random: they are the caller's to set.

    Raises:
        UsageError: the folder has no config.json.
        DamageError: it cannot be read.
    """
    from transformers import AutoConfig, AutoModel

    network = _load(
        folder, lambda: AutoModel.from_config(AutoConfig.from_pretrained(folder, **_LOCAL), **_OWN_CODE)
    )
    _drop_dense_pooler(network)
    return network.float().eval()


def load_tokenizer(name: str) -> Any:
    """Load the tokenizer that belongs to a text model; it pads on the right.

    Raises:
        UsageError: its files are not on this machine.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = _load(name, lambda: AutoTokenizer.from_pretrained(name, padding_side="right", **_LOCAL))
    except (UsageError, DamageError):
        tokenizer = None
    # Without its files, transformers makes a tokenizer that knows the special tokens only.
    if tokenizer is None or len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise UsageError(
            f"text model {name!r} has no tokenizer on this machine",
            remedy="put the tokenizer's files into the same folder",
        )
    return tokenizer


def pixel_statistics(name: str, model_type: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation a channel that a vision model was trained with.

    They stand in its preprocessor_config.json. Where that is missing they are CLIP's for a CLIP model and
    ImageNet's for any other.
    """
    from transformers.utils import cached_file

    mean, std = (CLIP_MEAN, CLIP_STD) if model_type.startswith("clip") else (IMAGENET_MEAN, IMAGENET_STD)
    try:
        with _quiet():
            path = cached_file(name, "preprocessor_config.json", local_files_only=True)
        stated = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}
    except OSError:
        stated = {}
    except ValueError as error:
        raise DamageError(
            f"preprocessor_config.json of {name!r} cannot be read: {error}", remedy="fetch the model again"
        ) from error
    return tuple(stated.get("image_mean") or mean), tuple(stated.get("image_std") or std)


# A model's own code is never run: transformers would ask on the terminal.
_OWN_CODE = {"trust_remote_code": False}
_LOCAL = {"local_files_only": True, **_OWN_CODE}


def _drop_dense_pooler(network: Any) -> None:
    if hasattr(getattr(network, "pooler", None), "dense"):
        network.pooler = None


def _load(name: str, load: Callable[[], Any]) -> Any:
    if not Path(name).is_dir() and not _is_hub_name(name):
        raise UsageError(
            f"model {name!r} is not on this machine",
            remedy="name a folder with config.json and the weights, or a model of the hub as owner/name",
        )
    try:
        with _quiet():
            return load()
    except MemoryError:
        raise
    except Exception as error:  # the parsers behind this raise errors of every kind
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: Exception) -> UsageError | DamageError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if not Path(name).is_dir():
        return UsageError(
            f"model {name!r} is not on this machine",
            remedy=f"fetch it with `hf download {name}`, or name 'tiny' or a folder with a model",
        )
    if not (Path(name) / "config.json").is_file():
        return UsageError(
            f"{name} is not a transformers model: it has no config.json",
            remedy="name a folder that save_pretrained wrote, or a run folder",
        )
    return DamageError(f"{name} cannot be read: {reason}", remedy="fetch the model again")


def _is_hub_name(name: str) -> bool:
    return bool(name) and name.count("/") <= 1 and not name.startswith((".", "/", "~")) and "\\" not in name


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' load reports, progress bars and warnings off stderr, and put all back after."""
    from transformers.utils import logging

    verbosity, has_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bar:
            logging.enable_progress_bar()
