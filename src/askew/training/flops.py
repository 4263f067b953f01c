"""What a training step costs: floating-point operations per sample, counted and not estimated.

Matrix products, convolutions and attention are counted as they are computed on this device, forward and backward, with
the teacher and the second views; a multiplication and an addition are two operations. Element-wise work, the optimiser
and the loading of images are not counted.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from askew import distributed
from askew.config import Recipe
from askew.training.build import build
from askew.training.transfer import Transfer

HALFWAY = 0.5  # of training: a term that fades in or out is there


def flops_per_sample(recipe: Recipe) -> float:
    """Operations of one step of a recipe with resolved towers, divided by its samples. Every rank enters.

    The step is built anew with random weights and takes the first batch of its data. Captions differ in length, so
    another batch may differ by some percent. No run and no generator is touched.

    Raises:
        UserError: the data cannot be read.
    """
    loader = recipe.loader.model_copy(update={"num_workers": 0, "cache_mb": 0})
    train = recipe.train.model_copy(update={"compile": False})  # operations inside compiled code are not seen
    apart = recipe.evaluation.model_copy(update={"held_out": ""})
    plain = recipe.model_copy(update={"loader": loader, "train": train, "evaluation": apart})
    with torch.random.fork_rng(), _countable():
        built = build(plain, pretrained=False)
        batch = built.loader.batch(0)
        batch.pop("bad_samples")
        batch = built.loader.views.finish(dict(Transfer(built.device, built.method.towers.text)(batch)))
        with FlopCounterMode(display=False) as counter:
            built.backward(batch, HALFWAY)
    return counter.get_total_flops() * distributed.world_size() / built.loader.batch_size


@contextmanager
def _countable() -> Iterator[None]:
    """Attention as plain matrix products: the counter does not know all of its fused forms."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
