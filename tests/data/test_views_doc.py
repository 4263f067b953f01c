"""docs/views.md says what a batch holds."""

import re
from pathlib import Path

import torch

from askew.data.augment import NUM_PARAMETERS
from askew.methods.clip import CLIP
from askew.methods.mcd import MCD
from askew.methods.siglip import SigLIP
from askew.methods.uniclip import UniCLIP
from askew.train import Reporter, Trainer
from helpers import micro_method, write_pairs
from runs import micro_recipe

TEXT = (Path(__file__).parents[2] / "docs" / "views.md").read_text(encoding="utf-8")
CELLS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TEXT.splitlines() if line.startswith("| `")]
ROWS = {key: cells for first, *cells in CELLS for key in re.findall(r"`(\w+)`", first)}


def test_the_table_is_what_a_batch_holds(tmp_path):
    trainer = Trainer(micro_recipe(write_pairs(tmp_path, 12), "mcd"), None, Reporter(lambda text: None))
    batch = trainer.loader.batch(0)
    batch.pop("broken")
    batch = trainer.loader.views.finish(batch)
    assert set(ROWS) == set(batch)
    sizes = {"B": 8, "S": 32, "L": 16, "3": 3, "11": NUM_PARAMETERS}
    for key, (shape, dtype, *_) in ROWS.items():
        expected = tuple(sizes[part.strip()] for part in shape.strip("()").split(",") if part.strip())
        assert tuple(batch[key].shape) == expected, key
        assert batch[key].dtype == getattr(torch, dtype), key


def test_readers_are_the_methods_that_ask_for_a_key():
    read = {"CLIP": set(micro_method(CLIP.Config()).views), "MCD": set(micro_method(MCD.Config()).views)}
    read |= {"UniCLIP": set(micro_method(UniCLIP.Config()).views), "SigLIP": set(micro_method(SigLIP.Config()).views)}
    for key, cells in ROWS.items():
        for name, views in read.items():
            assert (name in cells[-1].split(", ") or cells[-1] == "all") == (key in views or key in ("id", "group")), (
                key
            )
