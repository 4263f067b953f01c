"""Two local samples against three gathered ones. Anchors and members are images, texts and augmented images."""

import math

import numpy as np
import pytest
import torch

from askew.objectives.contrastive import mp_nce
from askew.objectives.fading import (
    FADING,
    augmented_terms,
    contrast_at_chance,
    two_sets,
    unfaded,
    weights_of_pairs,
    whole_contrast,
)
from reference import equations

MATCH_IDS = np.array([7, 2, 7])
ANCHOR_IS_AUG, MEMBER_IS_AUG = np.arange(6) >= 4, np.arange(9) >= 6
POSITIVE = np.tile(MATCH_IDS[:2], 3)[:, None] == np.tile(MATCH_IDS, 3)[None, :]
MASKS = tuple(torch.tensor(mask) for mask in (POSITIVE, ANCHOR_IS_AUG, MEMBER_IS_AUG))


def logits(seed=0):
    return np.random.default_rng(seed).normal(size=(6, 9))


def compare_with_loop(name):
    for alpha in (0.0, 0.3, 1.0):
        leaf = torch.tensor(logits(), requires_grad=True)
        found = FADING[name](leaf, *MASKS, alpha)
        found.backward()
        arguments = (POSITIVE, ANCHOR_IS_AUG, MEMBER_IS_AUG, alpha)
        assert found.dtype == torch.float32
        assert found.item() == pytest.approx(equations.fading(name, logits(), *arguments), rel=1e-5, abs=1e-9)
        expected = equations.numeric_gradient(lambda x, a=arguments: equations.fading(name, x, *a), logits())
        np.testing.assert_allclose(leaf.grad, expected, atol=1e-6)


def test_augmented_terms_equals_the_loop():
    compare_with_loop("augmented_terms")


def test_two_sets_equals_the_loop():
    compare_with_loop("two_sets")


def test_whole_contrast_equals_the_loop():
    compare_with_loop("whole_contrast")


def test_unfaded_equals_the_loop():
    compare_with_loop("unfaded")


@pytest.mark.parametrize("fading", [augmented_terms, whole_contrast, unfaded])
def test_weights_of_pairs_are_those_of_the_reading(fading):
    weights = torch.tensor(weights_of_pairs(fading, [False, False, True], 0.3)).repeat_interleave(2, dim=0)
    expected = mp_nce(torch.tensor(logits()), MASKS[0], ~MASKS[0], weights.repeat_interleave(3, dim=1))
    assert fading(torch.tensor(logits()), *MASKS, 0.3).item() == pytest.approx(expected.item())


def test_weights_of_pairs_by_hand():
    assert weights_of_pairs(augmented_terms, [False, True], 0.25) == [[1.0, 0.75], [0.75, 0.75]]
    with pytest.raises(KeyError):
        weights_of_pairs(two_sets, [False, True], 0.25)


def test_by_hand():
    """An original anchor with itself, an augmented positive and a negative. Then with an augmented negative instead."""
    flat, original = torch.zeros(1, 3), torch.tensor([False])
    two = torch.tensor([[True, True, False]]), original, torch.tensor([False, True, False])
    assert augmented_terms(flat, *two, 0.5).item() == pytest.approx((math.log(2) + math.log(2) / 2) / 2)
    assert whole_contrast(flat, *two, 0.25).item() == pytest.approx(0.75 * math.log(2))
    assert unfaded(flat, *two, 0.25).item() == pytest.approx(math.log(2))
    one = torch.tensor([[True, False, False]]), original, torch.tensor([False, True, False])
    assert two_sets(flat, *one, 0.5).item() == pytest.approx((math.log(3) + math.log(2)) / 2)


def test_all_readings_start_as_mp_nce_and_end_apart():
    s, whole = torch.tensor(logits()), torch.ones(6, 9)
    start = mp_nce(s, MASKS[0], ~MASKS[0], whole).item()
    assert [fading(s, *MASKS, 0.0).item() for fading in FADING.values()] == pytest.approx([start] * 4)
    ends = sorted(fading(s, *MASKS, 1.0).item() for fading in FADING.values())
    assert ends[0] == 0.0
    assert np.diff(ends).min() > 0.01


@pytest.mark.parametrize("fading", FADING.values(), ids=FADING)
def test_order_of_members_does_not_matter(fading):
    order = torch.tensor([8, 0, 3, 5, 1, 7, 2, 4, 6])
    s, (positive, anchor_is_aug, member_is_aug) = torch.tensor(logits()), MASKS
    moved = fading(s[:, order], positive[:, order], anchor_is_aug, member_is_aug[order], 0.3)
    torch.testing.assert_close(moved, fading(s, *MASKS, 0.3))


@pytest.mark.parametrize("fading", FADING.values(), ids=FADING)
def test_huge_logits_and_no_negatives_have_finite_value_and_gradient(fading):
    for masks in (MASKS, (torch.ones(6, 9, dtype=torch.bool), *MASKS[1:])):
        leaf = torch.tensor(1e4 * logits(), requires_grad=True)
        found = fading(leaf, *masks, 0.5)
        found.backward()
        assert found.isfinite()
        assert leaf.grad.isfinite().all()


def test_contrast_at_chance_is_that_of_equal_embeddings():
    eye = torch.eye(4, dtype=torch.bool).tile(3, 3)
    is_aug = torch.arange(12) >= 8
    for fading in FADING.values():
        assert contrast_at_chance(fading, 4, 0.3) == pytest.approx(
            fading(torch.zeros(12, 12), eye, is_aug, is_aug, 0.3).item()
        )
