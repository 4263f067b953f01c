"""FastCLIP's objective by hand, against loops, and against InfoNCE, which it equals at gamma = 1 and eps = 1 / M."""

import itertools
import math

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from askew.objectives.contrastive import info_nce
from askew.objectives.global_contrast import gamma_at, log_mean_negatives, of_pairs
from askew.objectives.global_contrast import global_contrast as contrast_of_means
from askew.objectives.global_contrast import log_running_mean as running_mean_of_means
from reference import equations

IDS = np.array([7, 7, 2, 5, 5, 5])


def example(seed=0, distinct=False):
    """Logits (3, 6) whose row i belongs to sample 2i, their own logits, matches, and u of rows one of which is new."""
    rng = np.random.default_rng(seed)
    logits, ids = 2 * rng.normal(size=(3, 6)), np.arange(6) if distinct else IDS
    match = ids[::2][:, None] == ids[None, :]
    return logits, logits[range(3), [0, 2, 4]], match, np.array([0.7, 0.0, 3.0])


def log_running_mean(logits, own, match, log_u, gamma):
    """From logits, as the method does it."""
    return running_mean_of_means(log_mean_negatives(logits, match), own, log_u, gamma)


def both(logits, own, match, log_u, eps):
    return contrast_of_means(logits, log_mean_negatives(logits, match), own, match, log_u, eps)


def global_contrast(*arguments):
    return both(*arguments)[0]


def tensors(logits, own, match, u):
    return torch.tensor(logits), torch.tensor(own), torch.tensor(match), torch.tensor(u).log()


def test_the_mean_over_negatives_by_hand():
    """log((1 + 3) / 2) = 0.6931; the second row has no negatives."""
    logits = torch.tensor([[5.0, 0.0, math.log(3)], [1.0, 2.0, 3.0]], requires_grad=True)
    found = log_mean_negatives(logits, torch.tensor([[True, False, False], [True, True, True]]))
    assert found[0].item() == pytest.approx(math.log(2))
    assert found[1] == -torch.inf
    found[0].backward()
    np.testing.assert_allclose(logits.grad, [[0.0, 0.25, 0.75], [0.0, 0.0, 0.0]], atol=1e-6)


def test_by_hand():
    """g = exp(-1) = 0.3679; u = 1 becomes 0.6839 at gamma = 0.5; log 0.6839 = -0.3799; r = 0.3679 / 0.6839 = 0.5379."""
    logits, match = torch.tensor([[0.0, -1.0]], requires_grad=True), torch.tensor([[True, False]])
    own = torch.zeros(1)
    assert log_running_mean(logits, own, match, torch.tensor([-torch.inf]), 0.5).exp().item() == pytest.approx(
        0.36788, abs=1e-5
    )
    log_u = log_running_mean(logits, own, match, torch.zeros(1), 0.5)
    assert log_u.exp().item() == pytest.approx(0.68394, abs=1e-5)
    found = global_contrast(logits, own, match, log_u, 0.0)
    found.backward()
    assert found.item() == pytest.approx(-0.37989, abs=1e-5)
    assert logits.grad.tolist()[0] == pytest.approx([-0.53788, 0.53788], abs=1e-5)


@pytest.mark.parametrize("distinct", [True, False])
@pytest.mark.parametrize("gamma", [1.0, 0.3])
@pytest.mark.parametrize("eps", [0.0, 1e-14, 0.5])
def test_equals_the_loops(gamma, eps, distinct):
    for seed in range(3):
        logits, own, match, u = example(seed, distinct)
        after = equations.running_mean(logits, own, match, u, gamma)
        value, gradient = equations.global_contrast(logits, own, match, after, eps)
        leaf, *rest = tensors(logits, own, match, u)
        leaf.requires_grad_()
        log_u = log_running_mean(leaf, *rest, gamma)
        np.testing.assert_allclose(log_u.exp(), after, rtol=1e-5)
        found, plain = both(leaf, *rest[:2], log_u, eps)
        found.backward()
        assert plain.item() == pytest.approx(equations.global_contrast(logits, own, match, after, 0.0)[0], rel=1e-5)
        assert not plain.requires_grad
        assert found.dtype == torch.float32
        assert found.item() == pytest.approx(value, rel=1e-5)
        np.testing.assert_allclose(leaf.grad, gradient, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("distinct", [True, False])
def test_gamma_1_and_eps_1_over_m_is_info_nce(distinct):
    """Row by row, since M is that of the row. Gradients to 1e-6, and values up to log M."""
    logits, own, match, u = tensors(*example(distinct=distinct))
    for row in range(3):
        part, positives = slice(row, row + 1), match[row : row + 1]
        num = int((~positives).sum())
        one, other = (logits[part].float().requires_grad_() for _ in range(2))
        log_u = log_running_mean(one, own[part], positives, u[part], 1.0)
        found, expected = global_contrast(one, own[part], positives, log_u, 1 / num), info_nce(other, positives)
        assert found.item() + math.log(num) == pytest.approx(expected.item(), abs=1e-6)
        found.backward()
        expected.backward()
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=1e-6)


def test_the_mean_over_all_batches_is_that_over_the_data():
    """Four samples, every batch of three: the mean of g over the batches that a sample is in."""
    logits = np.random.default_rng(5).normal(size=(4, 4))
    whole, all_match = torch.tensor(logits), torch.eye(4, dtype=torch.bool)
    never = torch.full((4,), -torch.inf)
    expected = log_running_mean(whole, whole.diagonal(), all_match, never, 1.0).exp()
    for sample in range(4):
        found = []
        for batch in itertools.combinations(range(4), 3):
            if sample in batch:
                part = whole[sample, list(batch)][None]
                match = torch.tensor([[j == sample for j in batch]])
                found.append(log_running_mean(part, whole[sample, sample][None], match, never[:1], 1.0).exp())
        assert torch.stack(found).mean().item() == pytest.approx(expected[sample].item(), rel=1e-6)


def test_many_visits_to_fixed_embeddings_end_at_the_mean_over_the_data():
    rng = np.random.default_rng(0)
    logits = torch.tensor(rng.normal(size=(20,)))
    negative = torch.arange(20) > 0
    expected = (logits[1:] - logits[0]).exp().mean().item()
    log_u, found = torch.tensor([-torch.inf]), []
    for step in range(2000):
        batch = torch.tensor([0, *(1 + rng.permutation(19)[:4])])
        log_u = log_running_mean(logits[batch][None], logits[:1], ~negative[batch][None], log_u, 0.05)
        found.append(log_u.exp().item() if step >= 100 else expected)
    assert np.mean(found) == pytest.approx(expected, rel=0.02)
    assert np.std(found[100:]) < 0.15 * expected


def test_rows_average_to_the_whole():
    """What ranks and chunks rely on."""
    logits, own, match, u = tensors(*example())
    log_u = log_running_mean(logits, own, match, u, 0.4)
    rows = [
        global_contrast(logits[i : i + 1], own[i : i + 1], match[i : i + 1], log_u[i : i + 1], 0.1) for i in range(3)
    ]
    torch.testing.assert_close(torch.stack(rows).mean(), global_contrast(logits, own, match, log_u, 0.1))


def test_single_pairs_by_hand():
    """log(1 + 3), and the gradient of g / (1 + 3) at g = 1."""
    log_g = torch.zeros(1, 1, requires_grad=True)
    found = of_pairs(log_g, torch.tensor([[3.0]]).log(), torch.zeros(1, 1))
    found.sum().backward()
    assert found.item() == pytest.approx(math.log(4))
    assert log_g.grad.item() == pytest.approx(0.25)


def test_a_row_without_negatives_counts_zero_and_keeps_what_it_has():
    logits, own, match, u = example()
    match[:2] = True
    leaf, *rest = tensors(logits, own, match, u)
    leaf.requires_grad_()
    log_u = log_running_mean(leaf, *rest, 0.4)
    assert log_u[0].item() == pytest.approx(math.log(0.7))
    assert log_u[1] == -torch.inf  # and it was never seen
    found = global_contrast(leaf, *rest[:2], log_u, 1e-14)
    found.backward()
    after = equations.running_mean(logits, own, match, u, 0.4)
    value, gradient = equations.global_contrast(logits, own, match, after, 1e-14)
    assert found.item() == pytest.approx(value, rel=1e-5)
    np.testing.assert_allclose(leaf.grad, gradient, rtol=1e-5, atol=1e-7)
    assert torch.count_nonzero(leaf.grad[:2]) == 0


@pytest.mark.parametrize(("own", "other"), [(-100.0, 100.0), (100.0, -100.0)])
@pytest.mark.parametrize("seen", [-torch.inf, -200.0, 200.0])
def test_the_extremes_of_a_scale_of_100_are_finite(own, other, seen):
    match = torch.eye(3, dtype=torch.bool)
    logits = torch.where(match, own, other).requires_grad_()
    log_u = log_running_mean(logits, torch.full((3,), own), match, torch.full((3,), seen), 0.2)
    found = global_contrast(logits, torch.full((3,), own), match, log_u, 1e-14)
    found.backward()
    assert log_u.isfinite().all()
    assert found.isfinite()
    assert logits.grad.isfinite().all()
    if seen == -torch.inf:
        assert log_u.tolist() == pytest.approx([other - own] * 3)


def test_a_common_shift_of_a_row_changes_nothing():
    logits, own, match, u = tensors(*example())
    moved, shift = [], torch.tensor([[5.0], [-40.0], [60.0]])
    for s, o in ((logits, own), (logits + shift, own + shift[:, 0])):
        moved.append(global_contrast(s, o, match, log_running_mean(s, o, match, u, 0.4), 0.1))
    torch.testing.assert_close(*moved)


def test_gamma_falls_along_a_cosine_as_in_the_code():
    """gamma_min 0.2 and 18 of 37 epochs: 0.9939 in epoch 1, 0.6 in 9, 0.2061 in 17, 0.2 from 18 on."""
    found = [gamma_at(epoch / 37, 18 / 37, 0.2) for epoch in (0, 1, 9, 17, 18, 36)]
    assert found == pytest.approx([1.0, 0.9939, 0.6, 0.2061, 0.2, 0.2], abs=5e-5)


def test_rejects_shapes_that_would_broadcast():
    logits, own, match, u = tensors(*example())
    for wrong in ((logits, own[:1], match, u), (logits, own, match[:1], u), (logits, own, match, u[:1])):
        with pytest.raises((AssertionError, TypeCheckError)):
            global_contrast(*wrong, 0.1)
        with pytest.raises((AssertionError, TypeCheckError)):
            log_running_mean(*wrong, 0.5)
