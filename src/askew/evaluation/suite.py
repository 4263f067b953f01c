"""One data set through every task that it is for, from one pass over its images; each result with its protocol."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from askew.errors import UserError
from askew.evaluation.features import Extractor, Features
from askew.evaluation.linear_probe import linear_probe
from askew.evaluation.model import Encoders
from askew.evaluation.results import Result
from askew.evaluation.retrieval import retrieval
from askew.evaluation.sets import Captioned, Classification, Images, Labelled, Preference
from askew.evaluation.sugarcrepe import sugarcrepe
from askew.evaluation.zero_shot import zero_shot

Opened = Classification | Captioned | Preference | tuple[Preference, ...]
TASKS = ("zero_shot", "linear_probe", "retrieval", "sugarcrepe")
NAMED = 5  # unreadable images that a message names; all are stored with the result


@dataclass(frozen=True)
class Options:
    """How a set is evaluated.

    Attributes:
        tasks: which of TASKS.
        allow_unreadable: count images that cannot be read as wrong, instead of refusing the set.
        caption_prompt: what captions are put into for retrieval.
    """

    tasks: tuple[str, ...] = TASKS
    allow_unreadable: bool = False
    caption_prompt: str = "{}"


def image_sets(opened: Opened, tasks: tuple[str, ...]) -> list[Images]:
    """The images that these tasks look at, each set of them once."""
    if isinstance(opened, Classification):
        splits = [opened.test]
        if "linear_probe" in tasks and opened.train is not None:
            splits += [s for s in (opened.train, opened.validation) if s is not None]
        return [split.images for split in splits if {"zero_shot", "linear_probe"} & set(tasks)]
    if isinstance(opened, Captioned):
        return [opened.images] if "retrieval" in tasks else []
    if "sugarcrepe" not in tasks:
        return []
    return list({id(s.images): s.images for s in _subsets(opened)}.values())


def run_set(
    name: str, opened: Opened, encoders: Encoders, extractor: Extractor, options: Options, say: Callable[[str], None]
) -> Iterator[Result]:
    """The results of one set, as they come; what was found is said beside what was expected.

    Raises:
        UserError: images that cannot be read (unless they are allowed), a model without a layer for probes.
    """
    if isinstance(opened, Classification):
        yield from _classification(name, opened, encoders, extractor, options, say)
    elif isinstance(opened, Captioned):
        if "retrieval" in options.tasks:
            found = {"images": len(opened.images), "captions": len(opened.captions)}
            about = _about(name, "test", found, dict(opened.expected), opened.notes, say)
            features = _embed(name, opened.images, extractor, options)
            for result in retrieval(encoders, opened, features, options.caption_prompt):
                yield _with(result, about, {"test": features})
    elif "sugarcrepe" in options.tasks:
        yield from _preferences(name, _subsets(opened), encoders, extractor, options, say)


def _classification(
    name: str,
    data: Classification,
    encoders: Encoders,
    extractor: Extractor,
    options: Options,
    say: Callable[[str], None],
) -> Iterator[Result]:
    splits: dict[str, Labelled] = {"test": data.test}
    splits |= {k: s for k, s in (("train", data.train), ("validation", data.validation)) if s is not None}
    wanted = {"zero_shot", "linear_probe"} & set(options.tasks)
    if not wanted:
        return
    found = {split: len(part.labels) for split, part in splits.items()}
    about = _about(name, "test", found, dict(data.expected), data.notes, say)
    features = {"test": _embed(name, data.test.images, extractor, options)}
    if "zero_shot" in wanted:
        yield _with(zero_shot(encoders, data, features["test"]), about, features)
    if "linear_probe" in wanted and data.train is None:
        say(f"{name}: no probe, the set has no training split here")
    elif "linear_probe" in wanted:
        if not encoders.layer:
            raise UserError(f"{name}: no probe, this image tower gives no features before its projection")
        for split in ("train", "validation"):
            if split in splits:
                features[split] = _embed(f"{name}/{split}", splits[split].images, extractor, options)
        result = linear_probe(data, features["train"], features.get("validation"), features["test"], say)
        yield _with(result, {**about, "layer": encoders.layer}, features)


def _preferences(
    name: str,
    subsets: tuple[Preference, ...],
    encoders: Encoders,
    extractor: Extractor,
    options: Options,
    say: Callable[[str], None],
) -> Iterator[Result]:
    found = {subset.name: len(subset.positive) for subset in subsets}
    expected = {subset.name: count for subset in subsets for _, count in subset.expected}
    notes = tuple(dict.fromkeys(note for subset in subsets for note in subset.notes))
    about = _about(name, "test", found, expected, notes, say)
    images = {id(subset.images): subset.images for subset in subsets}
    features = {key: _embed(name, value, extractor, options) for key, value in images.items()}
    for result in sugarcrepe(encoders, subsets, {s.name: features[id(s.images)] for s in subsets}):
        yield _with(result, about, {str(i): made for i, made in enumerate(features.values())})


def _subsets(opened: Preference | tuple[Preference, ...]) -> tuple[Preference, ...]:
    return opened if isinstance(opened, tuple) else (opened,)


def _embed(name: str, images: Images, extractor: Extractor, options: Options) -> Features:
    features = extractor.embed(images)
    if features.problems and not options.allow_unreadable:
        shown = "; ".join(features.problems[:NAMED]) + ("; ..." if len(features.problems) > NAMED else "")
        raise UserError(
            f"{name}: {len(features.problems):,} of {len(features):,} images cannot be read: {shown}. Mend them, or "
            "count them as wrong with --allow-unreadable"
        )
    return features


def _about(
    name: str,
    split: str,
    found: dict[str, int],
    expected: dict[str, int],
    notes: tuple[str, ...],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """The part of the protocol that says what was measured on; counts are printed beside the published ones."""
    shown = []
    for part, count in found.items():
        wanted = expected.get(part)
        shown.append(f"{part} {count:,}" + ("" if wanted in (None, count) else f" (expected {wanted:,}!)"))
    missing = [f"{part} 0 (expected {count:,}!)" for part, count in expected.items() if part not in found]
    say(f"{name}: " + ", ".join(shown + missing))
    return {
        "dataset": name,
        "split": split,
        "found": found,
        "expected": expected,
        "counts_as_expected": all(found.get(part) == count for part, count in expected.items()),
        "notes": list(notes),
    }


def _with(result: Result, about: dict[str, Any], features: dict[str, Features]) -> Result:
    """The result with what was measured on, and a hash of the images of each split."""
    problems = [problem for made in features.values() for problem in made.problems]
    facts = {"images_sha256": {split: made.content for split, made in features.items()}, "unreadable": problems}
    return replace(result, protocol={**about, **result.protocol, **facts})
