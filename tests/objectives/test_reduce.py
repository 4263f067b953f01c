import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from askew.objectives.contrastive import info_nce, mp_nce, pairwise_sigmoid
from askew.objectives.distillation import (
    LogRatios,
    aug_own_against_other,
    negative_pairs,
    own_against_aug_other,
    own_against_other,
    own_against_own,
    positive_pairs,
    teacher_ranks,
)
from askew.objectives.fading import augmented_terms
from askew.objectives.log_ratio import log_distance
from askew.objectives.reduce import by_rows, mean_per_anchor
from askew.objectives.soft_alignment import soft_alignment
from reference import equations


def example(seed=0, rows=3, columns=6):
    rng = np.random.default_rng(seed)
    where = rng.random((rows, columns)) < 0.5
    where[1] = False
    return rng.normal(size=(rows, columns)), where


def test_by_hand():
    """Rows: (1 + 3) / 2 = 2, nothing selected = 0, only 7 = 7. Over all three rows: 9 / 3 = 3, not 9 / 2."""
    values = torch.tensor([[1.0, 3.0, 100.0], [5.0, 5.0, 5.0], [9.0, 9.0, 7.0]])
    where = torch.tensor([[True, True, False], [False, False, False], [False, False, True]])
    assert mean_per_anchor(values, where).item() == 3.0


@pytest.mark.parametrize("seed", range(4))
def test_equals_reference(seed):
    values, where = example(seed)
    expected = equations.mean_per_row(lambda i, j: values[i, j], where)
    assert mean_per_anchor(torch.tensor(values), torch.tensor(where)).item() == pytest.approx(expected, abs=1e-6)


def test_is_a_mean_over_elements_when_rows_select_equally_many():
    values = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    where = ~torch.eye(4, dtype=torch.bool)
    torch.testing.assert_close(mean_per_anchor(values, where), values[where].mean())


def test_order_of_rows_and_columns_does_not_matter():
    values, where = map(torch.tensor, example())
    rows, columns = torch.tensor([2, 0, 1]), torch.tensor([5, 0, 3, 1, 4, 2])
    moved = mean_per_anchor(values[rows][:, columns], where[rows][:, columns])
    torch.testing.assert_close(moved, mean_per_anchor(values, where))


def test_equal_chunks_of_rows_average_to_the_whole():
    values, where = map(torch.tensor, example(rows=6, columns=5))
    chunks = [mean_per_anchor(v, w) for v, w in zip(values.split(2), where.split(2), strict=True)]
    torch.testing.assert_close(torch.stack(chunks).mean(), mean_per_anchor(values, where))


def test_nothing_selected_gives_zero_with_zero_gradient():
    values = torch.full((3, 6), 1e30, requires_grad=True)
    total = mean_per_anchor(values, torch.zeros(3, 6, dtype=torch.bool))
    total.backward()
    assert total.item() == 0.0
    assert torch.equal(values.grad, torch.zeros(3, 6))


def test_unselected_infinities_do_not_reach_the_result():
    values = torch.tensor([[1.0, torch.inf, torch.nan]], requires_grad=True)
    total = mean_per_anchor(values, torch.tensor([[True, False, False]]))
    total.backward()
    assert total.item() == 1.0
    assert values.grad.tolist() == [[1.0, 0.0, 0.0]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_result_is_float32(dtype):
    assert mean_per_anchor(torch.ones(2, 3, dtype=dtype), torch.ones(2, 3, dtype=torch.bool)).dtype == torch.float32


def test_rejects_shapes_that_would_broadcast():
    with pytest.raises((AssertionError, TypeCheckError)):
        mean_per_anchor(torch.ones(3, 6), torch.ones(1, 6, dtype=torch.bool))


def test_rejects_no_rows():
    with pytest.raises(AssertionError, match="no rows"):
        mean_per_anchor(torch.ones(0, 6), torch.ones(0, 6, dtype=torch.bool))


# In chunks of rows

MATCH = torch.tensor(np.random.default_rng(5).random((5, 7)) < 0.3)
IS_AUG = torch.arange(7) > 4


def ratios(s, own, match):
    """Log-ratios of deltas s, own pairs of rows, and matches."""
    columns = IS_AUG.float()
    return LogRatios(s, s.flip(1), match, own, columns, torch.arange(7.0), own.detach(), columns - 0.5)


OBJECTIVES = {  # of the rows' logits or deltas, own pairs and matches
    "mean_per_anchor": lambda s, own, match: mean_per_anchor(s.square(), match),
    "info_nce": lambda s, own, match: info_nce(s, match),
    "mp_nce": lambda s, own, match: mp_nce(s, match, ~match, s.detach().abs()),
    "pairwise_sigmoid": lambda s, own, match: pairwise_sigmoid(s, match),
    "augmented_terms": lambda s, own, match: augmented_terms(s, match, own > 0, IS_AUG, 0.3),
    "positive_pairs": lambda *rows: positive_pairs(ratios(*rows)),
    "negative_pairs": lambda *rows: negative_pairs(ratios(*rows)),
    "aug_own_against_other": lambda *rows: aug_own_against_other(ratios(*rows)),
    "own_against_aug_other": lambda *rows: own_against_aug_other(ratios(*rows)),
    "own_against_other": lambda *rows: own_against_other(ratios(*rows)),
    "own_against_own": lambda *rows: own_against_own(ratios(*rows)),
    "teacher_ranks": lambda *rows: teacher_ranks(ratios(*rows)),
    "soft_alignment": lambda s, own, match: soft_alignment(s, torch.arange(7.0).expand_as(s)),
}


@pytest.mark.parametrize("chunk_size", [1, 2, 5, 9])
@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_chunks_of_rows_give_value_and_gradients_of_the_whole(objective, chunk_size):
    """Gradients of the rows, of the columns that chunks share, and of a scale. Chunks of 2 leave a last one of 1."""
    rng, results = np.random.default_rng(0), []
    text, image, own = rng.normal(size=(5, 4)), rng.normal(size=(7, 4)), rng.normal(size=5)
    for size in (0, chunk_size):
        leaves = [torch.tensor(value, dtype=torch.float32, requires_grad=True) for value in (text, image, own, 1.5)]
        unused = torch.ones(3, requires_grad=True)

        def compared(rows, columns, scale=leaves[3]):
            texts, images = (torch.nn.functional.normalize(x) for x in (rows["text"], columns["image"]))
            value = objective(scale * log_distance(texts, images), rows["own"], rows["match"])
            return value, {"twice": 2 * value.detach()}

        rows, columns = {"text": leaves[0], "own": leaves[2], "match": MATCH}, {"image": leaves[1]}
        value, others = by_rows(compared, rows, columns, [leaves[3], unused], size) if size else compared(rows, columns)
        gradients = torch.autograd.grad(3 * value, [*leaves, unused], allow_unused=True, materialize_grads=True)
        results.append((value, others["twice"], gradients))
    (whole, whole_other, gradients), (found, other, found_gradients) = results
    torch.testing.assert_close(found, whole)
    torch.testing.assert_close(other, whole_other)
    for one, expected in zip(found_gradients, gradients, strict=True):
        torch.testing.assert_close(one, expected, rtol=1e-5, atol=1e-5)


def test_by_rows_by_hand():
    """1.5 * 2/3 + 6 * 1/3 = 3. Each chunk is evaluated once, and the gradient is that of the mean."""
    rows, calls = {"x": torch.tensor([1.0, 2.0, 6.0], requires_grad=True)}, []

    def objective(part, columns):
        calls.append(part["x"].tolist())
        return part["x"].square().sqrt().mean(), {}

    loss, others = by_rows(objective, rows, {}, [], 2)
    assert loss.item() == 3.0
    assert others == {}
    loss.backward()
    assert calls == [[1.0, 2.0], [6.0]]
    torch.testing.assert_close(rows["x"].grad, torch.full((3,), 1 / 3))


def test_by_rows_without_gradient():
    """Nothing is differentiated where nothing can be."""
    rows = {"x": torch.tensor([1.0, 2.0, 6.0], requires_grad=True)}
    with torch.no_grad():
        loss, _ = by_rows(lambda part, columns: (part["x"].mean(), {}), rows, {}, [], 2)
    assert loss.item() == 3.0
    assert not loss.requires_grad
    detached = {name: value.detach() for name, value in rows.items()}
    assert not by_rows(lambda part, columns: (part["x"].mean(), {}), detached, {}, [], 2)[0].requires_grad


def test_by_rows_keeps_nothing_of_a_chunk():
    """While a chunk is compared, autograd saves no tensor larger than the chunk's pairs, and afterwards none at all."""
    text, image = torch.randn(64, 4, requires_grad=True), torch.randn(96, 4, requires_grad=True)
    match, sizes = torch.rand(64, 96) < 0.1, []

    def objective(rows, columns):
        return info_nce(rows["text"] @ columns["image"].T, rows["match"]), {}

    def saved(tensor):
        sizes.append(tensor.numel())
        return tensor

    rows, columns = {"text": text, "match": match}, {"image": image}
    for chunk_size, most in ((64, 64 * 96), (8, 8 * 96)):
        sizes.clear()
        with torch.autograd.graph.saved_tensors_hooks(saved, lambda tensor: tensor):
            by_rows(objective, rows, columns, [], chunk_size)[0].backward()
        assert max(sizes) == most


def test_by_rows_rejects_empty_chunks_and_uneven_tensors():
    for rows, chunk_size in (({"x": torch.ones(3)}, 0), ({"x": torch.ones(3), "y": torch.ones(2)}, 1)):
        with pytest.raises(AssertionError):
            by_rows(lambda part, columns: (part["x"].mean(), {}), rows, {}, [], chunk_size)
