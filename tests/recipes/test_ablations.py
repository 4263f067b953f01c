"""The rows of Table 5 say what they are, and differ in nothing else."""

import pytest
import torch

from askew.recipes import RECIPES, find
from askew.recipes.ablations import MLM_WEIGHT
from askew.recipes.settings import leaves
from askew.recipes.tiny import tiny
from askew.training.step import Step
from helpers import micro_batch, micro_method

ROWS = {letter: find(f"tiny-ablation-{letter}").method for letter in "abcde"}
MADE = [name for name in RECIPES if name.startswith("tiny-") and name != "tiny"]


@pytest.mark.parametrize("name", MADE)
def test_a_row_differs_in_the_method_alone(name):
    one, other = (leaves(recipe.model_dump(mode="json")) for recipe in (find(name), tiny()))
    changed = {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}
    assert {key.split(".")[0] for key in changed} <= {"name", "method"}


def test_each_row_ticks_as_many_columns_as_the_paper():
    """1, 2, 2, 3 and 4 of MP-NCE, augmentation encoding, positive, negative, noisy."""
    ticks = [1 + (m.augmentation_encoding if m.name == "uniclip" else len(m.terms)) for m in ROWS.values()]
    assert ticks == [1, 2, 2, 3, 4]
    assert ROWS["e"] == tiny().method


def test_what_is_no_column_is_the_same_in_all_rows():
    assert {m.mlm_weight for m in ROWS.values()} == {MLM_WEIGHT}
    assert len({m.temperatures for m in ROWS.values()}) == 1
    assert set(ROWS["a"].model_dump().items()) ^ set(ROWS["b"].model_dump().items()) == {
        ("augmentation_encoding", False),
        ("augmentation_encoding", True),
    }


@pytest.mark.parametrize("name", MADE)
def test_a_row_trains_all_that_it_has(name):
    """On micro towers: every trainable parameter gets a gradient."""
    method = micro_method(find(name).method)
    loss, _, _ = Step(method, "fp32")(micro_batch([0, 1, 2, 2]), 0.5)
    loss.backward()
    assert loss.isfinite()
    still = [n for n, p in method.named_parameters() if p.requires_grad and not torch.count_nonzero(p.grad)]
    assert still == []
