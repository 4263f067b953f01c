"""DeCLIP beyond the official numbers in test_oracles.py: repeated match ids, views read, the queue."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from askew.methods.declip import IMAGES, NEIGHBOURS, TEXTS, DeCLIP
from askew.training.step import Step
from helpers import micro_batch, micro_method
from reference import equations

MATCH_IDS = np.array([7, 7, 2, 5, 5, 5])


@pytest.fixture
def method():
    return micro_method(DeCLIP.Config(temperature=0.2, queue_size=50))


def embeddings(match_ids, seed=0):
    rng = np.random.default_rng(seed)
    arrays = {name: equations.normalise(rng.normal(size=(6, 16))) for name in (*IMAGES, *TEXTS, *NEIGHBOURS)}
    arrays |= {f"{name}_projected": rng.normal(size=(6, 16)) for name in IMAGES}
    tensors = {name: torch.tensor(array).float() for name, array in arrays.items()}
    return arrays, {
        "match_id": torch.tensor(match_ids),
        "mlm_sum": torch.arange(6.0),
        "mlm_count": torch.ones(6),
        **tensors,
    }


@pytest.mark.parametrize("match_ids", [np.arange(6), MATCH_IDS], ids=["distinct", "repeated"])
@pytest.mark.parametrize("rows", [slice(0, 6), slice(1, 4)], ids=["whole", "a rank"])
def test_contrast_and_nns_equal_reference(method, match_ids, rows):
    arrays, gathered = embeddings(match_ids)
    local = {name: value[rows] for name, value in gathered.items()}
    match = match_ids[rows, None] == match_ids[None, :]

    def one_direction(from_, to):
        return equations.info_nce(equations.eq1_similarity(arrays[from_][rows], arrays[to]) / 0.2, match)

    contrast = np.mean([one_direction(i, t) + one_direction(t, i) for i in IMAGES for t in TEXTS]) / 2
    nns = np.mean([one_direction(i, n) for i in IMAGES for n in NEIGHBOURS])
    terms = method.objective(local, gathered, 0.5)[1]
    assert terms["contrast"].item() == pytest.approx(contrast, rel=1e-5)
    assert terms["nns"].item() == pytest.approx(nns, rel=1e-5)


def test_the_total_has_the_official_weights(method):
    _, local = embeddings(MATCH_IDS)
    loss, terms = method.objective(local, local, 0.5)
    assert terms["mlm"].item() == pytest.approx(2.5)
    expected = 0.4 * terms["contrast"] + 0.2 * (terms["nns"] + terms["simsiam"] + terms["mlm"])
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("fields", "read", "contrasted"),
    [
        ({}, {"aug", "aug2", "masked_text", "mlm_labels", "text_aug"}, "masked_text"),
        ({"contrast_text": "clean"}, {"aug", "aug2", "text", "masked_text", "mlm_labels", "text_aug"}, "text"),
        ({"mlm_weight": 0}, {"aug", "aug2", "text", "text_aug"}, "text"),
    ],
    ids=["official", "clean", "no masked language"],
)
def test_embeds_with_one_forward_per_tower(fields, read, contrasted):
    method, batch, forwards = micro_method(DeCLIP.Config(queue_size=50, **fields)), micro_batch(range(5)), []
    assert set(method.views) == read
    for tower in (method.towers.image, method.towers.text):
        tower.register_forward_hook(lambda module, inputs, output: forwards.append(len(inputs[0])))
    embedded = method.embed(batch)
    assert forwards == [10, 5 * sum("text" in key for key in read)]
    for name, key in zip(IMAGES, ("aug", "aug2"), strict=True):
        alone = method.towers.image(batch[key])
        torch.testing.assert_close(embedded[name], alone.embedding)
        torch.testing.assert_close(embedded[f"{name}_projected"], method.towers.image.projection(alone.pooled))
    for name, key, near in zip(TEXTS, (contrasted, "text_aug"), NEIGHBOURS, strict=True):
        torch.testing.assert_close(embedded[name], method.towers.text(batch[key]).embedding)
        assert torch.equal(embedded[near], method.queue.nearest(embedded[name]))
        assert not embedded[near].requires_grad
    assert method.config.needs_mask_token == ("masked_text" in read)


@pytest.mark.parametrize("fields", [{"contrast_text": "clean"}, {"mlm_weight": 0}], ids=["clean", "no mlm"])
def test_variants_take_a_step_in_which_every_parameter_moves(fields):
    method, batch = micro_method(DeCLIP.Config(queue_size=50, **fields)), micro_batch(range(5))
    loss, terms, gathered = Step(method, "fp32")(batch, 0.4)
    loss.backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in method.parameters())
    assert ("mlm" in terms) == (method.config.mlm_weight > 0)
    assert terms.keys() == method.loss_at_chance(5).keys()
    method.after_step(gathered, 0.5)
    assert torch.equal(method.queue.bank[5:10], gathered["text"])


def test_the_queue_takes_edited_texts_and_then_the_others(method):
    _, gathered = embeddings(MATCH_IDS)
    before = method.queue.bank.clone()
    method.after_step(gathered, 0.1)
    assert torch.equal(method.queue.bank[:12], torch.cat([gathered["text_aug"], gathered["text"]]))
    assert torch.equal(method.queue.bank[12:], before[12:])
    assert torch.equal(method.queue.nearest(gathered["text"]), gathered["text"])


def test_gradient_stops_at_neighbours_and_at_simsiams_targets(method):
    _, local = embeddings(MATCH_IDS)
    leaves = {name: value.requires_grad_() for name, value in local.items() if value.is_floating_point()}
    terms = method.objective(local, local, 0.5)[1]
    terms["simsiam"].backward()
    assert {name for name, leaf in leaves.items() if leaf.grad is not None} == {f"{name}_projected" for name in IMAGES}
    assert all(parameter.grad.abs().max() > 0 for parameter in method.projector.parameters())


def test_an_identity_predicts_identical_views():
    """SimSiam's term is -1 if each view's prediction equals the other view's projection."""
    method = micro_method(DeCLIP.Config(queue_size=50))
    _, local = embeddings(np.arange(6))
    local["image2_projected"] = local["image_projected"]
    method.predictor.forward = lambda local, gathered: (local, gathered)
    assert method.objective(local, local, 0.0)[1]["simsiam"].item() == pytest.approx(-1, rel=1e-5)


def test_heads_have_the_papers_sizes_and_are_smaller_on_small_towers(method):
    config = DeCLIP.Config()
    assert (config.projector, config.predictor, config.queue_size) == ((1024, 1024, 1024), 512, 65_536)
    assert [tuple(m.weight.shape) for m in method.projector.linear] == [(32, 16), (32, 32), (32, 32)]  # D = 16 of 512
    assert [tuple(m.weight.shape) for m in method.predictor.linear] == [(16, 32), (32, 16)]


@pytest.mark.parametrize("fields", [{"queue_size": 0}, {"contrast_text": "both"}, {"nns_weight": 0}, {"alpha": 0.2}])
def test_config_rejects(fields):
    with pytest.raises(ValidationError):
        DeCLIP.Config(**fields)
