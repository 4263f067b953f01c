import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from askew.objectives.reduce import mean_per_anchor
from reference import equations


def example(seed=0, rows=3, columns=6):
    rng = np.random.default_rng(seed)
    where = rng.random((rows, columns)) < 0.5
    where[1] = False
    return rng.normal(size=(rows, columns)), where


def test_by_hand():
    """Rows: (1 + 3) / 2 = 2; nothing selected = 0; 7 alone = 7. Over all three rows: 9 / 3 = 3, not 9 / 2."""
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


def test_equal_blocks_of_rows_average_to_the_whole():
    values, where = map(torch.tensor, example(rows=6, columns=5))
    blocks = [mean_per_anchor(v, w) for v, w in zip(values.split(2), where.split(2), strict=True)]
    torch.testing.assert_close(torch.stack(blocks).mean(), mean_per_anchor(values, where))


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


def test_refuses_shapes_that_would_broadcast():
    with pytest.raises((AssertionError, TypeCheckError)):
        mean_per_anchor(torch.ones(3, 6), torch.ones(1, 6, dtype=torch.bool))


def test_refuses_no_rows():
    with pytest.raises(AssertionError, match="no rows"):
        mean_per_anchor(torch.ones(0, 6), torch.ones(0, 6, dtype=torch.bool))
