"""One loop that trains any method, on one CPU or many GPUs."""

import json
import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from askew import checkpoint, distributed, parallel
from askew.build import build_method, build_views
from askew.config import Recipe, Train
from askew.data.loader import Broken, Loader
from askew.data.sources import open_source
from askew.devices import choose_device, keep_freed_memory, peak_memory_mb, quick_attention
from askew.errors import Interrupted, RunFailed, UserError, writing
from askew.methods.base import Batch, Method
from askew.objectives.reduce import by_rows

METRICS, DISCARDED = "metrics.jsonl", "metrics.discarded.jsonl"


class Step(nn.Module):
    """Method and objective as one module, the one that is wrapped: targets, embed, gather, objective.

    Calling parts of a wrapped module from outside would skip its reducer silently.
    """

    def __init__(self, method: Method, precision: str, block_rows: int = 0):
        super().__init__()
        self.method = method
        self.precision = precision
        self.block_rows = block_rows

    def forward(self, batch: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Loss, its terms, and everyone's embeddings (detached, for `after_step`)."""
        device = next(self.method.parameters()).device.type
        attention = quick_attention(device, self.method.towers.longest)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=self.precision == "bf16"), attention:
            with torch.no_grad():
                targets = self.method.targets(batch)
            embedded = self.method.embed(batch)
        mine = {"group": batch["group"], **targets, **embedded}
        everyone = distributed.gather(mine)
        loss, terms = self._objective(mine, everyone, progress)
        return loss, terms, {key: value.detach() for key, value in everyone.items()}

    def _objective(self, mine: Batch, everyone: Batch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """The method's, whole or in blocks of samples."""
        if self.block_rows == 0:
            return self.method.objective(mine, everyone, progress)

        def named(rows: Batch) -> dict[str, Tensor]:
            loss, terms = self.method.objective(rows, everyone, progress)
            return {"": loss, **terms}

        values = by_rows(named, mine, self.block_rows)
        return values.pop(""), values


def learning_rate_at(step: int, total: int, warmup: int, config: Train) -> float:
    """Linear from `warmup_learning_rate` to the peak over `warmup` steps, then a cosine to the minimum (SLIP)."""
    peak, low = config.learning_rate, config.min_learning_rate
    if step < warmup:
        return config.warmup_learning_rate + (peak - config.warmup_learning_rate) * step / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return low + (peak - low) * (1.0 + math.cos(math.pi * progress)) / 2.0


def parameter_groups(method: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Decay on matrices only: not on vectors, biases or norms (SLIP)."""
    decayed, plain = [], []
    for name, parameter in method.named_parameters():
        if parameter.requires_grad:
            exempt = parameter.ndim < 2 or any(word in name for word in ("bias", "ln_", "bn", "norm"))
            (plain if exempt else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


@dataclass
class Reporter:
    """What the loop tells: plain callables, so that the loop knows nothing of terminals."""

    say: Callable[[str], None] = print
    progress: Callable[[dict[str, Any]], None] = lambda line: None


@dataclass
class Trainer:
    """State of a run: built once, advanced by `run`.

    Attributes:
        recipe: with resolved towers.
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
        if self.device.type == "cpu":
            keep_freed_memory()
        distributed.start(self.device)
        data = self.recipe.data
        source = open_source(data.source, data.image_column, data.caption_column)
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
        )
        steps = round(config.epochs * self.loader.steps_per_epoch)
        self.total = max(1, min(steps, config.max_steps or steps))
        self.warmup = min(round(config.warmup_epochs * self.loader.steps_per_epoch), self.total // 2)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.method, config.weight_decay),
            lr=config.learning_rate,
            betas=config.betas,
            eps=config.eps,
            fused=self.device.type in ("cpu", "cuda"),
        )
        self.step = parallel.wrap(Step(self.method, config.precision, config.block_rows), self.device, config.compile)
        self.done = 0  # optimiser steps taken
        self.seconds = 0.0  # of training, over all sessions of the run
        self.broken = Broken()
        self._signal = 0

    def resume(self, found: checkpoint.Checkpoint) -> None:
        """Go on exactly where a checkpoint left off."""
        found.load(self.method, self.optimizer)
        facts = found.facts
        if facts["total"] != self.total:
            raise UserError(
                f"{found.path}: the run was to take {facts['total']} steps, the data and recipe now give {self.total}; "
                "resume with the same data"
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
            batches = self.loader.batches(first, last)
            while self.done < last:
                asked = time.monotonic()
                batch = next(batches)
                waited += time.monotonic() - asked
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
                    self.save()
                    saved_at = time.monotonic()
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

    def _one_step(self, batch: Batch) -> dict[str, Any]:
        config = self.recipe.train
        batch = {key: value.to(self.device, non_blocking=True) for key, value in batch.items()}
        batch = self.loader.views.finish(batch)
        learning_rate = learning_rate_at(self.done, self.total, self.warmup, config)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        loss, terms, everyone = self.step(batch, self.done / self.total)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
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
