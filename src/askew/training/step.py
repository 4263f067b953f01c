"""A method's forward pass as one module: the only thing that is wrapped, compiled and distributed.

It has two halves. `encode` works sample by sample, so a batch can be encoded in parts. `compare` compares the samples
of all ranks. Calling the halves of a wrapped module from outside would bypass its reducer silently, so a step that is
spread over ranks goes through `forward`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from askew.methods.base import Batch, Method, Terms, with_targets
from askew.nn.cpu.attention import quick_attention
from askew.nn.cpu.convolutions import quick_convolutions
from askew.objectives.reduce import by_rows
from askew.training.gathering import gather
from askew.training.matching import with_equal_captions

Taken = tuple[Tensor, Terms, dict[str, Tensor]]  # the loss, its terms, the samples of all ranks (detached)
# Pairs of samples that are compared at once: all of 1,024 samples in one process
MOST_PAIRS = 2**20
TOWERS_DRAW = 3  # the stream of randomness


def seed_of_step(seed: int, step: int, rank: int) -> int:
    """For what towers draw at random (dropout, drop path): the same when a step is taken again."""
    parts = [TOWERS_DRAW, seed, step, rank]
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


class Step(nn.Module):
    """encode: targets and embeddings. compare: gather, then the objective.

    Args:
        precision: "bf16" runs `encode` under autocast; the objective is always computed in float32.
        loss_chunk_size: local samples whose pairs are in memory at once; 0 takes as many as are fast and fit anywhere.
    """

    def __init__(self, method: Method, precision: str, loss_chunk_size: int = 0):
        super().__init__()
        self.method = method
        self.precision = precision
        self.loss_chunk_size = loss_chunk_size

    def forward(self, batch: Batch, progress: float) -> Taken:
        """The loss, its terms, and the samples of all ranks (detached, for `after_step`)."""
        return self.compare(self.encode(batch), progress)

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """What the objective needs of each local sample, (B, ...): ids, the teacher's targets, embeddings."""
        targets = self.targets(batch)
        return {**ids_of(batch), **targets, **self.embed(batch, targets)}

    def targets(self, batch: Batch) -> dict[str, Tensor]:
        """The teacher's half of `encode`, without gradient."""
        with self._encoding(), torch.no_grad(), quick_convolutions():
            return self.method.targets(batch)

    def embed(self, batch: Batch, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """The student's half of `encode`, which may read the targets of the same samples."""
        with self._encoding():
            return self.method.embed(with_targets(batch, targets))

    @contextmanager
    def _encoding(self) -> Iterator[None]:
        device = next(self.method.parameters()).device.type
        attention = quick_attention(device, self.method.towers.longest)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=self.precision == "bf16"), attention:
            yield

    def compare(self, local: dict[str, Tensor], progress: float) -> Taken:
        """The local samples against those of all ranks: see `forward`."""
        local, gathered = with_equal_captions(local, gather(local))
        loss, terms = objective_in_chunks(self.method, local, gathered, progress, self.loss_chunk_size)
        return loss, terms, {key: value.detach() for key, value in gathered.items()}


def ids_of(batch: Batch) -> dict[str, Tensor]:
    """What says which samples belong together."""
    return {key: batch[key] for key in ("match_id", "caption_id") if key in batch}


def objective_in_chunks(
    method: Method, local: dict[str, Tensor], gathered: dict[str, Tensor], progress: float, chunk_size: int
) -> tuple[Tensor, Terms]:
    """The method's objective, `chunk_size` samples at a time: the same numbers in less memory.

    0 takes as many as make MOST_PAIRS pairs. The terms have no gradient where there are several chunks.
    """
    num_local, num_gathered = len(local["match_id"]), len(gathered["match_id"])
    chunk_size = chunk_size or (max(1, MOST_PAIRS // num_gathered) if method.is_chunked else num_local)
    if chunk_size >= num_local:
        return method.objective(local, gathered, progress)
    return by_rows(partial(method.objective, progress=progress), local, gathered, method.parameters(), chunk_size)
