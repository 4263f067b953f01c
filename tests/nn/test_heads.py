"""The masked-language head, the heads with BatchNorm, and UniCLIP's image head."""

import numpy as np
import pytest
import torch
from torch import nn

from askew.data.operations import IDENTITY, PARAMETERS
from askew.data.views import ImageView
from askew.nn.heads import (
    BUCKET,
    AugmentationBlock,
    AugmentationHead,
    Head,
    TokenHead,
    TotalAndSome,
    narrowed,
)
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
        where = labels != NOT_MASKED
        logits, kept, sample = head.masked(tokens[where], labels)
        assert len(logits) == len(kept) == len(sample) == -(-num_masked // BUCKET) * BUCKET
        sums, counts = cross_entropy_per_sample(logits, kept, sample, 7)
        gradients = torch.autograd.grad(sums.sum(), (tokens, head.weight), materialize_grads=True)

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


def batch_norm_head(last_norm):
    """A head with widths 5-7-6-3, with scales, shifts and biases moved from their initial values, and 9 samples."""
    generator = torch.Generator().manual_seed(3)
    head = Head([5, 7, 6, 3], last_norm)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter += torch.randn(parameter.shape, generator=generator)
    return head, 2 * torch.randn(9, 5, generator=generator) + 1


def arrays(head):
    """Its parameters in the form that the reference takes."""
    maps = [
        (m.weight.double().numpy(), np.zeros(len(m.weight)) if m.bias is None else m.bias.double().numpy())
        for m in head.linear
    ]
    norms = [(n.weight.double().numpy(), n.bias.double().numpy()) for n in head.norm]
    if isinstance(head.last_norm, nn.Identity):
        return maps, norms, None
    scale = head.last_norm.weight.double().numpy()
    return maps, norms, (scale, np.zeros_like(scale))


@pytest.mark.parametrize("last_norm", [False, True])
def test_a_head_equals_reference(last_norm):
    head, rows = batch_norm_head(last_norm)
    head.requires_grad_(False)
    local, gathered = head(rows, rows)
    assert local is gathered
    np.testing.assert_allclose(
        local.numpy(), equations.head(rows.double().numpy(), *arrays(head)), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("last_norm", [False, True])
def test_a_head_is_pytorchs_batch_norm_in_training(last_norm):
    """Value and gradient of the same layers, built from PyTorch's own."""
    head, rows = batch_norm_head(last_norm)
    layers = []
    for linear, norm in zip(head.linear, [*head.norm, head.last_norm], strict=True):
        layers.append(linear)
        if not isinstance(norm, nn.Identity):
            of_torch = nn.BatchNorm1d(len(norm.weight), track_running_stats=False)
            of_torch.weight = norm.weight
            if norm.bias is not None:
                of_torch.bias = norm.bias
            layers += [of_torch, nn.ReLU()]
    layers = layers[:-1] if last_norm else layers  # nothing follows the last map's norm
    local, same = rows.clone().requires_grad_(), rows.clone().requires_grad_()
    found, expected = head(local, local)[0], nn.Sequential(*layers)(same)
    torch.testing.assert_close(found, expected)
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(0))
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(local.grad, same.grad, rtol=1e-4, atol=1e-5)


def test_local_samples_get_what_they_get_in_the_whole():
    """The statistics are those of all samples, regardless of which rank holds a sample."""
    head, rows = batch_norm_head(last_norm=True)
    whole = head(rows, rows)[0]
    local, gathered = head(rows[3:5], rows)
    torch.testing.assert_close(local, whole[3:5])
    torch.testing.assert_close(gathered, whole)
    assert not torch.allclose(head(rows[3:5], rows[3:5])[0], whole[3:5], atol=1e-2)


def test_every_parameter_of_a_head_moves_and_nothing_is_tracked():
    head, rows = batch_norm_head(last_norm=True)
    state = {name: value.clone() for name, value in head.state_dict().items()}
    (head(rows, rows)[0] * torch.arange(27.0).view(9, 3) ** 2).sum().backward()
    assert all(parameter.grad.abs().max() > 1e-3 for parameter in head.parameters())
    assert all(torch.equal(value, state[name]) for name, value in head.state_dict().items())
    assert list(head.buffers()) == []


def test_identical_samples_have_finite_gradient():
    head, rows = batch_norm_head(last_norm=True)
    same = rows[:1].repeat(4, 1).requires_grad_()
    head(same, same)[0].square().sum().backward()
    assert same.grad.isfinite().all()


def test_heads_of_narrow_towers_are_narrow():
    assert narrowed((4096, 4096, 256), 768, 768) == [4096, 4096, 256]
    assert narrowed((4096, 4096, 256), 1024, 768) == [4096, 4096, 256]
    assert narrowed((4096, 4096, 256), 192, 768) == [1024, 1024, 64]
    assert narrowed((4096, 1), 3, 768) == [16, 1]


def perturbed(module):
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += torch.randn(parameter.shape, generator=generator)
    return module


def test_an_augmentation_block_equals_the_loop():
    block = perturbed(AugmentationBlock(5, len(IDENTITY))).double()
    rng = np.random.default_rng(0)
    hidden, deviation = rng.normal(size=(3, 5)), rng.normal(size=(3, len(IDENTITY)))
    weights = {name: value.numpy() for name, value in block.state_dict().items()}
    expected = [equations.augmentation_block(h, a, weights) for h, a in zip(hidden, deviation, strict=True)]
    found = block(torch.tensor(hidden), torch.tensor(deviation)).detach()
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_for_an_untouched_image_the_head_changes_no_bit_regardless_of_its_weights():
    head = perturbed(AugmentationHead(5, IDENTITY))
    projected = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    identity = torch.tensor(IDENTITY).repeat(7, 1)
    assert torch.equal(head(projected, identity), projected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(head(projected, identity), projected)
    for place in range(len(IDENTITY)):
        changed = identity.clone()
        changed[:, place] += 0.5
        assert (head(projected, changed) - projected).norm(dim=1).min() > 1e-2, PARAMETERS[place]


def test_at_the_start_the_head_is_the_projection_for_every_augmentation():
    projected, parameters = torch.randn(7, 5), torch.rand(7, len(IDENTITY))
    assert torch.equal(AugmentationHead(5, IDENTITY)(projected, parameters), projected)


def test_the_identity_is_what_a_view_records_when_it_does_nothing():
    """The crop is the whole image, and no other operation is applied, in the order of the recorded columns."""
    view = ImageView("image", size=8, scale=(1.0, 1.0))
    rng = np.random.Generator(np.random.Philox(key=3))
    found = None
    while found is None or not torch.equal(found[:4], torch.tensor([0.0, 0.0, 1.0, 1.0])):
        found = view.draw(16, 16, rng).parameters  # until the drawn aspect ratio is that of the image
    assert torch.equal(found, torch.tensor(IDENTITY))
    assert dict(zip(PARAMETERS, IDENTITY, strict=True)) == {
        name: 1.0 if name in ("crop_w", "crop_h") else 0.0 for name in PARAMETERS
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_total_and_some_have_pytorchs_gradient(dtype):
    """Also where a column is asked for twice."""
    generator = torch.Generator().manual_seed(3)
    start = (3 * torch.randn(4, 9, generator=generator)).to(dtype)
    columns = torch.tensor([[0, 3], [2, 2], [8, 1], [5, 0]])
    weights = torch.randn(4, generator=generator), torch.randn(4, 2, generator=generator)

    def gradient(function):
        logits = start.clone().requires_grad_()
        found = function(logits)
        assert [value.dtype for value in found] == [torch.float32] * 2
        sum((w * value).sum() for w, value in zip(weights, found, strict=True)).backward()
        return found, logits.grad

    found, ours = gradient(lambda z: TotalAndSome.apply(z, columns))
    expected, theirs = gradient(lambda z: (z.float().logsumexp(dim=1), z.float().gather(1, columns)))
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
    torch.testing.assert_close(ours, theirs)
