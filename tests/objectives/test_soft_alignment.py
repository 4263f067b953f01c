"""Three anchors against six candidates."""

import math

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from torch.nn.functional import cross_entropy, normalize

from askew.objectives.contrastive import info_nce
from askew.objectives.soft_alignment import soft_alignment, soft_alignments, soft_target_nce
from reference import equations


def logits(seed=0, shape=(3, 6)):
    return np.random.default_rng(seed).normal(size=shape)


def test_by_hand():
    """q = (3/4, 1/4), p = (1/2, 1/2): 3/4 log(3/2) + 1/4 log(1/2) = 0.1308."""
    found = soft_alignment(torch.tensor([[0.0, 0.0]]), torch.tensor([[math.log(3), 0.0]]))
    assert found.item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))


def test_equals_the_loop_in_value_and_gradient():
    leaf = torch.tensor(logits(), requires_grad=True)
    found = soft_alignment(leaf, torch.tensor(logits(1)))
    found.backward()
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(equations.soft_alignment(logits(), logits(1)), rel=1e-5)
    expected = equations.numeric_gradient(lambda x: equations.soft_alignment(x, logits(1)), logits())
    np.testing.assert_allclose(leaf.grad, expected, atol=1e-6)


@pytest.mark.parametrize("share", [0.4, 1.0])
def test_with_info_nce_it_is_albefs_cross_entropy_with_soft_targets(share):
    """Up to the entropy of the teacher, which has no gradient."""
    student, teacher = torch.tensor(logits(0, (5, 5))), torch.tensor(logits(1, (5, 5)))
    targets = torch.tensor(equations.albef_targets(logits(1, (5, 5)), share))
    q = teacher.softmax(dim=1)
    entropy = -(q * q.log()).sum(dim=1).mean()
    hard = info_nce(student, torch.eye(5, dtype=torch.bool))
    found = (1 - share) * hard + share * (soft_alignment(student, teacher) + entropy)
    assert found.item() == pytest.approx(cross_entropy(student, targets).item(), rel=1e-5)


def test_a_constant_in_a_row_drops_out_and_a_perturbed_teacher_does_not():
    same, shift = torch.tensor(logits()).float(), torch.tensor([[3.0], [-1.0], [7.0]])
    assert soft_alignment(same + shift, same).item() == pytest.approx(0.0, abs=1e-6)
    assert soft_alignment(same, same).item() == 0.0
    assert soft_alignment(same, same + 0.1 * torch.tensor(logits(1)).float()).item() > 1e-4


def test_it_depends_on_the_temperature_and_on_the_batch():
    """The paper's argument against it: a ratio of distances does not."""
    student, teacher = torch.tensor(logits()), torch.tensor(logits(1))
    once = soft_alignment(student, teacher).item()
    assert soft_alignment(2 * student, 2 * teacher).item() > 1.5 * once
    assert soft_alignment(student[:, :4], teacher[:, :4]).item() != pytest.approx(once, rel=1e-2)


def test_huge_logits_have_finite_value_and_gradient():
    leaf = torch.tensor(1e4 * logits(), requires_grad=True)
    found = soft_alignment(leaf, torch.tensor(1e4 * logits(1)))
    found.backward()
    assert found.isfinite()
    assert leaf.grad.isfinite().all()


def test_rejects_shapes_that_would_broadcast():
    with pytest.raises((AssertionError, TypeCheckError)):
        soft_alignment(torch.zeros(3, 6), torch.zeros(1, 6))


def test_both_views_and_both_directions_are_in_the_whole():
    rng, names = np.random.default_rng(0), ("text", "image", "aug", "teacher_image", "teacher_aug")
    raw = {name: rng.normal(size=(5, 4)) for name in names}
    unit = {name: equations.normalise(value) for name, value in raw.items()}
    leaves = {name: torch.tensor(value, requires_grad=True) for name, value in raw.items()}
    gathered = {name: normalize(leaf, dim=1) for name, leaf in leaves.items()}
    found = soft_alignments(gathered, gathered, torch.tensor([5.0]))
    assert found.item() == pytest.approx(equations.soft_alignments(unit, unit, 5.0), rel=1e-5)
    found.backward()
    assert leaves["teacher_image"].grad is None or leaves["teacher_image"].grad.abs().max() == 0
    for name in names[:3]:
        expected = equations.numeric_gradient(
            lambda x, name=name: equations.soft_alignments({**unit, name: equations.normalise(x)}, unit, 5.0), raw[name]
        )
        np.testing.assert_allclose(leaves[name].grad, expected, atol=1e-5)


# ALBEF's contrast with soft targets

POSITIVE = np.array([[1, 0, 0, 1, 0, 0], [0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]], dtype=bool)
NEGATIVE = np.array([[0, 1, 1, 0, 0, 1], [1, 0, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]], dtype=bool)


def soft_nce(student, teacher, share, positive=POSITIVE, negative=NEGATIVE):
    tensors = (torch.as_tensor(values) for values in (student, teacher, positive, negative))
    return soft_target_nce(*tensors, share)


def test_soft_targets_by_hand():
    """y = (0.9, 0.1) and p = (3/4, 1/4)."""
    values = torch.tensor([[math.log(3), 0.0]])
    found = soft_nce(values, values, 0.4, np.array([[True, False]]), np.array([[False, True]]))
    assert found.item() == pytest.approx(0.9 * math.log(4 / 3) + 0.1 * math.log(4))
    assert found.item() == pytest.approx(0.3975, abs=5e-5)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_soft_targets_equal_the_loop(share):
    """Several positives in a row, none, and columns that are neither."""
    leaf = torch.tensor(logits(), requires_grad=True)
    found = soft_nce(leaf, logits(1), share)
    found.backward()
    masks = POSITIVE, NEGATIVE, share
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(equations.soft_target_nce(logits(), logits(1), *masks), rel=1e-5)
    expected = equations.numeric_gradient(lambda x: equations.soft_target_nce(x, logits(1), *masks), logits())
    np.testing.assert_allclose(leaf.grad, expected, atol=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_soft_targets_are_a_cross_entropy_if_one_column_matches(share):
    student, teacher, eye = torch.tensor(logits(0, (5, 5))), logits(1, (5, 5)), np.eye(5, dtype=bool)
    found = soft_nce(student, teacher, share, eye, ~eye)
    targets = torch.tensor(equations.albef_targets(teacher, share))
    assert found.item() == pytest.approx(cross_entropy(student, targets).item(), rel=1e-5)
    if share == 0:
        assert found.item() == pytest.approx(info_nce(student, torch.tensor(eye)).item(), rel=1e-6)


def test_a_student_that_equals_its_teacher_has_no_gradient_from_soft_targets_alone():
    leaf = torch.tensor(logits(), requires_grad=True)
    soft_nce(leaf, logits(), 1.0).backward()
    assert leaf.grad.abs().max() < 1e-7
    other = torch.tensor(logits(), requires_grad=True)
    soft_nce(other, logits() + 0.1 * logits(1), 1.0).backward()
    assert other.grad.abs().max() > 1e-3


def test_soft_targets_do_not_depend_on_the_order_of_columns_nor_on_ignored_ones():
    order = [5, 0, 3, 1, 4, 2]
    expected = soft_nce(logits(), logits(1), 0.4).item()
    moved = soft_nce(*(x[:, order] for x in (logits(), logits(1))), 0.4, POSITIVE[:, order], NEGATIVE[:, order])
    assert moved.item() == pytest.approx(expected, rel=1e-6)
    ignored = ~(POSITIVE | NEGATIVE)
    changed = soft_nce(*(np.where(ignored, x - 3, x) for x in (logits(), logits(1))), 0.4)
    assert changed.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_soft_targets_with_huge_logits_and_rows_without_negatives_are_finite(scale):
    leaf = torch.tensor(scale * logits(), requires_grad=True)
    nothing = np.zeros_like(NEGATIVE)
    soft_nce(leaf, scale * logits(1), 0.4).backward()
    assert leaf.grad.isfinite().all()
    assert leaf.grad[2].abs().max() == 0  # no positive
    found = soft_nce(leaf, scale * logits(1), 0.4, POSITIVE, nothing)
    leaf.grad = None
    found.backward()
    assert found.item() == 0.0
    assert leaf.grad.abs().max() == 0


def test_soft_targets_reject_shapes_that_would_broadcast():
    with pytest.raises((AssertionError, TypeCheckError)):
        soft_nce(torch.zeros(3, 6), torch.zeros(1, 6), 0.4)
