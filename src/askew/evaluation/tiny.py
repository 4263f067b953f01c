"""The suite `tiny`: what a model makes of the embedded drawings and photographs it was not trained on.

Four cells, seen or unseen concept times seen or unseen style, are reported apart; nothing is averaged over them. The
held-out families are `validation` and `test`; tuning looks at `validation` alone.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from askew.data.images import decode
from askew.data.sources import embedded_files
from askew.evaluation.metrics import mean_per_class, recalled, top_k, wilson_interval
from askew.evaluation.model import Encoders

NAME_PROMPTS = ("{}",)  # training captions are bare names
GROUP_PROMPTS = ("{}", "a drawing of {}", "an emoji of {}")
SCENE_PROMPTS = ("{}", "a photo of {}")


@dataclass
class Embedded:
    """The embedded rows as columns, embeddings beside them."""

    rows: dict[str, np.ndarray]
    image: np.ndarray  # (n, D)

    def where(self, **conditions: str | tuple[str, ...]) -> np.ndarray:
        """Indices of rows whose columns have (one of) these values."""
        keep = np.ones(len(self.image), dtype=bool)
        for column, value in conditions.items():
            keep &= np.isin(self.rows[column], value if isinstance(value, tuple) else (value,))
        return np.flatnonzero(keep)


def tiny(encoders: Encoders) -> dict[str, dict[str, float]]:
    """Every number of the suite: {task: {measure: value}}, shares in [0, 1], `n` queries and `classes` beside them."""
    table = pa.concat_tables([pq.read_table(path) for path in embedded_files()])
    table = table.filter(pa.compute.not_equal(table["cell"], "train"))  # type: ignore[attr-defined]
    rows = {c: np.array(table[c].to_pylist(), dtype=object) for c in table.column_names if c not in ("image", "tags")}
    rows["tags"] = np.array([", ".join(tags) for tags in table["tags"].to_pylist()], dtype=object)
    data = Embedded(rows, encoders.image([decode(i) for i in table["image"].to_pylist()]))

    concepts = _concepts()
    names, held_out = list(concepts), [c for c, (_, split) in concepts.items() if split != "train"]
    test_only = [c for c in held_out if concepts[c][1] == "test"]
    validation = [c for c in held_out if concepts[c][1] == "validation"]
    classifier = dict(zip(names, _classifier(encoders, [concepts[c][0] for c in names], NAME_PROMPTS), strict=True))

    results: dict[str, dict[str, float]] = {}
    cells = {
        "seen_seen": (data.where(cell="seen_seen"), names),
        "unseen_style": (data.where(cell="unseen_style"), names),
        "unseen_concept": (data.where(cell="unseen_concept", style="noto"), held_out),
        "unseen_both": (data.where(cell="unseen_both"), held_out),
        "unseen_concept/validation": (
            data.where(cell="unseen_concept", style="noto", concept_split="validation"), validation),
        "unseen_both/validation": (data.where(cell="unseen_both", concept_split="validation"), validation),
        "unseen_concept/test": (data.where(cell="unseen_concept", style="noto", concept_split="test"), test_only),
        "unseen_both/test": (data.where(cell="unseen_both", concept_split="test"), test_only),
        "unseen_concept/all_names": (data.where(cell="unseen_concept", style="noto"), names),
        "unseen_both/all_names": (data.where(cell="unseen_both"), names),
    }  # fmt: skip
    for cell, (queries, candidates) in cells.items():
        results[f"naming/{cell}"] = _naming(data, queries, candidates, classifier)
    for level, prompts in (("group", GROUP_PROMPTS), ("subgroup", GROUP_PROMPTS)):
        results[f"{level}/unseen_style"] = _classes(encoders, data, data.where(cell="unseen_style"), level, prompts)
        results[f"{level}/unseen_both"] = _classes(encoders, data, data.where(cell="unseen_both"), level, prompts)
    for cell in ("unseen_style", "unseen_both"):
        for column in ("caption", "tags"):
            queries = data.where(cell=cell)
            results[f"retrieval/{cell}/{'name' if column == 'caption' else column}"] = _retrieval(
                encoders, data, queries, column
            )
    results["scenery"] = _scenery(encoders, data)
    return results


def data_protocol() -> dict[str, str]:
    """What the numbers were measured on: a content hash of the embedded data."""
    digest = hashlib.sha256(b"".join(hashlib.sha256(p.read_bytes()).digest() for p in embedded_files()))
    return {"suite": "tiny", "data_sha256": digest.hexdigest(), "ties": "argmax: first wins; retrieval: ties lose"}


def _concepts() -> dict[str, tuple[str, str]]:
    """Name and split of every emoji concept, in the order of the data."""
    table = pq.read_table(
        next(p for p in embedded_files() if p.stem == "emoji"), columns=["concept", "caption", "concept_split"]
    )
    found: dict[str, tuple[str, str]] = {}
    for concept, caption, split in zip(*(table[c].to_pylist() for c in table.column_names), strict=True):
        found.setdefault(concept, (caption, split))
    return found


def _classifier(encoders: Encoders, names: list[str], prompts: tuple[str, ...]) -> np.ndarray:
    """(K, D): every prompt of a name, averaged and normalised again."""
    texts = [prompt.format(name) for name in names for prompt in prompts]
    embed = encoders.text(texts).reshape(len(names), len(prompts), -1).mean(axis=1)
    return embed / np.linalg.norm(embed, axis=1, keepdims=True)


def _naming(data: Embedded, queries: np.ndarray, candidates: list[str], classifier: dict[str, np.ndarray]) -> dict:
    index = {concept: i for i, concept in enumerate(candidates)}
    scores = data.image[queries] @ np.stack([classifier[c] for c in candidates]).T
    labels = np.array([index[c] for c in data.rows["concept"][queries]])
    return {
        "top1": float(top_k(scores, labels, 1).mean()),
        "top5": float(top_k(scores, labels, 5).mean()),
        "n": len(queries),
        "classes": len(candidates),
    }


def _classes(encoders: Encoders, data: Embedded, queries: np.ndarray, column: str, prompts: tuple[str, ...]) -> dict:
    emoji = data.where(source="emoji")
    names = sorted(set(data.rows[column][emoji]))
    labels = np.searchsorted(names, data.rows[column][queries].astype(str))
    scores = data.image[queries] @ _classifier(encoders, names, prompts).T
    return {
        "top1": float(top_k(scores, labels, 1).mean()),
        "mean_per_class": mean_per_class(scores, labels),
        "n": len(queries),
        "classes": len(names),
    }


def _retrieval(encoders: Encoders, data: Embedded, queries: np.ndarray, column: str) -> dict:
    """Both directions; equal texts are equally right."""
    queries = queries[[bool(t) for t in data.rows[column][queries]]]
    texts = list(data.rows[column][queries])
    scores = data.image[queries] @ encoders.text(texts).T
    match = np.array(texts, dtype=object)[:, None] == np.array(texts, dtype=object)[None, :]
    found = {}
    for direction, s in (("image_to_text", scores), ("text_to_image", scores.T)):
        for k in (1, 5, 10):
            found[f"{direction}/r@{k}"] = float(recalled(s, match, k).mean())
    return found | {"n": len(queries)}


def _scenery(encoders: Encoders, data: Embedded) -> dict:
    queries = data.where(source="scenery")
    table = pq.read_table(next(p for p in embedded_files() if p.stem == "scenery"), columns=["concept"])
    names = sorted(set(table["concept"].to_pylist()))
    labels = np.searchsorted(names, data.rows["concept"][queries].astype(str))
    right = top_k(data.image[queries] @ _classifier(encoders, names, SCENE_PROMPTS).T, labels, 1)
    low, high = wilson_interval(int(right.sum()), len(right))
    return {"top1": float(right.mean()), "low": low, "high": high, "n": len(right), "classes": len(names)}
