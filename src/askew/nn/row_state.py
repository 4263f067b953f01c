"""State of every sample of the data, which a method keeps from one visit to the next."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class RowState(nn.Module):
    """K numbers for every sample, float32, by its `row` in the data. They are -inf until the sample is first written.

    The state is a buffer, which checkpoints keep: 8 MB for a million samples and K = 2. It is the same on every rank as
    long as every rank writes the gathered rows.

    Args:
        width: K.
    """

    values: Tensor

    def __init__(self, width: int):
        super().__init__()
        self.register_buffer("values", torch.empty(0, width))

    def allocate(self, num_rows: int) -> None:
        """Make room for so many samples, none of which was seen."""
        self.values = self.values.new_full((num_rows, self.values.shape[1]), -torch.inf)

    def read(self, rows: Int[Tensor, "B"]) -> Float[Tensor, "B K"]:
        """The numbers of these samples."""
        return self.values[rows]

    @torch.no_grad()
    def write(self, rows: Int[Tensor, "N"], numbers: Float[Tensor, "N K"]) -> None:
        """Replace the numbers of these samples. Of a sample that occurs more than once, the last ones are kept."""
        different, group = rows.unique(return_inverse=True)
        # Which of several writes to one row would win is not defined on a GPU
        position = torch.arange(len(rows), device=rows.device)
        last = torch.zeros_like(different).scatter_reduce(0, group, position, "amax")
        self.values[different] = numbers[last].float()

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        """A method that was built without data has no rows yet: it takes as many as the checkpoint has."""
        saved = state_dict.get(f"{prefix}values")
        if saved is not None and len(self.values) == 0:
            self.allocate(len(saved))
        super()._load_from_state_dict(state_dict, prefix, *rest)
