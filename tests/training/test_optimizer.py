"""Optimisers: against loops over their formulas and timm's code, every parameter in one group, exact on resume."""

import numpy as np
import pytest
import torch
from timm.optim.adamw import AdamWLegacy
from torch import nn

from askew.config import TrainSettings
from askew.errors import UserError
from askew.recipes import find
from askew.recipes.settings import override
from askew.training.optimizer import Both, CautiousAdamW, is_block_matrix, make_optimizer
from askew.training.towers import build_towers, resolve
from micro_runs import METHODS, micro_recipe, state_of, train, trainer_of

KINDS = ("adamw", "muon", "cautious_adamw")
CPU = torch.device("cpu")


def steps(optimizer, parameters, gradients):
    for gradient in gradients:
        for parameter, value in zip(parameters, gradient, strict=True):
            parameter.grad = torch.tensor(value, dtype=torch.float32)
        optimizer.step()


def drawn(seed, shapes, num=3):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in shapes], [[rng.normal(size=s) for s in shapes] for _ in range(num)]


def cautious_loop(weight, gradients, rate, decay, beta1, beta2, eps):
    """Sec. 8.2 of the formulas, entry by entry."""
    weight, mean, square = weight.copy(), np.zeros_like(weight), np.zeros_like(weight)
    for k, gradient in enumerate(gradients, 1):
        mean = beta1 * mean + (1 - beta1) * gradient
        square = beta2 * square + (1 - beta2) * gradient**2
        moves = np.array([1.0 if m * g > 0 else 0.0 for m, g in zip(mean.flat, gradient.flat, strict=True)])
        moves = (moves / max(moves.mean(), 1e-3)).reshape(weight.shape)
        step = moves * mean / (np.sqrt(square / (1 - beta2**k)) + eps)
        weight = weight * (1 - rate * decay) - rate / (1 - beta1**k) * step
    return weight


def test_cautious_adamw_is_the_loop_and_timms():
    shapes = [(5, 3), (7,)]
    start, gradients = drawn(0, shapes, 4)
    options = {"lr": 0.1, "betas": (0.9, 0.98), "eps": 1e-8, "weight_decay": 0.2}
    ours = [nn.Parameter(torch.tensor(w, dtype=torch.float32)) for w in start]
    theirs = [nn.Parameter(torch.tensor(w, dtype=torch.float32)) for w in start]
    steps(CautiousAdamW(ours, **options), ours, gradients)
    steps(AdamWLegacy(theirs, caution=True, **options), theirs, gradients)
    for place, (made_here, other) in enumerate(zip(ours, theirs, strict=True)):
        assert torch.allclose(made_here, other, atol=1e-6)
        expected = cautious_loop(start[place], [g[place] for g in gradients], 0.1, 0.2, 0.9, 0.98, 1e-8)
        assert np.allclose(made_here.detach().numpy(), expected, atol=1e-5)


def test_an_entry_whose_momentum_disagrees_stays():
    """After a first gradient of (1, -10), a second of (1, 1) leaves a momentum of (+, -): the second entry stays."""
    weight = nn.Parameter(torch.zeros(2))
    optimizer = CautiousAdamW([weight], lr=0.1, betas=(0.9, 0.98), weight_decay=0.0)
    steps(optimizer, [weight], [[[1.0, -10.0]]])
    before = weight.detach().clone()
    steps(optimizer, [weight], [[[1.0, 1.0]]])
    moved = (weight.detach() - before).abs()
    assert moved[1] == 0
    assert moved[0] == pytest.approx(0.2, rel=1e-5)  # twice AdamW's, as half of the entries move


def test_rows_without_a_gradient_do_not_make_the_others_move_more():
    """Of a table of 1,000 tokens, a batch has two: they move as they do in a table of two."""
    _, gradients = drawn(2, [(2, 4)], 3)
    moved = []
    for size in (2, 1000):
        table = nn.Parameter(torch.zeros(size, 4))
        made = [[np.concatenate([g[0], np.zeros((size - 2, 4))])] for g in gradients]
        steps(CautiousAdamW([table], lr=0.1, betas=(0.9, 0.98), weight_decay=0.0), [table], made)
        assert not table[2:].any()
        moved.append(table[:2].detach())
    assert moved[0].abs().min() > 0
    torch.testing.assert_close(*moved)


def test_without_momentum_cautious_adamw_is_adamw_and_its_state_is_adamws():
    start, gradients = drawn(1, [(4, 4)])
    made = []
    for kind in (CautiousAdamW, torch.optim.AdamW):
        weight = nn.Parameter(torch.tensor(start[0], dtype=torch.float32))
        optimizer = kind([weight], lr=0.1, betas=(0.0, 0.98), weight_decay=0.1)
        steps(optimizer, [weight], gradients)
        made.append((weight, optimizer.state[weight]))
    (made_here, our_state), (other, their_state) = made
    assert torch.allclose(made_here, other, atol=1e-6)
    assert our_state.keys() == their_state.keys()
    assert {name: value.dtype for name, value in our_state.items()} == {n: v.dtype for n, v in their_state.items()}


def orthogonalised(matrix):
    """Five rounds of the quintic of torch.optim.Muon, in float64."""
    x = matrix / np.linalg.norm(matrix)
    x = x.T if matrix.shape[0] > matrix.shape[1] else x
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


class Block(nn.Module):
    """One matrix that Muon is for, and what it is not for."""

    def __init__(self, shape=(24, 8)):
        super().__init__()
        torch.manual_seed(0)
        self.image = nn.Module()
        self.image.mlp = nn.Module()
        self.image.mlp.c_fc = nn.Linear(shape[1], shape[0])
        self.image.token_embedding = nn.Embedding(30, 8)
        self.scale = nn.Parameter(torch.tensor(1.0))

    @property
    def matrix(self):
        return self.image.mlp.c_fc.weight


def settings(**changes):
    return TrainSettings(optimizer="muon", learning_rate=0.1, weight_decay=0.2, **changes)


@pytest.mark.parametrize("shape", [(24, 8), (8, 24), (16, 16)])
def test_muon_moves_a_matrix_as_the_loop_does(shape):
    block = Block(shape)
    optimizer = make_optimizer(block, settings(), CPU)
    expected, momentum = block.matrix.detach().double().numpy().copy(), np.zeros(shape)
    for gradient in drawn(2, [shape])[1]:
        before = block.matrix.detach().clone()
        for parameter in block.parameters():
            parameter.grad = torch.zeros_like(parameter)
        block.matrix.grad = torch.tensor(gradient[0], dtype=torch.float32)
        optimizer.step()
        momentum = 0.95 * momentum + 0.05 * gradient[0]
        update = 0.2 * max(shape) ** 0.5 * orthogonalised(0.05 * gradient[0] + 0.95 * momentum)
        expected = expected * (1 - 0.1 * 0.2) - 0.1 * update
        moved = (block.matrix.detach() - (1 - 0.1 * 0.2) * before) / 0.1
        assert 0.13 < moved.pow(2).mean().sqrt() < 0.25  # AdamW's size, for every shape
    assert np.allclose(block.matrix.detach().numpy(), expected, atol=5e-3)  # PyTorch's products are in bfloat16


def test_muon_does_not_see_the_size_of_a_gradient():
    made = []
    for factor in (1.0, 64.0):
        block = Block()
        optimizer = make_optimizer(block, settings(), CPU)
        for gradient in drawn(3, [(24, 8)])[1]:
            block.matrix.grad = factor * torch.tensor(gradient[0], dtype=torch.float32)
            optimizer.step()
        made.append(block.matrix.detach())
    assert torch.equal(*made)


def test_the_rest_is_adamws():
    block, alone = Block(), Block()
    optimizer = make_optimizer(block, settings(), CPU)
    other = torch.optim.AdamW(
        [{"params": [alone.image.token_embedding.weight], "weight_decay": 0.2},
         {"params": [alone.scale, alone.image.mlp.c_fc.bias], "weight_decay": 0.0}],
        lr=0.1, betas=(0.9, 0.98), eps=1e-8, fused=True,
    )  # fmt: skip
    for seed in range(3):
        for parameter, twin in zip(block.parameters(), alone.parameters(), strict=True):
            parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
            twin.grad = parameter.grad.clone()
        optimizer.step()
        other.step()
    assert torch.equal(block.image.token_embedding.weight, alone.image.token_embedding.weight)
    assert torch.equal(block.scale, alone.scale)
    assert torch.equal(block.image.mlp.c_fc.bias, alone.image.mlp.c_fc.bias)


def test_a_matrix_without_any_gradient_only_decays():
    block = Block()
    optimizer = make_optimizer(block, settings(), CPU)
    before = block.matrix.detach().clone()
    block.matrix.grad = torch.zeros_like(block.matrix)
    optimizer.step()
    assert torch.allclose(block.matrix, 0.98 * before)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_trained_parameter_is_in_one_group_and_blocks_are_muons(table, method):
    trainer = trainer_of(override(micro_recipe(table, method), ["train.optimizer=muon"]))
    optimizer = trainer.optimizer
    assert isinstance(optimizer, Both)
    names = {id(parameter): name for name, parameter in trainer.method.named_parameters() if parameter.requires_grad}
    muon, adamw = ([names[id(p)] for group in part.param_groups for p in group["params"]] for part in optimizer.parts)
    assert sorted(muon + adamw) == sorted(names.values())
    assert muon
    assert all(".blocks." in name or ".resblocks." in name for name in muon)
    ends = {name.rsplit(".", 2)[-2] + "." + name.rsplit(".", 1)[-1] for name in muon}
    assert ends <= {"attn.in_proj_weight", "out_proj.weight", "c_fc.weight", "c_proj.weight", "qkv.weight",
                    "proj.weight", "fc1.weight", "fc2.weight"}  # fmt: skip
    assert not [name for name in muon if "embed" in name or "head" in name or "projection" in name]
    assert {group["weight_decay"] for group in optimizer.parts[1].param_groups} == {
        0.0,
        trainer.recipe.train.weight_decay,
    }


@pytest.mark.parametrize("recipe", ["photos-clip", "tiny-clip", "photos-aclip"])
def test_muon_has_every_matrix_inside_the_blocks_of_real_towers(recipe):
    pair = build_towers(resolve(find(recipe).towers), seed=0, mask_token=False)
    inside = {
        name: parameter
        for name, parameter in pair.named_parameters()
        if parameter.ndim == 2 and (".blocks." in name or ".resblocks." in name)
    }
    assert len(inside) >= 4
    assert [name for name, parameter in inside.items() if not is_block_matrix(name, parameter)] == []


def test_optimisers_differ(table, tmp_path):
    ends = [
        state_of(train(override(micro_recipe(table, "clip"), [f"train.optimizer={kind}"]), tmp_path / kind))
        for kind in KINDS
    ]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        shared = [name for name in ends[one] if name.startswith("method/towers.image") and name in ends[other]]
        assert any(not torch.equal(ends[one][name], ends[other][name]) for name in shared)


def test_what_muon_cannot_do_is_one_line(monkeypatch):
    with pytest.raises(UserError, match="no matrices of transformer blocks that are trained; set train"):
        make_optimizer(nn.Linear(3, 3), settings(), CPU)
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(UserError, match=r"needs PyTorch 2\.9 or newer, and this is .*: install a newer one"):
        make_optimizer(Block(), settings(), CPU)
