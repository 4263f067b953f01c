"""Zero-shot classification: a class's prompts make its row of a linear classifier; the best row names the image."""

from collections.abc import Callable
from typing import Any

import numpy as np

from askew.evaluation.datasets.base import Classification
from askew.evaluation.features import Features
from askew.evaluation.metrics import accuracy, both_accuracies, top_k
from askew.evaluation.model import Encoders
from askew.evaluation.results import Outcomes, Result, item_hash

PROMPTS = 4096  # texts encoded at a time; one row per class is kept of them
SCORED_AT_ONCE = 4096  # images


def classifier(encoders: Encoders, classes: tuple[tuple[str, ...], ...], templates: tuple[str, ...]) -> np.ndarray:
    """(K, D): the unit-length embeddings of all names of a class in all templates, averaged, and normalised again.

    The names of a class have equal weights. Texts are encoded in batches over classes, not class by class.
    """
    prompts = [[template.replace("{}", name) for name in names for template in templates] for names in classes]
    rows: list[np.ndarray] = []
    first = 0
    while first < len(prompts):
        last, count = first, 0
        while last < len(prompts) and (count == 0 or count + len(prompts[last]) <= PROMPTS):
            count += len(prompts[last])
            last += 1
        embedding = encoders.text([text for texts in prompts[first:last] for text in texts])
        ends = np.cumsum([len(texts) for texts in prompts[first:last]])
        rows += [part.mean(axis=0) for part in np.split(embedding, ends[:-1])]
        first = last
    weights = np.stack(rows)
    return weights / np.linalg.norm(weights, axis=1, keepdims=True)


def classified(
    embedding: np.ndarray, weights: np.ndarray, labels: np.ndarray, ks: tuple[int, ...]
) -> dict[int, np.ndarray]:
    """For each k, whether the label is among the k best classes of each image (n,). Scores are made block by block."""
    found: dict[int, list[np.ndarray]] = {k: [] for k in ks}
    for start in range(0, len(embedding), SCORED_AT_ONCE):
        scores = embedding[start : start + SCORED_AT_ONCE] @ weights.T
        for k in ks:
            found[k].append(top_k(scores, labels[start : start + SCORED_AT_ONCE], k))
    return {k: np.concatenate(parts) for k, parts in found.items()}


def zero_shot(
    encoders: Encoders, data: Classification, features: Features, warn: Callable[[str], None] = lambda text: None
) -> Result:
    """Accuracy on the test split, top-1 and mean per class, the data set's own metric first.

    An image that cannot be read counts as wrong. For each of the set's `class_orders` the accuracy under that order is
    reported beside the right one.

    Args:
        warn: called with a line if one picture has several labels.
    """
    weights = classifier(encoders, data.classes, data.templates)
    labels = data.test.labels
    ks = (1, 5) if len(data.classes) > 5 else (1,)
    right = {k: found & features.readable for k, found in classified(features.embedding, weights, labels, ks).items()}
    values = both_accuracies(right[1], labels, data.metric)
    values |= {f"top{k}": accuracy(right[k]) for k in ks[1:]}
    for name, order in data.class_orders:
        reordered = np.array(order)[labels]
        found = classified(features.embedding, weights, reordered, (1,))[1] & features.readable
        values[f"{name}/{data.metric}"] = both_accuracies(found, labels, data.metric)[data.metric]
    values |= {"n": len(labels), "classes": len(data.classes)}
    names = np.array([str(key) for key in data.test.images.keys])
    columns = {"top1": right[1], **{f"top{k}": right[k] for k in ks[1:]}, "mean_per_class": right[1]}
    outcomes = Outcomes(np.array(features.items), names, columns, {"mean_per_class": labels})
    several = _with_several_labels(features, labels)
    warnings = [f"{data.name}: {several:,} of {len(labels):,} images are, byte for byte, also in another class; remove "
                "them from all but one"] if several else []  # fmt: skip
    for line in warnings:
        warn(line)
    protocol: dict[str, Any] = {
        "measure": data.metric,
        "ties": "the first of equal classes wins, as with argmax",
        "templates": list(data.templates),
        "class_names_sha256": item_hash(*("\t".join(names) for names in data.classes)),
        "classes_without_test_images": len(data.classes) - len(np.unique(labels)),
        "images_with_equal_bytes": features.copies,
        "warnings": [*data.warnings, *warnings],
    }
    return Result(f"{data.name}/zero_shot", values, protocol, outcomes)


def _with_several_labels(features: Features, labels: np.ndarray) -> int:
    """How many images have the same bytes as one of another class: the label of at least one must be wrong."""
    found: dict[str, set[int]] = {}
    for picture, label in zip(features.pictures, labels.tolist(), strict=False):
        found.setdefault(picture, set()).add(label)
    return sum(bool(picture) and len(found[picture]) > 1 for picture in features.pictures)
