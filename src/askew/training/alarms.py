"""Alarms: a run that goes wrong while its loss stays finite. Each is raised once, from what is logged anyway.

A run may look bad at its start: random weights of a large image tower give nearly one embedding, and a loss is at
chance until the learning rate has risen. So two of the three look at means over a window of steps after the warm-up.
"""

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from askew.nn.similarity import MAX_LOG_SCALE
from askew.training.schedule import Schedule

WINDOW, SHARE = 100, 0.02  # steps, or as many as this share of the run if that is more
FEWEST = 3  # logged lines in a window
AT_CHANCE = 0.98  # of the loss at chance: a mean above it has learned nothing
COLLAPSED_RANK, COLLAPSED_UNIFORMITY = 1.5, -0.1  # docs/training.md: total collapse is 1 and 0
GROWTH = 2.0  # of the logit scale, within WINDOW steps
LARGEST = 0.99 * math.exp(MAX_LOG_SCALE)  # the scale is clamped there
EARLY = 0.1  # of the run: a scale may reach its limit later
RATE = "Lower train.learning_rate, warm up for longer (train.warmup_epochs), or set train.grad_clip_norm=1"

Line = Mapping[str, Any]


class Alarms:
    """What has been logged lately, and which alarms were raised.

    Args:
        chance: the loss `contrast` of a model that has learned nothing; None where a method has no such term.

    Attributes:
        raised: names of alarms. They are kept in checkpoints, so that a resumed run does not repeat one.
    """

    def __init__(self, chance: float | None):
        self.chance = chance
        self.raised: set[str] = set()
        self._lines: list[Line] = []
        self._lowest_scale = math.inf  # of this session

    def after(self, line: Line, schedule: Schedule) -> dict[str, str]:
        """The alarms that a logged step raises: their names, and what is wrong and what to do."""
        window = max(WINDOW, round(SHARE * schedule.total))
        self._lines = [one for one in self._lines if one["step"] >= line["step"] - window] + [line]
        found = {"logit_scale": self._scale(schedule.total)}
        warm = schedule.extended_at + schedule.warmup
        later = [one for one in self._lines if one["step"] > warm]
        if len(later) >= FEWEST and self._spans(later, window):
            found |= {"loss_at_chance": self._chance(later), "image_collapse": _collapse("image", later)}
            found["text_collapse"] = _collapse("text", later)
        new = {name: text for name, text in found.items() if text and name not in self.raised}
        self.raised |= new.keys()
        return new

    def _spans(self, lines: list[Line], window: int) -> bool:
        """Whether the lines reach back over a whole window, but for the pause between two of them."""
        pause = max(one["step"] - before["step"] for before, one in pairwise(lines))
        return lines[-1]["step"] - lines[0]["step"] + pause > window

    def _chance(self, lines: list[Line]) -> str:
        mean = _mean(lines, "contrast")
        if not self.chance or mean is None or mean < AT_CHANCE * self.chance:
            return ""
        half = len(lines) // 2
        if (_mean(lines[:half], "contrast") or 0) - (_mean(lines[half:], "contrast") or 0) > (
            1 - AT_CHANCE
        ) * self.chance:
            return ""  # it is above chance, and falls
        return (
            f"the loss `contrast` is at chance: {mean:.3f}, the mean {_over(lines)}; {self.chance:.3f} is that of a "
            f"model that has learned nothing. {RATE}; do captions belong to their images (askew data check)?"
        )

    def _scale(self, total: int) -> str:
        """Only what no run does that learns: it doubles in a moment, or reaches its limit early."""
        line = self._lines[-1]
        self._lowest_scale = min(self._lowest_scale, line["logit_scale"])
        low = min(one["logit_scale"] for one in self._lines if one["step"] >= line["step"] - WINDOW)
        now = line["logit_scale"]
        is_early = line["step"] <= EARLY * total and self._lowest_scale < LARGEST / 2 and now >= LARGEST
        if now < GROWTH * low and not is_early:
            return ""
        how = (
            f"from {low:.3g} to {now:.3g} within {WINDOW} steps"
            if now >= GROWTH * low
            else "it is at its limit already"
        )
        return f"the logit scale explodes: {how}. {RATE}; a temperature with a rate of its own may need a lower one"


def _collapse(side: str, lines: list[Line]) -> str:
    rank, uniformity = _mean(lines, f"{side}_rank"), _mean(lines, f"{side}_uniformity")
    if rank is None or uniformity is None or rank > COLLAPSED_RANK or uniformity < COLLAPSED_UNIFORMITY:
        return ""
    return (
        f"the {side} embeddings have collapsed: effective rank {rank:.2f} and uniformity {uniformity:.2f}, the means "
        f"{_over(lines)}; all inputs get nearly the same embedding. {RATE}; are the {side}s all alike?"
    )


def _over(lines: list[Line]) -> str:
    return f"of steps {lines[0]['step']} to {lines[-1]['step']}"


def _mean(lines: list[Line], name: str) -> float | None:
    """None where a line lacks the value."""
    values = [line[name] for line in lines if name in line]
    return sum(values) / len(values) if len(values) == len(lines) else None
