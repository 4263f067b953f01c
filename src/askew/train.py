"""One loop that trains any method, on one CPU or many GPUs."""

import json
import math
import signal
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from askew import checkpoint, distributed, parallel
from askew.build import build_method, build_views
from askew.config import Recipe
from askew.data.loader import Broken, Loader
from askew.data.sources import open_source
from askew.devices import (
    choose_device,
    choose_precision,
    give_back_freed_memory,
    keep_freed_memory,
    peak_memory_mb,
)
from askew.errors import Interrupted, RunFailed, UserError, writing
from askew.methods.base import Batch, Method
from askew.optimiser import learning_rate_at, parameter_groups
from askew.pace import Pace
from askew.step import Step

WARM_UP_STEPS, PACE_STEPS = 2, 3  # of `fit_into_minutes`
TOWERS_DRAW = 3  # the stream of randomness
METRICS, DISCARDED = "metrics.jsonl", "metrics.discarded.jsonl"


@dataclass
class Reporter:
    """What the loop tells: plain callables, so that the loop knows nothing of terminals."""

    say: Callable[[str], None] = print
    progress: Callable[[dict[str, Any]], None] = lambda line: None


@dataclass
class Trainer:
    """State of a run: built once, advanced by `run`.

    Attributes:
        recipe: with resolved towers; `precision` "auto" is resolved here.
        folder: the run directory; None trains without writing anything.
        pretrained: whether to load pretrained weights; a checkpoint that is resumed has all, and they may be gone.
    """

    recipe: Recipe
    folder: Path | None
    reporter: Reporter = field(default_factory=Reporter)
    pretrained: bool = True

    def __post_init__(self) -> None:
        config = self.recipe.train
        self.device = choose_device(config.device)
        config = config.model_copy(update={"precision": choose_precision(config.precision, self.device)})
        self.recipe = self.recipe.model_copy(update={"train": config})
        if self.device.type == "cpu":
            keep_freed_memory()
        distributed.start(self.device)
        data = self.recipe.data
        if distributed.rank() > 0:
            distributed.barrier()  # rank 0 makes the index files, the others read them
        source = open_source(data.source, data.options)
        if distributed.rank() == 0:
            distributed.barrier()
            for note in source.notes:
                self.reporter.say(f"data     {note}")
        self.method: Method = build_method(self.recipe, self.pretrained).to(self.device).train()
        loader = self.recipe.loader
        self.loader = Loader(
            source,
            build_views(self.recipe, self.method.views),
            loader.batch_size,
            config.seed,
            loader.num_workers,
            distributed.rank(),
            distributed.world_size(),
            loader.cache_mb * 2**20,
            self.reporter.say,
            fail_after=60 * loader.stall_minutes,
        )
        self.asked = round(config.epochs * self.loader.steps_per_epoch)  # steps of the epochs
        self.total = max(1, min(self.asked, config.max_steps or self.asked))
        self.warmup = min(round(config.warmup_epochs * self.loader.steps_per_epoch), self.total // 2)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.method, config.weight_decay),
            lr=config.learning_rate,
            betas=config.betas,
            eps=config.eps,
            fused=self.device.type in ("cpu", "cuda"),
        )
        self.step = parallel.wrap(Step(self.method, config.precision, config.block_rows), self.device, config.compile)
        self.cut_from = 0  # steps that the recipe asked for, if `fit_into_minutes` left fewer
        self.done = 0  # optimiser steps taken
        self.seconds = 0.0  # of training, over all sessions of the run
        self.broken = Broken()
        self._signal = 0

    def fit_into_minutes(self) -> None:
        """Cut the schedule to what `train.minutes` buy at the pace of this machine, and record the steps in the recipe.

        The pace is that of a few batches, made, passed forward and backward, and forgotten: no weight moves. A recipe
        that says its steps (`train.max_steps`), as a recorded one does, is left alone.
        """
        config = self.recipe.train
        if config.minutes == 0 or config.max_steps > 0:
            return
        seconds = []
        for number in range(WARM_UP_STEPS + PACE_STEPS):
            started = time.perf_counter()
            batch = self.loader.batch(number)
            del batch["broken"]
            self._gradients(batch)
            seconds.append(time.perf_counter() - started)
        self.optimizer.zero_grad(set_to_none=True)
        give_back_freed_memory()
        pace = max(distributed.everyone(statistics.median(seconds[WARM_UP_STEPS:])))
        fitting = max(1, int(60 * config.minutes / pace))
        if fitting < self.total:
            self.total, self.cut_from = fitting, self.total
        self.warmup = min(self.warmup, self.total // 2)
        self.recipe = self.recipe.model_copy(update={"train": config.model_copy(update={"max_steps": self.total})})

    def resume(self, found: checkpoint.Checkpoint) -> None:
        """Go on exactly where a checkpoint left off."""
        found.load(self.method, self.optimizer)
        facts = found.facts
        if facts["total"] != self.total:
            raise UserError(
                f"{found.path}: the run was to take {facts['total']} steps, the data and recipe now give {self.total}; "
                "resume with the same data"
            )
        if facts.get("data", self.loader.fingerprint) != self.loader.fingerprint:
            raise UserError(
                f"{found.path}: the data are not those that the run began with (another number of samples, or others "
                "in their places); go on with the same data, or start a new run"
            )
        self.done, self.seconds = found.step, facts["seconds"]
        self.broken = Broken(facts["drawn"], type(self.broken.causes)(facts["broken"]))

    def run(self, until: int | None = None) -> None:
        """Train to step `until` (default: the end), saving as the recipe says.

        Raises:
            RunFailed: non-finite loss or gradient, or too many broken samples.
            Interrupted: SIGINT or SIGTERM, after a checkpoint was saved.
        """
        config, first = self.recipe.train, self.done
        last = self.total if until is None else until
        previous = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            saved_at = started = window_started = time.monotonic()
            base, waited, window_steps = self.seconds, 0.0, 0
            batches, pace = self.loader.batches(first, last), Pace()
            while self.done < last:
                asked = time.monotonic()
                batch = next(batches)
                waited += time.monotonic() - asked
                pace.add("data", asked)
                if "failed" in batch:
                    raise RunFailed(batch["failed"])
                self._count_broken(batch.pop("broken"))
                line = self._one_step(batch)
                self.done += 1
                window_steps += 1
                now = time.monotonic()
                self.seconds = base + now - started
                if self.done % config.log_every == 0 or self.done in (first + 1, last):
                    spent = now - window_started
                    line |= {
                        "samples_per_second": window_steps * self.recipe.loader.batch_size / spent,
                        "data_wait": waited / spent,
                    }
                    self._log(line)
                    window_started, waited, window_steps = time.monotonic(), 0.0, 0
                stop = distributed.any_rank(bool(self._signal), self.device)
                due = config.checkpoint_steps > 0 and self.done % config.checkpoint_steps == 0
                late = distributed.any_rank(now - saved_at > 60 * config.checkpoint_minutes, self.device)
                if stop or due or late or self.done == self.total:
                    saving = time.monotonic()
                    self.save()
                    saved_at = time.monotonic()
                    pace.add("saving", saving)
                if pace.due(now) and distributed.rank() == 0:
                    self.reporter.say(pace.verdict(now))
                if stop:
                    where = f"; go on with --resume --out {self.folder}" if self.folder else ""
                    raise Interrupted(self._signal or signal.SIGTERM, f"saved at step {self.done}{where}")
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def save(self) -> None:
        """Write a checkpoint of the present step (rank 0)."""
        if self.folder is not None and distributed.rank() == 0:
            facts = {
                "total": self.total,
                "data": self.loader.fingerprint,
                "seconds": self.seconds,
                "drawn": self.broken.drawn,
                "broken": dict(self.broken.causes),
            }
            folder = self.folder / "checkpoints"
            with writing(f"step {self.done}: the checkpoint", folder):
                checkpoint.save(
                    folder, self.done, self.method, self.optimizer, facts, self.recipe.train.keep_checkpoints
                )
        distributed.barrier()

    def _gradients(self, batch: Batch) -> tuple[Batch, Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """The finished batch, its loss and terms, everyone's embeddings; gradients are where the optimiser looks."""
        batch = {key: value.to(self.device, non_blocking=True) for key, value in batch.items()}
        batch = self.loader.views.finish(batch)
        loss, terms, everyone = self.step(batch, self.done / self.total)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        return batch, loss, terms, everyone

    def _seed_of_step(self) -> int:
        """For what towers draw at random (dropout, drop path): the same when a step is taken again."""
        parts = [TOWERS_DRAW, self.recipe.train.seed, self.done, distributed.rank()]
        return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))

    def _one_step(self, batch: Batch) -> dict[str, Any]:
        config = self.recipe.train
        learning_rate = learning_rate_at(self.done, self.total, self.warmup, config)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        torch.manual_seed(self._seed_of_step())
        batch, loss, terms, everyone = self._gradients(batch)
        gradients = [p.grad for p in self.method.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if not (math.isfinite(norm.item()) and math.isfinite(loss.item())):
            self._fail(batch, loss, terms, norm)
        if config.clip_gradient > 0:
            torch.nn.utils.clip_grads_with_norm_(self.method.parameters(), config.clip_gradient, norm)
        self.optimizer.step()
        self.method.after_step(everyone, (self.done + 1) / self.total)
        return {"loss": loss, "terms": terms, "learning_rate": learning_rate, "gradient_norm": norm.item()}

    def _log(self, line: dict[str, Any]) -> None:
        means = distributed.mean({"loss": line.pop("loss"), **line.pop("terms")})
        epoch = self.done / self.loader.steps_per_epoch
        line = {
            "step": self.done,
            "epoch": round(epoch, 4),
            "samples": self.done * self.recipe.loader.batch_size,
            **{name: value.item() for name, value in means.items()},
            **line,
            "logit_scale": self.method.logit_scale.exp().item(),
            "peak_memory_mb": round(peak_memory_mb(self.device), 1),
            "skipped": self.broken.total,
            "seconds": round(self.seconds, 3),
        }
        if distributed.rank() == 0:
            if self.folder is not None:
                with (
                    writing(f"step {self.done}: the metrics", self.folder),
                    (self.folder / METRICS).open("a", encoding="utf-8") as file,
                ):
                    file.write(json.dumps(line) + "\n")
            self.reporter.progress(line)

    def _count_broken(self, found: list[tuple[str, str]]) -> None:
        theirs = distributed.everyone(found) if distributed.any_rank(bool(found), self.device) else []
        for rank_found in theirs:
            for cause, message in rank_found:
                self.broken.causes[cause] += 1
                if distributed.rank() == 0 and self.broken.causes[cause] <= 5:  # named, but not without end
                    self.reporter.say(f"replaced a broken sample ({cause}): {message}")
        self.broken.drawn += self.recipe.loader.batch_size
        self.broken.check()

    def _fail(self, batch: Batch, loss: Tensor, terms: dict[str, Tensor], norm: Tensor) -> None:
        values = ", ".join(f"{name} {value.item():.4g}" for name, value in terms.items())
        where = ""
        if self.folder is not None:
            file = self.folder / "fault" / f"batch-step{self.done}-rank{distributed.rank()}.safetensors"
            try:
                file.parent.mkdir(exist_ok=True)
                save_file({key: value.detach().cpu().contiguous() for key, value in batch.items()}, file)
                where = f"; the batch is in {file}"
            except (OSError, SafetensorError) as error:  # the run failed already: say that, not this
                where = f"; the batch could not be written ({error})"
        raise RunFailed(
            f"step {self.done}: loss {loss.item():.4g}, gradient norm {norm.item():.4g} ({values}) "
            f"is not finite{where}. Lower train.learning_rate, set train.clip_gradient=1, or try train.precision=fp32"
        )

    def _on_signal(self, number: int, frame: Any) -> None:
        if self._signal:
            raise KeyboardInterrupt  # asked twice: at once, without saving
        self._signal = number
        self.reporter.say(f"{signal.Signals(number).name}: saving after this step (again: stop at once)")
