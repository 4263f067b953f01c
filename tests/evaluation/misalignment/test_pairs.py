"""The numbers of every pair: a loop, numbers worked out by hand, invariances, extremes."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from askew.evaluation.misalignment.pairs import PairMeasures, Pool, measure
from reference import misalignment as loops

A, B, C = np.eye(3, dtype=np.float32)


def unit(rng, number, width=5):
    made = rng.normal(size=(number, width))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def drawn(seed=0, images=4, captions=7, pool=9):
    """Images with several captions, and a pool in which some entries are of the same images or captions."""
    rng = np.random.default_rng(seed)
    made = Pool(unit(rng, pool), unit(rng, pool), np.arange(pool) % 6, np.arange(pool) % 5 + 10)
    owner = np.sort(rng.integers(0, images, captions))
    return unit(rng, captions), unit(rng, images), owner, np.arange(images), np.arange(captions) + 10, made


@pytest.mark.parametrize("k", [1, 3, 100])
def test_a_loop_gives_the_same_numbers(k):
    text, image, owner, match, words, pool = drawn()
    found = measure(text, image, owner, match, words, pool, 8.0, k)
    for row in range(len(text)):
        wanted = loops.pair(text[row], image[owner[row]], match[owner[row]], words[row], pool, 8.0, k)
        for name, value in wanted.items():
            assert getattr(found, name)[row] == pytest.approx(value, abs=2e-5), (name, row)


def test_numbers_worked_out_by_hand():
    """Caption A with image B; in the pool image A with caption C. The own distance is sqrt(2), the distance of the
    caption to the pool's image 0, below the floor of 0.001, that of the image to the pool's caption sqrt(2)."""
    pool = Pool(A[None], C[None], np.array([5]), np.array([5]))
    found = measure(A[None], B[None], np.array([0]), np.array([0]), np.array([0]), pool, 1.0, 1)
    assert found.distance[0] == pytest.approx(2**0.5)
    assert found.cosine[0] == 0
    assert (found.image_rank[0], found.text_rank[0], found.pool[0]) == (2, 2, 1)  # a tie counts against the pair
    assert found.noise[0] == pytest.approx((np.log(2**0.5 / 0.001) + 0) / 2, abs=1e-5)
    assert found.loss[0] == pytest.approx((np.log(1 + np.e) + np.log(2)) / 2, abs=1e-6)
    assert found.nearest[0] == -1  # it is as near as its own caption, not nearer
    assert np.isnan(found.nearest_distance[0])


def test_a_perfect_pair_is_first_and_negative():
    pool = Pool(np.stack([B, C]), np.stack([B, C]), np.array([1, 2]), np.array([1, 2]))
    found = measure(A[None], A[None], np.array([0]), np.array([0]), np.array([0]), pool, 100.0)
    assert (found.image_rank[0], found.text_rank[0]) == (1, 1)
    assert found.noise[0] == pytest.approx(np.log(0.001 / 2**0.5), abs=1e-5)
    assert found.loss[0] == pytest.approx(0, abs=1e-6)


def test_a_caption_that_is_nearer_is_named():
    pool = Pool(np.stack([C, C]), np.stack([C, B]), np.array([1, 2]), np.array([1, 2]))
    found = measure(A[None], B[None], np.array([0]), np.array([0]), np.array([0]), pool, 10.0)
    assert (found.nearest[0], found.nearest_distance[0]) == (1, 0)


@pytest.mark.parametrize(("match", "words"), [(7, 0), (0, 7)])
def test_without_other_pairs_there_is_nothing_to_compare_with(match, words):
    """A pool of the same image, and a pool of the same caption: ten identical captions, a data set of one pair."""
    pool = Pool(np.stack([A, B]), np.stack([B, C]), np.array([7, 7]), np.array([7, 7]))
    found = measure(A[None], B[None], np.array([0]), np.array([match]), np.array([words]), pool, 10.0)
    assert (found.pool[0], found.text_rank[0], found.image_rank[0], found.loss[0]) == (0, 1, 1, 0)
    assert np.isnan(found.noise[0])
    assert found.nearest[0] == -1


def test_exchanged_captions_are_found():
    """Forty topics; each pair is near its topic. A tenth of the captions is exchanged with those of other topics."""
    rng = np.random.default_rng(0)
    topics, topic = unit(rng, 40, 16), rng.integers(0, 40, 800)
    image, text = (topics[topic] + 0.1 * rng.normal(size=(800, 16)) for _ in range(2))
    exchanged = np.zeros(800, dtype=bool)
    exchanged[rng.permutation(800)[:80]] = True
    text[exchanged] = np.roll(text[exchanged], 1, axis=0)
    exchanged &= np.roll(topic[exchanged], 1)[exchanged.cumsum() - 1] != topic  # some get one of the same topic
    image, text = ((v / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float32) for v in (image, text))
    number = np.arange(800)
    pool = Pool(image[:500], text[:500], number[:500], number[:500])
    found = measure(text, image, number, number, number, pool, 10.0)
    for name in ("noise", "loss", "distance", "text_rank"):
        assert roc_auc_score(exchanged, getattr(found, name)) > 0.99, name


def test_the_order_of_captions_and_of_the_pool_does_not_matter():
    text, image, owner, match, words, pool = drawn(1)
    whole = measure(text, image, owner, match, words, pool, 8.0, 3)
    turned = np.arange(len(pool))[::-1].copy()
    other = Pool(pool.image[turned], pool.text[turned], pool.match[turned], pool.words[turned])
    order = np.array([3, 0, 6, 2, 5, 1, 4])
    mixed = measure(text[order], image, owner[order], match, words[order], other, 8.0, 3)
    for name in PairMeasures.__dataclass_fields__:
        wanted = getattr(whole, name)[order]
        if name == "nearest":
            wanted = np.where(wanted < 0, -1, len(pool) - 1 - wanted)
        np.testing.assert_allclose(getattr(mixed, name), wanted, atol=1e-6)


def test_huge_scales_stay_finite():
    text, image, owner, match, words, pool = drawn(2)
    found = measure(text, image, owner, match, words, pool, 1e4)
    assert np.isfinite(found.loss).all()
    assert np.isfinite(found.noise).all()


def test_blocks_change_nothing(monkeypatch):
    text, image, owner, match, words, pool = drawn(3, captions=23)
    whole = measure(text, image, owner, match, words, pool, 8.0, 3)
    monkeypatch.setattr("askew.evaluation.misalignment.pairs.BLOCK", 4 * len(pool))
    blocks = measure(text, image, owner, match, words, pool, 8.0, 3)
    np.testing.assert_allclose(blocks.noise, whole.noise, atol=1e-6)
    np.testing.assert_array_equal(blocks.text_rank, whole.text_rank)
