import math

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from torch.nn.functional import cross_entropy

from askew.objectives.self_supervised import negative_cosine, nt_xent
from reference import equations

ROW_IDS = np.array([7, 2, 5])
COLUMN_IDS = np.array([7, 7, 2, 5, 5, 5])  # uneven: 2, 1 and 3 matches
MATCH = ROW_IDS[:, None] == COLUMN_IDS[None, :]


def example(seed=0):
    rng = np.random.default_rng(seed)
    return 3 * rng.normal(size=(3, 6)), 3 * rng.normal(size=(3, 6))


def pairs(seed=0, rows=3, width=4):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, width)), 5 * rng.normal(size=(rows, width))


def scalar(total):
    assert total.dtype == torch.float32
    assert total.shape == ()
    return total.item()


# By hand


def test_nt_xent_by_hand():
    """Odds 3 for the same image, 1 in the other view and 2 in its own. The anchor's 9 is left out: log(6/3)."""
    across, within = torch.tensor([[3.0, 1.0]]).log(), torch.tensor([[9.0, 2.0]]).log()
    assert scalar(nt_xent(across, within, torch.tensor([[True, False]]))) == pytest.approx(math.log(2), abs=1e-6)


def test_negative_cosine_by_hand():
    """Cosines 3/5 and 0, mean 0.3."""
    prediction, target = torch.tensor([[3.0, 4.0], [2.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 5.0]])
    assert scalar(negative_cosine(prediction, target)) == pytest.approx(-0.3, abs=1e-6)


# The reference


@pytest.mark.parametrize("seed", range(4))
def test_nt_xent_equals_reference(seed):
    across, within = example(seed)
    expected = equations.nt_xent(across, within, MATCH)
    total = nt_xent(torch.tensor(across), torch.tensor(within), torch.tensor(MATCH))
    assert scalar(total) == pytest.approx(expected, rel=1e-5)


def test_both_halves_of_nt_xent_are_simclrs_loss():
    """With distinct images: the mean over 2N views, each against all others except itself."""
    one, other = (equations.normalise(array) for array in pairs(rows=5))
    a, b, match = torch.tensor(one), torch.tensor(other), torch.eye(5, dtype=torch.bool)
    total = (nt_xent(a @ b.T / 0.5, a @ a.T / 0.5, match) + nt_xent(b @ a.T / 0.5, b @ b.T / 0.5, match)) / 2
    assert scalar(total) == pytest.approx(equations.simclr(one, other, 0.5), rel=1e-5)


def test_negative_cosine_equals_reference():
    prediction, target = pairs()
    total = negative_cosine(torch.tensor(prediction), torch.tensor(target))
    assert scalar(total) == pytest.approx(equations.negative_cosine(prediction, target), rel=1e-5)


def test_nt_xent_gradient_equals_differences_of_reference():
    across, within = example()
    tensors = [torch.tensor(array, requires_grad=True) for array in (across, within)]
    nt_xent(*tensors, torch.tensor(MATCH)).backward()
    for tensor, expected in (
        (tensors[0], equations.numeric_gradient(lambda x: equations.nt_xent(x, within, MATCH), across)),
        (tensors[1], equations.numeric_gradient(lambda x: equations.nt_xent(across, x, MATCH), within)),
    ):
        np.testing.assert_allclose(tensor.grad, expected, atol=1e-6)
    assert (tensors[1].grad[torch.tensor(MATCH)] == 0).all()  # neither positive nor negative


def test_negative_cosine_gradient_equals_differences_of_reference_and_stops_at_the_target():
    prediction, target = pairs()
    tensors = [torch.tensor(array, requires_grad=True) for array in (prediction, target)]
    negative_cosine(*tensors).backward()
    expected = equations.numeric_gradient(lambda x: equations.negative_cosine(x, target), prediction)
    np.testing.assert_allclose(tensors[0].grad, expected, atol=1e-6)
    assert tensors[1].grad is None


# Invariances


def test_nt_xent_does_not_depend_on_the_order_of_candidates_or_anchors():
    across, within = map(torch.tensor, example())
    rows, columns = torch.tensor([2, 0, 1]), torch.tensor([4, 1, 5, 0, 3, 2])
    moved = [tensor[rows][:, columns] for tensor in (across, within, torch.tensor(MATCH))]
    assert scalar(nt_xent(*moved)) == pytest.approx(scalar(nt_xent(across, within, torch.tensor(MATCH))), rel=1e-6)


def test_nt_xent_with_one_match_is_cross_entropy_without_the_anchor():
    across, within = (torch.tensor(array[:, :3]) for array in example())
    match = torch.eye(3, dtype=torch.bool)
    logits = torch.cat([across, within.masked_fill(match, -torch.inf)], dim=1)
    assert scalar(nt_xent(across, within, match)) == pytest.approx(cross_entropy(logits, torch.arange(3)).item())


def test_equal_chunks_of_anchors_average_to_the_whole():
    across, within = map(torch.tensor, example())
    match = torch.tensor(MATCH)
    chunks = [scalar(nt_xent(across[i : i + 1], within[i : i + 1], match[i : i + 1])) for i in range(3)]
    assert sum(chunks) / 3 == pytest.approx(scalar(nt_xent(across, within, match)), rel=1e-6)


def test_lengths_do_not_matter_to_negative_cosine_and_directions_do():
    prediction, target = map(torch.tensor, pairs())
    assert scalar(negative_cosine(9 * prediction, target / 7)) == pytest.approx(
        scalar(negative_cosine(prediction, target))
    )
    assert scalar(negative_cosine(target, target)) == pytest.approx(-1)
    assert scalar(negative_cosine(prediction, target)) > -0.99


# Extremes


@pytest.mark.parametrize("size", [0.0, 1e4, -1e4])
def test_nt_xent_of_equal_or_huge_logits_has_finite_gradient(size):
    across, within = (torch.full((3, 6), size, requires_grad=True) for _ in range(2))
    total = nt_xent(across, within, torch.tensor(MATCH))
    total.backward()
    assert scalar(total) == pytest.approx(np.mean(np.log(1 + 2 * (~MATCH).sum(1))), rel=1e-5)
    assert across.grad.isfinite().all()
    assert within.grad.isfinite().all()


@pytest.mark.parametrize("matches", [True, False])
def test_nt_xent_without_negatives_or_without_positives_is_zero(matches):
    across, within = (torch.tensor(array, requires_grad=True) for array in example())
    total = nt_xent(across, within, torch.full((3, 6), matches))
    total.backward()
    assert scalar(total) == 0
    assert across.grad.abs().max() == 0


def test_negative_cosine_of_zero_and_identical_vectors_has_finite_gradient():
    prediction = torch.zeros(3, 4)
    prediction[1:] = 1e3
    prediction.requires_grad_()
    total = negative_cosine(prediction, torch.ones(3, 4))
    total.backward()
    assert scalar(total) == pytest.approx(-2 / 3)
    assert prediction.grad.isfinite().all()
    assert prediction.grad[1:].abs().max() < 1e-6


def test_shapes_that_do_not_fit_are_rejected():
    square, wide = torch.zeros(2, 2), torch.zeros(2, 3)
    with pytest.raises((TypeCheckError, AssertionError)):
        nt_xent(square, wide, torch.eye(2, dtype=torch.bool))
    with pytest.raises((TypeCheckError, AssertionError)):
        negative_cosine(square, wide)
    with pytest.raises(AssertionError, match="no rows"):
        negative_cosine(square[:0], square[:0])
