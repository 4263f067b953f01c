"""What `askew data check` does: look at a source as a run would, and print what was found."""

import json
from typing import Any

from askew.config import Recipe
from askew.data.check import check
from askew.data.sources import open_source
from askew.errors import printable
from askew.methods.mcd import MCD
from askew.recipes.settings import override
from askew.report.console import Console
from askew.training.build import build_views
from askew.training.towers import resolve


def check_data(source: str, sets: list[str], ranks: int, limit: int, as_json: bool, console: Console) -> dict[str, Any]:
    """Look at up to `limit` samples of a source. `sets` change the views, which are MCD's at 224 pixels by default."""
    recipe = override(Recipe(name="check", method=MCD.Config()), sets)
    recipe = recipe.model_copy(update={"towers": resolve(recipe.towers)})
    views = build_views(recipe, ("image", "aug", "text", *MCD.Config().masked_views))
    found = check(open_source(source, recipe.data.options), views, ranks, limit, progress=console.say)
    for line in [json.dumps(found, ensure_ascii=True)] if as_json else described(found):
        console.print(line)
    return found


def described(found: dict[str, Any]) -> list[str]:
    """What was found, as lines for a person."""
    lines = [f"source   {found['source']}", f"samples  {found['samples']:,}, looked at {found['looked_at']:,}"]
    lines += [f"note     {note}" for note in found["notes"]]
    for cause, seen in found["unusable"].items():
        lines.append(f"unusable {cause}: {seen['count']:,}; {'; '.join(seen['examples'])}")
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
