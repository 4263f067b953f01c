"""What `askew finetune-retrieval` does: a run for each learning rate, a choice on validation images, one test.

The test images are looked at twice: before fine-tuning, and with the model of the learning rate that was chosen. All
training goes through the loop of `askew train`, with the recipe `finetune-retrieval`.
"""

import json
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from askew import distributed, recipes
from askew.config import Recipe
from askew.data.files import home_path
from askew.data.sources import SourceOptions
from askew.devices import choose_device
from askew.errors import Interrupted, UserError, printable
from askew.evaluation.expected import DIRECTIONS, MEAN_RECALL
from askew.evaluation.features import Extractor
from askew.evaluation.loading import DIRECTORY_CONFIG, check_activation
from askew.evaluation.results import Result, ResultsFile, load
from askew.evaluation.significance import differences
from askew.evaluation.suite import EvaluationOptions, run_set
from askew.recipes.settings import override
from askew.report.console import Console
from askew.runs.directory import RunDirectory
from askew.runs.evaluate import load_model
from askew.runs.finetuning.folder import FineTuningFolder
from askew.runs.finetuning.splits import RetrievalSplits, of_custom, of_suite
from askew.runs.finetuning.tables import draw_curves, rates_table
from askew.runs.progress import PassProgress
from askew.runs.resume import resume
from askew.runs.tables import FINE_TUNED, comparison_table, paper_tables
from askew.runs.train import start
from askew.training.interfaces import EVALUATED

RATES = (1e-5, 3e-5, 5e-5)
RETRIEVAL = EvaluationOptions(("retrieval",))
READING = {f"data.{field.name}" for field in fields(SourceOptions)}  # settings of how data are read


@dataclass(frozen=True)
class FineTuneRequest:
    """What was asked for on the command line.

    Attributes:
        model: a run directory, local-dir:FOLDER, or NAME/TAG of open_clip.
        suite, data_root: sets of the catalogue; or
        data, validation, test: a user's own; see `splits.of_custom`.
        rates: the learning rates to try.
        sets: KEY=VALUE settings of the recipe, and of how the data are read.
    """

    model: str
    suite: str = ""
    data_root: Path | None = None
    data: str = ""
    validation: str = ""
    test: str = ""
    weights: str = "student"
    rates: tuple[float, ...] = RATES
    sets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tried:
    """A finished run: its learning rate, and mean recall on the validation images by epoch, 0 first."""

    rate: float
    run: RunDirectory
    curve: dict[float, float]

    @property
    def recall(self) -> float:
        """At the end of the run."""
        return self.curve[max(self.curve)]


def finetune_retrieval(asked: FineTuneRequest, out: Path | None, console: Console) -> None:
    """Fine-tune, choose, test, and print the tables. The same command with the same --out goes on after a stop.

    Raises:
        UserError: a wrong request, or data that are not there.
        RunFailed, Interrupted: as `askew train`.
    """
    if bool(asked.suite) == bool(asked.data):
        raise UserError("name either --suite with --data-root, or --data")
    if asked.suite and (asked.validation or asked.test):
        raise UserError("--validation and --test belong to --data; the sets of a suite have splits of their own")
    model = model_settings(asked.model, asked.weights)
    refuse_what_is_decided(asked.sets)
    recipe = override(recipes.find("finetune-retrieval"), [*model, *asked.sets])  # a wrong setting shows at once
    distributed.start(choose_device(recipe.train.device), 60 * recipe.loader.stall_minutes)
    folder = distributed.from_main(lambda: FineTuningFolder.claim(out, _recorded(asked)))
    try:
        splits = distributed.main_first(lambda: _splits(asked, folder, console))
    except UserError:
        distributed.on_main(folder.remove_if_unused)
        raise
    results: list[Result] = []
    try:
        with _says_how_to_go_on(folder):
            for one in splits:
                results += _one_set(one, model, asked, folder, console)
    finally:
        distributed.stop()
    if distributed.is_main():
        for table in paper_tables(results, printable(asked.model, 40)):
            console.table(table)
        console.say(f"results  {folder.results.path}, outcomes in {folder.results.outcomes()}")


def refuse_what_is_decided(sets: Sequence[str]) -> None:
    """Refuse settings that the command decides.

    Raises:
        UserError: one of them was given.
    """
    decided = {
        "train.learning_rate": "--rates",
        "towers.model": "MODEL",
        "towers.pretrained": "MODEL",
        "data.source": "--data",
        "evaluation.during": "--validation",
        "evaluation.before": "the command itself: every run is evaluated before",
    }
    for setting in sets:
        if _key(setting) in decided:
            raise UserError(f"--set {printable(setting)}: this is decided by {decided[_key(setting)]}; leave it out")


def model_settings(model: str, weights: str) -> list[str]:
    """The settings of a recipe that start from a model.

    Raises:
        UserError: there is no such model, or it has no pretrained weights.
    """
    path = home_path(model.removeprefix("local-dir:"))
    directory = RunDirectory(path)
    if directory.exists and not model.startswith("local-dir:"):
        folder = directory.model(weights)
        if not folder.is_dir():
            raise UserError(f"{printable(model)}: the run has no {folder.name}/ folder; finish it first")
        return [_text("towers.pretrained", str(folder.absolute()))]
    if weights != "student":
        raise UserError(f"--weights {weights}: only a run directory has them; {printable(model)} is none")
    if (path / DIRECTORY_CONFIG).is_file():
        return [_text("towers.pretrained", str(path.absolute()))]
    name, _, tag = model.partition("/")
    if not tag or model.startswith("local-dir:"):
        raise UserError(
            f"{printable(model)}: neither a run directory, nor a folder with open_clip_config.json, nor NAME/TAG of "
            "open_clip; a model without pretrained weights cannot be fine-tuned"
        )
    check_activation(name, tag)
    return [_text("towers.model", name), _text("towers.pretrained", tag)]


def _key(setting: str) -> str:
    return setting.partition("=")[0].strip()


def _text(key: str, value: str) -> str:
    return f"{key}={json.dumps(value)}"


def _recorded(asked: FineTuneRequest) -> dict[str, Any]:
    return json.loads(json.dumps({key: str(v) if isinstance(v, Path) else v for key, v in asdict(asked).items()}))


def _splits(asked: FineTuneRequest, folder: FineTuningFolder, console: Console) -> list[RetrievalSplits]:
    if asked.suite:
        return of_suite(asked.suite, asked.data_root)
    reading = tuple(setting for setting in asked.sets if _key(setting) in READING)
    return [of_custom(asked.data, asked.validation, asked.test, reading, folder.path, console.say)]


@contextmanager
def _says_how_to_go_on(folder: FineTuningFolder):
    try:
        yield
    except Interrupted as error:
        how = f"stopped; the same command with --out {folder.path} goes on"
        raise Interrupted(error.signal_number, how) from error


def _one_set(
    splits: RetrievalSplits, model: list[str], asked: FineTuneRequest, folder: FineTuningFolder, console: Console
) -> list[Result]:
    """The results of one data set after fine-tuning. Every rank enters."""
    before = folder.zero_shot(splits.name)
    distributed.on_main(lambda: _test_once(splits, asked.model, asked.weights, before, {}, console))
    tried = [_trained(splits, model, rate, asked, folder, console) for rate in asked.rates]
    best = max(tried, key=lambda one: one.recall)  # of equal ones, the first
    how = {
        "learning_rate": best.rate,
        "tried": {f"{one.rate:g}": one.recall for one in tried},
        "chosen_by": "mean recall on the validation images, at the end of the run",
        "run": printable(str(best.run.path), 400),
    }
    made: list[Result] = []

    def test() -> None:
        made.extend(_test_once(splits, str(best.run.path), "student", folder.results, how, console))
        draw_curves([(f"{one.rate:g}", one.curve) for one in tried], folder.curves(splits.name))
        console.table(rates_table(splits.name, [(one.rate, one.curve) for one in tried], best.rate))
        found = []
        for result in made:
            places = before.outcomes(asked.weights), folder.results.outcomes()
            zero_shot, fine_tuned = (load(place / f"{result.task}.npz") for place in places)
            found += differences(result.task, zero_shot, fine_tuned, ("zero-shot", "fine-tuned"))
        console.table(comparison_table(found, f"{printable(asked.model, 200)}, zero-shot", "the same, fine-tuned"))
        if best.recall < best.curve.get(0.0, 0.0):
            console.warn(
                f"{splits.name}: on the validation images every learning rate ends below the model before fine-tuning; "
                "try lower ones with --rates, or fewer epochs"
            )
        console.say(f"curves   {folder.curves(splits.name)}")

    distributed.on_main(test)
    return made


def _test_once(
    splits: RetrievalSplits, model: str, weights: str, target: ResultsFile, how: dict[str, Any], console: Console
) -> list[Result]:
    """Results on the test images, from the file if they are there already."""
    tasks = [f"{splits.name}/{direction}" for direction in DIRECTIONS]
    known = {line["task"]: line for line in target.read() if line["protocol"].get(FINE_TUNED, {}) == how}
    if all(task in known for task in tasks):
        return [Result(task, known[task]["values"], known[task]["protocol"]) for task in tasks]
    encoders = load_model(model, choose_device("auto"), weights, warn=console.warn)
    progress = PassProgress(console, splits.name)
    extractor = Extractor(encoders, tick=progress.tick)
    found = list(run_set(splits.name, splits.test, encoders, extractor, RETRIEVAL, console.say, console.warn))
    console.close()
    facts: dict[str, Any] = {"suite": "custom", "data": splits.place} if splits.place else {"suite": splits.name}
    facts |= {FINE_TUNED: how} if how else {}
    target.append(found, encoders.protocol | facts)
    return [Result(one.task, one.values, {**encoders.protocol, **one.protocol, **facts}) for one in found]


def _trained(
    splits: RetrievalSplits, model: list[str], rate: float, asked: FineTuneRequest, folder: FineTuningFolder,
    console: Console,
) -> Tried:  # fmt: skip
    """The run of one learning rate: made, resumed, or found finished. Every rank enters."""
    directory = folder.run(splits.name, rate)
    if directory.exists and directory.is_complete(directory.read_recipe()):
        console.say(f"run      {directory.path} is finished")
    elif directory.exists:
        resume(None, directory.path, console)
    else:
        start(recipe_of(splits, model, rate, asked.sets), directory.path, console)
    return Tried(rate, directory, validation_curve(directory))


def recipe_of(splits: RetrievalSplits, model: list[str], rate: float, sets: Sequence[str]) -> Recipe:
    """The recipe of one learning rate. What a user sets comes last."""
    entry = splits.validation.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    settings = [*model, *splits.train, f"train.learning_rate={rate!r}", "evaluation.before=true"]
    settings += [f"evaluation.during={json.dumps([entry])}"]
    settings += [f"train.epochs={splits.epochs}"] if splits.epochs else []
    others = [one for one in sets if not (splits.is_listed and _key(one) in READING)]  # lists know how they are read
    return override(recipes.find("finetune-retrieval"), [*settings, *others])


def validation_curve(directory: RunDirectory) -> dict[float, float]:
    """Mean recall on the validation images, by epoch.

    Raises:
        UserError: the run was not evaluated.
    """
    found = {
        line["epoch"]: value
        for line in directory.metrics.read()
        for name, value in line.items()
        if name.startswith(EVALUATED) and name.endswith(f"/{MEAN_RECALL}")
    }
    if not found or max(found) < directory.metrics.read_trained()[-1]["epoch"]:
        raise UserError(
            f"{printable(str(directory.path), 400)}: the validation images could not be evaluated at the end of the "
            "run, so no learning rate can be chosen; see the warnings above, fix the images, and remove this folder"
        )
    return found
