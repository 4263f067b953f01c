"""Method and objective as one module: the one thing that is wrapped, compiled and spread over ranks."""

import torch
from torch import Tensor, nn

from askew import distributed
from askew.devices import quick_attention
from askew.methods.base import Batch, Method
from askew.nn.convolutions import quick_convolutions
from askew.objectives.reduce import by_rows


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
        loss, terms = self._objective(mine, everyone, progress)
        return loss, terms, {key: value.detach() for key, value in everyone.items()}

    def _objective(self, mine: Batch, everyone: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """The method's, whole or in blocks of samples."""
        if self.block_rows == 0:
            return self.method.objective(mine, everyone, progress)

        def named(rows: Batch) -> dict[str, Tensor]:
            loss, terms = self.method.objective(rows, everyone, progress)
            return {"": loss, **terms}

        values = by_rows(named, mine, self.block_rows)
        return values.pop(""), values
