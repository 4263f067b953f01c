"""docs/views.md says what a batch holds, and which image operations there are."""

import re
from math import inf
from pathlib import Path

import torch

from askew import config
from askew.data.operations import NUM_PARAMETERS, OPERATIONS
from askew.recipes.settings import override
from helpers import micro_method, write_pairs
from micro_runs import METHODS, micro_recipe, trainer_of

TEXT = (Path(__file__).parents[2] / "docs" / "views.md").read_text(encoding="utf-8")
BATCH, OPERATION_TABLE = TEXT.split("\n## ")[:2]


def rows_of(text):
    """First cell, without quotes -> the other cells, of the rows that begin with a quoted name."""
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {key: others for first, *others in cells for key in re.findall(r"`(\w+)`", first)}


ROWS = rows_of(BATCH)


def test_the_table_is_what_a_batch_holds(tmp_path):
    table, batch = write_pairs(tmp_path, 12), {}
    short = override(micro_recipe(table, "mcd"), ["method.contrast_text=short", "views.short_strategy=block"])
    part = override(micro_recipe(table, "mcd"), ["method.aug_patches=half", "method.patch_scores=random"])
    for recipe in (*(micro_recipe(table, method) for method in METHODS), short, part):
        trainer = trainer_of(recipe)
        batch |= trainer.loader.views.finish(trainer.loader.batch(0))
    batch.pop("bad_samples")
    assert set(ROWS) == set(batch)
    sizes = {"B": 8, "S": 32, "L": 16, "3": 3, "P": NUM_PARAMETERS, "patches": 4}
    for key, (shape, dtype, *_) in ROWS.items():
        expected = tuple(sizes[part.strip()] for part in shape.strip("()").split(",") if part.strip())
        assert tuple(batch[key].shape) == expected, key
        assert batch[key].dtype == getattr(torch, dtype), key
    assert f"number of recorded parameters: {NUM_PARAMETERS}, and one more" in BATCH


def test_readers_are_the_methods_that_ask_for_a_key():
    read = {name: set(micro_method(config).views) for name, config in METHODS.items()}
    for key, cells in ROWS.items():
        for name, views in read.items():
            named = name in cells[-1].lower().replace("a-clip", "aclip").split(", ") or cells[-1] == "all"
            assert named == (key in views or key in ("id", "match_id")), (key, name)


def test_the_table_of_operations_is_the_table_in_the_code():
    def quoted(setting):
        names = {"scale": "`image_scale`, `aug_scale`"}
        return names.get(setting, f"`{setting}`") if isinstance(setting, str) else "-"

    expected = {}
    for operation in OPERATIONS:
        low, high = operation.range
        recorded = f"{low:g} or more" if high == inf else f"{low:g} to {high:g}"
        probability, strength = quoted(operation.probability), quoted(operation.strength)
        expected[operation.name] = [recorded, f"{operation.untouched:g}", probability, strength]
    found = rows_of(OPERATION_TABLE)
    assert list(found.items()) == list(expected.items())
    described = re.findall(r"^- `(\w+)`: (.+)$", OPERATION_TABLE, flags=re.MULTILINE)
    assert described == [(operation.name, operation.description) for operation in OPERATIONS]
    for *_, probability, strength in found.values():
        for setting in re.findall(r"`(\w+)", f"{probability} {strength}"):
            assert setting in config.ViewSettings.model_fields
