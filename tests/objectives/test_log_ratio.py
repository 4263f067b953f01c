"""Log distances and penalties."""

import math

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from torch.nn.functional import normalize

from askew.objectives.log_ratio import absolute, huber, log_distance, paired_log_distance, squared
from reference import equations


def vectors(seed=0):
    """Six of each kind, in four dimensions, not yet of unit length."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(6, 4)) for name in ("text", "image", "aug", "teacher_image")}


# By hand


def test_log_distance_by_hand():
    """Right angle: sqrt(2), log 2 / 2 = 0.34657. Opposite: 2, 0.69315. cos = 0.5: distance 1, 0. Equal: log 0.001."""
    text = torch.tensor([[1.0, 0.0]])
    image = torch.tensor([[0.0, 1.0], [-1.0, 0.0], [0.5, math.sqrt(0.75)], [1.0, 0.0]])
    expected = torch.tensor([[0.34657, 0.69315, 0.0, -6.90776]])
    torch.testing.assert_close(log_distance(text, image), expected, atol=1e-5, rtol=0)


def test_paired_log_distance_by_hand():
    """Right angle: log 2 / 2 = 0.34657. Opposite: 0.69315. cos = 0.5: distance 1, 0. Equal: log 0.001."""
    text = torch.tensor([[1.0, 0.0]]).repeat(4, 1)
    image = torch.tensor([[0.0, 1.0], [-1.0, 0.0], [0.5, math.sqrt(0.75)], [1.0, 0.0]])
    expected = torch.tensor([0.34657, 0.69315, 0.0, -6.90776])
    torch.testing.assert_close(paired_log_distance(text, image), expected, atol=1e-5, rtol=0)


def test_squared_by_hand():
    """(-3)^2 = 9, 0^2 = 0, 0.5^2 = 0.25."""
    assert squared(torch.tensor([-3.0, 0.0, 0.5])).tolist() == [9.0, 0.0, 0.25]


def test_absolute_and_huber_by_hand():
    """|-3| = 3. Huber: 3 - 0.5 = 2.5, 0.5^2 / 2 = 0.125, and both of its halves give 0.5 at 1."""
    assert absolute(torch.tensor([-3.0, 0.0, 0.5])).tolist() == [3.0, 0.0, 0.5]
    assert huber(torch.tensor([-3.0, 0.0, 0.5, 1.0, -1.0])).tolist() == [2.5, 0.0, 0.125, 0.5, 0.5]
    values = 3.0 * torch.arange(-2, 2)
    expected = torch.nn.functional.huber_loss(values, torch.zeros(4), reduction="none")
    torch.testing.assert_close(huber(values), expected)


# The reference


@pytest.mark.parametrize("seed", range(3))
def test_log_distance_equals_reference(seed):
    text, image = (equations.normalise(vectors(seed)[name]) for name in ("text", "image"))
    expected = [[math.log(equations.distance(t, v)) for v in image] for t in text[:3]]
    np.testing.assert_allclose(log_distance(torch.tensor(text[:3]), torch.tensor(image)), expected, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_paired_log_distance_equals_reference(seed):
    text, image = (equations.normalise(vectors(seed)[name]) for name in ("text", "image"))
    expected = [math.log(equations.distance(t, v)) for t, v in zip(text, image, strict=True)]
    np.testing.assert_allclose(paired_log_distance(torch.tensor(text), torch.tensor(image)), expected, atol=1e-5)


def test_a_log_ratio_is_a_difference_of_log_distances():
    """Eq. (6) on four different distances on each side: the squared difference of two deltas."""
    raw = vectors()
    unit = [equations.normalise(raw[name]) for name in ("text", "image", "teacher_image")]
    text, image, teacher = map(torch.tensor, unit)
    delta = log_distance(text, image) - log_distance(text, teacher)
    student, frozen = ([[equations.distance(t, v) for v in images] for t in unit[0]] for images in unit[1:])
    expected = equations.eq6_log_ratio(student[0][4], student[3][1], frozen[0][4], frozen[3][1])
    assert squared(delta[0, 4] - delta[3, 1]).item() == pytest.approx(expected, rel=1e-4)


# Invariances


@pytest.mark.parametrize("floor", [1e-3, 1.2])
def test_paired_log_distance_is_the_diagonal(floor):
    """Value and gradient, with a floor far below all distances and with one that cuts some off."""
    raw = vectors()
    whole, paired = ([torch.tensor(raw[name], requires_grad=True) for name in ("text", "image")] for _ in range(2))
    diagonal = log_distance(*(normalize(leaf.float(), dim=1) for leaf in whole), floor).diagonal()
    found = paired_log_distance(*(normalize(leaf.float(), dim=1) for leaf in paired), floor)
    torch.testing.assert_close(found, diagonal)
    assert (found.min().item() == pytest.approx(math.log(floor))) == (floor > 1)
    weight = torch.arange(1.0, 7.0)
    (diagonal * weight).sum().backward()
    (found * weight).sum().backward()
    for one, other in zip(whole, paired, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-5)
        assert other.grad.abs().max() > 0.1


# Extremes


def test_log_distance_of_equal_vectors_is_its_floor_with_zero_gradient():
    text = normalize(torch.ones(3, 4), dim=1).requires_grad_()
    image = normalize(torch.ones(6, 4), dim=1).requires_grad_()
    logs = log_distance(text, image)
    logs.sum().backward()
    torch.testing.assert_close(logs, torch.full((3, 6), math.log(1e-3)))
    assert torch.equal(text.grad, torch.zeros_like(text))
    assert torch.equal(image.grad, torch.zeros_like(image))
    torch.testing.assert_close(log_distance(text, image, floor=0.1), torch.full((3, 6), math.log(0.1)))


def test_paired_log_distance_of_equal_vectors_is_its_floor_with_zero_gradient():
    text, image = (normalize(torch.ones(3, 4), dim=1).requires_grad_() for _ in range(2))
    logs = paired_log_distance(text, image)
    logs.sum().backward()
    torch.testing.assert_close(logs, torch.full((3,), math.log(1e-3)))
    assert torch.equal(text.grad, torch.zeros_like(text))
    assert torch.equal(image.grad, torch.zeros_like(image))
    torch.testing.assert_close(paired_log_distance(text, image, floor=0.1), torch.full((3,), math.log(0.1)))


def test_paired_log_distance_of_opposite_and_nearly_equal_vectors_has_a_finite_gradient():
    angle = torch.tensor([1.5e-3, 2e-3, math.pi], requires_grad=True)
    text = torch.stack([angle.cos(), angle.sin()], dim=1)
    logs = paired_log_distance(text, torch.tensor([[1.0, 0.0]]).repeat(3, 1))
    logs.sum().backward()
    assert (logs > math.log(1e-3)).all()
    assert logs[2].item() == pytest.approx(math.log(2))
    assert angle.grad.isfinite().all()


def test_log_distance_just_above_the_floor_has_a_finite_gradient():
    angle = torch.tensor([1.5e-3, 2e-3, 5e-3], requires_grad=True)
    text = torch.stack([angle.cos(), angle.sin()], dim=1)
    logs = log_distance(text, torch.tensor([[1.0, 0.0]]))
    logs.sum().backward()
    assert (logs > math.log(1e-3)).all()
    assert angle.grad.isfinite().all()


def test_log_distance_rejects_a_floor_of_zero():
    for function in (log_distance, paired_log_distance):
        with pytest.raises(AssertionError, match="floor"):
            function(torch.ones(1, 1), torch.ones(1, 1), floor=0.0)


def test_paired_log_distance_rejects_shapes_that_would_broadcast():
    with pytest.raises(TypeCheckError):
        paired_log_distance(torch.ones(1, 4), torch.ones(3, 4))


# Precision


def test_autocast_does_not_reach_the_distances():
    text, image = (normalize(torch.tensor(vectors()[name]).float(), dim=1) for name in ("text", "image"))
    for function in (log_distance, paired_log_distance):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = function(text, image)
        assert torch.equal(inside, function(text, image))
