"""Draw the picture of the README: what the default run learned.

    make train
    python scripts/readme_figure.py runs/tiny-001

Above, the terms of the loss over training. Below, for texts drawn by a fixed seed, the Twemoji drawings that the model
ranks highest among those of all trained concepts: a style that it never saw in training.
"""

import io
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from askew.data.images import decode
from askew.data.sources import embedded_files
from askew.devices import choose_device
from askew.report.figures import Found, curves, retrievals
from askew.runs.directory import RunDirectory
from askew.runs.evaluate import load_model

OUT = Path(__file__).resolve().parents[1] / "docs" / "tiny.png"
ROWS, SHOWN, SEED = 6, 7, 0
DPI = 130
PANELS = {
    "contrast": ["contrast"],
    "distillation": ["positive", "negative", "noisy"],
    "schedules": ["alpha", "momentum"],
}


def found_for_texts(run: RunDirectory) -> list[Found]:
    """Texts drawn at random, and what the model finds for each among the drawings of the unseen style."""
    table = pq.read_table(next(path for path in embedded_files() if path.stem == "emoji")).to_pylist()
    rows = [row for row in table if row["cell"] == "unseen_style"]
    encoders = load_model(str(run.path), choose_device("cpu"))
    images = [decode(row["image"]) for row in rows]
    names = np.random.default_rng(SEED).choice(sorted({row["caption"] for row in rows}), ROWS, replace=False)
    best = np.argsort(-(encoders.text(list(names)) @ encoders.image(images).T), axis=1, kind="stable")[:, :SHOWN]
    return [
        Found(name, [images[i] for i in order], [rows[i]["caption"] == name for i in order])
        for name, order in zip(names, best, strict=True)
    ]


def main() -> None:
    """Write docs/tiny.png."""
    run = RunDirectory.open(Path(sys.argv[1]))
    figures = [
        curves(run.read_metrics()[1:], PANELS),
        retrievals(found_for_texts(run), "Found for a text among 1,268 drawings, in a style that was never trained on"),
    ]
    pictures = []
    for figure in figures:
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=DPI)
        pictures.append(Image.open(content).convert("RGB"))
    width = max(picture.width for picture in pictures)
    whole = Image.new("RGB", (width, sum(picture.height for picture in pictures)), "white")
    top = 0
    for picture in pictures:
        whole.paste(picture, ((width - picture.width) // 2, top))
        top += picture.height
    whole.quantize(128).save(OUT, optimize=True)


if __name__ == "__main__":
    main()
