"""UniCLIP's objective on given embeddings against one plain loop, and its head with and without augmentations."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from askew.methods.uniclip import PAIR_WEIGHTS, UniCLIP
from askew.nn.towers import unit
from askew.objectives.masked_language import masked_language
from helpers import micro_batch, micro_method
from reference import equations

NAMES = ("image", "text", "aug")
DISTINCT, MATCH_IDS = np.arange(5), np.array([7, 7, 2, 5, 5])
TAU, OFFSET = (0.2, 0.3, 0.5), (0.4, -0.2, 0.1)


def vectors(seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(5, 4)) for name in NAMES}


def embedded(raw, match_ids):
    unit_length = {name: unit(torch.as_tensor(value)) for name, value in raw.items()}
    return {"match_id": torch.tensor(match_ids), **unit_length}


def literal(raw, match_ids, tau=TAU, offset=OFFSET, weights="equal"):
    return equations.uniclip(
        *(equations.normalise(raw[name]) for name in NAMES), match_ids, tau, offset, PAIR_WEIGHTS[weights]
    )


@pytest.fixture(scope="module")
def build():
    made = {}

    def build(weights="equal", tau=TAU, offset=OFFSET):
        if weights not in made:
            made[weights] = micro_method(UniCLIP.Config(pair_weights=weights))
        with torch.no_grad():
            made[weights].similarity.log_scale.copy_(-torch.tensor(tau).log())
            made[weights].similarity.offset.copy_(torch.tensor(offset))
        return made[weights]

    return build


# The objective


@pytest.mark.parametrize("match_ids", [DISTINCT, MATCH_IDS], ids=["distinct", "repeated"])
@pytest.mark.parametrize("weights", PAIR_WEIGHTS)
def test_objective_and_its_gradients_equal_the_loop(build, weights, match_ids):
    """Relative error below 1e-5: value, every embedding, every temperature and offset."""
    raw, method = vectors(), build(weights)
    leaves = {name: torch.tensor(value, requires_grad=True) for name, value in raw.items()}
    local = embedded(leaves, match_ids)
    method.zero_grad()
    loss, terms = method.objective(local, local, 0.4)
    loss.backward()
    assert loss.item() == pytest.approx(literal(raw, match_ids, weights=weights), rel=1e-5)
    assert terms["contrast"].item() == loss.item()
    for name, leaf in leaves.items():
        expected = equations.numeric_gradient(
            lambda x, name=name: literal({**raw, name: x}, match_ids, weights=weights), raw[name]
        )
        assert np.linalg.norm(leaf.grad.numpy() - expected) < 1e-5 * np.linalg.norm(expected)
    by_scale = equations.numeric_gradient(
        lambda x: literal(raw, match_ids, tau=np.exp(-x), weights=weights), -np.log(np.array(TAU))
    )
    by_offset = equations.numeric_gradient(
        lambda x: literal(raw, match_ids, offset=x, weights=weights), np.array(OFFSET, dtype=float)
    )
    for found, expected in ((method.similarity.log_scale.grad, by_scale), (method.similarity.offset.grad, by_offset)):
        assert np.linalg.norm(found.numpy() - expected) < 1e-5 * np.linalg.norm(expected)


def test_one_temperature_and_equal_weights_are_mcds_equation_5(build):
    raw = vectors()
    unit_length = [equations.normalise(raw[name]) for name in NAMES]
    expected = sum(equations.eq5_mp_nce(*unit_length, tau=0.2))
    local = embedded(raw, DISTINCT)
    method = build(tau=(0.2, 0.2, 0.2), offset=(0.0, 0.0, 0.0))
    assert method.objective(local, local, 0.0)[0].item() == pytest.approx(expected, rel=1e-5)


def test_the_two_views_of_an_image_may_be_swapped(build):
    local = embedded(vectors(), MATCH_IDS)
    swapped = {**local, "image": local["aug"], "aug": local["image"]}
    torch.testing.assert_close(build().objective(local, local, 0.0)[0], build().objective(swapped, swapped, 0.0)[0])


def test_inverse_counts_weigh_each_kind_of_pair_alike():
    """Each sample has 4 image-image, 4 image-text and 1 text-text positives. Their total weight is that of nine."""
    counts = np.array([4, 4, 1])
    assert (counts * PAIR_WEIGHTS["inverse_counts"]).tolist() == [3, 3, 3]
    assert (counts * PAIR_WEIGHTS["equal"]).sum() == 9


def test_identical_vectors_have_finite_loss_and_gradient(build):
    leaves = {name: torch.ones(5, 4, requires_grad=True) for name in NAMES}
    local = embedded(leaves, MATCH_IDS)
    loss = build(tau=(0.01, 0.01, 0.01)).objective(local, local, 0.0)[0]
    loss.backward()
    assert loss.isfinite()
    assert all(leaf.grad.isfinite().all() for leaf in leaves.values())


def test_nothing_fades(build):
    local = embedded(vectors(), MATCH_IDS)
    assert build().objective(local, local, 0.0)[0].item() == build().objective(local, local, 0.9)[0].item()


# The head


def test_the_embedding_of_an_untouched_image_is_the_towers_own():
    """With all weights of head and projection perturbed: what is exported is what was trained, bit for bit."""
    method = micro_method(UniCLIP.Config()).eval()
    batch = micro_batch([0, 1, 2, 3])
    identity = torch.tensor([0.0, 0.0, 1.0, 1.0, *([0.0] * 7)]).repeat(4, 1)
    with torch.no_grad():
        found = method.embed({**batch, "image_params": identity, "aug_params": identity})
        expected = method.towers.image(torch.cat([batch["image"], batch["aug"]])).embedding
    assert torch.equal(found["image"], expected[:4])
    assert torch.equal(found["aug"], expected[4:])
    augmented = method.embed(batch)
    assert (augmented["image"] - expected[:4]).norm() > 1e-2


def test_the_head_gets_each_views_own_augmentation():
    method, batch = micro_method(UniCLIP.Config()), micro_batch([0, 1, 2])
    before = method.embed(batch)
    for key, name, other in (("image_params", "image", "aug"), ("aug_params", "aug", "image")):
        moved = method.embed({**batch, key: batch[key].flip(0)})
        assert not torch.allclose(moved[name], before[name], atol=1e-4)
        assert torch.equal(moved[other], before[other])


def test_without_augmentation_encoding_there_is_no_head():
    method = micro_method(UniCLIP.Config(augmentation_encoding=False))
    assert method.views == ("image", "aug", "text")
    assert not hasattr(method, "head")
    batch = micro_batch([0, 1, 2])
    torch.testing.assert_close(method.embed(batch)["aug"], method.towers.image(batch["aug"]).embedding)


# Masked language, export, config


def test_masked_language_is_a_switch():
    method, batch = micro_method(UniCLIP.Config(mlm_weight=0.2)), micro_batch([0, 1, 2])
    assert UniCLIP.Config(mlm_weight=0.2).needs_mask_token
    assert not UniCLIP.Config().needs_mask_token
    assert "masked_text" in method.views
    local = {"match_id": batch["match_id"], **method.embed(batch)}
    loss, terms = method.objective(local, local, 0.0)
    assert terms["mlm"].item() == masked_language(local["mlm_sum"], local["mlm_count"]).item() > 1
    assert loss.item() == pytest.approx((terms["contrast"] + 0.2 * terms["mlm"]).item())


def test_exports_the_student_with_the_image_text_scale():
    method = micro_method(UniCLIP.Config(temperatures=(0.1, 0.2, 0.3)))
    assert method.export_towers() == {"model": (method.towers.image, method.towers.text)}
    assert method.logit_scale.exp().item() == pytest.approx(1 / 0.2)


@pytest.mark.parametrize("fields", [{"pair_weights": "other"}, {"mlm_weight": -1}, {"temperature": 0.1}])
def test_config_rejects(fields):
    with pytest.raises(ValidationError):
        UniCLIP.Config(**fields)
