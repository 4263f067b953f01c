"""Zero-shot classification: the prompts of a class make its row of a linear classifier; the best row names an image."""

from typing import Any

import numpy as np

from askew.evaluation.features import Features
from askew.evaluation.metrics import top_k
from askew.evaluation.model import Encoders
from askew.evaluation.results import Outcomes, Result, item_hash
from askew.evaluation.sets import Classification

PROMPTS = 4096  # texts encoded at a time: what is kept of them is a row a class
BLOCK = 4096  # images scored at a time


def classifier(encoders: Encoders, classes: tuple[tuple[str, ...], ...], templates: tuple[str, ...]) -> np.ndarray:
    """(K, D): unit-length embeddings of all names of a class in all templates, averaged, at unit length again.

    A class of several names weighs them alike. Texts are encoded in batches over classes, not class by class.
    """
    prompts = [[template.replace("{}", name) for name in names for template in templates] for names in classes]
    rows: list[np.ndarray] = []
    first = 0
    while first < len(prompts):
        last, count = first, 0
        while last < len(prompts) and (count == 0 or count + len(prompts[last]) <= PROMPTS):
            count += len(prompts[last])
            last += 1
        embed = encoders.text([text for texts in prompts[first:last] for text in texts])
        ends = np.cumsum([len(texts) for texts in prompts[first:last]])
        rows += [part.mean(axis=0) for part in np.split(embed, ends[:-1])]
        first = last
    weights = np.stack(rows)
    return weights / np.linalg.norm(weights, axis=1, keepdims=True)


def ranked(embed: np.ndarray, weights: np.ndarray, labels: np.ndarray, ks: tuple[int, ...]) -> dict[int, np.ndarray]:
    """For each k, whether the label is among the k best classes of each image (n,), a block of images at a time."""
    found: dict[int, list[np.ndarray]] = {k: [] for k in ks}
    for start in range(0, len(embed), BLOCK):
        scores = embed[start : start + BLOCK] @ weights.T
        for k in ks:
            found[k].append(top_k(scores, labels[start : start + BLOCK], k))
    return {k: np.concatenate(parts) for k, parts in found.items()}


def zero_shot(encoders: Encoders, data: Classification, features: Features) -> Result:
    """Accuracy on the test split, in both measures, the declared one first.

    An image that cannot be read counts as wrong. Under another class order of the set (`class_orders`) the names of
    class order[c] stand for class c: the published slip is shown beside the right number.
    """
    weights = classifier(encoders, data.classes, data.templates)
    labels = data.test.labels
    ks = (1, 5) if len(data.classes) > 5 else (1,)
    right = {k: found & features.readable for k, found in ranked(features.embed, weights, labels, ks).items()}
    values = measures(right[1], labels, data.metric)
    values |= {f"top{k}": float(right[k].mean()) for k in ks[1:]}
    for name, order in data.class_orders:
        slipped = ranked(features.embed, weights, np.array(order)[labels], (1,))[1] & features.readable
        values[f"{name}/{data.metric}"] = measures(slipped, labels, data.metric)[data.metric]
    values |= {"n": len(labels), "classes": len(data.classes)}
    names = np.array([str(key) for key in data.test.images.keys])
    columns = {"top1": right[1], **{f"top{k}": right[k] for k in ks[1:]}, "mean_per_class": right[1]}
    outcomes = Outcomes(np.array(features.items), names, columns, {"mean_per_class": labels})
    protocol: dict[str, Any] = {
        "measure": data.metric,
        "ties": "the first of equal classes wins, as argmax does",
        "templates": list(data.templates),
        "class_names_sha256": item_hash(*("\t".join(names) for names in data.classes)),
        "classes_without_test_images": len(data.classes) - len(np.unique(labels)),
    }
    return Result(f"{data.name}/zero_shot", values, protocol, outcomes)


def measures(right: np.ndarray, labels: np.ndarray, metric: str) -> dict[str, float]:
    """Both accuracies of outcomes (n,), the declared one first; classes without an item do not count."""
    counts = np.bincount(labels)
    present = counts > 0
    per_class = np.bincount(labels, weights=right)[present] / counts[present]
    both = {"top1": float(right.mean()), "mean_per_class": float(per_class.mean())}
    return {metric: both.pop(metric), **both}
