"""A step that failed, taken again from what faults.py has kept of it, with an eye on where numbers go wrong."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from askew.config import Recipe
from askew.errors import UserError, printable
from askew.methods.base import Batch, Method
from askew.training import parallel
from askew.training.build import build_method, build_views, micro_batch_size
from askew.training.checkpoint import Checkpoint
from askew.training.faults import BATCH, FACTS
from askew.training.feature_cache import FeatureCache, joined
from askew.training.step import Step
from askew.training.transfer import Transfer

Values = dict[str, float]


@dataclass(frozen=True)
class Fault:
    """A step as it was kept.

    Attributes:
        path: its folder.
        facts: of each rank, in their order.
        batches: of each rank, as its loader gave it.
        recipe: the run's.
    """

    path: Path
    facts: list[dict[str, Any]]
    batches: list[Batch]
    recipe: Recipe

    @classmethod
    def read(cls, path: Path) -> "Fault":
        """The step in a folder.

        Raises:
            UserError: a file of it is damaged, or the part of a rank is missing.
        """
        facts, batches = [], []
        rank, ranks = 0, 1
        try:
            while rank < ranks:
                folder = path / f"rank-{rank}"
                if not (folder / FACTS).is_file():
                    raise UserError(
                        f"{path}: rank {rank} of {ranks} has kept nothing, so its samples are missing and the step "
                        "cannot be taken again; resume the run, which meets the same step"
                    )
                facts.append(json.loads((folder / FACTS).read_text(encoding="utf-8")))
                batches.append(load_file(folder / BATCH))
                rank, ranks = rank + 1, int(facts[0]["ranks"])
            fault = cls(path, facts, batches, Recipe.model_validate(facts[0]["recipe"]))
            _ = (
                fault.recorded,
                [(one["seed"], one["progress"], one["num_samples"], one["step"], one["device"]) for one in facts],
            )
        except (OSError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            raise UserError(_damaged(path, error)) from error
        except ValueError as error:
            if isinstance(error, UserError):
                raise
            raise UserError(_damaged(path, error)) from error
        return fault

    @property
    def recorded(self) -> Values:
        """The loss, its terms and the norm of the gradient, as means over ranks."""
        values = [values_of(one) for one in self.facts]
        return {name: sum(one[name] for one in values) / len(values) for name in values[0]}


def _damaged(path: Path, error: Exception) -> str:
    reason = printable(f"{type(error).__name__}: {' '.join(str(error).split())}", 200)
    return f"{path} is damaged ({reason}); resume the run, which meets the same step"


def values_of(facts: dict[str, Any]) -> Values:
    """What one rank's step gave."""
    written = {"loss": facts["loss"], **facts["terms"], "gradient_norm": facts["gradient_norm"]}
    return {name: float(value) for name, value in written.items()}


@dataclass
class Found:
    """What a step gave when it was taken again. Places are "" where all was finite.

    Attributes:
        weight: the first parameter or buffer that was not finite before the step.
        module: the first module whose output was not finite, inner ones before those that hold them.
        gradient: the first parameter whose gradient was not finite, in the order of the backward pass.
    """

    values: Values = field(default_factory=dict)
    weight: str = ""
    module: str = ""
    gradient: str = ""

    def watch(self, method: Method) -> None:
        """Note the places while the method is used."""
        state = method.state_dict()
        self.weight = next((name for name, value in state.items() if not _is_finite(value)), "")
        for name, module in method.named_modules():
            module.register_forward_hook(partial(self._after, f"{name} ({type(module).__name__})"))
        for name, parameter in method.named_parameters():
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(partial(self._accumulated, name))

    def _after(self, name: str, module: nn.Module, given: Any, output: Any) -> None:
        if not self.module and not all(map(_is_finite, _tensors(output))):
            self.module = name

    def _accumulated(self, name: str, parameter: Tensor) -> None:
        if not self.gradient and parameter.grad is not None and not _is_finite(parameter.grad):
            self.gradient = name


def _is_finite(value: Tensor) -> bool:
    return bool(value.detach().isfinite().all())


def _tensors(output: Any) -> Iterator[Tensor]:
    """All tensors of what a module returns."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict | list | tuple):
        for part in output.values() if isinstance(output, dict) else output:
            yield from _tensors(part)


def replayed(fault: Fault, recipe: Recipe, device: torch.device) -> Found:
    """Take the step again, up to its gradient.

    Several ranks are one process here: each rank's samples are encoded by themselves, with its own random numbers (in
    micro-batches, where the run had them), and compared all at once. So the loss is the mean over ranks but for
    rounding. Towers are not compiled.

    Args:
        recipe: that of the fault, or with other settings.

    Raises:
        UserError: the state does not fit the recipe.
    """
    facts, found = fault.facts[0], Found()
    method = build_method(recipe, pretrained=False)
    method.allocate(facts["num_samples"])
    if missing := [key for key in method.views if key not in fault.batches[0]]:
        raise UserError(f"{fault.path}: the batch has no {', '.join(missing)}, which these settings need; leave them")
    try:
        Checkpoint(fault.path / "rank-0", facts["step"], {}).load_method(method)
    except (OSError, SafetensorError) as error:
        raise UserError(_damaged(fault.path, error)) from error
    method = method.to(device).train()
    views, step = build_views(recipe, method.views), Step(method, recipe.train.precision, recipe.train.loss_chunk_size)
    found.watch(method)
    transfer = Transfer(device, method.towers.text)
    batches = [views.finish(dict(transfer(batch)), batch) for batch in fault.batches]
    size = micro_batch_size(recipe, len(batches))
    if len(batches) == 1:
        torch.manual_seed(facts["seed"])
        loss, terms, _ = parallel.backward_of(step, device, micro_batch_size=size)(batches[0], facts["progress"])
    else:
        encode, encoded = FeatureCache(step, size).encode if size else step.encode, []
        for one, batch in zip(fault.facts, batches, strict=True):
            torch.manual_seed(one["seed"])
            encoded.append(encode(batch))
        loss, terms, _ = step.compare(joined(encoded), facts["progress"])
        loss.backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in method.parameters() if p.grad is not None])
    measured = {"loss": loss, **terms, "gradient_norm": norm}
    found.values = {name: value.detach().item() for name, value in measured.items()}
    return found
