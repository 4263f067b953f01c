"""Linear probe by CLIP's protocol: logistic regression on frozen features, its L2 strength chosen on validation data.

A solver takes at most 1,000 iterations; see `evaluation.classifiers`. C is searched on a grid of powers of 100, then in
four refinement steps around the best value, each half as wide in the exponent. The last fit is on training and
validation data together. Every fit starts from zero: a warm start stops at another point within the solver's tolerance,
and the numbers would depend on the order of the search.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from askew.data.sources.base import path_bytes
from askew.errors import UserError
from askew.evaluation.classifiers import LIMIT, SOLVERS, Classifier
from askew.evaluation.datasets.base import Classification
from askew.evaluation.features import Features
from askew.evaluation.metrics import both_accuracies
from askew.evaluation.results import Outcomes, Result

GRID = (1e-6, 1e-4, 1e-2, 1.0, 1e2, 1e4, 1e6)
REFINEMENTS = 4
FITS = len(GRID) + 2 * REFINEMENTS + 1
HELD_OUT = {"food101": 0.1, "cifar10": 0.1, "cifar100": 0.1, "imagenet": 0.1, "imagenet-80": 0.1}
"""Share of the training split that is held out if a set has no validation split."""
HELD_OUT_OTHERWISE = 0.2  # as MERU does for Pets, Cars, Caltech-101 and SUN397
FEW = 100
"""Fewer validation images warn, and fewer than one per class: the standard error of an accuracy on 100 images reaches 5
points (50 / sqrt(n)), more than the difference between neighbouring values of C, so that chance makes the choice. All
published splits have more: CLIP's sets have 612 (Caltech-101, held out) or more."""


@dataclass(frozen=True)
class Split:
    """Features (n, F) and labels (n,)."""

    features: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Choice:
    """The chosen C, and (C, validation score) of every attempt, in order."""

    best: float
    tried: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Solver:
    """How the fits of a probe are made.

    Attributes:
        name: one of `classifiers.SOLVERS`.
        device: for a solver that can use one.
        tick: called when a fit starts, with iteration 0, and in every iteration that is known of: with the fits done,
            the fits in all, C, and the iteration.
    """

    name: str = "lbfgs"
    device: torch.device = field(default=torch.device("cpu"))
    tick: Callable[[int, int, float, int], None] = lambda done, fits, c, iteration: None

    def on(self, split: Split, first: int = 0) -> Callable[[float], Classifier]:
        """The fit for a C, on a split. Reaching the limit of iterations is part of the protocol, not an error.

        Args:
            first: fits that were made before.
        """
        fit, done = SOLVERS[self.name].prepare(split.features, split.labels, self.device), first

        def made(c: float) -> Classifier:
            nonlocal done
            self.tick(done, FITS, c, 0)
            found = fit(c, lambda iteration: self.tick(done, FITS, c, iteration))
            done += 1
            return found

        return made


def choose(train: Split, validation: Split, metric: str, solver: Solver = Solver()) -> Choice:
    """CLIP's search for C. Of equal scores the first is kept; the grid goes from strong to weak regularisation."""
    tried: list[tuple[float, float]] = []
    best, best_score = GRID[0], -1.0
    fit = solver.on(train)

    def attempt(c: float) -> None:
        nonlocal best, best_score
        right = np.equal(fit(c).predict(validation.features), validation.labels)
        score = both_accuracies(right, validation.labels, metric)[metric]
        tried.append((c, score))
        if score > best_score:
            best, best_score = c, score

    for c in GRID:
        attempt(c)
    width = 10.0
    for _ in range(REFINEMENTS):
        left, right = best / width, best * width
        attempt(left)
        attempt(right)
        width **= 0.5
    return Choice(best, tuple(tried))


def held_out(keys: list[str], share: float) -> tuple[np.ndarray, np.ndarray]:
    """Indices for training and for validation, if a set has no validation split: the last `share` is held out.

    The images are put in the order of the sha256 of their keys, which is the same on every machine. The order on disk
    would not do: it goes by class, and its end would be classes that the rest lacks.
    """
    order = np.array(sorted(range(len(keys)), key=lambda i: hashlib.sha256(path_bytes(keys[i])).digest()), dtype=int)
    cut = len(keys) - round(share * len(keys))
    return np.sort(order[:cut]), np.sort(order[cut:])


def linear_probe(
    data: Classification,
    train: Features,
    validation: Features | None,
    test: Features,
    log: Callable[[str], None] = lambda text: None,
    warn: Callable[[str], None] = lambda text: None,
    solver: Solver = Solver(),
) -> Result:
    """Accuracy of the probe on the test split, top-1 and mean per class, the data set's own metric first.

    Unreadable training images are left out and counted. An unreadable test image counts as wrong.

    Args:
        log: called with one line before the search starts.
        warn: called with a line for each thing that makes the number doubtful; the result lists them as well.

    Raises:
        UserError: a model without features, a set without a training split, or fewer than two classes to learn.
    """
    learn, check, whole, source = _splits(data, train, validation)
    if test.pooled is None:
        raise UserError(_no_features(data))
    log(f"{data.name}: probe on {len(learn.labels):,} x {learn.features.shape[1]} features")
    in_training = _copies(test, train, validation)
    warnings_found = [*_few(data, check), *_leaked(data, in_training)]
    for line in warnings_found:
        warn(line)
    choice = choose(learn, check, data.metric, solver)
    model = solver.on(whole, FITS - 1)(choice.best)
    solver.tick(FITS, FITS, choice.best, model.iterations)
    labels = data.test.labels
    right = (model.predict(test.pooled) == labels) & test.readable
    values = both_accuracies(right, labels, data.metric) | {"n": len(labels), "classes": len(data.classes)}
    names = np.array([str(key) for key in data.test.images.keys])
    outcomes = Outcomes(
        np.array(test.items), names, {"top1": right, "mean_per_class": right}, {"mean_per_class": labels}
    )
    protocol: dict[str, Any] = {
        "measure": data.metric,
        "classifier": SOLVERS[solver.name].title,
        "iteration_limit": LIMIT,
        "C": choice.best,
        "C_tried": [list(pair) for pair in choice.tried],
        "validation": f"{source}: {len(check.labels):,}",
        "trained_on": len(whole.labels),
        "iterations": model.iterations,
        "reached_iteration_limit": model.iterations >= LIMIT,
        "unreadable_training_images": int((~train.readable).sum()),
        "test_images_in_training": in_training,
        "warnings": [*data.warnings, *warnings_found],
    }
    return Result(f"{data.name}/linear_probe", values, protocol, outcomes)


def _splits(data: Classification, train: Features, validation: Features | None) -> tuple[Split, Split, Split, str]:
    """What each C is fitted on, what it is scored on, what the last fit is on, and where the second comes from."""
    if data.train is None:
        raise UserError(f"{data.name}: the set has no training split, which a probe needs; use --tasks zero_shot")
    if train.pooled is None:
        raise UserError(_no_features(data))
    whole = _readable(train, data.train.labels)
    if validation is None or data.validation is None:
        share = HELD_OUT.get(data.name, HELD_OUT_OTHERWISE)
        keys = [str(data.train.images.keys[i]) for i in np.flatnonzero(train.readable).tolist()]
        first, last = held_out(keys, share)
        learn = Split(whole.features[first], whole.labels[first])
        check = Split(whole.features[last], whole.labels[last])
        source = f"{share:.0%} of train, the last in the order of the keys' sha256"
    else:
        learn, check = whole, _readable(validation, data.validation.labels)
        whole = Split(np.concatenate([learn.features, check.features]), np.concatenate([learn.labels, check.labels]))
        source = "the set's own"
    if len(np.unique(learn.labels)) < 2 or not len(check.labels):
        raise UserError(
            f"{data.name}: a probe needs two classes to train on and an image to validate; "
            f"the training split has {len(whole.labels)} readable images; add some, or leave the probe out with "
            "--tasks zero_shot"
        )
    return learn, check, whole, source


def _few(data: Classification, check: Split) -> list[str]:
    """A line if C is chosen on very few images."""
    found = len(check.labels)
    if found >= max(FEW, len(data.classes)):
        return []
    return [
        f"{data.name}: the probe's C is chosen on {found} validation images, each of which is {100 / found:.1f} points "
        f"of accuracy, so chance makes the choice; give {max(FEW, len(data.classes))} or more (in a folder val, or by "
        "more training images)"
    ]


def _copies(test: Features, *training: Features | None) -> int:
    """How many test images are, byte for byte, also training or validation images."""
    known = {picture for features in training if features is not None for picture in features.pictures}
    return sum(picture in known for picture in test.pictures if picture)


def _leaked(data: Classification, copies: int) -> list[str]:
    if not copies:
        return []
    return [
        f"{data.name}: {copies:,} of {len(data.test.labels):,} test images are also the probe's training images, byte "
        "for byte; remove them from one of the two"
    ]


def _no_features(data: Classification) -> str:
    return (
        f"{data.name}: this image tower gives no features before its projection, which a probe needs; use "
        "--tasks zero_shot"
    )


def _readable(features: Features, labels: np.ndarray) -> Split:
    assert features.pooled is not None
    if features.readable.all():
        return Split(features.pooled, labels)
    return Split(features.pooled[features.readable], labels[features.readable])
