"""How many steps a run takes, and the learning rate and progress of each: pure functions of the step.

So resuming needs no state. `train.minutes` is the one thing that a machine decides. The first steps of a run are timed,
then the number of steps is settled once and for all, and recorded in the recipe.
"""

import math
import time
from dataclasses import dataclass, field, replace

import numpy as np

from askew.config import TrainSettings
from askew.errors import UserError

MEASURED_STEPS, MEASURED_SECONDS = 30, 20.0  # `train.minutes` measures at least this many of each,
LONGEST_SHARE = 0.25  # but no longer than this share of the minutes,
FEWEST_STEPS = 5  # and at least so many steps
LEFT_OUT = 2  # the first steps, which allocate memory and wait for the first batch
LOW_QUANTILE = 0.25  # of the pace: a load that comes and goes makes steps slower, never faster


@dataclass(frozen=True)
class Schedule:
    """The steps of a run.

    While `train.minutes` has yet to settle their number, the warm-up lasts: after its ramp the learning rate stays at
    the peak. So the measurement can take as long as it must, and the decay begins when the number is known.

    A run that was extended after its end warms up again, from the minimum to the peak, and decays once more.

    Attributes:
        config: what sets the learning rate.
        requested: steps of `train.epochs`.
        total: steps that the run takes.
        warmup: steps during which the learning rate rises.
        settled_at: the step at which `train.minutes` settled `total`; 0 if it was fixed from the start.
        extended_at: the step at which an earlier plan had ended; 0 if the run was not extended.
        before: the schedule of the steps before that one.
    """

    config: TrainSettings
    requested: int
    total: int
    warmup: int
    settled_at: int = 0
    extended_at: int = 0
    before: "Schedule | None" = None

    @classmethod
    def of(cls, config: TrainSettings, steps_per_epoch: int) -> "Schedule":
        """The schedule of a recipe, for data with so many steps per epoch."""
        requested = round(config.epochs * steps_per_epoch)
        warmup = round(config.warmup_epochs * steps_per_epoch)

        def with_total(total: int, config: TrainSettings) -> Schedule:
            total = max(1, total)
            return cls(config, requested, total, min(warmup, total // 2))

        if config.extended:
            return cls._of_stages(config, requested, warmup)
        settled_at, planned = config.settled
        schedule = with_total(min(requested, config.max_steps or requested), config)
        if not settled_at:
            return schedule
        open_config = config.model_copy(update={"settled": (0, 0), "max_steps": planned})
        return replace(schedule, settled_at=settled_at, before=with_total(planned, open_config))

    @classmethod
    def _of_stages(cls, config: TrainSettings, requested: int, warmup: int) -> "Schedule":
        """The schedule of a run that was extended, once or more often."""
        ends = (*config.extended, requested)
        if config.max_steps or config.minutes or list(ends) != sorted(set(ends)):
            raise UserError(
                f"train.extended={list(config.extended)} was written by --extend-to and does not fit train.epochs="
                f"{config.epochs:g} ({requested} steps), max_steps={config.max_steps}, minutes={config.minutes:g}; "
                "set train.extended=[] for a plan without it"
            )
        schedule, start = None, 0
        for end in ends:
            schedule = cls(config, requested, end, min(warmup, (end - start) // 2), extended_at=start, before=schedule)
            start = end
        assert schedule is not None, "there is at least one stage"
        return schedule

    @property
    def is_open(self) -> bool:
        """Whether `train.minutes` has yet to settle the number of steps."""
        return self.config.minutes > 0 and self.config.settled == (0, 0)

    def settled(self, step: int, seconds_per_step: float) -> "Schedule":
        """The schedule from `step` on, with as many steps as fit into `train.minutes` at this pace."""
        total = min(self.total, max(step, self._fitting(seconds_per_step), 1))
        config = self.config.model_copy(update={"max_steps": total, "settled": (step, self.total)})
        return replace(
            self, config=config, total=total, warmup=min(self.warmup, total // 2), settled_at=step, before=self
        )

    def _fitting(self, seconds_per_step: float) -> int:
        return int(60 * self.config.minutes / seconds_per_step)

    def total_after(self, step: int) -> int:
        """The number of steps that was planned when `step` steps had been taken."""
        if self.before is not None and (step < self.settled_at or step <= self.extended_at):
            return self.before.total_after(step)
        return self.total

    def explained(self, seconds_per_step: float, measured: int) -> str:
        """One line for the user: what was measured, over how many steps, and what follows from it."""
        assert self.before is not None, "nothing was settled"
        text = (
            f"plan     {seconds_per_step:.3g} s per step, measured over {measured} steps: "
            f"{self._fitting(seconds_per_step):,} steps fit into train.minutes={self.config.minutes:g}"
        )
        if self.total == self.before.total:
            return f"{text}; the run takes {self.total:,}, as planned"
        return (
            f"{text}; the run is cut from {self.before.total:,} steps to {self.total:,}. train.minutes=0 takes them "
            f"all; train.max_steps={self.total} gives another method as many"
        )

    def _earlier(self, step: int) -> "Schedule | None":
        """The schedule of a step that was planned before this one; None for a step of this one."""
        return self.before if step < max(self.settled_at, self.extended_at) else None

    def progress(self, step: int) -> float:
        """k / T before step k, in [0, 1). T is the number of steps planned at that step."""
        if (earlier := self._earlier(step)) is not None:
            return earlier.progress(step)
        return step / self.total

    def progress_after(self, step: int) -> float:
        """(k + 1) / T after step k, in (0, 1]."""
        if (earlier := self._earlier(step)) is not None:
            return earlier.progress_after(step)
        return (step + 1) / self.total

    def learning_rate(self, step: int) -> float:
        """The learning rate of a step."""
        if (earlier := self._earlier(step)) is not None:
            return earlier.learning_rate(step)
        if self.extended_at:
            again = self.config.model_copy(update={"warmup_learning_rate": self.config.min_learning_rate})
            return learning_rate_at(step - self.extended_at, self.total - self.extended_at, self.warmup, again)
        decay_from = max(self.warmup, self.settled_at)
        if self.is_open or step < decay_from:
            return learning_rate_at(min(step, self.warmup), self.total, self.warmup, self.config)
        return learning_rate_at(step, self.total, decay_from, self.config)


def learning_rate_at(step: int, total: int, warmup: int, config: TrainSettings) -> float:
    """Linear from `warmup_learning_rate` to the peak over `warmup` steps, then a cosine to the minimum (SLIP)."""
    peak, low = config.learning_rate, config.min_learning_rate
    if step < warmup:
        return config.warmup_learning_rate + (peak - config.warmup_learning_rate) * step / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return low + (peak - low) * (1.0 + math.cos(math.pi * progress)) / 2.0


@dataclass
class PaceMeter:
    """The pace of this machine, from the first steps of a run as they really were, waiting for data included.

    The lower quartile is what a step takes when nothing else uses the machine, even where something does for a while.
    Several workers deliver batches in bursts, so there it is the lower quartile of moving averages.

    Attributes:
        window: steps that are averaged: the number of workers.
        longest: seconds after which the measurement ends in any case.
    """

    window: int = 1
    longest: float = math.inf
    seconds: list[float] = field(default_factory=list)
    _last: float = field(default_factory=lambda: time.monotonic(), repr=False)

    def lap(self) -> None:
        """One more step has ended."""
        now = time.monotonic()
        self.seconds.append(now - self._last)
        self._last = now

    @property
    def measured(self) -> int:
        """Steps that count."""
        return max(0, len(self.seconds) - LEFT_OUT)

    @property
    def is_enough(self) -> bool:
        """Whether 30 steps and 20 seconds were measured, or the measurement has lasted as long as it may."""
        spent = sum(self.seconds)
        enough = self.measured >= MEASURED_STEPS and spent >= MEASURED_SECONDS
        return enough or (self.measured >= FEWEST_STEPS and spent >= self.longest)

    @property
    def seconds_per_step(self) -> float:
        """The lower quartile, in seconds."""
        steps = np.array(self.seconds[LEFT_OUT:])
        size = min(self.window, len(steps))
        averages = np.convolve(steps, np.full(size, 1 / size), mode="valid")
        return float(np.quantile(averages, LOW_QUANTILE))
