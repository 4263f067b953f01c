"""docs/methods.md: every method has its part, and the table counts what a step costs."""

import re
from pathlib import Path

import pytest
import torch

from askew.config import METHODS
from askew.training.contract.micro import run_step
from helpers import micro_batch, micro_method

PAGE = (Path(__file__).parents[1] / "docs" / "methods.md").read_text(encoding="utf-8").replace("A-CLIP", "ACLIP")
ROW = re.compile(r"^\| `(\w+)` \| (\d+) \| (\d+) \|", re.M)
ROWS = {name: (int(image), int(text)) for name, image, text in ROW.findall(PAGE)}
BACKWARD = 2  # units


def units(config):
    """Forward passes of the image and the text towers over one batch, teachers' too; with gradient, three each."""
    method, batch, counted = micro_method(config), micro_batch(range(4)), {"image": 0, "text": 0}

    def counts(side):
        def hook(module, inputs, encoded):
            passes = len(inputs[0]) / len(batch["id"])
            counted[side] += passes * (1 + BACKWARD * encoded.embedding.requires_grad)

        return hook

    for module in method.modules():
        side = {"ImageTower": "image", "NativeTextTower": "text"}.get(type(module).__name__)
        if side is not None:
            module.register_forward_hook(counts(side))
        if side == "image":
            module.with_scores = counted_pass(module.with_scores, counts("image"))
    run_step(method, batch)
    assert torch.is_grad_enabled()
    return counted["image"], counted["text"]


def counted_pass(with_scores, count):
    """A teacher's pass that gives scores beside what a forward pass gives."""

    def counted(images):
        encoded, scores = with_scores(images)
        count(None, (images,), encoded)
        return encoded, scores

    return counted


def test_every_method_has_a_row_and_a_part():
    assert ROWS.keys() == METHODS.keys()
    parts = [title.lower() for title in re.findall(r"^## (.+)$", PAGE, re.M)]
    assert set(METHODS) <= set(parts)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_units_are_those_of_a_step(name):
    assert units(METHODS[name]()) == ROWS[name]


@pytest.mark.parametrize("title", [*METHODS])
def test_a_part_says_idea_cost_needs_and_when(title):
    part = re.search(rf"^## {title}$(.*?)^## ", PAGE, re.M | re.S | re.I)
    assert part is not None
    for word in ("**Idea.**", "**Cost.**", "**Needs.**", "**Choose it**"):
        assert word in part[1], (title, word)
