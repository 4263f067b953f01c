import copy

import numpy as np
import pytest
import torch
from torch import nn

from askew.nn.momentum import Momentum, alpha_at, momentum_at
from reference import equations


class Student(nn.Module):
    """Weights, a counter as buffer, dropout."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))
        self.register_buffer("count", torch.zeros(2, dtype=torch.long))

    def forward(self, x, scale=1.0):
        return self.layers(x) * scale


@pytest.fixture
def student():
    torch.manual_seed(0)
    return Student()


def move(student, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter += torch.randn(parameter.shape, generator=generator)
        student.count += 1


def values(module):
    return [parameter.detach().clone() for parameter in module.parameters()]


# By hand


def test_momentum_by_hand():
    """1 - 0.1 (1 + cos) / 2 at cos 1, 0, -1: 0.9, 0.95, 1."""
    assert [momentum_at(p, 0.9) for p in (0.0, 0.5, 1.0)] == pytest.approx([0.9, 0.95, 1.0])


def test_alpha_by_hand():
    """(1 - cos) / 2 at cos 1, 0.5, 0, -1: 0, 0.25, 0.5, 1."""
    assert [alpha_at(p) for p in (0.0, 1 / 3, 0.5, 1.0)] == pytest.approx([0.0, 0.25, 0.5, 1.0])


def test_endpoints_are_exact():
    assert (alpha_at(0.0), alpha_at(1.0)) == (0.0, 1.0)
    assert momentum_at(1.0, 0.3) == 1.0
    assert momentum_at(0.0, 0.5) == 0.5
    assert [momentum_at(p, 0.9, 0.97) for p in (0.0, 0.5, 1.0)] == pytest.approx([0.9, 0.935, 0.97])


def test_equal_ends_are_a_constant():
    assert {momentum_at(p, 0.97, 0.97) for p in np.linspace(0, 1, 11)} == {0.97}


def test_update_by_hand(student):
    """0.75 of the teacher's 4 and 0.25 of the student's 8: 5."""
    teacher = Momentum(student)
    for module, value in ((teacher, 4.0), (student, 8.0)):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.fill_(value)
    teacher.update(student, 0.75)
    assert all((parameter == 5.0).all() for parameter in teacher.parameters())
    assert all((parameter == 8.0).all() for parameter in student.parameters())


# The reference


def test_follows_equation_12(student):
    """Every entry of every parameter over a whole run, with the momentum schedule."""
    num_steps, start = 7, 0.6
    teacher = Momentum(student)
    expected = np.concatenate([p.flatten().numpy() for p in values(student)]).astype(float).tolist()
    for step in range(1, num_steps + 1):
        move(student, seed=step)
        moved = np.concatenate([p.flatten().numpy() for p in values(student)])
        teacher.update(student, momentum_at(step / num_steps, start))
        momentum = equations.eq12_momentum(step, num_steps, start)
        expected = [equations.eq12_update(t, s, momentum) for t, s in zip(expected, moved, strict=True)]
        found = np.concatenate([p.flatten().numpy() for p in values(teacher)])
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert np.abs(found - moved).max() > 0.1


@pytest.mark.parametrize("start", [0.0, 0.85, 0.996, 1.0])
def test_schedules_equal_reference(start):
    for step in range(11):
        assert momentum_at(step / 10, start) == pytest.approx(equations.eq12_momentum(step, 10, start), abs=1e-12)
        assert alpha_at(step / 10) == pytest.approx(equations.eq13_alpha(step, 10), abs=1e-12)


def test_schedules_never_decrease():
    progress = np.linspace(0, 1, 50)
    assert (np.diff([alpha_at(p) for p in progress]) > 0).all()
    assert (np.diff([momentum_at(p, 0.9) for p in progress]) > 0).all()


# Properties of a teacher


def test_a_new_teacher_is_the_student_and_shares_no_memory(student):
    before = values(student)
    teacher = Momentum(student)
    assert all(torch.equal(found, old) for found, old in zip(values(teacher), before, strict=True))
    move(student, seed=1)
    assert all(torch.equal(found, old) for found, old in zip(values(teacher), before, strict=True))


@pytest.mark.parametrize(("momentum", "follows"), [(1.0, False), (0.0, True)])
def test_momentum_one_stays_and_zero_is_the_student(student, momentum, follows):
    teacher, before = Momentum(student), values(student)
    move(student, seed=1)
    teacher.update(student, momentum)
    for found, old, new in zip(values(teacher), before, values(student), strict=True):
        torch.testing.assert_close(found, new if follows else old)


def test_buffers_are_copied_and_not_averaged(student):
    teacher = Momentum(student)
    move(student, seed=1)
    move(student, seed=2)
    teacher.update(student, 0.9)
    assert teacher.module.count.tolist() == [2, 2]
    student.count += 1
    assert teacher.module.count.tolist() == [2, 2]


def test_a_teacher_is_frozen_and_its_student_is_not(student):
    student.train()
    teacher = Momentum(student)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert all(parameter.requires_grad for parameter in student.parameters())
    assert student.training
    teacher.update(student, 0.5)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_a_teacher_is_always_in_eval_mode(student):
    teacher = Momentum(student.train())
    whole = nn.ModuleList([student, teacher])
    for _ in range(2):
        assert not any(module.training for module in teacher.modules())
        assert whole.train() is whole
        assert student.training
        teacher.train(True)
        teacher.update(student, 0.5)
    x = torch.ones(64, 3)
    assert torch.equal(teacher(x), teacher(x))  # dropout would differ


def test_the_output_has_no_gradient_and_is_that_of_the_module(student):
    teacher = Momentum(student)
    x = torch.ones(5, 3, requires_grad=True)
    found = teacher(x, scale=2.0)
    assert not found.requires_grad
    torch.testing.assert_close(found, copy.deepcopy(student).eval()(x, scale=2.0))


def test_a_student_with_another_shape_is_rejected(student):
    with pytest.raises(AssertionError, match="same parameters"):
        Momentum(student).update(nn.Linear(3, 4), 0.5)
