"""Measures of how embeddings lie: by hand, against loops in float64, what they do not depend on, and extremes."""

import math

import numpy as np
import pytest
import torch

from askew.objectives.geometry import alignment, effective_rank, modality_gap, uniformity
from reference import equations

AXES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])


def example(seed, rows=7, columns=5, width=4):
    """Unit-length images (N, D) and texts (M, D), and which belong together: some images without a text."""
    rng = np.random.default_rng(seed)
    image, text = (equations.normalise(rng.normal(size=(num, width)) + 0.5) for num in (rows, columns))
    match = rng.random((rows, columns)) < 0.4
    match[0], match[1, 2] = False, True
    return image, text, match


def as_tensors(*arrays):
    return [torch.tensor(array, dtype=torch.float32 if array.dtype != bool else torch.bool) for array in arrays]


# By hand


def test_effective_rank_by_hand():
    """Singular values (√2, √2) count 2. (2, 1) have the shares 2/3 and 1/3: exp(log 3 - 2/3 log 2) = 3 / 2^(2/3)."""
    assert effective_rank(AXES).item() == pytest.approx(2, rel=1e-6)
    assert effective_rank(AXES[[0, 2]]).item() == pytest.approx(1, rel=1e-6)
    uneven = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    assert effective_rank(uneven).item() == pytest.approx(3 / 2 ** (2 / 3), rel=1e-6)


def test_modality_gap_by_hand():
    assert modality_gap(AXES[:2], AXES[2:]).item() == pytest.approx(math.sqrt(2))
    assert modality_gap(AXES[:1], AXES[2:3]).item() == 2  # the largest
    assert modality_gap(AXES, AXES[[3, 0, 1, 2]]).item() == 0


def test_uniformity_by_hand():
    """Four axes: of six pairs four are √2 apart and two are 2 apart: log((4 exp(-4) + 2 exp(-8)) / 6)."""
    assert uniformity(AXES[:2]).item() == pytest.approx(-4)
    assert uniformity(AXES[:2], t=0.5).item() == pytest.approx(-1)
    assert uniformity(AXES[[0, 1, 0]]).item() == pytest.approx(math.log((1 + 2 * math.exp(-4)) / 3))
    assert uniformity(AXES).item() == pytest.approx(math.log((4 * math.exp(-4) + 2 * math.exp(-8)) / 6))


def test_alignment_by_hand():
    """Image 0 has texts at squared distances 0 and 2, image 1 one at 4, image 2 none: (1 + 4) / 2."""
    image, text = AXES[:3], AXES[[0, 1, 3]]
    match = torch.tensor([[True, True, False], [False, False, True], [False, False, False]])
    assert alignment(image, text, match).item() == pytest.approx(2.5)


# Against loops


@pytest.mark.parametrize("seed", range(4))
def test_equals_reference(seed):
    image, text, match = example(seed)
    rows, columns, where = as_tensors(image, text, match)
    for found, expected in (
        (effective_rank(rows), equations.effective_rank(image)),
        (effective_rank(rows[:3]), equations.effective_rank(image[:3])),  # fewer rows than components
        (modality_gap(rows, columns), equations.modality_gap(image, text)),
        (uniformity(rows), equations.uniformity(image)),
        (uniformity(columns, t=3.0), equations.uniformity(text, t=3.0)),
        (alignment(rows, columns, where), equations.alignment(image, text, match)),
    ):
        assert found.dtype == torch.float32
        assert found.item() == pytest.approx(expected, rel=1e-5)


# What they do not depend on


def test_order_and_rotation_change_nothing():
    image, text, _ = example(1, rows=6, columns=6)
    rows, columns = as_tensors(image, text)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    turned = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(0)))[0]
    same = torch.eye(6, dtype=torch.bool)
    for changed, others in ((rows[order], columns[order]), (rows @ turned, columns @ turned)):
        assert effective_rank(changed).item() == pytest.approx(effective_rank(rows).item(), rel=1e-5)
        assert uniformity(changed).item() == pytest.approx(uniformity(rows).item(), rel=1e-5)
        assert modality_gap(changed, others).item() == pytest.approx(modality_gap(rows, columns).item(), rel=1e-5)
        assert alignment(changed, others, same).item() == pytest.approx(alignment(rows, columns, same).item(), rel=1e-5)


def test_the_rank_depends_on_neither_scale_nor_repetition():
    (rows,) = as_tensors(example(2)[0])
    assert effective_rank(5 * rows).item() == pytest.approx(effective_rank(rows).item(), rel=1e-5)
    assert effective_rank(torch.cat([rows, -rows])).item() == pytest.approx(effective_rank(rows).item(), rel=1e-5)


def test_alignment_counts_each_sample_of_a_repeated_image_once_from_either_side():
    image, text, _ = example(3, rows=5, columns=5)
    rows, columns = as_tensors(image, text)
    ids = torch.tensor([4, 4, 4, 1, 0])
    match = ids[:, None] == ids[None, :]
    assert alignment(rows, columns, match).item() == pytest.approx(alignment(columns, rows, match).item(), rel=1e-6)


# Extremes


def test_total_collapse():
    for shared in (AXES[:1], torch.nn.functional.normalize(torch.arange(1.0, 513.0)[None], dim=1)):
        rows = shared.expand(300, -1).contiguous()
        assert effective_rank(rows).item() == pytest.approx(1, abs=1e-4)
        assert uniformity(rows).item() == pytest.approx(0, abs=1e-5)
        assert modality_gap(rows, rows).item() == 0
        assert alignment(rows, rows, torch.eye(300, dtype=torch.bool)).item() == pytest.approx(0, abs=1e-5)


def test_noise_around_one_vector_is_collapse():
    """Cosines of 0.9999 in 64 dimensions: the noise uses all of them, and is a hundredth of what the rows share."""
    noise = torch.randn(128, 64, generator=torch.Generator().manual_seed(0)) * 0.01 / 8
    rows = torch.nn.functional.normalize(torch.eye(64)[:1] + noise, dim=1)
    assert 1 < effective_rank(rows).item() < 2
    assert effective_rank(rows - rows.mean(dim=0)).item() > 50  # what centring would show
    assert -0.01 < uniformity(rows).item() < 0


def test_many_components_that_do_not_vary_are_not_counted():
    """Two of 512 directions are used. In float32 the eigenvalues of the others would be noise, and add up."""
    generator = torch.Generator().manual_seed(0)
    signs = torch.randn(600, 2, generator=generator).sign()
    basis = torch.linalg.qr(torch.randn(512, 2, generator=generator))[0]
    assert effective_rank(signs @ basis.T).item() == pytest.approx(2, abs=0.01)


def test_random_directions_fill_the_sphere():
    rows = torch.nn.functional.normalize(torch.randn(400, 256, generator=torch.Generator().manual_seed(0)), dim=1)
    assert 200 < effective_rank(rows).item() <= 256
    assert uniformity(rows).item() == pytest.approx(-4, abs=0.1)


def test_one_sample():
    row, other = AXES[:1], AXES[1:2]
    assert effective_rank(row).item() == 1
    assert math.isnan(effective_rank(torch.zeros(3, 2)).item())
    assert math.isnan(uniformity(row).item())
    assert alignment(row, other, torch.ones(1, 1, dtype=torch.bool)).item() == pytest.approx(2)
    assert math.isnan(alignment(row, other, torch.zeros(1, 1, dtype=torch.bool)).item())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_input_that_is_not_finite_gives_nan_and_never_raises(value):
    rows = AXES.clone()
    rows[2, 1] = value
    assert math.isnan(effective_rank(rows).item())
    for found in (uniformity(rows), modality_gap(rows, AXES), alignment(rows, AXES, torch.eye(4, dtype=torch.bool))):
        assert not math.isfinite(found.item())
