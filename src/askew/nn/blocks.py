"""The blocks of a tower: what is sharded as one piece, and what is computed again in the backward pass."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

# Of open_clip's towers, of timm's (blocks, or stages that hold them), of BERT and its kin, and of T5
BLOCK = re.compile(r"(^|\.)(resblocks|blocks|layers?|block)\.\d+$")
Context = Callable[[], AbstractContextManager]


def blocks_of(tower: nn.Module) -> list[nn.Module]:
    """The blocks of a tower, from its input on; those inside of another block are part of that one."""
    found: dict[str, nn.Module] = {}
    for name, module in tower.named_modules():
        if BLOCK.search(name) and not any(name.startswith(f"{outer}.") for outer in found):
            found[name] = module
    return list(found.values())


def recompute_blocks(tower: nn.Module, context: Context) -> None:
    """Have a tower keep only the inputs of its blocks for the backward pass, which computes the rest again.

    Gradients are the same, and so is what is drawn at random. Parameters and their names stay: the class of each block
    changes. A tower without blocks stays as it is.

    Args:
        context: made around the second computation, since the backward pass runs outside of that of the first one.
    """
    for block in blocks_of(tower):
        kind = type(block)
        block.__class__ = type(
            f"Recomputed{kind.__name__}", (_Recomputed, kind), {"recomputed_in": staticmethod(context)}
        )


class _Recomputed(nn.Module):
    """Before the class of a block: its forward pass keeps its inputs only."""

    recomputed_in: Context

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """As the block's."""
        if not torch.is_grad_enabled():
            return super().forward(*inputs, **named)
        return checkpoint(super().forward, *inputs, use_reentrant=False, context_fn=self._contexts, **named)

    def _contexts(self) -> tuple[AbstractContextManager, AbstractContextManager]:
        return nullcontext(), self.recomputed_in()
