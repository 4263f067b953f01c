"""Few-shot linear probes: 1, 2, 4, 8 and 16 training images per class, over several seeded draws of them.

CLIP's paper reports such probes (its Figure 6) without saying which images or how C is chosen. As in the public script
of CoOp, which later work compares with, C is chosen on min(k, 4) validation images per class, the classifier is trained
on the k images alone, and the result is the mean over three draws. Which images a draw takes depends on their keys and
its number: those whose sha256 comes first in their class.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from askew.data.sources.base import path_bytes
from askew.errors import UserError
from askew.evaluation.classifiers import SOLVERS
from askew.evaluation.datasets.base import Classification, Labelled
from askew.evaluation.features import Features
from askew.evaluation.metrics import both_accuracies
from askew.evaluation.results import Outcomes, Result, item_hash
from askew.evaluation.tasks.linear_probe import FITS, Solver, Split, choose

SHOTS = (1, 2, 4, 8, 16)
DRAWS = 3
MOST_TO_VALIDATE = 4  # images per class
NAME = "few_shot"
LBFGS = Solver()


@dataclass(frozen=True)
class ShotPool:
    """Readable images that shots are drawn from: features (n, F), labels (n,) and keys."""

    features: np.ndarray
    labels: np.ndarray
    keys: tuple[str, ...]

    @classmethod
    def of(cls, part: Labelled, features: Features) -> "ShotPool":
        """The readable images of a split."""
        kept = np.flatnonzero(features.readable)
        assert features.pooled is not None
        keys = tuple(str(part.images.keys[index]) for index in kept.tolist())
        return cls(features.pooled[kept], part.labels[kept], keys)

    def in_order(self, draw: int) -> dict[int, np.ndarray]:
        """The images of each class, in the order in which a draw takes them."""
        hashes = [hashlib.sha256(f"{draw}/".encode() + path_bytes(key)).digest() for key in self.keys]
        order = np.array(sorted(range(len(self.keys)), key=lambda index: hashes[index]), dtype=int)
        return {int(label): order[self.labels[order] == label] for label in np.unique(self.labels)}

    def at(self, rows: np.ndarray) -> Split:
        """Some of the images."""
        return Split(self.features[rows], self.labels[rows])


def shots(train: ShotPool, validation: ShotPool | None, k: int, draw: int) -> tuple[Split, Split]:
    """k training images per class, and min(k, 4) validation images per class. A class with fewer gives all it has.

    Args:
        validation: None takes them from the training images, after the shots.
    """
    few = min(k, MOST_TO_VALIDATE)
    ordered = train.in_order(draw)
    learn = np.concatenate([rows[:k] for rows in ordered.values()])
    if validation is not None:
        checks = np.concatenate([rows[:few] for rows in validation.in_order(draw).values()])
        return train.at(learn), validation.at(checks)
    checks = np.concatenate([rows[k : k + few] for rows in ordered.values()])
    return train.at(learn), train.at(checks)


def few_shot(
    data: Classification,
    train: Features,
    validation: Features | None,
    test: Features,
    log: Callable[[str], None] = lambda text: None,
    solver: Solver = LBFGS,
) -> Result:
    """Accuracy on the test split for every number of shots, top-1 and mean per class, as means over the draws.

    An unreadable test image counts as wrong. A number of shots that no class has is left out.

    Raises:
        UserError: a model without features, a set without a training split, or classes of one image and no validation.
    """
    if data.train is None or train.pooled is None or test.pooled is None:
        lacks = "the set has no training split" if data.train is None else "this image tower gives no features"
        raise UserError(f"{data.name}: {lacks}, which a probe needs; use --tasks zero_shot")
    pool = ShotPool.of(data.train, train)
    others = (
        ShotPool.of(data.validation, validation) if data.validation is not None and validation is not None else None
    )
    counts = np.bincount(pool.labels, minlength=len(data.classes))
    tried = [k for k in SHOTS if k <= counts.max() and (others is not None or counts.max() > k)]
    if not tried or (counts > 0).sum() < 2:
        raise UserError(
            f"{data.name}: a few-shot probe needs two classes with a training image, and images to validate on; leave "
            "few_shot out"
        )
    log(f"{data.name}: few-shot probes with {', '.join(map(str, tried))} images per class, {DRAWS} draws each")
    right = {k: np.zeros((DRAWS, len(data.test.labels)), dtype=bool) for k in tried}
    chosen: dict[str, list[float]] = {}
    for number, (k, draw) in enumerate((k, draw) for k in tried for draw in range(DRAWS)):
        learn, check = shots(pool, others, k, draw)
        one = _reporting(solver, number, len(tried) * DRAWS)
        best = choose(learn, check, data.metric, one).best
        chosen.setdefault(str(k), []).append(best)
        found = one.on(learn, FITS - 1)(best).predict(test.pooled)
        right[k][draw] = (found == data.test.labels) & test.readable
    solver.tick(1, 1, 0.0, 0)
    return _result(data, test, right, chosen, counts, others is not None, solver)


def _reporting(solver: Solver, number: int, probes: int) -> Solver:
    """The solver, whose progress is that of all probes."""
    return replace(solver, tick=lambda done, fits, c, step: solver.tick(number * FITS + done, probes * FITS, c, step))


def _result(
    data: Classification, test: Features, right: dict[int, np.ndarray], chosen: dict[str, list[float]],
    counts: np.ndarray, own_validation: bool, solver: Solver,
) -> Result:  # fmt: skip
    labels = data.test.labels
    values: dict[str, float] = {}
    columns: dict[str, np.ndarray] = {}
    every = np.tile(labels, DRAWS)
    for k, found in right.items():
        scores = both_accuracies(found.ravel(), every, data.metric)
        values |= {f"{k}_shot/{measure}": score for measure, score in scores.items()}
        columns |= {f"{k}_shot/{measure}": found.ravel() for measure in scores}
    values |= {"n": len(labels), "classes": len(data.classes)}
    names = np.array([f"{key}, draw {draw}" for draw in range(DRAWS) for key in data.test.images.keys])
    items = np.array([item_hash(item, f"draw {draw}") for draw in range(DRAWS) for item in test.items])
    means = {measure: every for measure in columns if measure.endswith("mean_per_class")}
    outcomes = Outcomes(items, names, columns, means, np.tile(np.arange(len(labels)), DRAWS))
    protocol: dict[str, Any] = {
        "measure": data.metric,
        "classifier": SOLVERS[solver.name].title,
        "draws": DRAWS,
        "C": chosen,
        "validation": f"min(k, {MOST_TO_VALIDATE}) images per class of "
        + ("the set's own split" if own_validation else "train, after the shots"),
        "fewest_images_of_a_class": int(counts.min()),
    }
    return Result(f"{data.name}/{NAME}", values, protocol, outcomes)
