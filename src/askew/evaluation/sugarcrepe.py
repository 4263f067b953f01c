"""SugarCrepe: does an image lie nearer to its caption than to one with a concept replaced, swapped or added?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from askew.evaluation.features import Features
from askew.evaluation.model import Encoders
from askew.evaluation.results import Outcomes, Result, item_hash
from askew.evaluation.sets import Preference

GROUPS = ("replace", "swap", "add")


def preferred(encoders: Encoders, data: Preference, features: Features, task: str) -> Result:
    """Share of items whose right caption scores strictly higher: ties lose, an unreadable image too."""
    text = encoders.text([*data.positive, *data.negative])
    positive, negative = text[: len(data.positive)], text[len(data.positive) :]
    image_of = np.asarray(data.image_of)
    image = features.embed[image_of]
    right = (image * positive).sum(axis=1) > (image * negative).sum(axis=1)
    right &= features.readable[image_of]
    keys = [str(key) for key in data.images.keys]
    items = [
        item_hash(features.items[i], *texts)
        for i, *texts in zip(image_of.tolist(), data.positive, data.negative, strict=True)
    ]
    names = [f"{keys[i]}: {text[:80]}" for i, text in zip(image_of, data.positive, strict=True)]
    outcomes = Outcomes(np.array(items), np.array(names), {"accuracy": right}, clusters=image_of)
    protocol: dict[str, Any] = {"ties": "ties lose", "captions": "as they are, no prompt"}
    return Result(task, {"accuracy": float(right.mean()), "n": len(right)}, protocol, outcomes)


def sugarcrepe(encoders: Encoders, subsets: Sequence[Preference], features: Mapping[str, Features]) -> list[Result]:
    """Every subset, and Replace, Swap and Add as the mean of their subsets (macro) and over items.

    The group of a subset is what stands before the underscore of its name: `replace_obj` belongs to `replace`.
    `features` are those of each subset's images, by its name.
    """
    results = []
    for data in subsets:
        short = data.name.rsplit("/", 1)[-1]
        results.append(preferred(encoders, data, features[data.name], f"sugarcrepe/{short}"))
    values: dict[str, float] = {}
    for group in GROUPS:
        members = [r.values for r in results if r.task.rsplit("/", 1)[-1].startswith(f"{group}_")]
        if members:
            items = sum(m["n"] for m in members)
            values[f"{group}/macro"] = float(np.mean([m["accuracy"] for m in members]))
            values[f"{group}/items"] = sum(m["accuracy"] * m["n"] for m in members) / items
    values["n"] = sum(r.values["n"] for r in results)
    protocol: dict[str, Any] = {"ties": "ties lose", "groups": "macro: mean of a group's subsets; items: over items"}
    return [*results, Result("sugarcrepe", values, protocol)]
