"""Runs and data whose pages are looked at: ordinary ones, and ones that are hostile wherever data has text."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from hostile import RAW
from micro_runs import metrics_of, micro_recipe, train

PLAIN = [
    f"{size} {colour} {thing} {place}"
    for size in ("a small", "a rather large")
    for colour in ("red", "green", "striped")
    for thing in ("bicycle", "boat")
    for place in ("by the sea", "in the snow in front of an old stone house")
]
SIDE = 40  # pixels of a picture


@dataclass(frozen=True)
class Made:
    """A run's directory, the table of its pairs, and a folder for embeddings."""

    run: Path
    table: Path
    cache: Path


def pairs(folder: Path, captions: list[str], names: list[str]) -> Path:
    """Pictures with these names, and pairs.jsonl: JSON can say every string, even one that is no text."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = []
    for number, caption in enumerate(captions):
        name = f"{names[number % len(names)]} {number}.png"
        blocks = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        blocks.resize((SIDE, SIDE), Image.Resampling.NEAREST).save(folder / name)
        lines.append(json.dumps({"image": name, "caption": caption}) + "\n")
    (folder / "pairs.jsonl").write_text("".join(lines), encoding="ascii")
    return folder / "pairs.jsonl"


def is_name(text: str) -> bool:
    """Whether a file can be called so on every system that tests run on."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return False
    return bool(text.strip()) and size < 200 and not set(text) & set('/\\\0:*?"<>|') and text.isprintable()


def is_linux_name(text: str) -> bool:
    """The same for file systems that forbid only the slash."""
    return is_name("".join(c for c in text if c not in '\\:*?"<>|')) and "/" not in text


def plain_run(folder: Path) -> Made:
    """A finished micro run on ordinary pairs; its data is beside it."""
    table = pairs(folder / "photographs", PLAIN, ["street", "harbour"])
    run = train(micro_recipe(table, epochs=2), folder / "first")
    write_results(run, ["naming/unseen_style", "retrieval/flickr30k", "imagenet"])
    return Made(run, table, folder / "cache")


def hostile_run(folder: Path, plain: Made) -> Made:
    """A finished micro run that is hostile in captions, files, its own name, and the names of its tasks and some terms.

    Its weights are those of `plain`: what a model has learned makes no page.
    """
    names = [raw for raw in RAW if is_linux_name(raw)]
    table = pairs(folder / "data <b>", RAW, names)
    run = folder / '"><img src=x onerror="askewWasHere=1">'
    shutil.copytree(plain.run, run, ignore=shutil.ignore_patterns("report*", "examples*"))
    recipe = (run / "recipe.yaml").read_text(encoding="utf-8")
    before = str(plain.table)
    assert before in recipe
    recipe = recipe.replace(before, str(table)).replace("name: micro-mcd", f"name: {json.dumps(RAW[0])}")
    (run / "recipe.yaml").write_text(recipe, encoding="utf-8")
    lines = metrics_of(run)
    with (run / "metrics.jsonl").open("w", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps({**line, **{raw: float(line["step"]) for raw in RAW[::4] if raw.strip()}}) + "\n")
    write_results(run, [raw for raw in RAW if raw.strip()])
    return Made(run, table, folder / "cache")


def write_results(run: Path, tasks: list[str]) -> None:
    """results.jsonl, as an evaluation with these tasks would have left it."""
    protocol = {"weights": "student", "suite": "tiny", "data_sha256": "0" * 64, "askew": "0.1.0"}
    with (run / "results.jsonl").open("w", encoding="utf-8") as file:
        for number, task in enumerate(tasks):
            values = {"top1": 0.2 + 0.01 * number, "top5": 0.5, "n": 200, "classes": 50}
            file.write(json.dumps({"task": task, "values": values, "protocol": protocol}) + "\n")
