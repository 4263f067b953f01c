"""The recipes for photographs: the same for every method but the method."""

import pytest
import torch

from askew.recipes import RECIPES, find
from askew.recipes.settings import leaves
from askew.training.step import Step
from helpers import micro_batch, micro_method

MADE = [name for name in RECIPES if name.startswith("photos")]


def test_there_is_one_for_every_method():
    methods = {"mcd", "clip", "slip", "declip", "uniclip", "siglip", "fastclip", "albef", "aclip"}
    assert {find(name).method.name for name in MADE} == methods


@pytest.mark.parametrize("name", MADE)
def test_methods_share_all_but_the_method(name):
    one, other = (leaves(find(recipe).model_dump(mode="json")) for recipe in (name, "photos"))
    changed = {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}
    if name == "photos-aclip":  # it needs a ViT, and a teacher that sees the whole image
        changed -= {key for key in changed if key.startswith("towers.vision_cfg")} | {"views.image_scale"}
    assert {key.split(".")[0] for key in changed} <= {"name", "method"}


@pytest.mark.parametrize("name", MADE)
def test_every_parameter_is_trained(name):
    method = micro_method(find(name).method)
    loss, _, _ = Step(method, "fp32")(micro_batch([0, 1, 2, 2]), 0.5)
    loss.backward()
    assert loss.isfinite()
    still = [n for n, p in method.named_parameters() if p.requires_grad and not torch.count_nonzero(p.grad)]
    assert still == []
