"""Small records of studies: of rows whose scores are known, without a training."""

from pathlib import Path

import numpy as np

from askew.evaluation.results import Outcomes, item_hash
from askew.runs.studies.plan import Study
from askew.runs.studies.record import Record, RecordedRun, write_outcomes, write_record

IMAGES, PER_IMAGE, CLASSIFIED = 40, 3, 60
KS = (1, 5, 10)
SIZES = (100, 200, 400, 800)


def retrieval(level: float, rng: np.random.Generator) -> dict[str, Outcomes]:
    """Both directions of a data set of 40 images with three captions each; R@k grows with `level` and k."""
    made = {}
    for kind, number in (("image_to_text", IMAGES), ("text_to_image", IMAGES * PER_IMAGE)):
        rank = rng.random(number) / max(level, 1e-6)
        items = np.array([item_hash(kind, str(one)) for one in range(number)])
        clusters = np.arange(number) if number == IMAGES else np.repeat(np.arange(IMAGES), PER_IMAGE)
        right = {f"r@{k}": rank < 0.1 * k for k in KS}
        made[f"dev/{kind}"] = Outcomes(items, items, right, clusters=clusters)
    return made


def classified(level: float, rng: np.random.Generator) -> dict[str, Outcomes]:
    """A zero-shot classification of 60 images of six classes."""
    right, items = rng.random(CLASSIFIED) < level, np.array([item_hash(str(one)) for one in range(CLASSIFIED)])
    labels = np.arange(CLASSIFIED) % 6
    return {
        "pets/zero_shot": Outcomes(items, items, {"top1": right, "mean_per_class": right}, {"mean_per_class": labels})
    }


def values_of(task: str, outcomes: Outcomes) -> dict[str, float]:
    """The values of a result line."""
    values: dict[str, float] = {name: float(right.mean()) for name, right in outcomes.right.items()}
    if task.startswith("dev/"):
        return {**values, "n": len(outcomes.items), "candidates": IMAGES}
    return {**values, "n": len(outcomes.items), "classes": 6}


def run(folder: Path, row: str, seed: int, name: str, level: float, pairs: float, cost: float = 1.0) -> RecordedRun:
    """One finished run and its outcomes."""
    rng = np.random.default_rng([seed, round(1000 * level)])
    found = retrieval(level, rng) | classified(level, rng)
    for task, outcomes in found.items():
        write_outcomes(folder, name, task, outcomes)
    results = {task: values_of(task, outcomes) for task, outcomes in found.items()}
    area = 0.6 + 0.1 * level + 0.01 * seed
    results["dev/wrong_captions"] = {"auroc_distance": area - 0.1, "auroc_noise": area, "wrong": 4, "n": IMAGES}
    spent = {
        "samples": 10 * pairs, "steps": pairs, "pairs": pairs, "flops_per_sample": cost * 1e9,
        "flops": cost * pairs * 1e10, "seconds": 60.0 + seed, "peak_memory_mb": 900.0, "threads": 1, "processor": "one",
    }  # fmt: skip
    protocols = {task: {"weights": "student"} for task in results}
    return RecordedRun(row, seed, name, {"name": row}, results, protocols, spent, {"askew": "1"})


def study(rows: dict[str, dict], **fields) -> Study:
    """A study with these rows."""
    return Study.model_validate({"name": "made", "seeds": [0, 1, 2], "rows": rows, **fields})


def two_methods(folder: Path, names: tuple[str, str] = ("CLIP", "MCD"), **fields) -> Record:
    """Two rows, the second better and 2.5 times as expensive; the study's other fields as given."""
    planned = study({name: {"recipe": "tiny"} for name in names}, baseline=names[0], **fields)
    runs = [
        run(
            folder,
            one.row,
            one.seed,
            one.folder,
            0.2 + 0.4 * (one.row == names[1]),
            800,
            1 + 1.5 * (one.row != names[0]),
        )
        for one in planned.runs()
    ]
    return written(Record(planned, tuple(runs), folder))


def growing(folder: Path, names: tuple[str, str] = ("CLIP", "MCD")) -> Record:
    """Two methods at four sizes: learning curves."""
    rows = {f"{name} {size}": (place, size) for place, name in enumerate(names) for size in SIZES}
    curves = {name: [f"{name} {size}" for size in SIZES] for name in names}
    planned = study({row: {"recipe": "tiny"} for row in rows}, curves=curves, baseline=f"{names[0]} 800")
    runs = []
    for one in planned.runs():
        place, size = rows[one.row]
        runs.append(run(folder, one.row, one.seed, one.folder, 0.1 * np.log2(size / 50) + 0.1 * place, size, 1 + place))
    return written(Record(planned, tuple(runs), folder))


def written(record: Record) -> Record:
    """The record as it is read again."""
    write_record(record)
    return Record.read(record.folder)
