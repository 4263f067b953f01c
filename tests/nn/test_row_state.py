"""Numbers of every sample: what is written, by whom, and where they come from when there are no data."""

import pytest
import torch

from askew.nn.row_state import RowState


def filled(num_rows=6):
    state = RowState(2)
    state.allocate(num_rows)
    return state


def test_rows_are_minus_infinity_until_they_are_written():
    state = filled()
    state.write(torch.tensor([4, 1]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert state.read(torch.tensor([1, 4, 1])).tolist() == [[3.0, 4.0], [1.0, 2.0], [3.0, 4.0]]
    assert state.values[[0, 2, 3, 5]].eq(-torch.inf).all()
    assert state.values.dtype == torch.float32


def test_the_last_of_several_writes_to_a_row_is_kept():
    rows = torch.tensor([5, 2, 5, 0, 2, 5])
    numbers = torch.arange(12.0).view(6, 2)
    state = filled()
    state.write(rows, numbers)
    assert state.read(torch.tensor([0, 2, 5])).tolist() == [[6.0, 7.0], [8.0, 9.0], [10.0, 11.0]]


def test_a_state_without_rows_takes_those_of_a_checkpoint():
    state, empty = filled(), RowState(2)
    state.write(torch.tensor([3]), torch.ones(1, 2))
    empty.load_state_dict(state.state_dict())
    assert torch.equal(empty.values, state.values)


def test_rows_of_other_data_are_refused():
    with pytest.raises(RuntimeError, match="size mismatch for values"):
        filled(7).load_state_dict(filled(6).state_dict())
