"""Contrast in one space with running means: against loops, against the batch, and which parameters it reaches."""

import itertools

import numpy as np
import pytest
import torch

from askew.methods.mcd import MCD
from askew.methods.normaliser import DOMAINS, ROLES
from askew.methods.uniclip import UniCLIP
from askew.nn.towers import unit
from askew.training.contract.comparing import difference
from askew.training.contract.micro import DISTINCT, REPEATED, run_step
from helpers import micro_batch, micro_method

WEIGHTS = [[0.5, 1.0, 2.0], [1.0, 0.25, 1.0], [3.0, 1.0, 0.75]]
PROGRESS = 0.25  # a gamma of 0.6, with gamma_min 0.2


def method_of(rows=6, **fields):
    """A method whose samples were never seen, with temperatures and offsets by domain."""
    method = micro_method(UniCLIP.Config(normaliser="global", **fields))
    method.allocate(rows)
    with torch.no_grad():
        method.similarity.log_scale.copy_(torch.tensor([0.7, 1.1, 0.4]))
        method.similarity.offset.copy_(torch.tensor([0.3, -0.2, 0.1]))
    return method


def leaves(seed=0, num=6):
    rng = np.random.default_rng(seed)
    return {role: torch.tensor(rng.normal(size=(num, 4)), dtype=torch.float32).requires_grad_() for role in ROLES}


def local_of(method, made, match_ids, rows=None):
    rows = torch.arange(len(match_ids)) if rows is None else torch.tensor(rows)
    embedded = {"match_id": torch.tensor(match_ids), **{role: unit(leaf) for role, leaf in made.items()}}
    return {**embedded, **method.normaliser.targets(method.similarity, {"row": rows})}


def detached(local):
    return {name: value.detach() for name, value in local.items()}


def by_loops(method, made, match_ids, u, gamma, eps):
    """Gradients of every embedding in float64 with u held, and u (samples, 3, 3) after this batch; 0 is never seen."""
    num, after, total = len(match_ids), np.array(u), torch.tensor(0.0, dtype=torch.float64)
    raw = [leaf.detach().double().requires_grad_() for leaf in made.values()]
    rows = [row / row.norm() for matrix in raw for row in matrix]
    scale, offset = method.similarity.log_scale.detach().exp().double(), method.similarity.offset.detach().double()

    def logit(a, b):
        pair = DOMAINS[a // num] + DOMAINS[b // num]
        return scale[pair] * (rows[a] @ rows[b] - offset[pair])

    for a in range(3 * num):
        i, role = a % num, a // num
        positives = [p for p in range(3 * num) if match_ids[p % num] == match_ids[i]]
        others = [logit(a, n) for n in range(3 * num) if n not in positives]
        for p in positives:
            own = i + num * (p // num)
            g_own = (sum((s - logit(a, own)).exp() for s in others) / len(others)).item()
            seen = u[i, role, p // num]
            after[i, role, p // num] = g_own if seen == 0 else (1 - gamma) * seen + gamma * g_own
            of_p = after[i, role, p // num] * (logit(a, own) - logit(a, p)).exp().item()
            g = sum((s - logit(a, p)).exp() for s in others) / len(others)
            share = WEIGHTS[role][p // num] / len(positives) / (3 * num)
            total = total + share * g / (of_p + (eps or 1 / len(others)))
    total.backward()
    return dict(zip(made, (leaf.grad for leaf in raw), strict=True)), after


@pytest.mark.parametrize("match_ids", [DISTINCT, REPEATED], ids=["distinct", "repeated"])
@pytest.mark.parametrize(("eps", "of_data"), [("batch", 0), ("data", 1 / 24)])
def test_visits_equal_the_loops(match_ids, eps, of_data):
    """Two visits, with gamma 1 and 0.6. The similarity moves between gradient and means, which must not notice."""
    method, u = method_of(rows=9, normaliser_eps=eps), np.zeros((6, 3, 3))
    method.normaliser.steps += 1  # so that the progress of the second visit is half of that after it
    for visit, gamma in enumerate((1.0, 0.6)):
        made = leaves(visit)
        local = local_of(method, made, match_ids)
        value, found = method.normaliser.contrast(method.similarity, local, local, WEIGHTS, visit * PROGRESS)
        value.backward()
        expected, u = by_loops(method, made, match_ids, u, gamma, of_data)
        assert found == pytest.approx(gamma)
        for role, gradient in expected.items():
            torch.testing.assert_close(made[role].grad.double(), gradient, rtol=1e-4, atol=1e-6)
        assert all(parameter.grad is None for parameter in method.similarity.parameters())
        with torch.no_grad():
            method.similarity.log_scale.add_(0.5)
        method.normaliser.update(method.similarity, detached(local), 2 * visit * PROGRESS)
        method.normaliser.steps.fill_(1)
        np.testing.assert_allclose(method.normaliser.log_u.values[:6].exp().view(6, 3, 3), u, rtol=1e-5)
    assert (method.normaliser.log_u.values[6:] == -torch.inf).all()


@pytest.mark.parametrize("match_ids", [DISTINCT, REPEATED], ids=["distinct", "repeated"])
@pytest.mark.parametrize("config", [MCD.Config, UniCLIP.Config], ids=["mcd", "uniclip"])
def test_gamma_1_with_the_eps_of_the_batch_is_the_contrast_of_the_batch(config, match_ids):
    """Value and gradients, of towers, temperatures and offsets."""
    batch = micro_batch(match_ids)
    (loss, terms, gradients), (same, found_terms, found) = (
        run_step(micro_method(config(**fields)), batch) for fields in ({}, {"normaliser": "global", "gamma_min": 1.0})
    )
    torch.testing.assert_close(same, loss, rtol=1e-6, atol=0)
    assert found_terms.keys() - terms.keys() == {"global", "gamma"}
    assert difference(found, gradients) < 1e-5


def test_the_mean_over_all_batches_is_that_of_the_data():
    """Every batch of three of four samples: a sample is in three of them."""
    made, sums = leaves(num=4), torch.zeros(4, 9)
    for rows in itertools.combinations(range(4), 3):
        method, part = method_of(rows=4), {role: leaf[list(rows)] for role, leaf in made.items()}
        method.normaliser.update(method.similarity, detached(local_of(method, part, list(rows), list(rows))), 0.0)
        sums[list(rows)] += method.normaliser.log_u.values[list(rows)].exp()
    whole = method_of(rows=4)
    whole.normaliser.update(whole.similarity, detached(local_of(whole, made, [0, 1, 2, 3])), 0.0)
    torch.testing.assert_close(sums / 3, whole.normaliser.log_u.values.exp())


def test_the_means_reach_the_embeddings_and_the_batch_the_temperatures():
    batch, found = micro_batch(REPEATED), []
    for shift in (0.0, 3.0):
        method = micro_method(UniCLIP.Config(normaliser="global"))
        method.normaliser.log_u.values += shift
        found.append(run_step(method, batch))
    (loss, terms, gradients), (other, other_terms, others) = found
    assert loss == other == terms["contrast"]
    assert terms["global"] < other_terms["global"]
    for name, gradient in gradients.items():
        assert torch.equal(others[name], gradient) == name.startswith("similarity."), name
    plain = run_step(micro_method(UniCLIP.Config()), batch)[2]
    for name in ("similarity.log_scale", "similarity.offset"):
        torch.testing.assert_close(gradients[name], plain[name])


def test_in_eval_mode_samples_are_of_other_data_and_unseen():
    method = micro_method(UniCLIP.Config(normaliser="global"))
    local = local_of(method, leaves(), DISTINCT)

    def value_of(method):
        return method.normaliser.contrast(method.similarity, local, local, WEIGHTS, 0.9)[0]

    seen, unseen = value_of(method), value_of(method.eval())
    method.normaliser.log_u.values.fill_(-torch.inf)
    assert seen != unseen
    assert unseen == value_of(method.train())
    local["row"] = local["row"] + 1000  # the held-out data may be larger than the data
    assert unseen == value_of(method.eval())


def test_two_denominators_are_refused():
    with pytest.raises(ValueError, match="two_sets has two denominators; choose another fading"):
        micro_method(MCD.Config(normaliser="global", fading="two_sets"))
