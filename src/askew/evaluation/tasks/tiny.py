"""The suite `tiny`: how well a model does on the embedded drawings and photographs that it was not trained on.

Its four cells, seen or unseen concept times seen or unseen style, are reported separately and never averaged. The
held-out families are split into `validation` and `test`; tuning looks only at `validation`.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from askew.data.images import decode
from askew.data.sources import embedded_files
from askew.evaluation.metrics import (
    accuracy,
    both_accuracies,
    matching_columns,
    ranks,
    recall_at_k,
    recalled,
    top_k,
    wilson_interval,
)
from askew.evaluation.model import Encoders
from askew.evaluation.results import Outcomes, Result, item_hash, set_hash
from askew.evaluation.tasks.zero_shot import classifier

NAME_PROMPTS = ("{}",)  # training captions are bare names
GROUP_PROMPTS = ("{}", "a drawing of {}", "an emoji of {}")
SCENE_PROMPTS = ("{}", "a photo of {}")


@dataclass
class Embedded:
    """The embedded rows as columns, with the embeddings of their images."""

    rows: dict[str, np.ndarray]
    image: np.ndarray  # (n, D)
    items: np.ndarray  # (n,) hash of each row's id and image

    def where(self, **conditions: str | tuple[str, ...]) -> np.ndarray:
        """Indices of the rows whose columns have these values, or one of them if several are given."""
        keep = np.ones(len(self.image), dtype=bool)
        for column, value in conditions.items():
            keep &= np.isin(self.rows[column], value if isinstance(value, tuple) else (value,))
        return np.flatnonzero(keep)


def tiny(encoders: Encoders) -> dict[str, dict[str, float]]:
    """Every number of the suite: {task: {measure: value}}. Shares are in [0, 1]; `n` and `classes` are counts."""
    return {result.task: result.values for result in results(encoders)}


def results(encoders: Encoders) -> list[Result]:
    """Every task of the suite, with the outcome of every item."""
    data = _embedded(encoders)
    concepts = _concepts()
    names, held_out = list(concepts), [c for c, (_, split) in concepts.items() if split != "train"]
    test = [c for c in held_out if concepts[c][1] == "test"]
    validation = [c for c in held_out if concepts[c][1] == "validation"]
    weights = _classifier(encoders, [concepts[c][0] for c in names], NAME_PROMPTS)
    by_concept = dict(zip(names, weights, strict=True))

    made: list[Result] = []
    cells = {
        "seen_seen": (data.where(cell="seen_seen"), names),
        "unseen_style": (data.where(cell="unseen_style"), names),
        "unseen_concept": (data.where(cell="unseen_concept", style="noto"), held_out),
        "unseen_both": (data.where(cell="unseen_both"), held_out),
        "unseen_concept/validation": (
            data.where(cell="unseen_concept", style="noto", concept_split="validation"), validation),
        "unseen_both/validation": (data.where(cell="unseen_both", concept_split="validation"), validation),
        "unseen_concept/test": (data.where(cell="unseen_concept", style="noto", concept_split="test"), test),
        "unseen_both/test": (data.where(cell="unseen_both", concept_split="test"), test),
        "unseen_concept/all_names": (data.where(cell="unseen_concept", style="noto"), names),
        "unseen_both/all_names": (data.where(cell="unseen_both"), names),
    }  # fmt: skip
    for cell, (queries, candidates) in cells.items():
        made.append(_naming(f"naming/{cell}", data, queries, candidates, by_concept))
    for level in ("group", "subgroup"):
        for cell in ("unseen_style", "unseen_both"):
            made.append(_classes(f"{level}/{cell}", encoders, data, data.where(cell=cell), level, GROUP_PROMPTS))
    for cell in ("unseen_style", "unseen_both"):
        for column, name in (("caption", "name"), ("tags", "tags")):
            queries = data.where(cell=cell)
            made.append(_retrieval(f"retrieval/{cell}/{name}", encoders, data, queries, column))
    return [*made, _scenery(encoders, data)]


def data_protocol() -> dict[str, str]:
    """What the numbers were measured on: a content hash of the embedded data."""
    digest = hashlib.sha256(b"".join(hashlib.sha256(p.read_bytes()).digest() for p in embedded_files()))
    return {"suite": "tiny", "data_sha256": digest.hexdigest(), "ties": "argmax: first wins; retrieval: ties lose"}


def _embedded(encoders: Encoders) -> Embedded:
    """All rows that are not trained on."""
    table = pa.concat_tables([pq.read_table(path) for path in embedded_files()])
    table = table.filter(pa.compute.not_equal(table["cell"], "train"))  # type: ignore[attr-defined]
    rows = {c: np.array(table[c].to_pylist(), dtype=object) for c in table.column_names if c not in ("image", "tags")}
    rows["tags"] = np.array([", ".join(tags) for tags in table["tags"].to_pylist()], dtype=object)
    encoded = table["image"].to_pylist()
    items = [item_hash(str(row), image) for row, image in zip(rows["id"], encoded, strict=True)]
    return Embedded(rows, encoders.image([decode(image) for image in encoded]), np.array(items))


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
    """(K, D): one name per class, in every prompt."""
    return classifier(encoders, tuple((name,) for name in names), prompts)


def _outcomes(data: Embedded, queries: np.ndarray, right: dict[str, np.ndarray], pool: str = "") -> Outcomes:
    """The outcomes of these rows. `pool` goes into the items' hash if other candidates make it another question."""
    items = data.items[queries]
    items = np.array([item_hash(pool, item) for item in items]) if pool else items
    names = [f"{data.rows['caption'][i]} ({data.rows['style'][i]})" for i in queries]
    return Outcomes(items, np.array(names), right)


def _naming(
    task: str, data: Embedded, queries: np.ndarray, candidates: list[str], by_concept: dict[str, np.ndarray]
) -> Result:
    """Whether each drawing's name is the best, or among the five best, of the candidates' names."""
    index = {concept: i for i, concept in enumerate(candidates)}
    scores = data.image[queries] @ np.stack([by_concept[c] for c in candidates]).T
    labels = np.array([index[c] for c in data.rows["concept"][queries]])
    right = {f"top{k}": top_k(scores, labels, k) for k in (1, 5)}
    values = {name: accuracy(found) for name, found in right.items()}
    return Result(task, values | {"n": len(queries), "classes": len(candidates)}, {}, _outcomes(data, queries, right))


def _classes(
    task: str, encoders: Encoders, data: Embedded, queries: np.ndarray, column: str, prompts: tuple[str, ...]
) -> Result:
    """Classification among all values that a column has for emoji."""
    emoji = data.where(source="emoji")
    names = sorted(set(data.rows[column][emoji]))
    labels = np.searchsorted(names, data.rows[column][queries].astype(str))
    right = top_k(data.image[queries] @ _classifier(encoders, names, prompts).T, labels, 1)
    values = both_accuracies(right, labels, "top1") | {"n": len(queries), "classes": len(names)}
    outcomes = _outcomes(data, queries, {"top1": right, "mean_per_class": right})
    outcomes.classes["mean_per_class"] = labels
    return Result(task, values, {}, outcomes)


def _retrieval(task: str, encoders: Encoders, data: Embedded, queries: np.ndarray, column: str) -> Result:
    """Both directions. Candidates with equal texts are equally right."""
    queries = queries[[bool(t) for t in data.rows[column][queries]]]
    texts = list(data.rows[column][queries])
    scores = data.image[queries] @ encoders.text(texts).T
    matches = matching_columns(np.array(texts, dtype=object)[:, None] == np.array(texts, dtype=object)[None, :])
    rank = {"image_to_text": ranks(scores, matches), "text_to_image": ranks(scores.T, matches)}
    measures = [(direction, k) for direction in rank for k in (1, 5, 10)]
    values = {f"{direction}/r@{k}": recall_at_k(rank[direction], k) for direction, k in measures}
    right = {f"{direction}/r@{k}": recalled(rank[direction], k) for direction, k in measures}
    pool = set_hash([*data.items[queries], *texts])
    return Result(task, values | {"n": len(queries)}, {}, _outcomes(data, queries, right, pool))


def _scenery(encoders: Encoders, data: Embedded) -> Result:
    """Classification of photographs, with Wilson's interval because they are few."""
    queries = data.where(source="scenery")
    table = pq.read_table(next(p for p in embedded_files() if p.stem == "scenery"), columns=["concept"])
    names = sorted(set(table["concept"].to_pylist()))
    labels = np.searchsorted(names, data.rows["concept"][queries].astype(str))
    right = top_k(data.image[queries] @ _classifier(encoders, names, SCENE_PROMPTS).T, labels, 1)
    low, high = wilson_interval(int(right.sum()), len(right))
    values = {"top1": accuracy(right), "low": low, "high": high, "n": len(right), "classes": len(names)}
    return Result("scenery", values, {}, _outcomes(data, queries, {"top1": right}))
