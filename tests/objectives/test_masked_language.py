import math

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from torch.nn.functional import cross_entropy

from askew.objectives.masked_language import cross_entropy_per_sample, masked_language
from reference import equations


def example(seed=0):
    """Logits (B = 3, L = 4, V = 5); 3, 0 and 1 masked positions."""
    rng = np.random.default_rng(seed)
    labels = np.full((3, 4), -100)
    labels[0, [0, 2, 3]] = rng.integers(0, 5, 3)
    labels[2, 1] = rng.integers(0, 5)
    return 2 * rng.normal(size=(3, 4, 5)), labels


def sums_and_counts(logits, labels):
    """As a method calls it: the masked positions only."""
    logits, labels = torch.as_tensor(logits), torch.as_tensor(labels)
    sample, position = (labels != -100).nonzero(as_tuple=True)
    return cross_entropy_per_sample(logits[sample, position], labels[sample, position], sample, len(labels))


def test_sums_and_counts_by_hand():
    """Odds 3 : 1 for the right word give log(4/3) = 0.28768, 1 : 1 gives log 2 = 0.69315. Sum 0.98083, of 2."""
    logits = torch.tensor([[3.0, 1.0], [1.0, 1.0]]).log()
    sums, counts = cross_entropy_per_sample(logits, torch.tensor([0, 1]), torch.tensor([1, 1]), 2)
    assert sums.tolist() == pytest.approx([0, 0.98083], abs=1e-5)
    assert counts.tolist() == [0, 2]
    assert sums.dtype == counts.dtype == torch.float32


def test_mean_by_hand():
    """(2 + 4 + 0) / (1 + 2 + 0) = 2. The mean of the samples' means would be (2 + 2 + 0) / 3."""
    assert masked_language(torch.tensor([2.0, 4.0, 0.0]), torch.tensor([1, 2, 0])).item() == 2.0


@pytest.mark.parametrize("seed", range(4))
def test_is_equation_11(seed):
    logits, labels = example(seed)
    total = masked_language(*sums_and_counts(logits, labels))
    assert total.dtype == torch.float32
    assert total.shape == ()
    assert total.item() == pytest.approx(equations.eq11_masked_language(logits, labels), rel=1e-5)


def test_is_cross_entropy_with_an_ignored_index():
    logits, labels = map(torch.tensor, example())
    expected = cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=-100)
    torch.testing.assert_close(masked_language(*sums_and_counts(logits, labels)), expected)


def test_gradient_equals_differences_of_reference():
    logits, labels = example()
    tensor = torch.tensor(logits, requires_grad=True)
    masked_language(*sums_and_counts(tensor, labels)).backward()
    expected = equations.numeric_gradient(lambda x: equations.eq11_masked_language(x, labels), logits)
    np.testing.assert_allclose(tensor.grad, expected, atol=1e-6)


def test_order_of_samples_does_not_matter():
    logits, labels = map(torch.tensor, example())
    order = torch.tensor([2, 0, 1])
    sums, counts = sums_and_counts(logits, labels)
    moved_sums, moved_counts = sums_and_counts(logits[order], labels[order])
    torch.testing.assert_close(moved_sums, sums[order])
    assert torch.equal(moved_counts, counts[order])
    torch.testing.assert_close(masked_language(moved_sums, moved_counts), masked_language(sums, counts))


def test_unmasked_positions_may_be_passed_but_do_not_count():
    logits, labels = map(torch.tensor, example())
    sample = torch.arange(3).repeat_interleave(4)
    everything = cross_entropy_per_sample(logits.flatten(0, 1), labels.flatten(), sample, 3)
    for every, masked in zip(everything, sums_and_counts(logits, labels), strict=True):
        torch.testing.assert_close(every, masked)


def test_two_halves_gathered_equal_the_whole():
    """Uneven counts: the sums and counts are joined before the division."""
    logits, labels = map(torch.tensor, example())
    halves = [sums_and_counts(logits[part], labels[part]) for part in (slice(0, 1), slice(1, 3))]
    sums, counts = (torch.cat(part) for part in zip(*halves, strict=True))
    torch.testing.assert_close(masked_language(sums, counts), masked_language(*sums_and_counts(logits, labels)))


def test_nothing_masked_gives_zero_with_zero_gradient():
    features = torch.randn(3, 4, 2, requires_grad=True)
    head = torch.randn(2, 5, requires_grad=True)
    total = masked_language(*sums_and_counts(features @ head, torch.full((3, 4), -100)))
    total.backward()
    assert total.item() == 0.0
    assert torch.equal(features.grad, torch.zeros_like(features))
    assert torch.equal(head.grad, torch.zeros_like(head))


@pytest.mark.parametrize(("right", "wrong", "expected"), [(1e4, -1e4, 0.0), (-1e4, 1e4, 2e4 + math.log(4))])
def test_huge_logits(right, wrong, expected):
    logits = torch.full((3, 5), wrong)
    logits[:, 2] = right
    logits.requires_grad_()
    total = masked_language(*cross_entropy_per_sample(logits, torch.tensor([2, 2, 2]), torch.tensor([0, 0, 1]), 2))
    total.backward()
    assert total.item() == pytest.approx(expected, rel=1e-5)
    assert logits.grad.isfinite().all()


def test_identical_logits_give_the_logarithm_of_the_vocabulary():
    logits = torch.ones(3, 5, requires_grad=True)
    total = masked_language(*cross_entropy_per_sample(logits, torch.tensor([0, 3, 4]), torch.tensor([0, 0, 1]), 2))
    total.backward()
    assert total.item() == pytest.approx(math.log(5), rel=1e-6)
    assert logits.grad.isfinite().all()


def test_bfloat16_logits_are_summed_in_float32():
    logits, labels = map(torch.tensor, example())
    logits = logits.bfloat16()
    expected = equations.eq11_masked_language(logits.double().numpy(), labels.numpy())
    assert masked_language(*sums_and_counts(logits, labels)).item() == pytest.approx(expected, rel=1e-5)


def test_rejects_what_does_not_fit():
    with pytest.raises((AssertionError, TypeCheckError)):
        masked_language(torch.ones(3), torch.ones(1))
    with pytest.raises(IndexError, match="out of bounds"):
        cross_entropy_per_sample(torch.zeros(1, 5), torch.tensor([5]), torch.tensor([0]), 1)
    with pytest.raises((IndexError, RuntimeError)):
        cross_entropy_per_sample(torch.zeros(1, 5), torch.tensor([4]), torch.tensor([3]), 1)
