"""Evaluate one data set on every task that it suits, with one pass over its images. Each result has its protocol."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from askew.errors import UserError, printable
from askew.evaluation.classifiers import SOLVERS
from askew.evaluation.datasets.base import (
    Captioned,
    Classification,
    EvaluationSet,
    Images,
    Labelled,
    Preference,
    TwoByTwo,
)
from askew.evaluation.datasets.prompts import check_template
from askew.evaluation.datasets.whole import present
from askew.evaluation.features import Extractor, Features
from askew.evaluation.model import Encoders
from askew.evaluation.results import Result
from askew.evaluation.set_protocol import about_data, embedded, with_protocol
from askew.evaluation.tasks.few_shot import NAME as FEW_SHOT
from askew.evaluation.tasks.few_shot import few_shot
from askew.evaluation.tasks.linear_probe import Solver, linear_probe
from askew.evaluation.tasks.retrieval import retrieval
from askew.evaluation.tasks.sgd_probe import NAME as SGD_PROBE
from askew.evaluation.tasks.sgd_probe import sgd_probe
from askew.evaluation.tasks.sugarcrepe import sugarcrepe
from askew.evaluation.tasks.winoground import NAME as WINOGROUND
from askew.evaluation.tasks.winoground import winoground
from askew.evaluation.tasks.word_order import NAME as WORD_ORDER
from askew.evaluation.tasks.word_order import word_order
from askew.evaluation.tasks.wrong_captions import wrong_captions
from askew.evaluation.tasks.zero_shot import zero_shot

TASKS = ("zero_shot", "linear_probe", "retrieval", "sugarcrepe", WINOGROUND)
ASKED_FOR = (SGD_PROBE, FEW_SHOT, WORD_ORDER, "wrong_captions")  # run only where they are named
KNOWN_TASKS = (*TASKS, *ASKED_FOR)
OF_CAPTIONS = {"retrieval", WORD_ORDER, "wrong_captions"}
PROBES = {"linear_probe", FEW_SHOT, SGD_PROBE}


@dataclass(frozen=True)
class EvaluationOptions:
    """How a data set is evaluated.

    Attributes:
        tasks: some of KNOWN_TASKS.
        allow_unreadable: count images that cannot be read as wrong, instead of refusing the data set.
        caption_prompt: the template that captions are put into for retrieval.
        probe: the solver of the linear probe, one of `classifiers.SOLVERS`.
        allow_missing: evaluate a data set without the images that are not there, instead of refusing it.
    """

    tasks: tuple[str, ...] = TASKS
    allow_unreadable: bool = False
    caption_prompt: str = "{}"
    probe: str = "lbfgs"
    allow_missing: bool = False

    def __post_init__(self) -> None:
        """Raises UserError for an unknown solver, and for a template without exactly one `{}`: every caption would then
        be the same text.
        """
        check_template(self.caption_prompt, "--caption-prompt")
        if self.probe not in SOLVERS:
            raise UserError(f"--probe {printable(self.probe)} is not known; solvers: {', '.join(SOLVERS)}")


def tasks_of(dataset: EvaluationSet) -> tuple[str, ...]:
    """The tasks that a data set can be evaluated on, some of KNOWN_TASKS."""
    if isinstance(dataset, Classification):
        suited = {"zero_shot", *PROBES}
    elif isinstance(dataset, Captioned):
        suited = OF_CAPTIONS
    else:
        suited = {WINOGROUND} if isinstance(dataset, TwoByTwo) else {"sugarcrepe"}
    return tuple(task for task in KNOWN_TASKS if task in suited)


def suits(dataset: EvaluationSet, tasks: Sequence[str]) -> bool:
    """Whether one of the tasks can be run on the data set."""
    return bool(set(tasks_of(dataset)) & set(tasks))


def unsuited(name: str, dataset: EvaluationSet, tasks: Sequence[str]) -> str:
    """A line for a set that none of the tasks suits."""
    return f"{name}: none of the tasks {', '.join(tasks)} suits it; it takes {', '.join(tasks_of(dataset))}"


def image_sets(dataset: EvaluationSet, options: EvaluationOptions) -> list[Images]:
    """The images that the tasks look at: each collection of images once."""
    dataset, tasks = present(dataset) if options.allow_missing else dataset, options.tasks
    if isinstance(dataset, Classification):
        splits = [dataset.test]
        if PROBES & set(tasks) and dataset.train is not None:
            splits += [s for s in (dataset.train, dataset.validation) if s is not None]
        return [split.images for split in splits if {"zero_shot", *PROBES} & set(tasks)]
    if isinstance(dataset, Captioned):
        return [dataset.images] if OF_CAPTIONS & set(tasks) else []
    if isinstance(dataset, TwoByTwo):
        return [dataset.images] if WINOGROUND in tasks else []
    if "sugarcrepe" not in tasks:
        return []
    return list({id(s.images): s.images for s in _subsets(dataset)}.values())


def run_set(
    name: str,
    dataset: EvaluationSet,
    encoders: Encoders,
    extractor: Extractor,
    options: EvaluationOptions,
    log: Callable[[str], None],
    warn: Callable[[str], None] = lambda text: None,
    fits: Callable[[int, int, float, int], None] = lambda done, fits, c, iteration: None,
) -> Iterator[Result]:
    """Evaluate one data set, and yield each result when it is ready.

    Args:
        name: what the data set is called in the protocol.
        log: called with lines about the progress; the first compares the counts found with the published ones, and the
            data set's notes follow.
        warn: called with what makes the numbers doubtful; the results list it as well.
        fits: called with the progress of a linear probe; see `Solver.tick`.

    Raises:
        UserError: images that cannot be read (unless they are allowed), or a model without features for the probe.
    """
    if options.allow_missing:
        dataset = present(dataset)
    if isinstance(dataset, Classification):
        solver = Solver(options.probe, encoders.device, fits)
        yield from _classification(name, dataset, encoders, extractor, options, solver, log, warn)
    elif isinstance(dataset, Captioned):
        yield from _captioned(name, dataset, encoders, extractor, options, log, warn)
    elif isinstance(dataset, TwoByTwo):
        yield from _two_by_two(name, dataset, encoders, extractor, options, log)
    elif "sugarcrepe" in options.tasks:
        yield from _preferences(name, _subsets(dataset), encoders, extractor, options, log)


def _captioned(
    name: str,
    data: Captioned,
    encoders: Encoders,
    extractor: Extractor,
    options: EvaluationOptions,
    log: Callable[[str], None],
    warn: Callable[[str], None],
) -> Iterator[Result]:
    """Retrieval, and the search for wrong captions."""
    wanted = OF_CAPTIONS & set(options.tasks)
    if not wanted:
        return
    found = {"images": len(data.images), "captions": len(data.captions)}
    about = about_data(name, {"test": data.images}, found, dict(data.expected), data.notes, log)
    about["captions_cut"] = _cut(name, data, encoders, options.caption_prompt, warn)
    features = embedded(name, data.images, extractor, options.allow_unreadable)
    if "retrieval" in wanted:
        for result in retrieval(encoders, data, features, options.caption_prompt, warn):
            yield with_protocol(result, about, {"test": features})
    if WORD_ORDER in wanted:
        result = word_order(encoders, data, features, options.caption_prompt)
        yield with_protocol(result, about, {"test": features})
    if "wrong_captions" in wanted:
        result = wrong_captions(encoders, data, features, options.caption_prompt)
        yield with_protocol(result, about, {"test": features})


def _cut(name: str, data: Captioned, encoders: Encoders, prompt: str, warn: Callable[[str], None]) -> int:
    """How many captions are longer than the text tower's context. Their ends are not compared, which is said."""
    cut = encoders.cut([prompt.replace("{}", caption) for caption in data.captions])
    if cut:
        warn(
            f"{name}: {cut:,} of {len(data.captions):,} captions are longer than the text tower's context and are cut "
            "off there: what follows is not compared"
        )
    return cut


def _classification(
    name: str,
    data: Classification,
    encoders: Encoders,
    extractor: Extractor,
    options: EvaluationOptions,
    solver: Solver,
    log: Callable[[str], None],
    warn: Callable[[str], None],
) -> Iterator[Result]:
    """Zero-shot classification and the linear probe."""
    for template in data.templates:
        check_template(template, f"{name}: its templates")
    splits: dict[str, Labelled] = {"test": data.test}
    splits |= {k: s for k, s in (("train", data.train), ("validation", data.validation)) if s is not None}
    wanted = {"zero_shot", *PROBES} & set(options.tasks)
    if not wanted:
        return
    found = {split: len(part.labels) for split, part in splits.items()}
    images = {split: part.images for split, part in splits.items()}
    about = about_data(name, images, found, dict(data.expected), data.notes, log) | {"warnings": list(data.warnings)}
    for line in data.warnings:
        warn(f"{name}: {line}")
    features = {"test": embedded(name, data.test.images, extractor, options.allow_unreadable)}
    if "zero_shot" in wanted:
        yield with_protocol(zero_shot(encoders, data, features["test"], warn), about, features)
    probes = wanted & PROBES
    if probes and data.train is None:
        log(f"{name}: no probe, because the set has no training split here")
    elif probes:
        if not encoders.layer:
            raise UserError(
                f"{name}: no probe, because this image tower gives no features before its projection; "
                "leave it out with --tasks zero_shot"
            )
        for split in ("train", "validation"):
            if split in splits:
                features[split] = embedded(f"{name}/{split}", splits[split].images, extractor, options.allow_unreadable)
        for result in _probes(data, probes, features, encoders, extractor, solver, log, warn):
            yield with_protocol(result, {**about, "layer": encoders.layer}, features)


def _probes(
    data: Classification,
    probes: set[str],
    features: dict[str, Features],
    encoders: Encoders,
    extractor: Extractor,
    solver: Solver,
    log: Callable[[str], None],
    warn: Callable[[str], None],
) -> Iterator[Result]:
    """The probes that are asked for, on the features of the splits."""
    train, validation, test = features["train"], features.get("validation"), features["test"]
    if "linear_probe" in probes:
        yield linear_probe(data, train, validation, test, log, warn, solver)
    if FEW_SHOT in probes:
        yield few_shot(data, train, validation, test, log, solver)
    if SGD_PROBE in probes:  # which encodes crops of its own
        yield sgd_probe(encoders, data, extractor.workers, extractor.tick)


def _two_by_two(
    name: str,
    data: TwoByTwo,
    encoders: Encoders,
    extractor: Extractor,
    options: EvaluationOptions,
    log: Callable[[str], None],
) -> Iterator[Result]:
    """Text, image and group score, of all items and of every kind."""
    if WINOGROUND not in options.tasks:
        return
    found = {"items": len(data.captions), "images": len(data.images)}
    about = about_data(name, {"test": data.images}, found, dict(data.expected), data.notes, log)
    features = embedded(name, data.images, extractor, options.allow_unreadable)
    for result in winoground(encoders, data, features, options.caption_prompt):
        yield with_protocol(result, about, {"test": features})


def _preferences(
    name: str,
    subsets: tuple[Preference, ...],
    encoders: Encoders,
    extractor: Extractor,
    options: EvaluationOptions,
    log: Callable[[str], None],
) -> Iterator[Result]:
    """SugarCrepe's subsets, whose images are embedded once."""
    found = {subset.name: len(subset.positive) for subset in subsets}
    expected = {subset.name: count for subset in subsets for _, count in subset.expected}
    notes = tuple(dict.fromkeys(note for subset in subsets for note in subset.notes))
    images = {id(subset.images): subset.images for subset in subsets}
    by_number = {str(number): value for number, value in enumerate(images.values())}
    about = about_data(name, by_number, found, expected, notes, log)
    features = {key: embedded(name, value, extractor, options.allow_unreadable) for key, value in images.items()}
    for result in sugarcrepe(encoders, subsets, {s.name: features[id(s.images)] for s in subsets}):
        yield with_protocol(result, about, {str(i): made for i, made in enumerate(features.values())})


def _subsets(dataset: Preference | tuple[Preference, ...]) -> tuple[Preference, ...]:
    return dataset if isinstance(dataset, tuple) else (dataset,)
