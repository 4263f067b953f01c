"""Checks of what a method reads, and of what gets a gradient."""

from collections import UserDict
from typing import Any

import torch
from torch import Tensor

from askew.methods.base import Method, with_targets
from askew.nn.momentum import Momentum
from askew.training.contract.comparing import assert_close, assert_finite, close, difference, magnifies_rounding
from askew.training.contract.micro import ALWAYS_READ, PROGRESS, REPEATED, encoded, micro_batch, rows, run_step
from askew.training.step import Step


def reads_its_declared_views(method: Method) -> None:
    """A step reads every key in `views` and no others."""

    class Recorded(UserDict):
        def __getitem__(self, key: str) -> Tensor:
            assert key in self.data, f"no batch has the key {key!r}; the keys are {', '.join(self.data)}"
            seen.add(key)
            return self.data[key]

    seen: set[str] = set()
    batch: Any = Recorded(micro_batch(REPEATED))
    Step(method, "fp32")(batch, PROGRESS)
    read = seen - ALWAYS_READ
    assert read == set(method.views), f"views are {sorted(method.views)}, but a step reads {sorted(read)}"


def needs_only_its_declared_views(method: Method) -> None:
    """A batch with the keys in `views`, and nothing else, gives the same loss."""
    batch = micro_batch(REPEATED)
    declared = {key: batch[key] for key in (*sorted(ALWAYS_READ), *method.views)}
    expected = run_step(method, batch)[0]
    found = run_step(method, declared)[0]
    assert torch.equal(found, expected), f"loss {found.item()} without the other keys, {expected.item()} with them"


def encodes_sample_by_sample(method: Method) -> None:
    """Each row of `embed` and `targets` depends on its own sample only: alone it is the same as among others."""
    batch = micro_batch(REPEATED)
    whole = encoded(method, batch)
    for name, value in whole.items():
        assert len(value) == len(REPEATED), f"{name} has {len(value)} rows for {len(REPEATED)} samples"
    for index in (slice(2, 3), slice(3, 6)):
        for name, value in encoded(method, rows(batch, index)).items():
            assert_close(value, whole[name][index], f"{name} depends on the other samples", 1e-4, 1e-5)


def only_embeddings_have_gradient(method: Method) -> None:
    """`embed` returns float32 tensors and integers, `image` and `text` with gradient. `targets` has no gradient."""
    batch = micro_batch(REPEATED)
    targets = method.targets(batch)
    for name, value in targets.items():
        assert not value.requires_grad, f"the target {name} requires a gradient"
    embedded = method.embed(with_targets(batch, targets))
    for name in ("image", "text"):
        assert name in embedded, f"embed returns no {name!r}, the unit-length embedding that is contrasted"
        assert embedded[name].requires_grad, f"the embedding {name} has no gradient"
    for name, value in embedded.items():
        assert value.dtype == torch.float32 or not value.is_floating_point(), f"{name} is {value.dtype}, not float32"


def every_trainable_parameter_gets_a_gradient(method: Method) -> None:
    """One step gives every trainable parameter a finite gradient that is not 0."""
    _, _, gradients = run_step(method, micro_batch(REPEATED))
    for name, parameter in method.named_parameters():
        assert name in gradients or not parameter.requires_grad, f"{name} gets no gradient"
        assert name not in gradients or parameter.requires_grad, f"{name} is frozen, but gets a gradient"
    for name, gradient in gradients.items():
        assert gradient.isfinite().all(), f"the gradient of {name} is not finite"
        assert gradient.abs().max() > 0, f"the gradient of {name} is 0"


def only_teachers_are_frozen(method: Method) -> None:
    """Frozen parameters belong to a Momentum teacher, which gets no gradient and stays in eval mode."""
    teachers = [module for module in method.modules() if isinstance(module, Momentum)]
    of_teachers = {id(parameter) for teacher in teachers for parameter in teacher.parameters()}
    for name, parameter in method.named_parameters():
        frozen, of_teacher = not parameter.requires_grad, id(parameter) in of_teachers
        assert frozen or not of_teacher, f"{name} belongs to a teacher, but is not frozen"
        assert of_teacher or not frozen, f"{name} is frozen, but does not belong to a Momentum teacher"
    assert method.train() is method, "train() must return the method"
    run_step(method, micro_batch(REPEATED))
    for teacher in teachers:
        assert all(parameter.grad is None for parameter in teacher.parameters()), "the teacher gets a gradient"
        assert not any(module.training for module in teacher.modules()), "the teacher is not in eval mode"
    assert method.towers.training, "the student is not in training mode"


def bfloat16_is_close_to_float32(method: Method) -> None:
    """Under autocast, the loss and the gradients are finite and near those in float32."""
    batch = micro_batch(REPEATED)
    exact, _, exact_gradients = run_step(method, batch)
    loss, terms, gradients = run_step(method, batch, precision="bf16")
    assert loss.dtype == torch.float32, f"the loss is {loss.dtype}, not float32"
    assert close(loss, exact, 0.05), f"loss {loss.item()} in bfloat16, {exact.item()} in float32"
    assert loss.item() != exact.item(), "autocast has no effect"
    assert_finite(terms, gradients)
    limit = 0.3 if magnifies_rounding(method) else 0.1
    assert difference(gradients, exact_gradients) < limit, "gradients in bfloat16 differ too much from float32"
