"""Six samples in uneven groups; a rank holds three of them: its texts are the rows, everyone's images the columns."""

import functools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from torch.nn.functional import normalize

from askew.objectives.log_ratio import (
    absolute,
    aug_own_against_other,
    huber,
    log_distance,
    negative_pairs,
    own_against_aug_other,
    own_against_other,
    own_against_own,
    paired_log_distance,
    positive_pairs,
    squared,
    teacher_ranks,
)
from reference import equations

GROUPS = np.array([7, 7, 2, 5, 5, 5])
DISTINCT = np.arange(6)
ALL, MINE = list(range(6)), [1, 2, 3]  # mine are of groups 7, 2 and 5: with 4, 5 and 3 non-matches each
NAMES = ("text", "image", "aug", "teacher_image", "teacher_aug")
SYMMETRIC = ("positive_pairs", "negative_pairs", "own_against_other", "own_against_own")
READINGS = ("aug_own_against_other", "own_against_aug_other", "teacher_ranks")
TERMS = (*SYMMETRIC, *READINGS)
RHO = {"squared": squared, "absolute": absolute, "huber": huber}
REFERENCE = {
    "positive_pairs": equations.eq7_positive,
    "negative_pairs": equations.eq8_negative,
    "own_against_other": equations.eq9_own_against_other,
    "own_against_own": equations.eq9_own_against_own,
    **{name: functools.partial(equations.reading, name) for name in READINGS},
}
EYE = torch.eye(2, dtype=torch.bool)


def vectors(seed=0):
    """Six of each kind, in four dimensions, not yet of unit length."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(6, 4)) for name in NAMES}


def matches(groups, rows=ALL):
    return torch.tensor(groups[rows][:, None] == groups[None, :])


def deltas(raw, rows=ALL):
    """What a method on the rank of these rows computes: gradient through the student's distances only."""
    unit = {name: normalize(torch.as_tensor(raw[name]).float(), dim=1) for name in NAMES}
    text = unit["text"]

    def delta(student, teacher):
        return log_distance(text, unit[student]) - log_distance(text, unit[teacher]).detach()

    whole, whole_aug = delta("image", "teacher_image"), delta("aug", "teacher_aug")
    own, teacher = whole.diagonal(), log_distance(text, unit["teacher_image"]).detach().diagonal()
    return SimpleNamespace(
        delta=whole[rows],
        delta_aug=whole_aug[rows],
        own_rows=own[rows],
        own_columns=own,
        own_aug_columns=whole_aug.diagonal(),
        teacher_rows=teacher[rows],
        teacher_columns=teacher,
    )


def evaluate(term, p, match, rho=squared):
    return {
        "aug_own_against_other": lambda: aug_own_against_other(p.delta_aug, p.own_aug_columns, match, rho),
        "own_against_aug_other": lambda: own_against_aug_other(p.delta_aug, p.own_rows, match, rho),
        "teacher_ranks": lambda: teacher_ranks(
            p.own_rows, p.own_columns, p.teacher_rows, p.teacher_columns, match, rho
        ),
        "positive_pairs": lambda: positive_pairs(p.delta, p.delta_aug, match, rho),
        "negative_pairs": lambda: negative_pairs(p.delta, p.delta_aug, match, rho),
        "own_against_other": lambda: own_against_other(p.delta, p.own_rows, p.own_columns, match, rho),
        "own_against_own": lambda: own_against_own(p.own_rows, p.own_columns, match, rho),
    }[term]()


def literal(term, raw, groups, rows=ALL, teacher_text=None):
    """The loops. A teacher's text is frozen at `teacher_text` when the student's is moved by finite differences."""
    unit = {name: equations.normalise(raw[name]) for name in NAMES}
    distances = equations.Distances(*(unit[name] for name in NAMES))
    if teacher_text is not None:
        text = equations.normalise(teacher_text)
        frozen = equations.Distances(text, *(unit[name] for name in NAMES[1:]))
        distances.teacher_d, distances.teacher_d_aug = frozen.teacher_d, frozen.teacher_d_aug
    return REFERENCE[term](distances, groups[:, None] == groups[None, :], rows)


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


def test_positive_pairs_by_hand():
    """Own pairs only: ((1 - 0)^2 + (4 - 2)^2) / 2 = 2.5."""
    delta, delta_aug = torch.tensor([[1.0, 50.0], [60.0, 4.0]]), torch.tensor([[0.0, 0.0], [0.0, 2.0]])
    assert positive_pairs(delta, delta_aug, EYE).item() == 2.5


def test_negative_pairs_by_hand():
    """Other pairs only: ((1 - 0)^2 + (5 - 2)^2) / 2 = 5."""
    delta, delta_aug = torch.tensor([[50.0, 1.0], [5.0, 60.0]]), torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    assert negative_pairs(delta, delta_aug, EYE).item() == 5.0


def test_own_against_other_by_hand():
    """Own 0 and 3. Pair (0, 1) of delta 1: ((0 - 1)^2 + (3 - 1)^2) / 2 = 2.5. Pair (1, 0) of delta -1:
    ((3 - -1)^2 + (0 - -1)^2) / 2 = 8.5. Mean 5.5."""
    delta, own = torch.tensor([[0.0, 1.0], [-1.0, 3.0]]), torch.tensor([0.0, 3.0])
    assert own_against_other(delta, own, own, EYE).item() == 5.5


def test_own_against_own_by_hand():
    """Own 0 and 3: both ordered pairs give (0 - 3)^2 = 9. Mean 9."""
    own = torch.tensor([0.0, 3.0])
    assert own_against_own(own, own, EYE).item() == 9.0


def test_absolute_and_huber_by_hand():
    """|-3| = 3; Huber: 3 - 0.5 = 2.5, 0.5^2 / 2 = 0.125, and both of its halves give 0.5 at 1."""
    assert absolute(torch.tensor([-3.0, 0.0, 0.5])).tolist() == [3.0, 0.0, 0.5]
    assert huber(torch.tensor([-3.0, 0.0, 0.5, 1.0, -1.0])).tolist() == [2.5, 0.0, 0.125, 0.5, 0.5]
    values = 3.0 * torch.arange(-2, 2)
    theirs = torch.nn.functional.huber_loss(values, torch.zeros(4), reduction="none")
    torch.testing.assert_close(huber(values), theirs)


def test_aug_own_against_other_by_hand():
    """Own 0 and 3 of the augmented images: the pair (0, 1) gives (3 - 1)^2 = 4, (1, 0) gives (0 - 2)^2 = 4. Mean 4."""
    assert aug_own_against_other(torch.tensor([[0.0, 1.0], [2.0, 3.0]]), torch.tensor([0.0, 3.0]), EYE).item() == 4.0


def test_own_against_aug_other_by_hand():
    """Own 0 and 3 of the original images: (0 - 1)^2 = 1 and (3 - 2)^2 = 1. Mean 1."""
    assert own_against_aug_other(torch.tensor([[5.0, 1.0], [2.0, 5.0]]), torch.tensor([0.0, 3.0]), EYE).item() == 1.0


def test_teacher_ranks_by_hand():
    """Own 0 and 3, the first noisier to the teacher: (0 - 3)^2 = 9 in one of two rows, 4.5; equal: 0."""
    own, teacher = torch.tensor([0.0, 3.0]), torch.tensor([2.0, 1.0])
    assert teacher_ranks(own, own, teacher, teacher, EYE).item() == 4.5
    assert teacher_ranks(own, own, torch.ones(2), torch.ones(2), EYE).item() == 0.0


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
    """Eq. (6) on four different distances of each side, the squared difference of two deltas."""
    raw = vectors()
    unit = [equations.normalise(raw[name]) for name in ("text", "image", "teacher_image")]
    text, image, teacher = map(torch.tensor, unit)
    delta = log_distance(text, image) - log_distance(text, teacher)
    student, frozen = ([[equations.distance(t, v) for v in images] for t in unit[0]] for images in unit[1:])
    expected = equations.eq6_log_ratio(student[0][4], student[3][1], frozen[0][4], frozen[3][1])
    assert squared(delta[0, 4] - delta[3, 1]).item() == pytest.approx(expected, rel=1e-4)


def compare_with_reference(term):
    for seed in range(3):
        for groups in (GROUPS, DISTINCT):
            for rows in (ALL, MINE):
                raw = vectors(seed)
                total = evaluate(term, deltas(raw, rows), matches(groups, rows))
                assert total.dtype == torch.float32
                assert total.shape == ()
                assert total.item() == pytest.approx(literal(term, raw, groups, rows), rel=1e-4)


def test_positive_pairs_is_equation_7():
    compare_with_reference("positive_pairs")


def test_negative_pairs_is_equation_8():
    compare_with_reference("negative_pairs")


def test_own_against_other_is_equation_9():
    compare_with_reference("own_against_other")
    raw = vectors()
    distances = equations.Distances(*(equations.normalise(raw[name]) for name in NAMES))
    printed = equations.eq9_own_against_other_printed(distances)
    assert evaluate("own_against_other", deltas(raw), matches(DISTINCT)).item() == pytest.approx(printed, rel=1e-4)


def test_own_against_own_is_equation_9():
    compare_with_reference("own_against_own")


def test_aug_own_against_other_is_its_reading_of_equation_8():
    compare_with_reference("aug_own_against_other")


def test_own_against_aug_other_is_its_reading_of_equation_8():
    compare_with_reference("own_against_aug_other")


def test_teacher_ranks_is_its_reading_of_equation_9():
    compare_with_reference("teacher_ranks")


@pytest.mark.parametrize("rho", RHO)
def test_every_term_with_every_penalty_is_its_reading(rho):
    names = {"positive_pairs": "positive", "negative_pairs": "same_pair"}
    for term in TERMS:
        raw = vectors(4)
        raw["image"] *= [[1], [-1], [1], [1], [1], [1]]  # some ratios beyond Huber's 1
        unit = [equations.normalise(raw[name]) for name in NAMES]
        match = GROUPS[:, None] == GROUPS[None, :]
        expected = equations.reading(names.get(term, term), equations.Distances(*unit), match, MINE, rho)
        total = evaluate(term, deltas(raw, MINE), matches(GROUPS, MINE), RHO[rho])
        assert total.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("term", "moved"),
    [(term, moved) for term in (*SYMMETRIC, "own_against_aug_other", "teacher_ranks") for moved in ("text", "image")]
    + [(term, "aug") for term in ("positive_pairs", "negative_pairs", *READINGS[:2])],
)
def test_gradient_equals_differences_of_reference(term, moved):
    """Through the normalisation and the distances; the teacher's distances stay where they are."""
    raw = vectors()
    leaf = torch.tensor(raw[moved], requires_grad=True)
    total = evaluate(term, deltas({**raw, moved: leaf}, MINE), matches(GROUPS, MINE))
    total.backward()
    expected = equations.numeric_gradient(
        lambda x: literal(term, {**raw, moved: x}, GROUPS, MINE, teacher_text=raw["text"]), raw[moved]
    )
    np.testing.assert_allclose(leaf.grad, expected, atol=2e-5 * max(1.0, np.abs(expected).max()))
    assert leaf.grad.abs().max() > 1e-3


# Invariances


@pytest.mark.parametrize("floor", [1e-3, 1.2])
def test_paired_log_distance_is_the_diagonal(floor):
    """Value and gradient, where the floor is far away and where it cuts."""
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


@pytest.mark.parametrize("term", TERMS)
def test_a_teacher_equal_to_the_student_gives_exactly_zero(term):
    raw = vectors()
    leaf = torch.tensor(raw["text"], requires_grad=True)
    same = {**raw, "text": leaf, "teacher_image": raw["image"], "teacher_aug": raw["aug"]}
    total = evaluate(term, deltas(same, MINE), matches(GROUPS, MINE))
    total.backward()
    assert total.item() == 0.0
    assert torch.equal(leaf.grad, torch.zeros_like(leaf))


@pytest.mark.parametrize("term", TERMS)
def test_a_perturbed_teacher_does_not(term):
    raw = vectors()
    noise = np.random.default_rng(9).normal(size=(6, 4))
    near = {**raw, "teacher_image": raw["image"] + 0.05 * noise, "teacher_aug": raw["aug"] - 0.05 * noise}
    assert 1e-6 < evaluate(term, deltas(near, MINE), matches(GROUPS, MINE)).item() < 0.1


@pytest.mark.parametrize("term", TERMS)
def test_a_common_factor_of_all_student_distances_drops_out(term):
    parts, match = deltas(vectors(), MINE), matches(GROUPS, MINE)
    scaled = SimpleNamespace(**{name: value + math.log(3.7) for name, value in vars(parts).items()})
    torch.testing.assert_close(evaluate(term, scaled, match), evaluate(term, parts, match), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("groups", [GROUPS, DISTINCT], ids=["repeated", "distinct"])
@pytest.mark.parametrize("term", TERMS)
def test_order_of_samples_does_not_matter(term, groups):
    raw, order = vectors(), np.array([5, 0, 3, 1, 4, 2])
    moved = {name: value[order] for name, value in raw.items()}
    torch.testing.assert_close(
        evaluate(term, deltas(moved), matches(groups[order])), evaluate(term, deltas(raw), matches(groups))
    )


@pytest.mark.parametrize("term", SYMMETRIC)
def test_texts_and_images_may_change_places(term):
    """Of all pairs of distinct samples, transposed, each term is the same: both directions are in it."""
    parts, match = deltas(vectors()), matches(DISTINCT)
    swapped = SimpleNamespace(
        delta=parts.delta.T, delta_aug=parts.delta_aug.T, own_rows=parts.own_columns, own_columns=parts.own_rows
    )
    torch.testing.assert_close(evaluate(term, swapped, match), evaluate(term, parts, match))


@pytest.mark.parametrize("term", TERMS)
def test_equal_ranks_average_to_the_whole(term):
    """Three ranks of two rows, groups spread unevenly over them, each with everyone's own deltas for the columns."""
    raw = vectors()
    ranks = [evaluate(term, deltas(raw, rows), matches(GROUPS, rows)) for rows in ([0, 1], [2, 3], [4, 5])]
    torch.testing.assert_close(torch.stack(ranks).mean(), evaluate(term, deltas(raw), matches(GROUPS)))


def test_own_against_own_is_twice_the_unbiased_variance():
    own = deltas(vectors()).own_rows
    torch.testing.assert_close(own_against_own(own, own, matches(DISTINCT)), 2 * own.var(unbiased=True))


def test_own_against_other_is_not_own_against_own():
    parts, match = deltas(vectors()), matches(DISTINCT)
    one, two = (evaluate(term, parts, match).item() for term in ("own_against_other", "own_against_own"))
    assert one != pytest.approx(two, rel=1e-2)


def test_positive_and_negative_pairs_part_the_matrix():
    parts, match = deltas(vectors()), matches(DISTINCT)
    total = positive_pairs(parts.delta, parts.delta_aug, match) / 6
    total = total + negative_pairs(parts.delta, parts.delta_aug, match) * 5 / 6
    torch.testing.assert_close(total, (parts.delta - parts.delta_aug).square().mean())


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


def test_log_distance_refuses_a_floor_of_zero():
    for function in (log_distance, paired_log_distance):
        with pytest.raises(AssertionError, match="floor"):
            function(torch.ones(1, 1), torch.ones(1, 1), floor=0.0)


def test_paired_log_distance_refuses_shapes_that_would_broadcast():
    with pytest.raises(TypeCheckError):
        paired_log_distance(torch.ones(1, 4), torch.ones(3, 4))


@pytest.mark.parametrize("collapsed", NAMES)
@pytest.mark.parametrize("term", TERMS)
def test_identical_vectors_have_finite_value_and_gradient(term, collapsed):
    raw = vectors()
    leaves = {name: torch.tensor(value, dtype=torch.float32) for name, value in raw.items()}
    leaves[collapsed] = leaves[collapsed][:1].repeat(6, 1)
    leaves["image"][2] = leaves["text"][2]  # and a text upon its own image
    leaves = {name: value.requires_grad_() for name, value in leaves.items()}
    total = evaluate(term, deltas(leaves, MINE), matches(GROUPS, MINE))
    total.backward()
    assert total.isfinite()
    for name in ("text", "aug" if term == "aug_own_against_other" else "image"):
        assert leaves[name].grad.isfinite().all()
    assert leaves["teacher_image"].grad is None


@pytest.mark.parametrize(
    ("term", "everything_matches"), [(term, term != "positive_pairs") for term in TERMS], ids=TERMS
)
def test_no_such_pairs_give_zero_with_zero_gradient(term, everything_matches):
    """No matches for the positive pairs, no non-matches for the others."""
    leaf = torch.tensor(vectors()["text"], requires_grad=True)
    match = torch.full((3, 6), everything_matches)
    total = evaluate(term, deltas({**vectors(), "text": leaf}, MINE), match)
    total.backward()
    assert total.item() == 0.0
    assert torch.equal(leaf.grad, torch.zeros_like(leaf))


@pytest.mark.parametrize("term", TERMS)
def test_huge_deltas_have_finite_value_and_gradient(term):
    leaves = {name: (1e4 * value.detach()).requires_grad_() for name, value in vars(deltas(vectors(), MINE)).items()}
    total = evaluate(term, SimpleNamespace(**leaves), matches(GROUPS, MINE))
    total.backward()
    assert total.isfinite()
    assert all(leaf.grad is None or leaf.grad.isfinite().all() for leaf in leaves.values())


# Precision and shapes


def test_autocast_does_not_reach_the_distances():
    text, image = (normalize(torch.tensor(vectors()[name]).float(), dim=1) for name in ("text", "image"))
    for function in (log_distance, paired_log_distance):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = function(text, image)
        assert torch.equal(inside, function(text, image))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("term", TERMS)
def test_computes_in_float32(term, dtype):
    parts = {name: value.to(dtype) for name, value in vars(deltas(vectors(), MINE)).items()}
    exact = {name: value.float() for name, value in parts.items()}
    match = matches(GROUPS, MINE)
    total = evaluate(term, SimpleNamespace(**parts), match)
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, evaluate(term, SimpleNamespace(**exact), match))


@pytest.mark.parametrize("term", TERMS)
def test_refuses_shapes_that_would_broadcast(term):
    parts, match = deltas(vectors(), MINE), matches(GROUPS, MINE)
    with pytest.raises((AssertionError, TypeCheckError)):
        evaluate(term, parts, match[:1])
    one = SimpleNamespace(**{**vars(parts), "delta_aug": parts.delta_aug[:1], "own_rows": parts.own_rows[:1]})
    with pytest.raises((AssertionError, TypeCheckError)):
        evaluate(term, one, match)
