"""What operations do to captions, as rows of tables: means with intervals, and the words that suffer."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from askew.evaluation.misalignment.operations import Condition, mean_with_interval
from askew.evaluation.misalignment.words import MINIMUM, WordEffect, word_effects
from askew.report.inspect import OperationEffect
from askew.report.table import Table

EFFECT_COLUMNS = ["model", "operation", "strength", "unit", "mean", "low", "high", "count"]
WORD_COLUMNS = ["model", "operation", "word", "difference", "low", "high", "mean", "count", "p", "adjusted"]
SHOWN_WORDS = 4  # of each operation, on the page


def effects_of(models: Sequence[str], conditions: Sequence[Condition], measured: np.ndarray) -> list[OperationEffect]:
    """The mean of every condition under every model, from (models, conditions, pairs)."""
    made = []
    for model, of_model in zip(models, measured, strict=True):
        for condition, values in zip(conditions, of_model, strict=True):
            there = values[np.isfinite(values)]
            if not len(there):
                continue
            mean, low, high = mean_with_interval(there.astype(np.float64))
            made.append(
                OperationEffect(
                    model, condition.operation, condition.strength, condition.unit, mean, low, high, len(there),
                    condition.strongest, condition.untouched,
                )
            )  # fmt: skip
    return made


def words_of_models(
    models: Sequence[str], conditions: Sequence[Condition], measured: np.ndarray, captions: Sequence[str]
) -> dict[str, list[WordEffect]]:
    """The words of every model, each operation at its strongest sensible strength."""
    there = np.isfinite(measured.sum(axis=(0, 1)))
    texts = [caption for caption, is_there in zip(captions, there, strict=True) if is_there]
    places = {condition.operation: place for place, condition in enumerate(conditions) if condition.strongest}
    return {
        model: word_effects(texts, {name: of_model[place][there] for name, place in places.items()})
        for model, of_model in zip(models, measured, strict=True)
    }


def word_rows(words: dict[str, list[WordEffect]]) -> list[dict[str, Any]]:
    """Rows of words.csv."""
    return [{"model": model, **asdict(effect)} for model, effects in words.items() for effect in effects]


def word_table(model: str, effects: Sequence[WordEffect]) -> Table:
    """The words of each operation that suffer most."""
    chosen: list[WordEffect] = []
    for operation in dict.fromkeys(effect.operation for effect in effects):
        chosen += [effect for effect in effects if effect.operation == operation and effect.difference > 0][
            :SHOWN_WORDS
        ]
    chosen.sort(key=lambda effect: (effect.operation, -effect.difference))
    rows = [
        [
            effect.operation, effect.word, f"{effect.difference:+.3f}", f"{effect.low:+.3f} to {effect.high:+.3f}",
            f"{effect.count:,}", "yes" if effect.clear else "no",
        ]
        for effect in chosen
    ]  # fmt: skip
    return Table(
        f"{model}: captions with the word, against captions without it",
        ["operation", "word", "nats more", "95 % interval", "captions", "beyond chance"],
        rows,
        left=("operation", "word", "beyond chance"),
        emphasized=[number for number, effect in enumerate(chosen) if effect.clear],
        caption=f"Words in at least {MINIMUM} captions. Intervals are of each word alone; “beyond chance” takes all "
        f"{len(effects):,} words and operations into account (Holm's method, 5 %).",
    )


def operations_table(effects: Sequence[OperationEffect]) -> Table:
    """Operations by what they do at the strength where words are looked for, the worst first."""
    models = list(dict.fromkeys(effect.model for effect in effects))
    chosen = sorted((e for e in effects if e.strongest and e.model == models[0]), key=lambda e: -e.mean)
    rows = []
    for effect in chosen:
        of = {e.model: e for e in effects if (e.operation, e.strength) == (effect.operation, effect.strength)}
        shown = [_with_interval(of[m]) if m in of else "" for m in models]
        rows.append([effect.operation, f"{effect.strength:g} {effect.unit}".strip(), *shown])
    return Table(
        f"mean misalignment by operation, in nats, of {chosen[0].count if chosen else 0:,} pairs",
        ["operation", "strength", *models],
        rows,
        left=("operation", "strength"),
    )


def _with_interval(effect: OperationEffect) -> str:
    """The mean, and its interval where there is one: not of a single pair."""
    interval = f" ({effect.low:+.3f} to {effect.high:+.3f})" if np.isfinite(effect.high) else ""
    return f"{effect.mean:+.3f}{interval}"
