"""SugarCrepe: is an image closer to its caption than to one with a concept replaced, swapped or added?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from askew.evaluation.datasets.base import Preference
from askew.evaluation.features import Features
from askew.evaluation.metrics import accuracy, preferred
from askew.evaluation.model import Encoders
from askew.evaluation.results import Outcomes, Result, item_hash

CATEGORIES = ("replace", "swap", "add")


def preference(encoders: Encoders, data: Preference, features: Features, task: str) -> Result:
    """Share of items whose right caption scores strictly higher. A tie is wrong, and so is an unreadable image."""
    text = encoders.text([*data.positive, *data.negative])
    positive, negative = text[: len(data.positive)], text[len(data.positive) :]
    image_of = np.asarray(data.image_of)
    image = features.embedding[image_of]
    right = preferred((image * positive).sum(axis=1), (image * negative).sum(axis=1))
    right &= features.readable[image_of]
    keys = [str(key) for key in data.images.keys]
    items = [
        item_hash(features.items[i], *texts)
        for i, *texts in zip(image_of.tolist(), data.positive, data.negative, strict=True)
    ]
    names = [f"{keys[i]}: {text[:80]}" for i, text in zip(image_of, data.positive, strict=True)]
    outcomes = Outcomes(np.array(items), np.array(names), {"accuracy": right}, clusters=image_of)
    protocol: dict[str, Any] = {"ties": "ties lose", "captions": "as written, no prompt"}
    return Result(task, {"accuracy": accuracy(right), "n": len(right)}, protocol, outcomes)


def sugarcrepe(encoders: Encoders, subsets: Sequence[Preference], features: Mapping[str, Features]) -> list[Result]:
    """Every subset, and for Replace, Swap and Add the mean of their subsets (macro) and the mean over items.

    A subset's category is the part of its name before the underscore: `replace_obj` belongs to `replace`.

    Args:
        features: those of each subset's images, by the subset's name.
    """
    results = []
    for data in subsets:
        short = data.name.rsplit("/", 1)[-1]
        results.append(preference(encoders, data, features[data.name], f"sugarcrepe/{short}"))
    values: dict[str, float] = {}
    for category in CATEGORIES:
        members = [r.values for r in results if r.task.rsplit("/", 1)[-1].startswith(f"{category}_")]
        if members:
            items = sum(m["n"] for m in members)
            values[f"{category}/macro"] = float(np.mean([m["accuracy"] for m in members]))
            values[f"{category}/items"] = sum(m["accuracy"] * m["n"] for m in members) / items
    values["n"] = sum(r.values["n"] for r in results)
    protocol: dict[str, Any] = {
        "ties": "ties lose",
        "categories": "macro: mean over a category's subsets; items: mean over its items",
    }
    return [*results, Result("sugarcrepe", values, protocol)]
