"""Parameters of which each rank holds a part (FSDP2's shards). A plain tensor is its own part, and the whole of itself.

Which is which is asked of the tensor itself, so that nothing here knows of ranks.
"""

from collections.abc import Iterable
from typing import Any, cast

from torch import Tensor, nn


def is_shard(tensor: Tensor) -> bool:
    """Whether ranks hold parts of it."""
    return hasattr(tensor, "to_local")


def part(tensor: Tensor) -> Tensor:
    """What this rank holds of it, sharing its memory."""
    return cast(Any, tensor).to_local() if is_shard(tensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All of it. Of a shard it is gathered, which every rank enters, in the same order."""
    return cast(Any, tensor).full_tensor() if is_shard(tensor) else tensor


def replicated(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """Those that every rank holds whole."""
    return [parameter for parameter in parameters if not is_shard(parameter)]
