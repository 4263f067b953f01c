"""SLIP is the sum of two losses that are tested elsewhere. Here: that it is their sum, of the right views."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import normalize

from askew.methods.slip import SLIP
from helpers import micro_batch, micro_method
from reference import equations

MATCH_IDS = np.array([7, 7, 2, 5, 5, 5])


@pytest.fixture
def method():
    return micro_method(SLIP.Config(temperature=0.2, simclr_temperature=0.5, simclr_weight=0.7, head=(96, 72, 48)))


def embeddings(match_ids, seed=0):
    rng = np.random.default_rng(seed)
    arrays = {name: equations.normalise(rng.normal(size=(6, 16))) for name in ("text", "image")}
    arrays |= {name: rng.normal(size=(6, 32)) for name in ("aug", "aug2")}
    return arrays, {"match_id": torch.tensor(match_ids), **{k: torch.tensor(v).float() for k, v in arrays.items()}}


def projected(method, features):
    """The head's unit vectors, computed by the reference."""
    maps = [(m.weight, torch.zeros(len(m.weight)) if m.bias is None else m.bias) for m in method.head.linear]
    norms = [(norm.weight, norm.bias) for norm in method.head.norm]
    as_arrays = [[tuple(p.detach().double().numpy() for p in pair) for pair in pairs] for pairs in (maps, norms)]
    return equations.normalise(equations.head(features, *as_arrays))


def test_is_clips_loss_and_simclrs_on_the_head(method):
    arrays, local = embeddings(np.arange(6))
    loss, terms = method.objective(local, local, 0.3)
    contrast = equations.eq3_clip(equations.eq1_similarity(arrays["text"], arrays["image"]), tau=0.2)
    simclr = equations.simclr(projected(method, arrays["aug"]), projected(method, arrays["aug2"]), tau=0.5)
    assert terms["contrast"].item() == pytest.approx(contrast, rel=1e-5)
    assert terms["simclr"].item() == pytest.approx(simclr, rel=1e-4)
    assert loss.item() == pytest.approx(contrast + 0.7 * simclr, rel=1e-4)


def test_repeated_match_ids_equal_reference(method):
    """Matching samples are positives across the views, and are left out within a view."""
    arrays, local = embeddings(MATCH_IDS)
    match = MATCH_IDS[:, None] == MATCH_IDS[None, :]
    aug, aug2 = (projected(method, arrays[name]) for name in ("aug", "aug2"))
    expected = [equations.nt_xent(a @ b.T / 0.5, a @ a.T / 0.5, match) for a, b in ((aug, aug2), (aug2, aug))]
    assert method.objective(local, local, 0.3)[1]["simclr"].item() == pytest.approx(np.mean(expected), rel=1e-4)


def test_embeds_with_the_towers_in_one_forward(method):
    batch, forwards = micro_batch([0, 1, 2]), []
    method.towers.image.register_forward_hook(lambda module, inputs, output: forwards.append(len(inputs[0])))
    embedded = method.embed(batch)
    assert forwards == [9]
    for name in ("aug", "aug2"):
        torch.testing.assert_close(embedded[name], method.towers.image(batch[name]).pooled)
    torch.testing.assert_close(embedded["image"], method.towers.image(batch["image"]).embedding)
    assert torch.equal(embedded["text"], method.towers.text(batch["text"]).embedding)


def test_self_supervision_reaches_the_backbone_and_not_the_projection(method):
    local = {"match_id": torch.arange(4), **method.embed(micro_batch(range(4)))}
    method.objective(local, local, 0.0)[1]["simclr"].backward()
    assert method.towers.image.projection.weight.grad is None
    assert method.towers.image.trunk.conv1.weight.grad.abs().max() > 0
    assert all(p.grad is None for p in method.towers.text.parameters())


def test_the_head_is_the_papers_on_vit_b_and_smaller_on_small_towers():
    method = micro_method(SLIP.Config())  # F = 32
    assert [tuple(m.weight.shape) for m in method.head.linear] == [(171, 32), (171, 171), (11, 171)]
    assert SLIP.Config().head == (4096, 4096, 256)


def test_equal_views_have_a_low_loss_and_unrelated_views_a_high_one(method):
    """With the same features for both views SimCLR's loss is below chance, with unrelated views above."""
    _, local = embeddings(np.arange(6))
    same = {**local, "aug2": local["aug"]}
    unrelated = {**local, "aug2": local["aug"].roll(1, 0)}
    chance = method.loss_at_chance(6)["simclr"]
    losses = [method.objective(tensors, tensors, 0.0)[1]["simclr"].item() for tensors in (same, unrelated)]
    assert losses[0] < chance < losses[1]
    unit = normalize(method.head(local["aug"], local["aug"])[0], dim=-1)
    assert torch.allclose(unit.norm(dim=-1), torch.ones(6))


@pytest.mark.parametrize("fields", [{"simclr_temperature": 0.0}, {"head": (4096, 256)}, {"ssl_scale": 1.0}])
def test_config_rejects(fields):
    with pytest.raises(ValidationError):
        SLIP.Config(**fields)
