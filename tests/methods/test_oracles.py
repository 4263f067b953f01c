"""Our losses and gradients are those of the official code on the same inputs: tests/oracles/README.md."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from askew.methods.slip import SLIP
from askew.nn.heads import Head
from helpers import micro_method
from oracles.inputs import BATCH, DIMENSION, WIDTH, linear, scale, uniform

ORACLES = Path(__file__).parents[1] / "oracles"
LIMIT = 1e-5  # relative error


def leaf(array):
    return torch.tensor(array).requires_grad_()


def numbers(name):
    return json.loads((ORACLES / f"{name}.json").read_text(encoding="utf-8"))


def assert_gradients(tensors, expected):
    """Relative error of each gradient as a whole."""
    assert tensors.keys() == expected.keys()
    for name, tensor in tensors.items():
        official = np.array(expected[name])
        assert np.linalg.norm(official) > 1e-3, name
        assert np.linalg.norm(tensor.grad.numpy() - official) < LIMIT * np.linalg.norm(official), name


def test_slip_is_the_official_code():
    """CLIP's and SimCLR's loss and their sum, through the official head with BatchNorm."""
    expected = numbers("slip")
    method = micro_method(SLIP.Config(temperature=0.2, head=(9, 9, 8)))
    method.head = Head([WIDTH, 9, 9, 8])
    with torch.no_grad():
        for number, (before, after) in enumerate([(WIDTH, 9), (9, 9), (9, 8)]):
            method.head.linear[number].weight.copy_(torch.tensor(linear(f"layer{number + 1}", before, after)))
        method.head.linear[2].bias.copy_(torch.tensor(uniform("bias3", 8)))
        for number in (1, 2):
            method.head.norm[number - 1].weight.copy_(torch.tensor(scale(f"bn{number}", 9)))
            method.head.norm[number - 1].bias.copy_(torch.tensor(uniform(f"shift{number}", 9)))
    widths = {"image": DIMENSION, "text": DIMENSION, "aug": WIDTH, "aug2": WIDTH}
    tensors = {name: leaf(uniform(name, BATCH, width)) for name, width in widths.items()}
    mine = {"group": torch.arange(BATCH), "aug": tensors["aug"], "aug2": tensors["aug2"]}
    mine |= {name: normalize(tensors[name], dim=-1) for name in ("image", "text")}
    loss, terms = method.objective(mine, mine, 0.0)
    loss.backward()
    for name, value in {"loss": loss, **terms}.items():
        assert value.item() == pytest.approx(expected[name], rel=LIMIT), name
    assert_gradients(tensors, expected["gradients"])
