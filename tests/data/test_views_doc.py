"""docs/views.md says what a batch holds."""

import re
from pathlib import Path

import torch

from askew.data.augment import NUM_PARAMETERS
from askew.train import Reporter, Trainer
from helpers import micro_method, write_pairs
from runs import METHODS, micro_recipe

TEXT = (Path(__file__).parents[2] / "docs" / "views.md").read_text(encoding="utf-8")
CELLS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TEXT.splitlines() if line.startswith("| `")]
ROWS = {key: cells for first, *cells in CELLS for key in re.findall(r"`(\w+)`", first)}


def test_the_table_is_what_a_batch_holds(tmp_path):
    table, batch = write_pairs(tmp_path, 12), {}
    for method in METHODS:
        trainer = Trainer(micro_recipe(table, method), None, Reporter(lambda text: None))
        batch |= trainer.loader.views.finish(trainer.loader.batch(0))
    batch.pop("broken")
    assert set(ROWS) == set(batch)
    sizes = {"B": 8, "S": 32, "L": 16, "3": 3, "11": NUM_PARAMETERS}
    for key, (shape, dtype, *_) in ROWS.items():
        expected = tuple(sizes[part.strip()] for part in shape.strip("()").split(",") if part.strip())
        assert tuple(batch[key].shape) == expected, key
        assert batch[key].dtype == getattr(torch, dtype), key


def test_readers_are_the_methods_that_ask_for_a_key():
    read = {name: set(micro_method(config).views) for name, config in METHODS.items()}
    for key, cells in ROWS.items():
        for name, views in read.items():
            named = name in cells[-1].lower().split(", ") or cells[-1] == "all"
            assert named == (key in views or key in ("id", "group")), (key, name)
