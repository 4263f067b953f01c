"""Checks of what a step changes, and of what it must not change."""

import copy
import math

import numpy as np
import torch

from askew.methods.base import Method
from askew.training.contract.comparing import close, difference
from askew.training.contract.micro import PROGRESS, REPEATED, encoded, micro_batch, run_step


def a_step_changes_nothing(method: Method) -> None:
    """Neither state, modes, random generators nor the batch change in `targets`, `embed` and `objective`."""
    batch = micro_batch(REPEATED)
    kept, state = copy.deepcopy(batch), copy.deepcopy(method.state_dict())
    modes = [module.training for module in method.modules()]
    generators = torch.get_rng_state(), _numpy_state()
    run_step(method, batch)
    for name, value in method.state_dict().items():
        assert torch.equal(value, state[name]), f"a step changes {name}; move such changes to after_step"
    assert [module.training for module in method.modules()] == modes, "a step changes a module's mode"
    assert torch.equal(torch.get_rng_state(), generators[0]), "a step draws from PyTorch's global generator"
    assert _numpy_state() == generators[1], "a step draws from NumPy's global generator"
    assert batch.keys() == kept.keys(), "a step changes the keys of the batch"
    for key, value in batch.items():
        assert torch.equal(value, kept[key]), f"a step changes {key} in the batch"


def a_step_is_reproducible(method: Method) -> None:
    """The same step twice gives the same numbers."""
    batch = micro_batch(REPEATED)
    first, again = run_step(method, batch), run_step(method, batch)
    assert first[0].item() == again[0].item(), f"loss {first[0].item()}, and then {again[0].item()}"
    assert difference(again[2], first[2]) == 0, "the gradients differ"


def after_step_limits_the_scale(method: Method) -> None:
    """`logit_scale` has shape (1,), can be set, and is kept in [0, log 100] by `after_step`."""
    gathered = encoded(method, micro_batch(REPEATED))
    for start, end in ((9.0, math.log(100)), (-1.0, 0.0)):
        with torch.no_grad():
            method.logit_scale.fill_(start)
        method.after_step(gathered, PROGRESS)
        found = method.logit_scale
        assert found.shape == (1,), f"logit_scale has shape {tuple(found.shape)}, not (1,)"
        assert close(found, end, 1e-6), f"logit_scale is {found.item()} after a step from {start}, not {end}"


def after_step_keeps_trained_parameters(method: Method) -> None:
    """`after_step` moves only teachers, queues, and scales beyond their limits."""
    before = {name: p.detach().clone() for name, p in method.named_parameters() if p.requires_grad}
    method.after_step(encoded(method, micro_batch(REPEATED)), PROGRESS)
    after = dict(method.named_parameters())
    for name, value in before.items():
        assert torch.equal(after[name], value), f"after_step changes {name}, which is trained by gradient"


def _numpy_state() -> list[int]:
    return np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]
