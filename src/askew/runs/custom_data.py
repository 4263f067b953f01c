"""A user's own data in `askew eval`: how `--data` is read, and what is printed of it before anything is computed."""

from askew.config import DataSettings, Recipe
from askew.data.sources import SourceOptions, open_source
from askew.data.sources.base import EVALUATED
from askew.errors import UserError, printable
from askew.evaluation.datasets.base import Captioned, Classification, EvaluationSet
from askew.evaluation.datasets.custom import open_custom
from askew.evaluation.results import Result
from askew.evaluation.tasks.overlap import overlap
from askew.methods.mcd import MCD
from askew.recipes.settings import override
from askew.report.console import Console

FIRST = 6  # classes that are named before they are evaluated


def open_asked(
    data: str, sets: tuple[str, ...], prompts: str, class_names: str, against: str
) -> Classification | Captioned:
    """The data set, before the model is loaded: a wrong layout shows at once."""
    options = source_options(sets)
    opened = open_custom(data, options, prompts, class_names)
    if isinstance(opened, Classification) and options.split != EVALUATED:
        raise UserError(
            f"--set data.split={printable(options.split)} chooses among images with captions; of class folders give "
            "the folder of the split: --data FOLDER/SPLIT"
        )
    if against:
        open_source(against)
    return opened


def source_options(sets: tuple[str, ...]) -> SourceOptions:
    """How `--data` is read: the settings `data.` of a recipe, with the split that is evaluated by default."""
    for setting in sets:
        key = setting.partition("=")[0].strip()
        if not key.startswith("data.") or key == "data.source":
            raise UserError(
                f"--set {printable(setting)}: `askew eval` takes settings of how --data is read, such as data.split"
            )
        if key == "data.max_megapixels":
            raise UserError("--set data.max_megapixels: for `askew eval` the limit is --max-megapixels N")
    recipe = Recipe(name="eval", method=MCD.Config(), data=DataSettings(split=EVALUATED))
    return override(recipe, list(sets)).data.options


def preview(opened: EvaluationSet) -> list[str]:
    """What custom data hold, before anything is computed: the first classes, or the first captions."""
    if isinstance(opened, Classification):
        names = [printable(names[0], 40) for names in opened.classes[:FIRST]]
        more = ", ..." if len(opened.classes) > FIRST else ""
        return [f"classes  {len(opened.classes):,}: {', '.join(names)}{more}"]
    if isinstance(opened, Captioned):
        captions = [f"{printable(opened.captions[i], 60)!r}" for i in range(min(3, len(opened.captions)))]
        counts = f"{len(opened.images):,} images, {len(opened.captions):,} captions: "
        return [f"captions {counts}{', '.join(captions)}"]
    return []


def overlap_of(name: str, opened: EvaluationSet, against: str, console: Console) -> Result:
    """Test images that are also in a training source, with a warning if there are any."""
    images = opened.images if isinstance(opened, Captioned) else opened.test.images  # type: ignore[union-attr]
    result = overlap(name, images, open_source(against), printable(against, 400))
    if result.protocol["pairs"]:
        test, other, kind = result.protocol["pairs"][0]
        console.warn(
            f"{name}: {result.values['exact']:,} test images are in {printable(against)} byte for byte and "
            f"{result.values['near']:,} nearly so; the first is {test} ({kind}: {other})"
        )
    return result
