import numpy as np
import pytest
import torch

from askew.objectives.word_prediction import NO_WORD, distinct_words, document_counts, word_prediction
from reference import words as reference
from reference.equations import numeric_gradient

SIZE, LENGTH, VOCABULARY = 5, 6, 9


def example(seed=0):
    """Logits (B, V) and captions (B, L) with repeated words and places without a word. The last caption has none."""
    rng = np.random.default_rng(seed)
    captions = rng.integers(0, VOCABULARY, size=(SIZE, LENGTH))
    captions[rng.random(captions.shape) < 0.3] = NO_WORD
    captions[-1] = NO_WORD
    return 2 * rng.normal(size=(SIZE, VOCABULARY)), captions


def term(z, captions, counts=None, seen=0):
    """As a method calls it: this batch is counted too."""
    z, words = torch.as_tensor(z), distinct_words(torch.as_tensor(captions))
    counts = document_counts(words, z.shape[1]) + (0 if counts is None else torch.as_tensor(counts))
    seen = torch.tensor([seen + len(words)])
    return word_prediction(z.logsumexp(dim=1), z.gather(1, words.clamp(min=0)), words, counts, seen)


def test_by_hand():
    """Weights log(5/4) = 0.2231 and log(5/2) = 0.9163, so shares 0.1958 and 0.8042; log(3 + e) = 1.7437."""
    words, counts, seen = torch.tensor([[0, 1]]), torch.tensor([3, 1, 0, 0]), torch.tensor([4])
    for z, expected in (([0.0, 0, 0, 0], 1.3863), ([0.0, 1, 0, 0], 0.9395)):
        row = torch.tensor([z])
        found = word_prediction(row.logsumexp(dim=1), row[:, :2], words, counts, seen)
        assert found.item() == pytest.approx(expected, abs=5e-5)
        assert found.dtype == torch.float32


def test_words_of_a_caption_once():
    assert distinct_words(torch.tensor([[5, 3, 5, NO_WORD], [2, 2, 2, 2]])).tolist() == [
        [NO_WORD, 3, 5, NO_WORD],
        [2, NO_WORD, NO_WORD, NO_WORD],
    ]


def test_captions_are_counted_and_not_words():
    words = distinct_words(torch.tensor([[1, 1, 2], [2, NO_WORD, NO_WORD]]))
    assert document_counts(words, 4).tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize("seed", range(4))
def test_is_the_reference(seed):
    z, captions = example(seed)
    before = np.random.default_rng(seed).integers(0, 40, size=VOCABULARY)
    counts = before + [sum(v in caption for caption in captions) for v in range(VOCABULARY)]
    expected = reference.term(z, captions, counts, 40 + SIZE)
    assert term(z, captions, before, 40).item() == pytest.approx(expected, rel=1e-5)


def test_counts_are_the_steps_of_the_released_code():
    batches = [example(seed) for seed in range(3)]
    expected, counts = reference.terms_step_by_step(batches), np.zeros(VOCABULARY, dtype=np.int64)
    for step, (z, captions) in enumerate(batches):
        assert term(z, captions, counts, step * SIZE).item() == pytest.approx(expected[step], rel=1e-5)
        counts += [sum(v in caption for caption in captions) for v in range(VOCABULARY)]


def test_gradient_equals_differences_of_reference():
    z, captions = example()
    counts = [sum(v in caption for caption in captions) for v in range(VOCABULARY)]
    tensor = torch.tensor(z, requires_grad=True)
    term(tensor, captions).backward()
    expected = numeric_gradient(lambda at: reference.term(at, captions, counts, SIZE), z)
    np.testing.assert_allclose(tensor.grad, expected, atol=1e-6)
    assert not tensor.grad[-1].any()  # of the caption without words


def test_the_order_of_samples_and_of_words_does_not_matter():
    z, captions = example()
    order = np.random.default_rng(1).permutation(SIZE)
    assert term(z[order], captions[order][:, ::-1].copy()).item() == pytest.approx(term(z, captions).item(), rel=1e-6)


def test_a_word_of_every_caption_has_no_weight():
    z, captions = example()
    captions[:, 0] = 4
    higher = z.copy()
    higher[:, 4] += 1.0
    drawn = np.array([[4, 0], [4, 1], [4, 0], [4, 1], [4, 2]])
    tensor = torch.tensor(z, requires_grad=True)
    term(tensor, drawn).backward()
    softmax = torch.tensor(z).softmax(dim=1) / SIZE
    torch.testing.assert_close(tensor.grad[:, 4], softmax[:, 4])  # it is pushed down like any word that is not there


@pytest.mark.parametrize("captions", [np.full((3, 4), NO_WORD), np.full((3, 4), 2)], ids=["no words", "all equal"])
def test_nothing_to_learn_is_zero(captions):
    z = torch.randn(3, VOCABULARY, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = term(z, captions)
    found.backward()
    assert found.item() == 0.0
    assert not z.grad.any()


def test_extreme_logits_are_finite():
    z = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]], requires_grad=True)
    found = term(z, [[1], [0]])
    found.backward()
    assert found.item() == pytest.approx(2e4)
    assert z.grad.isfinite().all()
