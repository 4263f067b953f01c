"""Evaluation while training goes on: the numbers that `askew eval` would give of the model as it is at that step.

The model is saved and loaded again, as it would be for `askew eval`, so that nothing can differ. All ranks encode their
shares of images and texts. Every rank then computes the measures, so that none waits for another one's work. Training
does not notice: it takes the same steps with and without evaluations.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from askew import distributed
from askew.config import EvaluateEntry, Recipe
from askew.errors import UserError, printable, writing
from askew.evaluation.datasets.whole import require_whole
from askew.evaluation.expected import measures_expected, with_mean_recall
from askew.evaluation.loading import load_encoders
from askew.evaluation.results import Result
from askew.evaluation.sharing import SharedExtractor, share_texts
from askew.evaluation.suite import image_sets, run_set, suits, unsuited
from askew.evaluation.tasks import tiny
from askew.evaluation.tasks.sgd_probe import NAME as SGD_PROBE
from askew.report.console import Console
from askew.runs.directory import RunDirectory
from askew.runs.entries import OpenedSet, opened_entry
from askew.runs.naming import CustomName
from askew.runs.tables import measure_words, measures_of, percent
from askew.training.export import save_models
from askew.training.interfaces import EVALUATED
from askew.training.loop import Trainer
from askew.training.signals import SignalGuard, StopWaiting

SHOWN = 6  # measures in the line of an evaluation


class EvaluationStopped(Exception):
    """A signal came to one of the ranks."""


def open_sets(entries: Sequence[EvaluateEntry]) -> list[OpenedSet]:
    """What `evaluation.during` names. Images are not decoded yet.

    Raises:
        UserError: an unknown suite or task, data that are not there, or two sets of one name.
    """
    found: list[OpenedSet] = []
    for entry in entries:
        try:
            if SGD_PROBE in entry.tasks:
                raise UserError(
                    f"{SGD_PROBE} takes 90 passes over the training images; run it after training with askew eval"
                )
            opened = opened_entry(entry)
            suited = [one for one in opened if one.dataset is None or suits(one.dataset, one.options.tasks)]
            if not suited:
                raise UserError(
                    "; ".join(unsuited(one.name, one.dataset, one.options.tasks) for one in opened if one.dataset)
                )
            for one in suited:
                for images in image_sets(one.dataset, one.options) if one.dataset is not None else []:
                    require_whole(one.name, images)
            found += suited
        except UserError as error:
            raise UserError(f"evaluation.during: {error}") from error
    named: dict[str, list[OpenedSet]] = {}
    for one in found:
        for other in named.setdefault(one.name, []):
            if one.data != other.data or set(one.options.tasks) & set(other.options.tasks):
                remedy = "give their files or folders different names" if one.data else "name it once, with all tasks"
                raise UserError(f"evaluation.during: two data sets are called {printable(one.name)}; {remedy}")
        named[one.name].append(one)
    return found


class During:
    """Evaluates the student of a run on the sets of `evaluation.during`, and keeps the best model by one measure.

    Args:
        sets: see `open_sets`.

    Raises:
        UserError: `evaluation.best` is none of the measures.
    """

    def __init__(self, recipe: Recipe, sets: Sequence[OpenedSet], directory: RunDirectory, console: Console):
        self._settings, self._sets, self._directory, self._console = recipe.evaluation, sets, directory, console
        self._last: tuple[int, list[tuple[OpenedSet, Result]], dict[str, str]] = (-1, [], {})
        self._announced = False

    @classmethod
    def of(cls, recipe: Recipe, directory: RunDirectory, console: Console) -> "During | None":
        """That of a run; None if it evaluates nothing. Every rank enters."""
        sets = open_during(recipe)
        return cls(recipe, sets, directory, console) if sets else None

    @property
    def describe(self) -> str:
        """What is evaluated, and how often, in one line."""
        names = ", ".join(printable(one.name, 60) for one in self._sets)
        often = "every epoch" if self._settings.during_every == 1 else f"every {self._settings.during_every:g} epochs"
        best = f"; the best model by {self._settings.best} is kept" if self._settings.best else ""
        return f"{names}: {often} and at the end, as by askew eval{best}"

    def is_due(self, trainer: Trainer) -> bool:
        """Whether the step that was just taken is evaluated."""
        every = self._settings.during_every * trainer.loader.steps_per_epoch
        return trainer.done == trainer.total or trainer.done // every > (trainer.done - 1) // every

    def is_at_hand(self, trainer: Trainer) -> bool:
        """Whether the results of the present step are in memory."""
        return self._last[0] == trainer.done

    def evaluate(self, trainer: Trainer, guard: SignalGuard) -> dict[str, float] | None:
        """Every measure of the present model, by `eval/TASK/MEASURE`. None if a signal ended it. Every rank enters.

        A set that cannot be evaluated costs a warning, and training goes on.
        """
        share = _sharing(guard)
        with TemporaryDirectory() as temporary:
            place = self._directory.evaluated_model if distributed.is_main() else Path(temporary)
            place.mkdir(exist_ok=True)
            with writing("the model that is evaluated", place):
                model = save_models(trainer.method, trainer.recipe.towers, place, only="model")[0]
            encoders = load_encoders(f"local-dir:{model}", trainer.device, self._settings.batch_size)
            share_texts(encoders, share)
            results: list[tuple[OpenedSet, Result]] = []
            try:
                for one in self._sets:
                    extractor = SharedExtractor(encoders, share, self._tick(one.name))
                    results += [(one, result) for result in self._results(one, encoders, extractor)]
            except EvaluationStopped:
                shutil.rmtree(place, ignore_errors=True)
                return None
            values = with_mean_recall(_values([result for _, result in results]))
            self._announced = True
            protocol = encoders.protocol | {"model": printable(str(self._directory.path), 400)}
            self._last = (trainer.done, results, protocol)
            if distributed.is_main():
                self._report(trainer, values, results)
                self._keep_best(trainer, values, model)
            shutil.rmtree(place, ignore_errors=True)
        return {EVALUATED + name: value for name, value in values.items()}

    def _results(self, one: OpenedSet, encoders: Any, extractor: SharedExtractor) -> list[Result]:
        """The results of one set; none where it cannot be evaluated."""
        say, warn = self._speaking()
        try:
            if one.dataset is None:
                return tiny.results(encoders)
            return list(run_set(one.name, one.dataset, encoders, extractor, one.options, say, warn))
        except UserError as error:
            if distributed.is_main():
                self._console.warn(f"not evaluated: {error}")
            return []

    def _speaking(self) -> tuple[Callable[[str], None], Callable[[str], None]]:
        """What is known of the data is said once, by rank 0."""
        if self._announced or not distributed.is_main():
            return (lambda text: None), (lambda text: None)
        return (lambda text: self._console.say(f"eval     {text}")), self._console.warn

    def _tick(self, name: str) -> Callable[[int, int], None]:
        def tick(done: int, total: int) -> None:
            if distributed.stop_was_asked():
                raise StopWaiting
            if distributed.is_main():
                self._console.evaluating(name, done, total)

        return tick

    def _report(self, trainer: Trainer, values: dict[str, float], results: Sequence[tuple[OpenedSet, Result]]) -> None:
        """One line with the first measure of tasks; evaluation.best, mean recalls, and one of each set come first."""
        firsts = [name for name in values if name == self._settings.best or name.endswith("/mean_recall")]
        first = {one.name: result for one, result in reversed(results)}
        for result in (*reversed(first.values()), *(result for _, result in results)):  # one of each set comes first
            firsts += [f"{result.task}/{measure}" for measure in measures_of(result.values)[:1]]
        firsts = list(dict.fromkeys(firsts))
        named = [f"{task} {measure_words(measure)}"
                 for task, _, measure in (name.rpartition("/") for name in firsts[:SHOWN])]  # fmt: skip
        shown = [f"{name} {percent(values[key])} %" for name, key in zip(named, firsts, strict=False)]
        self._console.say(f"eval     step {trainer.done}: {', '.join(shown) or 'nothing could be evaluated'}")

    def _keep_best(self, trainer: Trainer, values: dict[str, float], model: Path) -> None:
        """Keep the model if it is better than all before it."""
        name = self._settings.best
        if name not in values:
            return
        known = self._directory.read_best()
        if known is not None and known["measure"] == name and known["value"] >= values[name]:
            return
        with writing("the best model", self._directory.path):
            self._directory.keep_best(model, {"measure": name, "value": values[name], "step": trainer.done})

    def finish(self, trainer: Trainer) -> None:
        """Keep the results of the last model as `askew eval RUN` does. Rank 0 enters."""
        step, results, protocol = self._last
        if step != trainer.done:
            return
        target, names = self._directory.results, dict[str, CustomName]()
        for one, result in results:
            if one.data:
                custom = names.setdefault(one.name, CustomName(one.data, target, self._console))
                result = custom(one.name, result)
            suite = {"suite": "custom" if one.data else one.name}
            facts = tiny.data_protocol() if one.dataset is None else {}
            target.append([result], protocol | suite | facts)
        best = self._directory.read_best()
        if best is None and self._settings.best:
            self._console.warn(
                f"no best model was kept: evaluation.best={printable(self._settings.best)} was not measured"
            )
        if best is not None:
            self._console.say(
                f"best     step {best['step']:,}: {best['measure']} {percent(best['value'])} %, kept in "
                f"{self._directory.model('best')}; results are those of the last step, {trainer.done:,}"
            )


def open_during(recipe: Recipe) -> list[OpenedSet]:
    """The sets that a run evaluates while it trains. Every rank enters.

    Raises:
        UserError: a set that cannot be opened, or `evaluation.best` is no measure of them.
    """
    settings = recipe.evaluation
    sets = distributed.main_first(lambda: open_sets(settings.during))
    if not settings.best:
        return sets
    if not sets:
        raise UserError(
            f"evaluation.best={printable(settings.best)}: nothing is evaluated; name it in evaluation.during"
        )
    known = [name for one in sets if one.dataset is not None
             for name in measures_expected(one.name, one.dataset, one.options.tasks)]  # fmt: skip
    is_of_tiny = any(one.dataset is None for one in sets)  # whose measures come from its data
    if settings.best not in known and not is_of_tiny:
        raise UserError(
            f"evaluation.best={printable(settings.best)} is none of the measures: {printable(', '.join(known), 600)}"
        )
    return sets


def _values(results: Sequence[Result]) -> dict[str, float]:
    return {f"{result.task}/{name}": result.values[name] for result in results for name in measures_of(result.values)}


def _sharing(guard: SignalGuard) -> Callable[[Callable[[], Any]], list[Any]]:
    """Every rank's part of some work. Where a signal came to one of them, all raise EvaluationStopped."""

    def own(work: Callable[[], Any]) -> tuple[bool, Any]:
        try:
            with guard.waiting("the evaluation"):
                return True, work()
        except StopWaiting:
            distributed.ask_to_stop()  # the others, which may have had no signal, leave their shares too
            return False, None

    def share(work: Callable[[], Any]) -> list[Any]:
        made = distributed.together(lambda: own(work), stopping=lambda: bool(guard.received))
        everywhere = distributed.all_gather_object(made)
        if not all(whole for whole, _ in everywhere):
            raise EvaluationStopped
        return [value for _, value in everywhere]

    return share
