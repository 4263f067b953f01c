"""One loop that trains any method, on one CPU or many GPUs."""

import signal
import time
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import Any, NoReturn

import torch
from torch import Tensor

from askew import distributed
from askew.data.loader import BadSamples
from askew.data.watch import Batches, deaths_reported
from askew.devices import peak_memory_mb
from askew.errors import THEN_RESUME, Interrupted, RunFailed, UserError, writing
from askew.methods.base import RESERVED, Batch
from askew.training import checkpoint, sharding
from askew.training.alarms import Alarms
from askew.training.build import Built
from askew.training.collapse import sample_of, signs_of
from askew.training.faults import kept_step
from askew.training.fingerprint import contents_of, refuse_other_data
from askew.training.interfaces import Evaluation, Hook, Reporter, Storage
from askew.training.measuring import Measuring
from askew.training.optimizer import make_optimizer
from askew.training.profile import Profile, Window
from askew.training.saving import Saver
from askew.training.schedule import LONGEST_SHARE, PaceMeter, Schedule
from askew.training.signals import SignalGuard, StopWaiting
from askew.training.step import seed_of_step
from askew.training.transfer import Transfer
from askew.training.utilisation import Utilisation

READY, REPLACED, STOPPED, FAILED = range(4)  # what a rank says of its batch; the worst decides for all


class Trainer:
    """The state of a run: made once, advanced by `run`.

    Args:
        built: the recipe's method and loader on their device; see build.py.
        storage: None trains without writing anything.
        evaluation: what is evaluated while training goes on; None evaluates nothing.

    Attributes:
        recipe: with resolved towers and precision; `train.minutes` is settled in it during the first steps.
        done: optimiser steps taken.
        seconds: of training, over all sessions of the run.
        bad_samples: counted over all ranks and sessions.
    """

    def __init__(
        self,
        built: Built,
        storage: Storage | None,
        reporter: Reporter | None = None,
        hooks: tuple[Hook, ...] = (),
        evaluation: Evaluation | None = None,
    ):
        self.recipe, self.device, self.method, self.loader = built.recipe, built.device, built.method, built.loader
        self.measuring = Measuring(built.held_out, evaluation)
        self.storage, self.reporter, self.hooks = storage, reporter or Reporter(), hooks
        self._say = self.reporter.say if distributed.is_main() else lambda text: None
        config = self.recipe.train
        self.backward = built.backward
        self._transfer = Transfer(self.device, self.method.towers.text)
        self.optimizer = make_optimizer(self.method, config, self.device)  # after wrapping: it may replace parameters
        self.schedule = Schedule.of(config, self.loader.steps_per_epoch)
        self.done = 0
        self.seconds = 0.0
        self.bad_samples = BadSamples()
        self._utilisation = Utilisation(self.recipe, self.device) if config.count_flops else None
        self.window, self.profile = Window(self._utilisation), Profile()
        self.saver = Saver(self)
        self.alarms = Alarms(self.method.loss_at_chance(self.loader.batch_size).get("contrast"))

    @cached_property
    def contents(self) -> dict[str, Any]:
        """What identifies the data, read once by rank 0. Every rank enters."""
        return distributed.from_main(lambda: contents_of(self.loader.source))

    @property
    def total(self) -> int:
        """Steps of the whole run."""
        return self.schedule.total

    def load(self, found: checkpoint.Checkpoint) -> None:
        """Continue exactly where a checkpoint left off.

        Raises:
            UserError: the data are not those that the run began with.
        """
        facts, planned = found.facts, self.schedule.total_after(found.step)
        if facts["total"] != planned:
            raise UserError(
                f"{found.path}: the run was to take {facts['total']} steps, the data and recipe now give {planned}; "
                "resume with the same data"
            )
        refuse_other_data(str(found.path), facts, self.loader.source, self.loader.fingerprint, self.contents)
        found.load(self.method, self.optimizer)  # state of each sample has room for these data and no others
        self.done, self.saver.step, self.seconds = found.step, found.step, facts["seconds"]
        self.bad_samples = BadSamples(facts["drawn"], Counter(facts["bad_samples"]))
        self.measuring.is_pending = facts.get("not_evaluated", False)
        self.alarms.raised |= set(facts.get("alarms", ()))

    def run(self, until: int | None = None) -> None:
        """Train to step `until` (default: the end), saving as the recipe says.

        Raises:
            RunFailed: a loss or gradient that is not finite, or too many bad samples.
            Interrupted: SIGINT or SIGTERM, after a checkpoint of the last step was saved.
        """
        self.window, self.profile = Window(self._utilisation), Profile()
        self._pace = PaceMeter(max(1, self.recipe.loader.num_workers), LONGEST_SHARE * 60 * self.recipe.train.minutes)
        self.saver.policy = checkpoint.Policy(self.recipe.train)  # its time begins now
        if self.storage is not None:
            _ = self.contents  # now, while the data are there, and not after a signal
        first, before, started = self.done, self.seconds, time.monotonic()
        with SignalGuard(self.reporter.say) as guard, deaths_reported(), self.saver.settling(self._say):
            self._measure_first(guard)
            for batch in self._batches(guard, until):
                distributed.at_step(self.done + 1)
                record = self._one_step(batch)
                self.done += 1
                self.seconds = before + time.monotonic() - started
                self._settle_schedule()
                measured = self.measuring.after_step(self, guard)
                line = self._log(record | measured) if measured or self._is_logged(first, until) else None
                for hook in self.hooks:
                    hook(self, line)
                if self.saver.policy.is_due(self.done) or self.done == self.total:
                    self.saver.save(wait=self.done == self.total)
                if self.profile.is_due:
                    self._say(self.profile.verdict())
            if distributed.any_rank(bool(guard.received)):
                self._stop(guard)

    def _measure_first(self, guard: SignalGuard) -> None:
        """What is to be measured before the next step, as a line of its own."""
        values = self.measuring.before_steps(self, guard)
        if distributed.any_rank(bool(guard.received)):
            self._stop(guard)
        if values:
            line = {**self._clock(), **values}
            self._append(line)
            for hook in self.hooks:
                hook(self, line)

    def save(self) -> None:
        """Write a checkpoint of the present step, and wait until it is there. Every rank enters; rank 0 writes."""
        self.saver.save(wait=True)

    # Batches

    def _batches(self, guard: SignalGuard, until: int | None) -> Iterator[Batch]:
        """Batches from the present step on. The number of steps may be settled on the way. A signal ends the wait."""
        batches: Batches | None = None
        try:
            while self.done < (self.total if until is None else until):
                batch: dict[str, Any] = {}
                try:
                    with self.profile.measure("data"), self.window.waiting(), guard.waiting():
                        if batches is None:
                            batches = self.loader.batches(self.done, self.total if until is None else until)
                        batch = next(batches)
                except StopWaiting:
                    pass
                except (RunFailed, UserError) as error:
                    batch = {"failed": str(error)}
                if self._agree(batch, guard, self.saver.is_late) and self.done > self.saver.step:
                    self.saver.save(wait=False)
                yield batch
        finally:
            if batches is not None:
                batches.close()  # workers must not outlive the wait for them

    def _agree(self, batch: dict[str, Any], guard: SignalGuard, is_late: bool) -> bool:
        """Take the step only if every rank has its batch: otherwise some would wait for the others for ever.

        Returns whether the last checkpoint is too old for any rank, which is known from the same message.
        """
        found = batch.pop("bad_samples", [])
        news = FAILED if "failed" in batch else STOPPED if not batch else REPLACED if found else READY
        worst, late = distributed.highest(news, int(is_late))
        if worst == FAILED:
            raise RunFailed(next(text for text in distributed.all_gather_object(batch.get("failed")) if text))
        if worst == STOPPED:
            self._stop(guard)
        replaced = distributed.all_gather_object(found) if worst == REPLACED else []
        self.bad_samples.add([one for on_rank in replaced for one in on_rank], self.recipe.loader.batch_size, self._say)
        return bool(late)

    def _stop(self, guard: SignalGuard) -> NoReturn:
        """Save what there is, and end the run. Every rank enters."""
        if self.done > self.saver.step:
            self.save()
        self.saver.wait()
        raise Interrupted(guard.received or signal.SIGTERM, self._how_to_resume())

    # One step

    def _one_step(self, batch: Batch) -> dict[str, Any]:
        """Take one step, from a batch on the CPU to the moved teacher. Returns what it measured."""
        config, learning_rate = self.recipe.train, self.schedule.learning_rate(self.done)
        for group in self.optimizer.param_groups:
            group["lr"] = self.method.learning_rates().get(group.get("name", ""), learning_rate)
        torch.manual_seed(seed_of_step(config.seed, self.done, distributed.rank()))
        given, batch = batch, self.loader.views.finish(dict(self._transfer(batch)), batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss, terms, gathered = self.backward(batch, self.schedule.progress(self.done))
        norm = sharding.gradient_norm(self.method.parameters())
        if not (norm.isfinite() & loss.isfinite()):  # the one value that a step waits for on a GPU
            self._fail(given, loss, terms, norm)
        if config.grad_clip_norm > 0:
            sharding.clip_gradients(self.method.parameters(), config.grad_clip_norm, norm)
        self.optimizer.step()
        self.method.after_step(gathered, self.schedule.progress_after(self.done))
        self.window.step()
        measured = {"loss": loss, "terms": terms, "embeddings": sample_of(gathered)}
        return {**measured, "learning_rate": learning_rate, "gradient_norm": norm}

    def _fail(self, batch: Batch, loss: Tensor, terms: dict[str, Tensor], norm: Tensor) -> None:
        """Keep the step that gave a loss or gradient which is not finite, and end the run."""
        values = ", ".join(f"{name} {value.item():.4g}" for name, value in terms.items())
        where = kept_step(self, batch, loss, terms, norm)
        raise RunFailed(
            f"step {self.done}: loss {loss.item():.4g}, gradient norm {norm.item():.4g} ({values}) "
            f"is not finite{where}. Lower train.learning_rate, set train.grad_clip_norm=1, or try train.precision=fp32"
        )

    # What is logged

    def _is_logged(self, first: int, until: int | None) -> bool:
        return self.done % self.recipe.train.log_every == 0 or self.done in (first + 1, until or self.total)

    def _log(self, record: dict[str, Any]) -> dict[str, Any]:
        """The line of a step, averaged over ranks, into the metrics and to the reporter."""
        terms, signs = record.pop("terms"), signs_of(record.pop("embeddings"))
        if clash := sorted(terms.keys() & set(RESERVED)):
            raise UserError(f"method {self.recipe.method.name}: a term of the loss cannot be called {clash[0]!r}")
        means = distributed.mean({"loss": record.pop("loss"), **terms, "gradient_norm": record.pop("gradient_norm")})
        line = {
            **self._clock(),
            **{name: value.item() for name, value in means.items()},
            **record,
            **signs,
            **self.window.close(self.recipe.loader.batch_size),
            "logit_scale": self.method.logit_scale.exp().item(),
            "peak_memory_mb": round(peak_memory_mb(self.device), 1),
            "skipped": self.bad_samples.total,
            "seconds": round(self.seconds, 3),
        }
        if alarms := self.alarms.after(line, self.schedule):
            line["alarms"] = alarms
        self._append(line)
        for text in alarms.values():
            self._say(f"alarm    step {self.done}: {text}")
        if distributed.is_main():
            self.reporter.progress(line, tuple(terms), self.total)
        return line

    def _append(self, line: dict[str, Any]) -> None:
        if distributed.is_main() and self.storage is not None:
            with writing(f"step {self.done}: the metrics", self.storage.path, THEN_RESUME):
                self.storage.append_metrics(line)

    def _clock(self) -> dict[str, Any]:
        """What every line of the metrics begins with."""
        samples = self.done * self.recipe.loader.batch_size
        return {"step": self.done, "epoch": round(self.done / self.loader.steps_per_epoch, 4), "samples": samples}

    def _how_to_resume(self) -> str:
        if self.done == 0:
            return "before the first step, so there is nothing to save"
        where = f"; resume with --resume --out {self.storage.path}" if self.storage else ""
        return f"saved at step {self.done}{where}"

    # Steps that fit into train.minutes

    def _settle_schedule(self) -> None:
        """Once enough steps were timed: settle the number of steps, and record it in the recipe."""
        if not self.schedule.is_open:
            return
        self._pace.lap()
        if not distributed.any_rank(self._pace.is_enough):
            return
        pace = max(distributed.all_gather_object(self._pace.seconds_per_step))
        self.schedule = self.schedule.settled(self.done, pace)
        self.recipe = self.recipe.model_copy(update={"train": self.schedule.config})
        if self.storage is not None and distributed.is_main():
            with writing("the recipe", self.storage.path, THEN_RESUME):
                self.storage.write_recipe(self.recipe)
        self._say(self.schedule.explained(pace, self._pace.measured))
