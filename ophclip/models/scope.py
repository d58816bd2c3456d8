# SPDX-License-Identifier: Apache-2.0
"""Which part of a tower trains: all of it, none, or its last blocks.

What is frozen needs no gradient, so no graph is kept for it, and stays in evaluation mode: no dropout, and
batch norms use and keep the statistics that they came with.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ophclip.errors import UsageError

# What networks call the list of their blocks, outermost first; a stage holds such a list again.
BLOCK_LISTS = ("stages", "layers", "layer", "blocks", "h")


def num_trained(scope: str, key: str) -> int | None:
    """Return how many last blocks train under "full" (None: all and the rest), "frozen" (0) or "last-n".

    Raises:
        UsageError: the scope reads otherwise; `key` is named.
    """
    if scope == "full":
        return None
    if scope == "frozen":
        return 0
    prefix, _, count = scope.partition("-")
    if prefix == "last" and count.isascii() and count.isdigit() and int(count) > 0:
        return int(count)
    raise UsageError(
        f"{key} must be full, frozen or last-n, got {scope!r}", remedy=f"set {key} to last-2, say"
    )


def set_scope(tower: nn.Module, blocks: Sequence[nn.Module], scope: str, key: str) -> list[nn.Module]:
    """Let `scope` of a tower train and freeze the rest; return the frozen modules, for `hold_frozen`.

    Under last-n the last n of `blocks` train and whatever comes behind them; what comes before is frozen.
    Modules are registered in the order of the computation.

    Raises:
        UsageError: the scope cannot be read, or the tower has fewer blocks.
    """
    count = num_trained(scope, key)
    if count is None:
        return []
    tower.requires_grad_(False)
    modules = list(tower.modules())
    if count == 0:
        return modules
    if count > len(blocks):
        raise UsageError(
            f"{key} must be at most last-{len(blocks)}, the blocks of this tower, got {scope!r}",
            remedy=f"set {key} to full, or to fewer blocks",
        )
    first = modules.index(blocks[-count])
    for module in modules[first:]:
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(True)
    holds_trained = {module for module in modules if blocks[-count] in module.modules()}
    return [module for module in modules[:first] if module not in holds_trained]


def hold_frozen(modules: Sequence[nn.Module]) -> None:
    """Put frozen modules into evaluation mode, each by itself; call it after every `train()`."""
    for module in modules:
        module.training = False


def find_blocks(network: nn.Module) -> list[nn.Module]:
    """Return the residual blocks of a transformers network in order: its layers, or its stages' layers."""
    for parent in network.modules():
        for name in BLOCK_LISTS:
            children = getattr(parent, name, None)
            if isinstance(children, nn.ModuleList | nn.Sequential) and len(children):
                return [block for child in children for block in _inner_blocks(child, name)]
    return []


def _inner_blocks(child: nn.Module, name: str) -> list[nn.Module]:
    return (find_blocks(child) or [child]) if name == "stages" else [child]
