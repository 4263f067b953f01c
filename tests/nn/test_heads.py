"""The masked-language head."""

import torch

from askew.nn.heads import BUCKET, TokenHead
from askew.objectives.masked_language import NOT_MASKED, cross_entropy_per_sample


def example(num_masked):
    generator = torch.Generator().manual_seed(num_masked)
    tokens = torch.randn(7, 11, 5, generator=generator, requires_grad=True)
    labels = torch.full((77,), NOT_MASKED)
    chosen = torch.randperm(77, generator=generator)[:num_masked]
    labels[chosen] = torch.randint(0, 9, (num_masked,), generator=generator)
    return TokenHead(5, 9), tokens, labels.view(7, 11)


def test_padding_to_a_round_size_reaches_neither_loss_nor_gradient():
    for num_masked in (0, 1, BUCKET - 1, BUCKET, BUCKET + 1):
        head, tokens, labels = example(num_masked)
        logits, kept, sample = head.masked(tokens, labels)
        assert len(logits) == len(kept) == len(sample) == -(-num_masked // BUCKET) * BUCKET
        sums, counts = cross_entropy_per_sample(logits, kept, sample, 7)
        gradients = torch.autograd.grad(sums.sum(), (tokens, head.weight), materialize_grads=True)

        where = labels != NOT_MASKED
        loss = torch.nn.functional.cross_entropy(head(tokens[where]), labels[where], reduction="sum")
        expected = torch.autograd.grad(loss, (tokens, head.weight), materialize_grads=True)
        assert torch.equal(counts, where.sum(dim=1).float())
        torch.testing.assert_close(sums.sum(), loss)
        for one, other in zip(gradients, expected, strict=True):
            torch.testing.assert_close(one, other)


def test_a_row_of_the_head_starts_small():
    head = TokenHead(64, 1000)
    assert abs(head.weight.std().item() - 0.02) < 0.001
    assert head.bias.abs().max() == 0
