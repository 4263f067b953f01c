"""SigLIP against open_clip's own loss, and against a plain loop for repeated match ids."""

import math

import numpy as np
import pytest
import torch
from open_clip.loss import SigLipLoss
from pydantic import ValidationError

from askew.methods.siglip import SigLIP
from askew.nn.towers import unit
from helpers import micro_method
from reference import equations

MATCH_IDS = np.array([7, 7, 2, 5, 5, 5])


@pytest.fixture(scope="module")
def method():
    return micro_method(SigLIP.Config(temperature=0.2, bias=-3.0))


def leaves(seed=0):
    rng = np.random.default_rng(seed)
    return {name: torch.tensor(rng.normal(size=(6, 4)), requires_grad=True) for name in ("image", "text")}


def embedded(made, match_ids):
    return {"match_id": torch.tensor(match_ids), **{name: unit(leaf) for name, leaf in made.items()}}


def test_is_open_clip_loss_in_value_and_gradients(method):
    """Relative error below 1e-5 for the loss and the gradients of both embeddings, the scale and the bias."""
    made, same = leaves(), leaves()
    local = embedded(made, np.arange(6))
    method.zero_grad()
    loss, terms = method.objective(local, local, 0.3)
    loss.backward()
    log_scale, bias = (torch.tensor(v, requires_grad=True) for v in (math.log(5), -3.0))
    expected = SigLipLoss()(unit(same["image"]), unit(same["text"]), log_scale.exp(), bias)
    expected.backward()
    assert loss.item() == terms["contrast"].item() == pytest.approx(expected.item(), rel=1e-5)
    pairs = [(made[name].grad, same[name].grad) for name in made]
    pairs += [(method.temperature.log_scale.grad, log_scale.grad), (method.temperature.bias.grad, bias.grad)]
    for found, wanted in pairs:
        assert (found - wanted).norm() < 1e-5 * wanted.norm()


def test_repeated_match_ids_equal_the_loop(method):
    local = embedded(leaves(), MATCH_IDS)
    match = MATCH_IDS[:, None] == MATCH_IDS[None, :]
    logits = 5 * equations.eq1_similarity(local["image"].tolist(), local["text"].tolist()) - 3
    for rows in (slice(0, 6), slice(1, 4)):
        part = {name: value[rows] for name, value in local.items()}
        expected = equations.pairwise_sigmoid(logits[rows], match[rows])
        assert method.objective(part, local, 0.0)[0].item() == pytest.approx(expected, rel=1e-5)


def test_images_and_texts_may_be_swapped(method):
    local = embedded(leaves(), MATCH_IDS)
    swapped = {**local, "image": local["text"], "text": local["image"]}
    torch.testing.assert_close(method.objective(local, local, 0.0)[0], method.objective(swapped, swapped, 0.0)[0])


def test_starts_as_in_the_paper():
    method = micro_method(SigLIP.Config())
    assert method.logit_scale.item() == pytest.approx(math.log(10))
    assert method.logit_bias.item() == -10
    assert method.export_towers() == {"model": (method.towers.image, method.towers.text)}


def test_chance_is_the_entropy_of_rare_matches():
    method = micro_method(SigLIP.Config())
    assert method.loss_at_chance(4)["contrast"] == pytest.approx(4 * (-0.25 * math.log(0.25) - 0.75 * math.log(0.75)))
    assert method.loss_at_chance(1)["contrast"] == 0.0


@pytest.mark.parametrize("fields", [{"temperature": 0.0}, {"momentum": 0.1}])
def test_config_rejects(fields):
    with pytest.raises(ValidationError):
        SigLIP.Config(**fields)
