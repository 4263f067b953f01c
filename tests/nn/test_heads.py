"""The masked-language head, and UniCLIP's image head."""

import numpy as np
import torch

from askew.data.augment import PARAMETERS
from askew.data.views import ImageView
from askew.nn.heads import BUCKET, IDENTITY, AugmentationBlock, AugmentationHead, TokenHead
from askew.objectives.masked_language import NOT_MASKED, cross_entropy_per_sample
from reference import equations


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


def perturbed(module):
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += torch.randn(parameter.shape, generator=generator)
    return module


def test_an_augmentation_block_equals_the_loop():
    block = perturbed(AugmentationBlock(5)).double()
    rng = np.random.default_rng(0)
    hidden, deviation = rng.normal(size=(3, 5)), rng.normal(size=(3, len(IDENTITY)))
    weights = {name: value.numpy() for name, value in block.state_dict().items()}
    expected = [equations.augmentation_block(h, a, weights) for h, a in zip(hidden, deviation, strict=True)]
    found = block(torch.tensor(hidden), torch.tensor(deviation)).detach()
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_told_of_nothing_the_head_changes_no_bit_whatever_its_weights():
    head = perturbed(AugmentationHead(5))
    projected = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    identity = torch.tensor(IDENTITY).repeat(7, 1)
    assert torch.equal(head(projected, identity), projected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(head(projected, identity), projected)
    for place in range(len(IDENTITY)):
        told = identity.clone()
        told[:, place] += 0.5
        assert (head(projected, told) - projected).norm(dim=1).min() > 1e-2, PARAMETERS[place]


def test_at_the_start_the_head_is_the_projection_for_every_augmentation():
    projected, parameters = torch.randn(7, 5), torch.rand(7, len(IDENTITY))
    assert torch.equal(AugmentationHead(5)(projected, parameters), projected)


def test_the_identity_is_what_a_view_records_when_it_does_nothing():
    """The whole image as the crop, and no other operation: in the order of the columns that views record."""
    from PIL import Image

    view = ImageView("image", size=8, scale=(1.0, 1.0))
    rng = np.random.Generator(np.random.Philox(key=3))
    image, found = Image.new("RGB", (16, 16)), None
    while found is None or not torch.equal(found[:4], torch.tensor([0.0, 0.0, 1.0, 1.0])):
        found = view.sample(image, rng)["image_params"]  # until the drawn aspect is that of the image
    assert torch.equal(found, torch.tensor(IDENTITY))
    assert dict(zip(PARAMETERS, IDENTITY, strict=True)) == {
        name: 1.0 if name in ("crop_w", "crop_h") else 0.0 for name in PARAMETERS
    }
