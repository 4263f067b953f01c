"""What the tests of exports share: real pictures as JPEG files, a run on them, and what a card's snippet computes."""

import csv
import io
import re
from contextlib import chdir
from pathlib import Path

from PIL import Image

from askew.config import Recipe
from askew.data.sources import open_source
from micro_runs import askew_here, micro_recipe

TRICKY = (  # captions that tokenizers disagree about
    "  Two   DOGS\tasleep\n", "Tom &amp; Jerry &lt;3", "caf\u00e9 cre\u0301me", "it\u2019s a \u201cred\u201d bicycle",
    "\U0001f600\U0001f680 emoji", "schÃ¶n", "don't we'll they're", "1234 5,678.90 m\u00b2", "\ufb01sh \uff21\uff22",
    "\u4e2d\u6587 \u0440\u0443\u0441\u0441\u043a\u0438\u0439", "a " * 200, "",
    "\u00a0nbsp\u2003em", "x\u0000y", "I\u0307stanbul", "wow!! !?", "<|endoftext|> there",
)  # fmt: skip


def photographs(folder: Path, num: int) -> Path:
    """`num` embedded pictures as JPEG files of many shapes, and pairs.csv with their captions."""
    source = open_source("embedded")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "caption"])
        for number in range(num):
            sample = source[number * len(source) // num]
            image = Image.open(io.BytesIO(sample.image)).convert("RGB")
            image = image.resize((40 + 7 * number % 150, 40 + 11 * number % 130), Image.Resampling.BICUBIC)
            image.save(folder / f"{number:03d}.jpg", quality=90)
            writer.writerow([f"{number:03d}.jpg", sample.captions[0]])
    return folder / "pairs.csv"


def written(run: Path, out: Path, *options: str) -> tuple[Path, str]:
    """The folder that `askew export` writes, and what it prints."""
    done = askew_here("export", run, "--out", out, *options)
    assert done.returncode == 0, done.stderr
    return out, done.stderr


def micro_run_recipe(table: Path, method: str = "mcd", **train) -> Recipe:
    """Three steps on the pictures."""
    return micro_recipe(table, method, **{"epochs": 1, "max_steps": 3, **train})


def differences(printed: str) -> tuple[float, float]:
    """The two numbers of the line `parity` of `askew export`."""
    found = re.search(r"largest difference (\S+) \(images\), (\S+) \(texts\)", printed)
    assert found, printed
    return float(found[1]), float(found[2])


def run_snippet(folder: Path, photo: Path) -> dict:
    """Run the Python of a card in its folder, as a reader does, and return its variables."""
    card = (folder / "README.md").read_text(encoding="utf-8")
    code = re.search(r"## Use it\n\n```python\n(.*?)```", card, re.DOTALL)
    assert code, card
    (folder / "photo.jpg").write_bytes(photo.read_bytes())
    names: dict = {}
    try:
        with chdir(folder):
            exec(code[1], names)
    finally:
        (folder / "photo.jpg").unlink()
    return names
