"""Method and objective as one module: the one thing that is wrapped, compiled and spread over ranks."""

import torch
from torch import Tensor, nn

from askew import distributed
from askew.devices import quick_attention
from askew.methods.base import Batch, Method, objective_in_blocks
from askew.nn.convolutions import quick_convolutions


class Step(nn.Module):
    """Method and objective as one module, the one that is wrapped: targets, embed, gather, objective.

    Calling parts of a wrapped module from outside would skip its reducer silently.
    """

    def __init__(self, method: Method, precision: str, block_rows: int = 0):
        super().__init__()
        self.method = method
        self.precision = precision
        self.block_rows = block_rows

    def forward(self, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Loss, its terms, and everyone's embeddings (detached, for `after_step`)."""
        device = next(self.method.parameters()).device.type
        attention = quick_attention(device, self.method.towers.longest)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=self.precision == "bf16"), attention:
            with torch.no_grad(), quick_convolutions():
                targets = self.method.targets(batch)
            embedded = self.method.embed(batch)
        mine = {"group": batch["group"], **targets, **embedded}
        everyone = distributed.gather(mine)
        loss, terms = objective_in_blocks(self.method, mine, everyone, progress, self.block_rows)
        return loss, terms, {key: value.detach() for key, value in everyone.items()}
