"""What is measured while training goes on: the loss on held-out pairs, and evaluations."""

from typing import TYPE_CHECKING

from askew.training.held_out import HeldOut
from askew.training.interfaces import Evaluation
from askew.training.signals import SignalGuard

if TYPE_CHECKING:
    from askew.training.loop import Trainer


class Measuring:
    """Both, where the recipe asks for them. Samples per second leave out their time. Every rank enters.

    Attributes:
        is_pending: whether a signal ended the evaluation of the present step. It is then done before the next one.
    """

    def __init__(self, held_out: HeldOut | None, evaluation: Evaluation | None):
        self.held_out, self.evaluation = held_out, evaluation
        self.is_pending = False

    def after_step(self, trainer: "Trainer", guard: SignalGuard) -> dict[str, float]:
        """What is due after the step that was just taken."""
        values = self.held_out.after_step(trainer) if self.held_out is not None else {}
        if self.evaluation is not None and self.evaluation.is_due(trainer):
            values |= self._evaluated(self.evaluation, trainer, guard)
        return values

    def before_steps(self, trainer: "Trainer", guard: SignalGuard) -> dict[str, float]:
        """What a signal has left undone, the starting weights, or results of the last step that are still needed."""
        if self.evaluation is None:
            return {}
        starting = trainer.done == 0 and trainer.recipe.evaluation.before
        needed = trainer.done == trainer.total and not self.evaluation.is_at_hand(trainer)
        if not (self.is_pending or starting or needed):
            return {}
        return self._evaluated(self.evaluation, trainer, guard)

    def _evaluated(self, evaluation: Evaluation, trainer: "Trainer", guard: SignalGuard) -> dict[str, float]:
        with trainer.profile.measure("evaluation"), trainer.window.paused():
            values = evaluation.evaluate(trainer, guard)
        self.is_pending = values is None
        return values or {}
