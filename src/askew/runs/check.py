"""What `askew data check` does: look at a source as a run would, and print what was found."""

import json
from pathlib import Path
from typing import Any

from askew.config import Recipe
from askew.data.check import Look, check
from askew.data.files import home_path
from askew.data.sources import SourceOptions, folder_reading, open_source
from askew.data.sources.each_caption import with_captions
from askew.data.sources.splits import UnclearFolders
from askew.errors import printable
from askew.evaluation.datasets.classes import class_layout, open_class_folders
from askew.methods.mcd import MCD
from askew.recipes.settings import override
from askew.report.console import Console
from askew.training.build import build_views
from askew.training.towers import resolve


def check_data(source: str, sets: list[str], ranks: int, limit: int, as_json: bool, console: Console) -> dict[str, Any]:
    """Look at up to `limit` samples of a source. `sets` change the views, which are MCD's at 224 pixels by default.

    Of a folder of class folders, which only `askew eval` reads, it says what the classes are.
    """
    recipe = override(Recipe(name="check", method=MCD.Config()), sets)
    recipe = recipe.model_copy(update={"towers": resolve(recipe.towers)})
    if _is_for_evaluation(home_path(source), recipe.data.options):
        found = check_classes(home_path(source), limit)
        lines = described_classes(found)
    else:
        views = build_views(recipe, ("image", "aug", "text", *MCD.Config().masked_views))
        opened = with_captions(open_source(source, recipe.data.options), recipe.data.captions)
        found = check(opened, views, ranks, limit, progress=console.say)
        lines = described(found)
    for line in [json.dumps(found, ensure_ascii=True)] if as_json else lines:
        console.print(line)
    return found


def _is_for_evaluation(folder: Path, options: SourceOptions) -> bool:
    """Whether a folder holds classes, and nothing that training could read."""
    layout = class_layout(folder) if folder.is_dir() and options.layout != "pairs" else None
    if layout is None:
        return False
    try:
        return options.layout == "classes" or not folder_reading(folder, options).what
    except UnclearFolders:  # steam_train beside bus: clear as classes
        if layout.problem:
            raise
        return True


def check_classes(folder: Path, limit: int) -> dict[str, Any]:
    """The classes and splits of a folder of class folders, and which images cannot be read."""
    data = open_class_folders(folder)
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    look = Look()
    for split in filter(None, splits.values()):
        for index in range(min(limit, len(split.images))):
            look.add_image(split.images, index)
    usable = look.looked_at - look.unusable.total()
    return {
        "source": f"class folders {folder.name}",
        "classes": [list(names) for names in data.classes],
        "splits": {name: len(split.images) for name, split in splits.items() if split is not None},
        "looked_at": look.looked_at,
        "usable": usable,
        "unusable": look.found(),
        "notes": [*data.notes, *data.warnings],
        "verdict": [
            "class folders have no captions to train on; `askew eval MODEL --data` takes them",
            "every image looked at can be used"
            if usable == look.looked_at
            else f"{look.unusable.total():,} of {look.looked_at:,} images cannot be used; `askew eval` refuses the "
            "folder until they are fixed, or counts them as wrong with --allow-unreadable",
        ],
    }


def described_classes(found: dict[str, Any]) -> list[str]:
    """What was found, as lines for a person."""
    names = [names[0] for names in found["classes"]]
    splits = ", ".join(f"{name} {count:,}" for name, count in found["splits"].items())
    more = ", ..." if len(names) > 6 else ""
    lines = [
        f"source   {found['source']}",
        f"classes  {len(names):,}: {', '.join(names[:6])}{more}",
        f"images   {splits}",
    ]
    lines += [f"note     {note}" for note in found["notes"]]
    lines += _unusable(found)
    return [printable(line, 2000) for line in [*lines, *(f"verdict  {sentence}" for sentence in found["verdict"])]]


def _unusable(found: dict[str, Any]) -> list[str]:
    return [
        f"unusable {cause}: {seen['count']:,}; {'; '.join(seen['examples'])}"
        for cause, seen in found["unusable"].items()
    ]


def described(found: dict[str, Any]) -> list[str]:
    """What was found, as lines for a person."""
    lines = [f"source   {found['source']}", f"samples  {found['samples']:,}, looked at {found['looked_at']:,}"]
    lines += [f"note     {note}" for note in found["notes"]]
    for one in found["examples"]:
        (width, height), size = one["width_height"], one["trained_at"]
        captions = ", ".join(repr(printable(caption, 80)) for caption in one["captions"][:3])
        more = f" and {len(one['captions']) - 3} more" if len(one["captions"]) > 3 else ""
        lines.append(f"sample   {one['name']}: {width}x{height}, cropped to {size}x{size}: {captions}{more}")
    lines += _unusable(found)
    if found["usable"]:
        captions, images, rates = found["captions"], found["images"], found["reading"]
        words, width, height, size = (
            " ".join(map("{:,}".format, quantiles.values()))
            for quantiles in (captions["words"], images["width"], images["height"], images["bytes"])
        )
        lines += [
            f"captions {captions['per_image']:g} per image, {captions['repeated_share']:.1%} repeat another; "
            f"words (least, median, 95 %, most) {words}",
            f"images   {images['repeated_share']:.1%} repeat another; width {width}, height {height}, bytes {size}",
            f"one core reads {rates['read_samples_per_second']:,.0f} samples/s ({rates['read_mb_per_second']:,.0f} "
            f"MB/s), decodes {rates['decode_samples_per_second']:,.0f} samples/s",
        ]
    fed = ", ".join(f"{workers}: {rate:,.0f}" for workers, rate in found["feeding"].items())
    lines += [f"feeding  samples/s by number of workers: {fed}"] if fed else []
    lines += [f"verdict  {sentence}" for sentence in found["verdict"]]
    return [printable(line, 2000) for line in lines]
