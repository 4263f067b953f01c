"""The loss on pairs that are not trained on, while training goes on."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch

from askew import distributed
from askew.config import Recipe
from askew.data.loader import Loader
from askew.data.sources import Source, open_source
from askew.data.sources.each_caption import with_captions
from askew.data.views import Views
from askew.errors import RunFailed, UserError, printable
from askew.methods.base import Batch
from askew.training.feature_cache import FeatureCache
from askew.training.step import Step

if TYPE_CHECKING:
    from askew.training.loop import Trainer

SEED = 0  # of the order and the views: the same batches in every run, so that runs can be compared
PREFIX = "held_out/"  # of its values in the metrics
HELD_OUT_LOSS = PREFIX + "loss"


class HeldOut:
    """The method's loss and terms on a fixed set of batches, without gradient and with the towers in eval mode.

    The batches have the training batch size, since a contrastive loss depends on the number of negatives, and the
    training views. They are the same at every step, after a resume, and on every number of ranks. Training does not
    notice: it draws the same numbers and takes the same steps.

    Args:
        source: see `open_held_out`.
        views: those of training.
        warn: called with messages about long waits and unusable samples.
        micro_batch_size: samples of this rank that are encoded at once; 0: all.
    """

    def __init__(
        self,
        recipe: Recipe,
        source: Source,
        step: Step,
        views: Views,
        device: torch.device,
        warn: Callable[[str], None],
        micro_batch_size: int = 0,
    ):
        settings, size = recipe.evaluation, recipe.loader.batch_size
        self.every, self.method, self.device, self._warn = settings.held_out_every, step.method, device, warn
        self.source = source
        self.loader = Loader(
            self.source,
            views,
            size,
            SEED,
            recipe.loader.num_workers,
            distributed.rank(),
            distributed.world_size(),
            warn=warn,
            fail_after=60 * recipe.loader.stall_minutes,
        )
        self.num_batches = min(settings.held_out_batches, self.loader.steps_per_epoch)
        self._step = FeatureCache(step, micro_batch_size) if micro_batch_size else step
        self._reported = False

    @property
    def describe(self) -> str:
        """What is measured, and how often, in one line."""
        batches = f"{self.num_batches} batch{'es' if self.num_batches > 1 else ''} of {self.loader.batch_size:,}"
        return (
            f"{self.source.describe}: the loss on {batches}, every {self.every:,} steps and at the end, towers in eval "
            "mode"
        )

    def after_step(self, trainer: "Trainer") -> dict[str, float]:
        """What `measure` gives, where it is due after the step that was just taken: shown, and not timed as training.

        Every rank enters.
        """
        if trainer.done % self.every and trainer.done != trainer.total:
            return {}
        with trainer.profile.measure("evaluation"), trainer.window.paused():
            values = self.measure(trainer.schedule.progress_after(trainer.done - 1))
        if distributed.is_main():
            named = ", ".join(f"{name.removeprefix(PREFIX)} {value:.4g}" for name, value in values.items())
            trainer.reporter.say(f"held-out step {trainer.done}: {named}")
        return values

    def measure(self, progress: float) -> dict[str, float]:
        """`held_out/loss` and every term, means over the batches and ranks. Every rank enters.

        Args:
            progress: (k + 1) / T of the step that was taken.
        """
        modes = {module: module.training for module in self.method.modules()}
        devices = [self.device] if self.device.type == "cuda" else []
        sums: dict[str, float] = {}
        self.method.eval()
        try:
            with torch.random.fork_rng(devices), torch.no_grad():
                for batch in self._batches():
                    moved = {key: value.to(self.device, non_blocking=True) for key, value in batch.items()}
                    loss, terms, _ = self._step(self.loader.views.finish(moved, batch), progress)
                    for name, value in distributed.mean({"loss": loss, **terms}).items():
                        sums[name] = sums.get(name, 0.0) + value.item()
        finally:
            for module, training in modes.items():
                module.training = training
        self._reported = True
        return {PREFIX + name: value / self.num_batches for name, value in sums.items()}

    def _batches(self) -> Iterator[Batch]:
        """The batches of this rank. What fails on one rank ends the run on all of them."""
        batches = self.loader.batches(0, self.num_batches)
        for _ in range(self.num_batches):
            batch: dict[str, Any]
            try:
                batch = next(batches)
            except (RunFailed, UserError) as error:
                batch = {"failed": str(error)}
            failed = [text for text in distributed.all_gather_object(batch.get("failed")) if text]
            if failed:
                raise RunFailed(f"evaluation.held_out: {failed[0]}")
            bad = batch.pop("bad_samples")
            if bad and not self._reported:  # each was replaced by another one, the same every time
                self._warn(f"held-out {len(bad)} unusable samples of a batch were replaced; the first: {bad[0][1]}")
            yield batch
        assert next(batches, None) is None, "there are no more batches than were asked for"  # and its workers end


def open_held_out(recipe: Recipe) -> Source:
    """The held-out data of a recipe.

    Raises:
        UserError: there are none, they are the training data, or they are fewer than one batch.
    """
    settings, data, size = recipe.evaluation, recipe.data, recipe.loader.batch_size
    split = settings.held_out_split or data.split
    if settings.held_out == data.source and split == data.split:
        raise UserError(
            "evaluation.held_out names the training data; name others, or another split by evaluation.held_out_split"
        )
    try:
        opened = open_source(settings.held_out, data.model_copy(update={"split": split}).options)
        source = with_captions(opened, data.captions)
    except UserError as error:
        raise UserError(f"evaluation.held_out: {error}") from error
    if len(source) < size:
        raise UserError(
            f"evaluation.held_out={printable(str(settings.held_out))} has {len(source):,} samples, fewer than "
            f"loader.batch_size={size:,}; name more, since its loss is comparable only at the same batch size"
        )
    return source
