"""Six samples with uneven match ids. A rank holds three of them: its texts are the rows, all images the columns."""

import dataclasses
import functools
import math

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from torch.nn.functional import normalize

from askew.objectives.distillation import (
    NEGATIVE,
    NOISY,
    LogRatios,
    aug_own_against_other,
    log_ratios,
    negative_pairs,
    own_against_aug_other,
    own_against_other,
    own_against_own,
    positive_pairs,
    teacher_ranks,
)
from askew.objectives.log_ratio import RHO, log_distance, squared
from reference import equations

MATCH_IDS = np.array([7, 7, 2, 5, 5, 5])
DISTINCT = np.arange(6)
ALL, LOCAL = list(range(6)), [1, 2, 3]  # the local ones have match ids 7, 2 and 5, with 4, 5 and 3 non-matches
NAMES = ("text", "image", "aug", "teacher_image", "teacher_aug")
SYMMETRIC = (positive_pairs, negative_pairs, own_against_other, own_against_own)
OTHERS = (aug_own_against_other, own_against_aug_other, teacher_ranks)
READINGS = (*SYMMETRIC, *OTHERS)
REFERENCE = {
    positive_pairs: equations.eq7_positive,
    negative_pairs: equations.eq8_negative,
    own_against_other: equations.eq9_own_against_other,
    own_against_own: equations.eq9_own_against_own,
    **{reading: functools.partial(equations.reading, reading.__name__) for reading in OTHERS},
}
EYE = torch.eye(2, dtype=torch.bool)
every_reading = pytest.mark.parametrize("reading", READINGS, ids=lambda reading: reading.__name__)


def vectors(seed=0):
    """Six of each kind, in four dimensions, not yet of unit length."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(6, 4)) for name in NAMES}


def matches(match_ids, rows=ALL):
    return torch.tensor(match_ids[rows][:, None] == match_ids[None, :])


def ratios_of(raw, match, rows=ALL):
    """What a method computes on the rank of these rows: gradient flows only through the student's distances."""
    unit = {name: normalize(torch.as_tensor(raw[name]).float(), dim=1) for name in NAMES}
    unit |= {name: unit[name].detach() for name in ("teacher_image", "teacher_aug")}
    return log_ratios({name: value[rows] for name, value in unit.items()}, unit, match)


def given(**values):
    """Log-ratios of two samples with the diagonal as matches, 0 where not given."""
    zeros = {"match": EYE, **{name: torch.zeros(2, 2) for name in ("delta", "delta_aug")}}
    fields = {field.name: zeros.get(field.name, torch.zeros(2)) for field in dataclasses.fields(LogRatios)}
    return LogRatios(**{**fields, **{name: torch.tensor(value) for name, value in values.items()}})


def changed(ratios, change):
    """With every field but the matches changed."""
    fields = {field.name: getattr(ratios, field.name) for field in dataclasses.fields(ratios)}
    return LogRatios(**{name: value if name == "match" else change(value) for name, value in fields.items()})


def literal(reading, raw, match_ids, rows=ALL, teacher_text=None):
    """The loops. The teacher's text is frozen at `teacher_text` while finite differences move the student's."""
    unit = {name: equations.normalise(raw[name]) for name in NAMES}
    distances = equations.Distances(*(unit[name] for name in NAMES))
    if teacher_text is not None:
        text = equations.normalise(teacher_text)
        frozen = equations.Distances(text, *(unit[name] for name in NAMES[1:]))
        distances.teacher_d, distances.teacher_d_aug = frozen.teacher_d, frozen.teacher_d_aug
    return REFERENCE[reading](distances, match_ids[:, None] == match_ids[None, :], rows)


# By hand


def test_positive_pairs_by_hand():
    """Own pairs only: ((1 - 0)^2 + (4 - 2)^2) / 2 = 2.5."""
    ratios = given(delta=[[1.0, 50.0], [60.0, 4.0]], delta_aug=[[0.0, 0.0], [0.0, 2.0]])
    assert positive_pairs(ratios).item() == 2.5


def test_negative_pairs_by_hand():
    """Other pairs only: ((1 - 0)^2 + (5 - 2)^2) / 2 = 5."""
    ratios = given(delta=[[50.0, 1.0], [5.0, 60.0]], delta_aug=[[0.0, 0.0], [2.0, 0.0]])
    assert negative_pairs(ratios).item() == 5.0


def test_own_against_other_by_hand():
    """Own 0 and 3. Pair (0, 1) of delta 1: ((0 - 1)^2 + (3 - 1)^2) / 2 = 2.5. Pair (1, 0) of delta -1:
    ((3 - -1)^2 + (0 - -1)^2) / 2 = 8.5. Mean 5.5."""
    ratios = given(delta=[[0.0, 1.0], [-1.0, 3.0]], own_rows=[0.0, 3.0], own_columns=[0.0, 3.0])
    assert own_against_other(ratios).item() == 5.5


def test_own_against_own_by_hand():
    """Own 0 and 3: both ordered pairs give (0 - 3)^2 = 9. Mean 9."""
    assert own_against_own(given(own_rows=[0.0, 3.0], own_columns=[0.0, 3.0])).item() == 9.0


def test_aug_own_against_other_by_hand():
    """Own 0 and 3 of the augmented images: the pair (0, 1) gives (3 - 1)^2 = 4, (1, 0) gives (0 - 2)^2 = 4. Mean 4."""
    ratios = given(delta_aug=[[0.0, 1.0], [2.0, 3.0]], own_aug_columns=[0.0, 3.0])
    assert aug_own_against_other(ratios).item() == 4.0


def test_own_against_aug_other_by_hand():
    """Own 0 and 3 of the original images: (0 - 1)^2 = 1 and (3 - 2)^2 = 1. Mean 1."""
    assert own_against_aug_other(given(delta_aug=[[5.0, 1.0], [2.0, 5.0]], own_rows=[0.0, 3.0])).item() == 1.0


def test_teacher_ranks_by_hand():
    """Own 0 and 3, the first noisier to the teacher: (0 - 3)^2 = 9 in one of two rows, 4.5. Equal to the teacher: 0."""
    own = {"own_rows": [0.0, 3.0], "own_columns": [0.0, 3.0]}
    assert teacher_ranks(given(**own, teacher_rows=[2.0, 1.0], teacher_columns=[2.0, 1.0])).item() == 4.5
    assert teacher_ranks(given(**own, teacher_rows=[1.0, 1.0], teacher_columns=[1.0, 1.0])).item() == 0.0


# The reference


def compare_with_reference(reading):
    for seed in range(3):
        for match_ids in (MATCH_IDS, DISTINCT):
            for rows in (ALL, LOCAL):
                raw = vectors(seed)
                total = reading(ratios_of(raw, matches(match_ids, rows), rows))
                assert total.dtype == torch.float32
                assert total.shape == ()
                assert total.item() == pytest.approx(literal(reading, raw, match_ids, rows), rel=1e-4)


def test_positive_pairs_is_equation_7():
    compare_with_reference(positive_pairs)


def test_negative_pairs_is_equation_8():
    compare_with_reference(negative_pairs)


def test_own_against_other_is_equation_9():
    compare_with_reference(own_against_other)
    raw = vectors()
    distances = equations.Distances(*(equations.normalise(raw[name]) for name in NAMES))
    printed = equations.eq9_own_against_other_printed(distances)
    assert own_against_other(ratios_of(raw, matches(DISTINCT))).item() == pytest.approx(printed, rel=1e-4)


def test_own_against_own_is_equation_9():
    compare_with_reference(own_against_own)


def test_aug_own_against_other_is_equation_8():
    compare_with_reference(aug_own_against_other)


def test_own_against_aug_other_is_equation_8():
    compare_with_reference(own_against_aug_other)


def test_teacher_ranks_is_equation_9():
    compare_with_reference(teacher_ranks)


@pytest.mark.parametrize("rho", RHO)
def test_every_reading_with_every_penalty(rho):
    names = {positive_pairs: "positive", negative_pairs: "same_pair"}
    for reading in READINGS:
        raw = vectors(4)
        raw["image"] *= [[1], [-1], [1], [1], [1], [1]]  # puts some ratios beyond Huber's 1
        unit = [equations.normalise(raw[name]) for name in NAMES]
        match = MATCH_IDS[:, None] == MATCH_IDS[None, :]
        name = names.get(reading, reading.__name__)
        expected = equations.reading(name, equations.Distances(*unit), match, LOCAL, rho)
        total = reading(ratios_of(raw, matches(MATCH_IDS, LOCAL), LOCAL), RHO[rho])
        assert total.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("reading", "moved"),
    [(reading, moved) for reading in (*SYMMETRIC, *OTHERS[1:]) for moved in ("text", "image")]
    + [(reading, "aug") for reading in (positive_pairs, negative_pairs, *OTHERS[:2])],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_gradient_equals_differences_of_reference(reading, moved):
    """Through the normalisation and the distances. The teacher's distances stay where they are."""
    raw = vectors()
    leaf = torch.tensor(raw[moved], requires_grad=True)
    total = reading(ratios_of({**raw, moved: leaf}, matches(MATCH_IDS, LOCAL), LOCAL))
    total.backward()
    expected = equations.numeric_gradient(
        lambda x: literal(reading, {**raw, moved: x}, MATCH_IDS, LOCAL, teacher_text=raw["text"]), raw[moved]
    )
    np.testing.assert_allclose(leaf.grad, expected, atol=2e-5 * max(1.0, np.abs(expected).max()))
    assert leaf.grad.abs().max() > 1e-3


def test_log_ratios_compare_local_texts_with_gathered_images():
    """Field by field against log_distance. A teacher's text has no gradient, and an own pair is a diagonal entry."""
    unit = {name: normalize(torch.tensor(value).float(), dim=1) for name, value in vectors().items()}
    text = unit["text"]
    ratios = ratios_of(vectors(), matches(MATCH_IDS, LOCAL), LOCAL)
    teacher = log_distance(text, unit["teacher_image"])
    delta = log_distance(text, unit["image"]) - teacher
    delta_aug = log_distance(text, unit["aug"]) - log_distance(text, unit["teacher_aug"])
    expected = LogRatios(
        delta=delta[LOCAL],
        delta_aug=delta_aug[LOCAL],
        match=matches(MATCH_IDS, LOCAL),
        own_rows=delta.diagonal()[LOCAL],
        own_columns=delta.diagonal(),
        own_aug_columns=delta_aug.diagonal(),
        teacher_rows=teacher.diagonal()[LOCAL],
        teacher_columns=teacher.diagonal(),
    )
    for field in dataclasses.fields(LogRatios):
        torch.testing.assert_close(getattr(ratios, field.name), getattr(expected, field.name), rtol=1e-4, atol=1e-5)
    leaf = torch.tensor(vectors()["text"], requires_grad=True)
    with_gradient = ratios_of({**vectors(), "text": leaf}, matches(DISTINCT))
    assert with_gradient.own_rows.requires_grad
    assert not with_gradient.teacher_rows.requires_grad
    assert not with_gradient.teacher_columns.requires_grad


# Invariances


@every_reading
def test_a_teacher_equal_to_the_student_gives_exactly_zero(reading):
    raw = vectors()
    leaf = torch.tensor(raw["text"], requires_grad=True)
    same = {**raw, "text": leaf, "teacher_image": raw["image"], "teacher_aug": raw["aug"]}
    total = reading(ratios_of(same, matches(MATCH_IDS, LOCAL), LOCAL))
    total.backward()
    assert total.item() == 0.0
    assert torch.equal(leaf.grad, torch.zeros_like(leaf))


@every_reading
def test_a_perturbed_teacher_does_not(reading):
    raw = vectors()
    noise = np.random.default_rng(9).normal(size=(6, 4))
    near = {**raw, "teacher_image": raw["image"] + 0.05 * noise, "teacher_aug": raw["aug"] - 0.05 * noise}
    assert 1e-6 < reading(ratios_of(near, matches(MATCH_IDS, LOCAL), LOCAL)).item() < 0.1


@every_reading
def test_a_common_factor_of_all_student_distances_drops_out(reading):
    ratios = ratios_of(vectors(), matches(MATCH_IDS, LOCAL), LOCAL)
    scaled = changed(ratios, lambda value: value + math.log(3.7))
    torch.testing.assert_close(reading(scaled), reading(ratios), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("match_ids", [MATCH_IDS, DISTINCT], ids=["repeated", "distinct"])
@every_reading
def test_order_of_samples_does_not_matter(reading, match_ids):
    raw, order = vectors(), np.array([5, 0, 3, 1, 4, 2])
    moved = {name: value[order] for name, value in raw.items()}
    torch.testing.assert_close(
        reading(ratios_of(moved, matches(match_ids[order]))), reading(ratios_of(raw, matches(match_ids)))
    )


@pytest.mark.parametrize("reading", SYMMETRIC, ids=lambda reading: reading.__name__)
def test_texts_and_images_may_be_swapped(reading):
    """Over all pairs of distinct samples, each of these is the same when transposed: both directions are in it."""
    ratios = ratios_of(vectors(), matches(DISTINCT))
    swapped = dataclasses.replace(
        ratios,
        delta=ratios.delta.T,
        delta_aug=ratios.delta_aug.T,
        own_rows=ratios.own_columns,
        own_columns=ratios.own_rows,
    )
    torch.testing.assert_close(reading(swapped), reading(ratios))


@every_reading
def test_equal_ranks_average_to_the_whole(reading):
    """Three ranks of two rows, match ids spread unevenly over them, each with the own pairs of all columns."""
    raw = vectors()
    ranks = [reading(ratios_of(raw, matches(MATCH_IDS, rows), rows)) for rows in ([0, 1], [2, 3], [4, 5])]
    torch.testing.assert_close(torch.stack(ranks).mean(), reading(ratios_of(raw, matches(MATCH_IDS))))


def test_own_against_own_is_twice_the_unbiased_variance():
    ratios = ratios_of(vectors(), matches(DISTINCT))
    torch.testing.assert_close(own_against_own(ratios), 2 * ratios.own_rows.var(unbiased=True))


def test_own_against_other_is_not_own_against_own():
    ratios = ratios_of(vectors(), matches(DISTINCT))
    assert own_against_other(ratios).item() != pytest.approx(own_against_own(ratios).item(), rel=1e-2)


def test_positive_and_negative_pairs_part_the_matrix():
    ratios = ratios_of(vectors(), matches(DISTINCT))
    total = positive_pairs(ratios) / 6 + negative_pairs(ratios) * 5 / 6
    torch.testing.assert_close(total, (ratios.delta - ratios.delta_aug).square().mean())


def test_the_square_is_the_default_penalty():
    ratios = ratios_of(vectors(), matches(MATCH_IDS))
    assert all(reading(ratios).item() == reading(ratios, squared).item() for reading in READINGS)
    assert {*NEGATIVE.values(), *NOISY.values(), positive_pairs} == set(READINGS)


# Extremes


@pytest.mark.parametrize("collapsed", NAMES)
@every_reading
def test_identical_vectors_have_finite_value_and_gradient(reading, collapsed):
    raw = vectors()
    leaves = {name: torch.tensor(value, dtype=torch.float32) for name, value in raw.items()}
    leaves[collapsed] = leaves[collapsed][:1].repeat(6, 1)
    leaves["image"][2] = leaves["text"][2]  # and one text equal to its own image
    leaves = {name: value.requires_grad_() for name, value in leaves.items()}
    total = reading(ratios_of(leaves, matches(MATCH_IDS, LOCAL), LOCAL))
    total.backward()
    assert total.isfinite()
    for name in ("text", "aug" if reading is aug_own_against_other else "image"):
        assert leaves[name].grad.isfinite().all()
    assert leaves["teacher_image"].grad is None


@every_reading
def test_without_pairs_value_and_gradient_are_zero(reading):
    """No matches for the positive pairs, no non-matches for the others."""
    leaf = torch.tensor(vectors()["text"], requires_grad=True)
    match = torch.full((3, 6), reading is not positive_pairs)
    total = reading(ratios_of({**vectors(), "text": leaf}, match, LOCAL))
    total.backward()
    assert total.item() == 0.0
    assert torch.equal(leaf.grad, torch.zeros_like(leaf))


@every_reading
def test_huge_deltas_have_finite_value_and_gradient(reading):
    leaves = []

    def huge(value):
        leaves.append((1e4 * value.detach()).requires_grad_())
        return leaves[-1]

    total = reading(changed(ratios_of(vectors(), matches(MATCH_IDS, LOCAL), LOCAL), huge))
    total.backward()
    assert total.isfinite()
    assert all(leaf.grad is None or leaf.grad.isfinite().all() for leaf in leaves)


# Precision and shapes


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@every_reading
def test_computes_in_float32(reading, dtype):
    ratios = changed(ratios_of(vectors(), matches(MATCH_IDS, LOCAL), LOCAL), lambda value: value.to(dtype))
    total = reading(ratios)
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, reading(changed(ratios, lambda value: value.float())))


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(LogRatios)])
def test_rejects_shapes_that_would_broadcast(name):
    """Also without the type checker of the tests."""
    ratios = ratios_of(vectors(), matches(MATCH_IDS, LOCAL), LOCAL)
    with pytest.raises((AssertionError, TypeCheckError)):
        dataclasses.replace(ratios, **{name: getattr(ratios, name)[:1]})
    object.__setattr__(ratios, name, getattr(ratios, name)[:1])
    with pytest.raises(AssertionError, match=r"must fit|one own pair per"):
        ratios.__post_init__()


def test_rejects_matches_that_are_not_boolean():
    ratios = ratios_of(vectors(), matches(MATCH_IDS, LOCAL), LOCAL)
    with pytest.raises(TypeCheckError):
        dataclasses.replace(ratios, match=ratios.match.float())
