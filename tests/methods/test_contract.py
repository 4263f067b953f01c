"""What the loop may rely on, whatever the method."""

import copy
import math
from collections import UserDict

import numpy as np
import pytest
import torch

from askew.evaluation.metrics import recall_at_k
from askew.nn.heads import GlobalBatchNorm
from askew.nn.momentum import Momentum
from askew.train import Step
from helpers import METHOD_NAMES, METHODS, micro_batch, micro_method, rows

DISTINCT, GROUPS = [0, 1, 2, 3, 4, 5], [7, 7, 2, 5, 5, 5]
PROGRESS = 0.4


@pytest.fixture(params=METHODS, ids=METHOD_NAMES)
def method(request):
    return micro_method(request.param)


def declared(batch, method):
    return {key: batch[key] for key in ("id", "group", *method.views)}


def run(method, batch, progress=PROGRESS, precision="fp32"):
    """Loss, terms and gradients by name of one step."""
    method.zero_grad(set_to_none=True)
    loss, terms, _ = Step(method, precision)(batch, progress)
    loss.backward()
    return loss, terms, {name: p.grad.clone() for name, p in method.named_parameters() if p.grad is not None}


def embeddings(method, batch):
    """What the objective is given in one process."""
    with torch.no_grad():
        return {"group": batch["group"], **method.targets(batch), **method.embed(batch)}


def difference(gradients, expected):
    """Relative error over all parameters."""
    assert gradients.keys() == expected.keys()
    norms = [
        torch.stack([(gradients[name] - with_of).norm() for name, with_of in expected.items()]).norm(),
        torch.stack([gradient.norm() for gradient in expected.values()]).norm(),
    ]
    return (norms[0] / norms[1]).item()


def magnifies_rounding(method):
    """BatchNorm over six rows divides by how little they differ."""
    return any(isinstance(module, GlobalBatchNorm) for module in method.modules())


# What is read


def test_reads_its_declared_views_and_no_others(method):
    class Recorded(UserDict):
        def __getitem__(self, key):
            seen.add(key)
            return super().__getitem__(key)

    seen = set()
    Step(method, "fp32")(Recorded(micro_batch(GROUPS)), PROGRESS)
    assert seen - {"id", "group"} == set(method.views)


def test_a_batch_of_the_declared_views_alone_will_do(method):
    batch = micro_batch(GROUPS)
    torch.testing.assert_close(run(method, declared(batch, method))[0], run(method, batch)[0], rtol=0, atol=0)


def test_embed_and_targets_work_sample_by_sample(method):
    """Each row is a function of its own sample: alone it is what it was among others."""
    batch = micro_batch(GROUPS)
    everyone = embeddings(method, batch)
    assert all(len(value) == len(GROUPS) for value in everyone.values())
    for index in (slice(2, 3), slice(3, 6)):
        for name, value in embeddings(method, rows(batch, index)).items():
            torch.testing.assert_close(value, everyone[name][index], rtol=1e-4, atol=1e-5)


def test_targets_have_no_gradient_and_embeddings_do(method):
    batch = micro_batch(GROUPS)
    assert not any(value.requires_grad for value in method.targets(batch).values())
    embedded = method.embed(batch)
    assert all(embedded[name].requires_grad for name in ("image", "text"))
    assert all(value.dtype == torch.float32 for value in embedded.values())


def test_the_step_asks_for_targets_without_gradient(method, monkeypatch):
    asked, targets = [], method.targets

    def recorded(batch):
        asked.append(torch.is_grad_enabled())
        return targets(batch)

    monkeypatch.setattr(method, "targets", recorded)
    Step(method, "fp32")(micro_batch(GROUPS), PROGRESS)
    assert asked == [False]


# Gradients


def test_every_trainable_parameter_gets_a_gradient(method):
    _, _, gradients = run(method, micro_batch(GROUPS))
    trainable = {name for name, parameter in method.named_parameters() if parameter.requires_grad}
    assert gradients.keys() == trainable
    for name, gradient in gradients.items():
        assert gradient.isfinite().all(), name
        assert gradient.abs().max() > 0, name


def test_nothing_but_a_teacher_is_frozen_and_it_stays_in_eval_mode(method):
    teachers = [module for module in method.modules() if isinstance(module, Momentum)]
    frozen = {id(parameter) for parameter in method.parameters() if not parameter.requires_grad}
    assert frozen == {id(parameter) for teacher in teachers for parameter in teacher.parameters()}
    assert method.train() is method
    run(method, micro_batch(GROUPS))
    assert all(parameter.grad is None for teacher in teachers for parameter in teacher.parameters())
    assert not any(module.training for teacher in teachers for module in teacher.modules())
    assert method.towers.training


def test_bfloat16_gives_finite_loss_and_gradients_near_those_of_float32(method):
    batch = micro_batch(GROUPS)
    exact, _, exact_gradients = run(method, batch)
    loss, terms, gradients = run(method, batch, precision="bf16")
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=0.05)
    assert loss.item() != exact.item()
    assert all(value.isfinite() for value in terms.values())
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    assert difference(gradients, exact_gradients) < (0.3 if magnifies_rounding(method) else 0.1)


# What changes


def test_a_step_forward_changes_nothing(method):
    batch = micro_batch(GROUPS)
    kept = copy.deepcopy(batch)
    state = copy.deepcopy(method.state_dict())
    training = [module.training for module in method.modules()]
    generators = torch.get_rng_state(), np.random.get_state()[1].tolist()
    run(method, batch)
    assert all(torch.equal(value, state[name]) for name, value in method.state_dict().items())
    assert [module.training for module in method.modules()] == training
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert np.random.get_state()[1].tolist() == generators[1]
    assert batch.keys() == kept.keys()
    assert all(torch.equal(value, kept[key]) for key, value in batch.items())


def test_the_same_step_twice_gives_the_same_numbers(method):
    batch = micro_batch(GROUPS)
    first, again = run(method, batch), run(method, batch)
    assert first[0].item() == again[0].item()
    assert difference(again[2], first[2]) == 0


def test_after_a_step_the_scale_is_within_its_limits(method):
    everyone = embeddings(method, micro_batch(GROUPS))
    for start, end in ((9.0, math.log(100)), (-1.0, 0.0)):
        with torch.no_grad():
            for name, parameter in method.named_parameters():
                if "log_scale" in name:
                    parameter.fill_(start)
        method.after_step(everyone, PROGRESS)
        assert method.logit_scale.item() == pytest.approx(end)
        assert method.logit_scale.shape == (1,)


def test_after_a_step_the_trained_parameters_are_as_they_were(method):
    """Only teachers and limits of scales move."""
    before = {name: p.detach().clone() for name, p in method.named_parameters() if p.requires_grad}
    method.after_step(embeddings(method, micro_batch(GROUPS)), PROGRESS)
    after = dict(method.named_parameters())
    assert all(torch.equal(after[name], value) for name, value in before.items())


# Which samples belong together


@pytest.mark.parametrize("groups", [DISTINCT, GROUPS], ids=["distinct", "repeated"])
def test_order_of_samples_does_not_matter(method, groups):
    batch = micro_batch(groups)
    loss, terms, gradients = run(method, batch)
    moved_loss, moved_terms, moved_gradients = run(method, rows(batch, torch.tensor([5, 0, 3, 1, 4, 2])))
    assert moved_loss.item() == pytest.approx(loss.item(), rel=1e-6)
    assert {k: v.item() for k, v in moved_terms.items()} == pytest.approx({k: v.item() for k, v in terms.items()}, 1e-5)
    assert difference(moved_gradients, gradients) < (1e-5 if magnifies_rounding(method) else 1e-6)


def test_names_of_groups_and_of_samples_do_not_matter(method):
    batch = micro_batch(GROUPS)
    renamed = {**batch, "group": 2**62 - 3 * batch["group"], "id": batch["id"] + 2**61}
    assert run(method, renamed)[0].item() == run(method, batch)[0].item()


def test_repeated_groups_are_positives(method):
    """Wherever they stand: another grouping of the same samples is another loss."""
    batch = micro_batch(GROUPS)
    loss, terms, gradients = run(method, batch)
    for groups in (DISTINCT, [7, 2, 7, 5, 5, 5]):
        other = run(method, {**batch, "group": torch.tensor(groups)})[0]
        assert abs(other.item() - loss.item()) > 1e-4
    assert all(value.isfinite() for value in terms.values())
    assert all(gradient.isfinite().all() for gradient in gradients.values())


def test_one_group_alone_leaves_nothing_to_contrast(method):
    loss, terms, gradients = run(method, micro_batch([3, 3, 3, 3]))
    assert loss.isfinite()
    # A sigmoid judges a match alone too: it draws the four pairs together
    assert (terms["contrast"].item() == 0.0) == (method.config.name != "siglip")
    assert all(gradient.isfinite().all() for gradient in gradients.values())


@pytest.mark.parametrize("groups", [DISTINCT, GROUPS], ids=["distinct", "repeated"])
def test_equal_ranks_average_to_the_whole(method, groups):
    """Three ranks of two samples, groups and masks spread unevenly over them."""
    everyone = embeddings(method, micro_batch(groups, unmasked=[0, 1, 4]))
    loss, terms = method.objective(everyone, everyone, PROGRESS)
    ranks = [method.objective(rows(everyone, slice(i, i + 2)), everyone, PROGRESS) for i in (0, 2, 4)]
    torch.testing.assert_close(torch.stack([rank[0] for rank in ranks]).mean(), loss)
    for name, value in terms.items():
        torch.testing.assert_close(torch.stack([rank[1][name] for rank in ranks]).mean(), value)


def test_in_blocks_of_samples_the_step_is_the_same(method):
    """Blocks of 4 and 2 of 6, computed twice: values and gradients of the whole."""
    batch = micro_batch(GROUPS, unmasked=[0, 1, 4])
    loss, terms, gradients = run(method, batch)
    method.zero_grad(set_to_none=True)
    found, found_terms, _ = Step(method, "fp32", block_rows=4)(batch, PROGRESS)
    found.backward()
    assert found.item() == pytest.approx(loss.item(), rel=1e-6)
    assert {k: v.item() for k, v in found_terms.items()} == pytest.approx({k: v.item() for k, v in terms.items()}, 1e-5)
    found_gradients = {name: p.grad for name, p in method.named_parameters() if p.grad is not None}
    assert difference(found_gradients, gradients) < 1e-6


def test_new_tensors_are_made_where_the_embeddings_are(method):
    """A tensor made without a device would land on the default one, here one that holds no values."""
    everyone = embeddings(method, micro_batch(GROUPS))
    with torch.device("meta"):
        loss, terms = method.objective(everyone, everyone, PROGRESS)
    assert {value.device.type for value in (loss, *terms.values())} == {"cpu"}


# Levels


def test_a_model_that_knows_nothing_is_at_chance(method):
    """All parameters zero: every similarity and every word is like every other. A bias says how rare matches are."""
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.zero_()
        if method.logit_bias is not None:
            method.logit_bias.fill_(-math.log(len(DISTINCT) - 1))
    _, terms, _ = run(method, micro_batch(DISTINCT), progress=0.0)
    levels = method.chance(len(DISTINCT))
    assert "contrast" in levels
    assert {name: terms[name].item() for name in levels} == pytest.approx(levels, rel=1e-5)


def test_overfits_one_batch(method):
    """Eight pairs, R@1 of 100 % in both directions, from far less."""
    batch, num_steps = micro_batch(list(range(8))), 40
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.0)
    step = Step(method, "fp32")

    def recalls():
        method.eval()
        found = embeddings(method, batch)
        scores = (found["text"] @ found["image"].T).numpy()
        method.train()
        match = np.eye(8, dtype=bool)
        return [recall_at_k(matrix, match, 1) for matrix in (scores, scores.T)]

    assert max(recalls()) < 0.5
    first = None
    for k in range(num_steps):
        loss, terms, everyone = step(batch, k / num_steps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        method.after_step(everyone, (k + 1) / num_steps)
        first = first or terms["contrast"].item()
    assert recalls() == [1.0, 1.0]
    assert terms["contrast"].item() < 0.2 * first
