"""What a result says about the data that it was measured on, and the features of these data."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from askew.errors import UserError
from askew.evaluation.datasets.base import Images
from askew.evaluation.datasets.whole import counts_of_missing, require_whole, words_for_missing
from askew.evaluation.features import Extractor, Features
from askew.evaluation.results import Result

NAMED = 5  # unreadable images that a message names; the result lists all of them


def embedded(name: str, images: Images, extractor: Extractor, allow_unreadable: bool) -> Features:
    """The features of the images. Raises UserError for absent images, and for unreadable ones that are not allowed."""
    require_whole(name, images)
    features = extractor.embed(images)
    if features.problems and not allow_unreadable:
        shown = "; ".join(features.problems[:NAMED]) + ("; ..." if len(features.problems) > NAMED else "")
        raise UserError(
            f"{name}: {len(features.problems):,} of {len(features):,} images cannot be read: {shown}. Fix them, or "
            "count them as wrong with --allow-unreadable"
        )
    return features


def about_data(
    name: str,
    images: dict[str, Images],
    found: dict[str, int],
    expected: dict[str, int],
    notes: tuple[str, ...],
    log: Callable[[str], None],
) -> dict[str, Any]:
    """The part of the protocol that describes the data. Logs the counts found, and the published ones that differ."""
    shown = []
    for part, count in found.items():
        wanted = expected.get(part)
        shown.append(f"{part} {count:,}" + ("" if wanted in (None, count) else f" (expected {wanted:,}!)"))
    missing = [f"{part} 0 (expected {count:,}!)" for part, count in expected.items() if part not in found]
    log(f"{name}: " + ", ".join(shown + missing))
    for note in notes:
        log(f"{name}: note: {note}")
    missing_images = {split: counts for split, part in images.items() if (counts := counts_of_missing(part))}
    for words in words_for_missing(missing_images):
        log(f"{name}: note: {words} are there; the rest is left out")
    return {
        "dataset": name,
        "split": "test",
        "missing": missing_images,
        "found": found,
        "expected": expected,
        "counts_as_expected": all(found.get(part) == count for part, count in expected.items()),
        "notes": list(notes),
    }


def with_protocol(result: Result, about: dict[str, Any], features: dict[str, Features]) -> Result:
    """The result, with the description of the data and a hash of each split's images in its protocol.

    `missing` has, of each split that the task used, how many images were found of how many that are listed.
    """
    problems = [problem for made in features.values() for problem in made.problems]
    facts: dict[str, Any] = {"images_sha256": {split: made.content for split, made in features.items()}}
    facts["unreadable"] = problems
    facts["missing"] = {split: counts for split, counts in about["missing"].items() if split in features}
    return replace(result, protocol={**about, **result.protocol, **facts})
