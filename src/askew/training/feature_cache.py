"""Large batches in little memory: the gradient of a step, exactly, with one micro-batch in the towers at a time.

A loss that compares samples cannot be accumulated over micro-batches, since each would see only its own negatives. But
the towers work sample by sample. So the batch is encoded twice (GradCache, Gao et al., 2021, Sec. 3.2):

    for part in micro-batches:  embedded[part] = embed(part)               without gradient
    loss = objective(embedded);  cached = d loss / d embedded               once, over all samples
    for part in micro-batches:  embed(part).backward(cached[part])          adds to the gradients of the towers

The teacher encodes once. What an objective trains itself (temperatures, heads) has its gradient from the middle line.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from askew import distributed
from askew.methods.base import Batch
from askew.nn.shards import replicated
from askew.training.step import Step, Taken, ids_of


class FeatureCache:
    """A step in micro-batches: `backward` in place of `step(...)` and `loss.backward()`.

    It calls the step itself, never one that DistributedDataParallel has wrapped, and averages the gradients over ranks
    once.

    Args:
        micro_batch_size: samples of this rank that are encoded at once. The last micro-batch may be smaller.
        reduce: called before each backward pass through towers that are sharded: whether it is the last one, after
            which their gradients are sent.
    """

    def __init__(self, step: Step, micro_batch_size: int, reduce: Callable[[bool], None] = lambda wanted: None):
        assert micro_batch_size > 0, f"a micro-batch has at least one sample, not {micro_batch_size}"
        self.step, self.micro_batch_size, self._reduce = step, micro_batch_size, reduce

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """What `Step.encode` gives, with the random numbers that `backward` draws."""
        seed, parts = torch.initial_seed(), self._parts(batch)
        targets = [self.step.targets(part) for part in parts]
        return {**ids_of(batch), **joined(targets), **self._embedded(seed, parts, targets)}

    @torch.no_grad()
    def __call__(self, batch: Batch, progress: float) -> Taken:
        """The loss, its terms, and the samples of all ranks, without gradient."""
        return self.step.compare(joined([self.step.encode(part) for part in self._parts(batch)]), progress)

    def backward(self, batch: Batch, progress: float) -> Taken:
        """The same, and the gradients of all parameters, averaged over ranks and added to what they hold.

        What towers draw at random, such as dropout, is drawn alike both times: the generator is seeded from its own
        seed and the first position of a micro-batch. Other micro-batches draw other numbers.
        """
        seed, parts = torch.initial_seed(), self._parts(batch)
        targets = [self.step.targets(part) for part in parts]
        with torch.no_grad():
            embedded = self._embedded(seed, parts, targets)
        leaves = {key: value.requires_grad_(value.is_floating_point()) for key, value in embedded.items()}
        loss, terms, gathered = self.step.compare({**ids_of(batch), **joined(targets), **leaves}, progress)
        loss.backward()
        cached = {key: leaf.grad.split(self.micro_batch_size) for key, leaf in leaves.items() if leaf.grad is not None}
        for i, part in enumerate(parts):
            self._reduce(i == len(parts) - 1)
            again = self._embed(seed, i, part, targets[i])
            trained = [key for key in cached if again[key].requires_grad]
            if trained:  # locked towers leave nothing
                torch.autograd.backward([again[key] for key in trained], [cached[key][i] for key in trained])
        distributed.average_gradients(replicated(self.step.method.parameters()))
        return loss.detach(), {name: value.detach() for name, value in terms.items()}, gathered

    def _embedded(self, seed: int, parts: list[Batch], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        return joined([self._embed(seed, i, part, targets[i]) for i, part in enumerate(parts)])

    def _embed(self, seed: int, index: int, part: Batch, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        torch.manual_seed(seed + index * self.micro_batch_size)
        return self.step.embed(part, targets)

    def _parts(self, batch: Batch) -> list[Batch]:
        """The micro-batches of a batch, as views of it."""
        split = {key: value.split(self.micro_batch_size) for key, value in batch.items()}
        return [dict(zip(split, values, strict=True)) for values in zip(*split.values(), strict=True)]


def joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors (B, ...) of several parts of a batch, one after the other."""
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
