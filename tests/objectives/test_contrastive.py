import math

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from open_clip.loss import ClipLoss
from torch.nn.functional import cross_entropy, normalize

from askew.objectives.contrastive import info_nce, mp_nce, pairwise_sigmoid
from reference import equations

ROW_IDS = np.array([7, 2, 5])
COLUMN_IDS = np.array([7, 7, 2, 5, 5, 5])  # uneven: 2, 1 and 3 matches


def match_of_ids():
    return ROW_IDS[:, None] == COLUMN_IDS[None, :]


def example(seed=0):
    """Logits (3, 6), positives and negatives that leave one column out of a row, and uneven weights."""
    rng = np.random.default_rng(seed)
    positive = match_of_ids()
    negative = ~positive
    negative[0, 2] = False
    return 3 * rng.normal(size=(3, 6)), positive, negative, rng.random((3, 6))


def unit(seed, rows, width=4):
    return equations.normalise(np.random.default_rng(seed).normal(size=(rows, width)))


def scalar(total):
    assert total.dtype == torch.float32
    assert total.shape == ()
    return total.item()


# By hand


def test_info_nce_by_hand():
    """Row 0: 3 / (3 + 1) -> log(4/3). Row 1: 1 / (1 + 1) -> log 2. Mean: (0.28768 + 0.69315) / 2 = 0.49041."""
    logits = torch.tensor([[3.0, 1.0], [1.0, 1.0]]).log()
    assert scalar(info_nce(logits, torch.eye(2, dtype=torch.bool))) == pytest.approx(0.49041, abs=1e-5)


def test_info_nce_of_two_matches_by_hand():
    """Odds 2 and 6 against one non-match of 1: (log(3/2) + log(7/6)) / 2 = (0.40547 + 0.15415) / 2 = 0.27981."""
    logits = torch.tensor([[2.0, 6.0, 1.0]]).log()
    assert scalar(info_nce(logits, torch.tensor([[True, True, False]]))) == pytest.approx(0.27981, abs=1e-5)


def test_mp_nce_by_hand():
    """Odds 2 (weight 1) and 1 (weight 1/2) against one negative of 1, divided by 2 positives and not by 3/2 of weight:
    (log(3/2) + log(2) / 2) / 2 = (0.40547 + 0.34657) / 2 = 0.37602."""
    logits = torch.tensor([[2.0, 1.0, 1.0]]).log()
    positive = torch.tensor([[True, True, False]])
    total = mp_nce(logits, positive, ~positive, torch.tensor([[1.0, 0.5, 9.0]]))
    assert scalar(total) == pytest.approx(0.37602, abs=1e-5)


# The reference


@pytest.mark.parametrize("view", ["image", "aug"])
def test_info_nce_is_equation_2_and_4(view):
    text, image = unit(1, 3), unit({"image": 2, "aug": 3}[view], 3)
    expected = equations.eq2_info_nce(equations.eq1_similarity(text, image), tau=0.1)
    logits = torch.tensor(text @ image.T / 0.1)
    assert scalar(info_nce(logits, torch.eye(3, dtype=torch.bool))) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_info_nce_equals_reference(seed):
    logits, match, _, _ = example(seed)
    expected = equations.info_nce(logits, match)
    assert scalar(info_nce(torch.tensor(logits), torch.tensor(match))) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_mp_nce_equals_reference(seed):
    arrays = example(seed)
    assert scalar(mp_nce(*map(torch.tensor, arrays))) == pytest.approx(equations.mp_nce(*arrays), rel=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_mp_nce_is_equation_5(alpha):
    """The space of 3N embeddings, N = 2: three positives, 3N - 3 negatives. Pairs with an augmented member fade."""
    image, text, aug = unit(1, 2), unit(2, 2), unit(3, 2)
    original, augmented = equations.eq5_mp_nce(image, text, aug, tau=0.2)
    everything = torch.tensor(np.concatenate([image, text, aug]))
    sample, is_aug = torch.tensor([0, 1] * 3), torch.tensor([False] * 4 + [True] * 2)
    positive = sample[:, None] == sample[None, :]
    assert positive.sum(1).tolist() == [3] * 6
    faded = is_aug[:, None] | is_aug[None, :]
    total = mp_nce(everything @ everything.T / 0.2, positive, ~positive, torch.where(faded, 1 - alpha, 1.0))
    assert scalar(total) == pytest.approx(original + (1 - alpha) * augmented, rel=1e-5)


def test_info_nce_gradient_equals_differences_of_reference():
    logits, match, _, _ = example()
    tensor = torch.tensor(logits, requires_grad=True)
    info_nce(tensor, torch.tensor(match)).backward()
    expected = equations.numeric_gradient(lambda x: equations.info_nce(x, match), logits)
    np.testing.assert_allclose(tensor.grad, expected, atol=1e-6)


def test_mp_nce_gradient_equals_differences_of_reference():
    logits, positive, negative, weight = example()
    tensor = torch.tensor(logits, requires_grad=True)
    mp_nce(tensor, *map(torch.tensor, (positive, negative, weight))).backward()
    expected = equations.numeric_gradient(lambda x: equations.mp_nce(x, positive, negative, weight), logits)
    np.testing.assert_allclose(tensor.grad, expected, atol=1e-6)
    assert tensor.grad[0, 2] == 0  # neither positive nor negative


def test_symmetric_info_nce_is_open_clips_loss():
    """Value, and gradient with respect to both embeddings and the scale."""

    def leaves():
        tensors = [torch.tensor(unit(seed, 5), dtype=torch.float32) for seed in (1, 2)]
        return [tensor.requires_grad_() for tensor in (*tensors, torch.tensor([14.0]))]

    ours, theirs = leaves(), leaves()
    image, text, scale = ours
    logits, match = scale * text @ image.T, torch.eye(5, dtype=torch.bool)
    total = (info_nce(logits, match) + info_nce(logits.T, match)) / 2
    expected = ClipLoss()(*theirs)
    torch.testing.assert_close(total, expected)
    total.backward()
    expected.backward()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)


# Invariances


def test_with_one_positive_all_three_are_equal():
    logits = torch.tensor(example()[0], dtype=torch.float32)
    target = torch.tensor([4, 0, 2])
    match = torch.arange(6)[None, :] == target[:, None]
    expected = cross_entropy(logits, target)
    torch.testing.assert_close(info_nce(logits, match), expected)
    torch.testing.assert_close(mp_nce(logits, match, ~match, torch.ones(3, 6)), expected)


def test_with_weight_one_mp_nce_is_info_nce_also_with_several_matches():
    logits, match, _, _ = map(torch.tensor, example())
    assert torch.equal(mp_nce(logits, match, ~match, torch.ones(3, 6)), info_nce(logits, match))


def test_order_of_samples_does_not_matter():
    arrays = [torch.tensor(array) for array in example()]
    rows, columns = torch.tensor([2, 0, 1]), torch.tensor([5, 0, 3, 1, 4, 2])
    moved = [array[rows][:, columns] for array in arrays]
    torch.testing.assert_close(mp_nce(*moved), mp_nce(*arrays))
    torch.testing.assert_close(info_nce(*moved[:2]), info_nce(*arrays[:2]))


def test_swapping_texts_and_images_swaps_the_directions():
    """Both directions agree for a symmetric matrix, and differ otherwise."""
    logits = torch.tensor(unit(1, 4) @ unit(2, 4).T / 0.1)
    match = torch.eye(4, dtype=torch.bool)
    assert info_nce(logits, match).item() != pytest.approx(info_nce(logits.T, match).item(), rel=1e-3)
    torch.testing.assert_close(info_nce(logits + logits.T, match), info_nce((logits + logits.T).T, match))


def test_adding_a_constant_to_a_row_changes_nothing():
    logits, positive, negative, weight = map(torch.tensor, example())
    shifted = logits + torch.tensor([[5.0], [-3.0], [0.5]])
    torch.testing.assert_close(info_nce(shifted, positive), info_nce(logits, positive))
    torch.testing.assert_close(mp_nce(shifted, positive, negative, weight), mp_nce(logits, positive, negative, weight))


def test_a_faded_positive_stays_in_the_divisor():
    """Halving all weights halves the loss. A mean over the sum of weights would not change."""
    logits, positive, negative, weight = map(torch.tensor, example())
    whole = mp_nce(logits, positive, negative, weight)
    torch.testing.assert_close(mp_nce(logits, positive, negative, weight / 2), whole / 2)
    assert mp_nce(logits, positive, negative, weight * 0).item() == 0


def test_other_matches_stay_out_of_the_denominator():
    logits, match, _, _ = map(torch.tensor, example())
    raised = logits.clone()
    raised[2, 3] += 50  # one of the three matches of row 2: its own term goes to 0, the others must not change
    before, after = (
        sum(info_nce(x[2:, columns], match[2:, columns]).item() for columns in ([0, 1, 2, 4], [0, 1, 2, 5]))
        for x in (logits, raised)
    )
    assert before == after
    assert info_nce(raised[2:], match[2:]).item() == pytest.approx(before / 3, rel=1e-5)


def test_equal_chunks_of_rows_average_to_the_whole():
    arrays = [torch.tensor(array) for array in example()]
    chunks = [mp_nce(*(array[i : i + 1] for array in arrays)) for i in range(3)]
    torch.testing.assert_close(torch.stack(chunks).mean(), mp_nce(*arrays))
    chunks = [info_nce(*(array[i : i + 1] for array in arrays[:2])) for i in range(3)]
    torch.testing.assert_close(torch.stack(chunks).mean(), info_nce(*arrays[:2]))


# Extremes


def both(logits, positive, negative):
    """The values and gradients of both objectives, which must be finite."""
    for objective in (
        lambda s: mp_nce(s, positive, negative, torch.ones(s.shape)),
        lambda s: info_nce(s, positive),
    ):
        leaf = logits.clone().requires_grad_()
        total = objective(leaf)
        total.backward()
        assert total.isfinite()
        assert leaf.grad.isfinite().all()
        yield total.item(), leaf.grad


def test_identical_vectors_give_the_logarithm_of_the_number_of_candidates():
    """Every similarity is 1, so each positive is one of 1 + |N| equal columns. Rows have 4, 5 and 3 non-matches."""
    match = torch.tensor(match_of_ids())
    vectors = torch.ones(6, 4, requires_grad=True)
    equal = normalize(vectors, dim=1)
    total = info_nce(equal[:3] @ equal.T / 0.01, match)
    total.backward()
    assert scalar(total) == pytest.approx((math.log(5) + math.log(6) + math.log(4)) / 3, rel=1e-5)
    assert vectors.grad.isfinite().all()


def test_no_negatives_give_zero_with_zero_gradient():
    positive = torch.ones(3, 6, dtype=torch.bool)
    for total, gradient in both(torch.tensor(example()[0]), positive, ~positive):
        assert total == 0
        assert torch.equal(gradient, torch.zeros_like(gradient))


def test_an_anchor_without_negatives_does_not_disturb_the_others():
    logits, match, _, _ = map(torch.tensor, example())
    match[1] = True
    expected = equations.info_nce(logits.numpy(), match.numpy())
    for total, gradient in both(logits, match, ~match):
        assert total == pytest.approx(expected, rel=1e-5)
        assert torch.equal(gradient[1], torch.zeros_like(gradient[1]))
        assert (gradient[[0, 2]] != 0).all()


def test_no_positives_give_zero_with_zero_gradient():
    positive = torch.zeros(3, 6, dtype=torch.bool)
    for total, gradient in both(torch.tensor(example()[0]), positive, ~positive):
        assert total == 0
        assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize(
    ("own", "other", "expected"), [(1e4, -1e4, 0.0), (-1e4, 1e4, 2e4 + math.log(5)), (1e4, 1e4, math.log(6))]
)
def test_huge_logits(own, other, expected):
    match = torch.arange(6)[None, :] == torch.arange(3)[:, None]
    logits = torch.where(match, own, other + torch.zeros(3, 6))
    for total, _ in both(logits, match, ~match):
        assert total == pytest.approx(expected, rel=1e-5)


def test_huge_logits_beside_an_anchor_without_negatives():
    match = torch.tensor(match_of_ids())
    match[1] = True
    list(both(torch.tensor(1e4 * example()[0], dtype=torch.float32), match, ~match))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_computes_in_float32(dtype):
    logits, match, _, _ = map(torch.tensor, example())
    logits = logits.to(dtype)
    expected = equations.info_nce(logits.double().numpy(), match.numpy())
    assert scalar(info_nce(logits, match)) == pytest.approx(expected, rel=1e-5)


def test_rejects_shapes_that_would_broadcast():
    logits, match = torch.zeros(3, 6), torch.ones(3, 6, dtype=torch.bool)
    with pytest.raises((AssertionError, TypeCheckError)):
        info_nce(logits, match[:1])
    with pytest.raises((AssertionError, TypeCheckError)):
        mp_nce(logits, match, match[:, :1], logits)
    with pytest.raises((AssertionError, TypeCheckError)):
        mp_nce(logits, match, match, logits[:1])


# SigLIP's sigmoid


def sigmoid_example(scale=1.0):
    logits = torch.tensor(scale * np.random.default_rng(3).normal(size=(3, 6)), requires_grad=True)
    return logits, torch.tensor(np.random.default_rng(4).random((3, 6)) < 0.3)


def test_pairwise_sigmoid_by_hand():
    """A match at log 3: -log(3/4) = 0.2877. A non-match at 0: log 2 = 0.6931. Their sum over one row: 0.9808."""
    found = pairwise_sigmoid(torch.tensor([[math.log(3), 0.0]]), torch.tensor([[True, False]]))
    assert found.item() == pytest.approx(math.log(4 / 3) + math.log(2))


def test_pairwise_sigmoid_equals_the_loop():
    logits, match = sigmoid_example()
    found = pairwise_sigmoid(logits, match)
    found.backward()
    assert found.dtype == torch.float32
    values = logits.detach().numpy()
    assert found.item() == pytest.approx(equations.pairwise_sigmoid(values, match.numpy()), rel=1e-5)
    expected = equations.numeric_gradient(lambda x: equations.pairwise_sigmoid(x, match.numpy()), values)
    np.testing.assert_allclose(logits.grad, expected, atol=1e-6)


def test_pairwise_sigmoid_of_negated_logits_and_matches_is_the_same():
    logits, match = sigmoid_example()
    torch.testing.assert_close(pairwise_sigmoid(-logits, ~match), pairwise_sigmoid(logits, match))


def test_pairwise_sigmoid_has_a_finite_gradient_at_huge_logits():
    logits, match = sigmoid_example(1e4)
    pairwise_sigmoid(logits, match).backward()
    assert logits.grad.isfinite().all()
    assert logits.grad.abs().max() > 0.1


def test_pairwise_sigmoid_rejects_shapes_that_would_broadcast():
    logits, match = sigmoid_example()
    with pytest.raises((AssertionError, TypeCheckError)):
        pairwise_sigmoid(logits, match[:1])
