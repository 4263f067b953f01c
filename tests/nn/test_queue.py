"""Both queues against a plain list."""

import torch
from torch.nn.functional import normalize

from askew.nn.queue import NO_ID, NearestNeighbours, PairQueue


def unit(seed, rows, width=4):
    return normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_starts_with_random_unit_vectors_from_its_seed():
    queue = NearestNeighbours(50, 4, seed=3)
    torch.testing.assert_close(queue.bank.norm(dim=1), torch.ones(50))
    assert torch.equal(queue.bank, NearestNeighbours(50, 4, seed=3).bank)
    assert not torch.equal(queue.bank, NearestNeighbours(50, 4, seed=4).bank)
    assert len({tuple(row) for row in queue.bank.tolist()}) == 50


def test_holds_the_newest_regardless_of_sizes():
    queue = NearestNeighbours(7, 4)
    newest = [tuple(row) for row in queue.bank.tolist()]
    for seed, num in enumerate((3, 3, 5, 1, 7, 2, 19)):  # past the end, exactly to the end, more than the queue holds
        rows = unit(seed, num)
        queue.push(rows)
        newest = [*newest, *(tuple(row) for row in rows.tolist())][-7:]
        oldest_first = queue.bank.roll(-queue.position.item(), 0)
        assert sorted(tuple(row) for row in oldest_first.tolist()) == sorted(newest)
        if num < 7:
            assert [tuple(row) for row in oldest_first.tolist()] == newest


def test_nearest_is_the_highest_cosine():
    queue, queries = NearestNeighbours(9, 4), unit(1, 5)
    bank = queue.bank.clone()
    queue.push(unit(2, 4))
    for query, found in zip(queries, queue.nearest(queries), strict=True):
        best = max(queue.bank, key=lambda row: sum(a * b for a, b in zip(query.tolist(), row.tolist(), strict=True)))
        assert torch.equal(found, best)
    assert not torch.equal(bank, queue.bank)
    assert torch.equal(queue.nearest(queue.bank), queue.bank)


def test_a_query_has_no_gradient_and_changes_nothing():
    queue, queries = NearestNeighbours(9, 4), unit(1, 5).requires_grad_()
    state = {name: value.clone() for name, value in queue.state_dict().items()}
    found = queue.nearest(queries)
    assert not found.requires_grad
    assert list(queue.parameters()) == []
    assert all(torch.equal(value, state[name]) for name, value in queue.state_dict().items())
    found.zero_()  # a copy: the caller must not change the queue
    assert torch.equal(queue.bank, state["bank"])


def test_two_queues_that_see_the_same_rows_are_equal():
    """As on two ranks, or after a checkpoint."""
    one, other = NearestNeighbours(7, 4), NearestNeighbours(7, 4)
    one.push(unit(1, 5))
    other.load_state_dict(one.state_dict())
    for queue in (one, other):
        queue.push(unit(2, 4))
    assert torch.equal(one.bank, other.bank)
    assert torch.equal(one.position, other.position)


# Pairs


def test_pairs_start_as_random_unit_vectors_that_are_nobodys():
    queue = PairQueue(50, 4, seed=3)
    for entries in (queue.image, queue.text):
        torch.testing.assert_close(entries.norm(dim=1), torch.ones(50))
    assert len({tuple(row) for row in [*queue.image.tolist(), *queue.text.tolist()]}) == 100
    assert torch.equal(queue.text, PairQueue(50, 4, seed=3).text)
    assert not torch.equal(queue.text, PairQueue(50, 4, seed=4).text)
    assert (queue.ids == NO_ID).all()
    assert queue.differs(torch.tensor([[0, 0], [3, 2**62]])).all()
    assert list(queue.parameters()) == []


def test_pairs_stay_together_and_after_q_pushed_pairs_none_is_random():
    queue = PairQueue(7, 4)
    newest = [
        (tuple(i), tuple(t), (NO_ID, NO_ID)) for i, t in zip(queue.image.tolist(), queue.text.tolist(), strict=True)
    ]
    for seed, num in enumerate((3, 3, 5, 1, 7, 2, 19)):  # past the end, exactly to the end, more than the queue holds
        image, text, ids = unit(seed, num), unit(100 + seed, num), torch.arange(2 * num).view(num, 2) + 100 * seed
        queue.push(image, text, ids)
        rows = zip(image.tolist(), text.tolist(), ids.tolist(), strict=True)
        newest = [*newest, *(tuple(map(tuple, row)) for row in rows)][-7:]
        found = zip(queue.image.tolist(), queue.text.tolist(), queue.ids.tolist(), strict=True)
        assert sorted(tuple(map(tuple, row)) for row in found) == sorted(newest)
        assert (NO_ID in queue.ids) == (seed < 2)


def test_an_entry_differs_if_neither_id_is_equal():
    queue = PairQueue(5, 4)
    queue.push(unit(0, 3), unit(1, 3), torch.tensor([[1, 10], [2, 20], [3, 10]]))
    found = queue.differs(torch.tensor([[1, 10], [2, 30], [4, 20], [10, 1], [5, 50]]))
    expected = [[0, 1, 0], [1, 0, 1], [1, 0, 1], [1, 1, 1], [1, 1, 1]]
    assert found[:, :3].int().tolist() == expected
    assert found[:, 3:].all()
