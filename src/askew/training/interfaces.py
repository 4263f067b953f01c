"""What a trainer is attached to: where it writes, whom it reports to, and what else is called after each step."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from askew.config import Recipe

if TYPE_CHECKING:
    from askew.training.loop import Trainer
    from askew.training.signals import SignalGuard

EVALUATED = "eval/"  # begins the names of what an evaluation measures, in the metrics


@dataclass
class Reporter:
    """What the loop reports: plain callables, so that the loop does not depend on a terminal."""

    say: Callable[[str], None] = lambda text: None
    progress: Callable[[dict[str, Any], tuple[str, ...], int], None] = lambda line, terms, total_steps: None


class Storage(Protocol):
    """Where a trainer writes; askew.runs.directory.RunDirectory is the one on disk."""

    @property
    def path(self) -> Path:
        """The path shown in messages."""
        ...

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        ...

    def write_recipe(self, recipe: Recipe) -> None:
        """Record the recipe in place of an earlier one."""
        ...

    def append_metrics(self, line: dict[str, Any]) -> None:
        """Add one logged step."""
        ...

    @property
    def faults(self) -> Path:
        """The folder of steps that failed."""
        ...


class Evaluation(Protocol):
    """Evaluates the model while training goes on; askew.runs.during is the one that recipes ask for."""

    def is_due(self, trainer: "Trainer") -> bool:
        """Whether the step that was just taken is evaluated."""
        ...

    def is_at_hand(self, trainer: "Trainer") -> bool:
        """Whether the results of the present step are in memory."""
        ...

    def evaluate(self, trainer: "Trainer", guard: "SignalGuard") -> dict[str, float] | None:
        """Measures by name, each beginning with EVALUATED. None if a signal ended it. Every rank enters."""
        ...


class Hook(Protocol):
    """Called on every rank after every step: where loggers attach."""

    def __call__(self, trainer: "Trainer", line: dict[str, Any] | None) -> None:
        """`line` is what the step logged, or None where it logged nothing. `trainer.done` counts the steps taken."""
        ...
