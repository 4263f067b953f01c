"""Three anchors against six candidates."""

import math

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from torch.nn.functional import cross_entropy, normalize

from askew.objectives.contrastive import info_nce
from askew.objectives.soft_alignment import soft_alignment, soft_alignments
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
