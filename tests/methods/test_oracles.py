"""Our losses and gradients equal those of the official code on the same inputs: tests/oracles/README.md."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from open_clip.transformer import ResidualAttentionBlock
from torch import nn
from torch.nn.functional import normalize

from askew.methods.aclip import ACLIP
from askew.methods.albef import ALBEF
from askew.methods.declip import NEIGHBOURS, TEXTS, DeCLIP
from askew.methods.fastclip import FastCLIP
from askew.methods.slip import SLIP
from askew.methods.words import WordPrediction
from askew.nn.chosen_patches import BOX, FLIP, best_patches, class_row, scores_in_view
from askew.nn.heads import Head, TokenHead
from askew.nn.momentum import Momentum
from askew.nn.queue import NearestNeighbours, PairQueue
from askew.nn.towers import Encoded, unit
from askew.objectives.masked_language import NOT_MASKED, cross_entropy_per_sample
from helpers import micro_method
from oracles.inputs import (
    ACLIP_GRID,
    ACLIP_HEADS,
    ACLIP_IMAGE,
    ACLIP_MOMENTUM,
    ACLIP_RATE,
    ACLIP_TEMPERATURE,
    ALBEF_MOMENTUM,
    ALBEF_QUEUE,
    ALBEF_RATE,
    ALBEF_STEPS,
    ALBEF_WIDTH,
    BATCH,
    DIMENSION,
    FASTCLIP_ROWS,
    FASTCLIP_SAMPLES,
    FASTCLIP_VISITS,
    PAIRS,
    QUEUE,
    TOKENS,
    VOCABULARY,
    WIDTH,
    aclip_attention,
    aclip_crops,
    caption_ids,
    linear,
    scale,
    uniform,
)

ORACLES = Path(__file__).parents[1] / "oracles"
LIMIT = 1e-5  # relative error


def leaf(array):
    return torch.tensor(array).requires_grad_()


def numbers(name):
    return json.loads((ORACLES / f"{name}.json").read_text(encoding="utf-8"))


def assert_gradients(tensors, expected):
    """Relative error of each gradient as a whole."""
    assert_near({name: tensor.grad for name, tensor in tensors.items()}, expected)


def assert_near(tensors, expected):
    """Relative error of each tensor as a whole."""
    assert tensors.keys() == expected.keys()
    for name, tensor in tensors.items():
        official = np.array(expected[name])
        assert np.linalg.norm(official) > 1e-3, name
        assert np.linalg.norm(tensor.detach().numpy() - official) < LIMIT * np.linalg.norm(official), name


def test_slip_is_the_official_code():
    """CLIP's loss, SimCLR's loss and their sum, through the official head with BatchNorm."""
    expected = numbers("slip")
    method = micro_method(SLIP.Config(temperature=0.2, head=(9, 9, 8)))
    method.head = Head([WIDTH, 9, 9, 8])
    with torch.no_grad():
        for number, (before, after) in enumerate([(WIDTH, 9), (9, 9), (9, 8)]):
            method.head.linear[number].weight.copy_(torch.tensor(linear(f"layer{number + 1}", before, after)))
        method.head.linear[2].bias.copy_(torch.tensor(uniform("bias3", 8)))
        for number in (1, 2):
            method.head.norm[number - 1].weight.copy_(torch.tensor(scale(f"bn{number}", 9)))
            method.head.norm[number - 1].bias.copy_(torch.tensor(uniform(f"shift{number}", 9)))
    widths = {"image": DIMENSION, "text": DIMENSION, "aug": WIDTH, "aug2": WIDTH}
    tensors = {name: leaf(uniform(name, BATCH, width)) for name, width in widths.items()}
    local = {"match_id": torch.arange(BATCH), "aug": tensors["aug"], "aug2": tensors["aug2"]}
    local |= {name: normalize(tensors[name], dim=-1) for name in ("image", "text")}
    loss, terms = method.objective(local, local, 0.0)
    loss.backward()
    for name, value in {"loss": loss, **terms}.items():
        assert value.item() == pytest.approx(expected[name], rel=LIMIT), name
    assert_gradients(tensors, expected["gradients"])


def official_declip():
    """Our DeCLIP with the weights of make_declip.py. Its towers are not used."""
    method = micro_method(DeCLIP.Config(queue_size=QUEUE))
    method.projector, method.predictor = Head([DIMENSION, 9, 9, 9], last_norm=True), Head([9, 6, 9])
    method.token_head, method.queue = TokenHead(WIDTH, VOCABULARY), NearestNeighbours(QUEUE, DIMENSION)
    method.queue.bank.copy_(normalize(torch.tensor(uniform("bank", QUEUE, DIMENSION)), dim=1))
    maps = {
        "projector1": (method.projector.linear[0], DIMENSION, 9),
        "projector2": (method.projector.linear[1], 9, 9),
        "projector3": (method.projector.linear[2], 9, 9),
        "predictor1": (method.predictor.linear[0], 9, 6),
        "predictor2": (method.predictor.linear[1], 6, 9),
        "words": (method.token_head, WIDTH, VOCABULARY),
    }
    norms = {
        "projector norm1": (method.projector.norm[0], 9),
        "projector norm2": (method.projector.norm[1], 9),
        "projector norm3": (method.projector.last_norm, 9),
        "predictor norm1": (method.predictor.norm[0], 6),
    }
    with torch.no_grad():
        method.temperature.log_scale.fill_(uniform("log_scale", 1)[0] + 1.5)
        for name, (linear_map, before, after) in maps.items():
            linear_map.weight.copy_(torch.tensor(linear(name, before, after)))
            if linear_map.bias is not None:  # the official biases before a BatchNorm have no effect
                linear_map.bias.copy_(torch.tensor(uniform(f"{name} bias", after)))
        for name, (norm, width) in norms.items():
            norm.weight.copy_(torch.tensor(scale(name, width)))
            if norm.bias is not None:
                norm.bias.copy_(torch.tensor(uniform(f"{name} shift", width)))
    return method


def test_declip_is_the_official_code():
    """All four losses and the total, through the official heads, queue and solver; the scale's gradient; the queue."""
    expected, method = numbers("declip"), official_declip()
    tensors = {name: leaf(uniform(name, BATCH, DIMENSION)) for name in ("image", "image2", "text", "text_aug")}
    tensors["tokens"] = leaf(uniform("tokens", BATCH, TOKENS, WIDTH))
    labels = torch.full((BATCH, TOKENS), NOT_MASKED)
    labels[0, 1], labels[0, 4], labels[2, 2], labels[4, 5], labels[4, 0] = 3, 22, 0, 7, 7

    local = {name: normalize(tensors[name], dim=-1) for name in ("image", "image2", "text", "text_aug")}
    local |= {f"{name}_projected": tensors[name] for name in ("image", "image2")}
    local |= {near: method.queue.nearest(local[name]) for near, name in zip(NEIGHBOURS, TEXTS, strict=True)}
    logits, kept, sample = method.token_head.masked(tensors["tokens"][labels != NOT_MASKED], labels)
    local["mlm_sum"], local["mlm_count"] = cross_entropy_per_sample(logits, kept, sample, BATCH)
    local["match_id"] = torch.arange(BATCH)
    loss, terms = method.objective(local, local, 0.0)
    loss.backward()
    for name, value in {"loss": loss, **terms}.items():
        assert value.item() == pytest.approx(expected[name], rel=LIMIT), name
    assert_gradients(tensors, expected["gradients"])
    assert method.temperature.log_scale.grad.tolist() == pytest.approx(expected["scale_gradient"], rel=LIMIT)

    method.after_step({name: value.detach() for name, value in local.items()}, 1.0)
    torch.testing.assert_close(method.queue.bank, torch.tensor(expected["bank"]), rtol=LIMIT, atol=1e-7)


def test_word_prediction_is_the_official_code():
    """SuperCLIP's head and loss over three steps, whose shares of captions are our counts."""
    expected = numbers("superclip")["steps"]
    words = WordPrediction(WIDTH, VOCABULARY, 1.0, "released")
    with torch.no_grad():
        words.head.linear.weight.copy_(torch.tensor(linear("words", WIDTH, VOCABULARY)))
        words.head.linear.bias.copy_(torch.tensor(uniform("words bias", VOCABULARY)))
        words.head.norm.weight.copy_(torch.tensor(scale("words norm", WIDTH)))
        words.head.norm.bias.copy_(torch.tensor(uniform("words shift", WIDTH)))
    for step, official in enumerate(expected):
        features, logits = leaf(uniform(f"features{step}", BATCH, WIDTH)), []
        handle = words.head.linear.register_forward_hook(lambda module, inputs, z, to=logits: to.append(z))
        embedded = words.embed(Encoded(features, features), torch.tensor(caption_ids(step)))
        handle.remove()
        logits[0].retain_grad()
        loss, _ = words.add_to(torch.tensor(0.0), {}, embedded, embedded)
        loss.backward()
        assert loss.item() == pytest.approx(official["loss"], rel=LIMIT)
        assert_gradients({"features": features, "logits": logits[0]}, official["gradients"])
        words.count_(embedded)
        np.testing.assert_allclose(words.counts / BATCH, official["shares"], rtol=1e-6)
        assert words.seen.item() == official["num_steps"] * BATCH


def test_fastclip_is_the_official_code():
    """Gradients of features and scale, and u, at three visits with gamma 1, 0.6 and 0.2; two samples are not in all."""
    expected = numbers("fastclip")
    method = micro_method(FastCLIP.Config(rho=expected["rho"], eps=expected["eps"], gamma_min=0.2, gamma_decay=1.0))
    method.allocate(FASTCLIP_SAMPLES)
    log_scale = method.temperature.log_scale
    for number, visit in enumerate(expected["visits"]):
        with torch.no_grad():
            log_scale.fill_(uniform(f"log_scale{number}", 1)[0] + 1.5)
        method.zero_grad()
        tensors = {name: leaf(uniform(f"{name}{number}", BATCH, DIMENSION)) for name in ("image", "text")}
        local = {name: normalize(tensors[name], dim=-1) for name in tensors} | {"match_id": torch.arange(BATCH)}
        local |= method.targets({"row": torch.tensor(FASTCLIP_ROWS[number])})
        loss, terms = method.objective(local, local, number / 2)
        loss.backward()
        assert terms["gamma"].item() == pytest.approx(FASTCLIP_VISITS[number])
        assert_gradients(tensors, {name: visit["gradients"][name] for name in tensors})
        assert log_scale.grad.item() == pytest.approx(visit["gradients"]["log_scale"], rel=LIMIT)
        with torch.no_grad():
            log_scale.add_(0.3)  # a step, after which u still needs the scale from before
        method.after_step({name: value.detach() for name, value in local.items()}, (number + 1) / 2)
        torch.testing.assert_close(method.log_u.values.exp(), torch.tensor(visit["u"]), rtol=LIMIT, atol=0.0)


class OneMap(nn.Module):
    """A tower of one linear map and its projection, like the stand-ins of make_albef.py."""

    def __init__(self, name):
        super().__init__()
        self.tower, self.projection = (
            nn.Parameter(torch.tensor(linear(f"albef {name} {part}", ALBEF_WIDTH, after)))
            for part, after in (("tower", ALBEF_WIDTH), ("projection", DIMENSION))
        )

    def forward(self, rows, wanted=None):
        pooled = rows @ self.tower.T
        return Encoded(pooled, unit(pooled @ self.projection.T), None)


def official_albef():
    """Our ALBEF with the weights and the queue of make_albef.py."""
    config = ALBEF.Config(queue_size=ALBEF_QUEUE, momentum=ALBEF_MOMENTUM, alpha=0.4, alpha_ramp=0.5)
    method = micro_method(config)
    method.towers.image, method.towers.text = OneMap("image"), OneMap("text")
    method.teacher_image, method.teacher_text = Momentum(method.towers.image), Momentum(method.towers.text)
    method.queue = PairQueue(ALBEF_QUEUE, DIMENSION)
    for name in ("image", "text"):
        bank = torch.tensor(uniform(f"albef {name} queue", ALBEF_QUEUE, DIMENSION))
        method.queue.get_buffer(name).copy_(normalize(bank, dim=1))
    return method


def weights_of(**towers):
    return {
        f"{name} {part}": tower.get_parameter(part)
        for name, tower in towers.items()
        for part in ("tower", "projection")
    }


def test_albef_is_the_official_code():
    """Several steps of training: every loss and gradient, that of the temperature, the teacher, and both queues."""
    expected, method = numbers("albef"), official_albef()
    student = weights_of(image=method.towers.image, text=method.towers.text)
    for number, ((progress, alpha, temperature), step) in enumerate(zip(ALBEF_STEPS, expected["steps"], strict=True)):
        assert method.alpha_at(progress) == pytest.approx(alpha)
        with torch.no_grad():
            method.temperature.log_scale.fill_(-np.log(temperature))
        views = {
            name: torch.tensor(uniform(f"albef {name} {number}", PAIRS, ALBEF_WIDTH)) for name in ("image", "text")
        }
        batch = {"match_id": torch.arange(PAIRS) + PAIRS * number, **views}
        local = {"match_id": batch["match_id"], **method.targets(batch), **method.embed(batch)}
        loss, terms = method.objective(local, local, progress)
        method.zero_grad()
        loss.backward()
        assert loss.item() == terms["contrast"].item() == pytest.approx(step["contrast"], rel=LIMIT)
        assert_gradients(student, step["gradients"])
        # Ours is that of log(1 / tau)
        by_temperature = -method.temperature.log_scale.grad.item() / temperature
        assert by_temperature == pytest.approx(step["temperature_gradient"], rel=LIMIT)
        with torch.no_grad():
            for weight in student.values():
                weight -= ALBEF_RATE * weight.grad
        method.after_step({name: value.detach() for name, value in local.items()}, progress)
    assert_near(weights_of(image=method.teacher_image.module, text=method.teacher_text.module), expected["teacher"])
    assert_near(
        {"image_queue": method.queue.image, "text_queue": method.queue.text},
        {name: expected[name] for name in ("image_queue", "text_queue")},
    )


def official_aclip():
    """Our A-CLIP with the weights of make_aclip.py. Its towers are not used."""
    method = micro_method(ACLIP.Config(temperature=ACLIP_TEMPERATURE, momentum=ACLIP_MOMENTUM))
    hidden, output = ACLIP_HEADS
    method.head = Head([WIDTH, hidden, hidden, output])
    method.projector = Head([WIDTH, hidden, output], last_bias=False)
    method.predictor = Head([output, hidden, output], last_bias=False)
    with torch.no_grad():
        for name in ("head", "projector", "predictor"):
            head = method.get_submodule(name)
            for number, layer in enumerate(head.linear):
                weight = linear(f"aclip {name} {number}", layer.in_features, layer.out_features)
                layer.weight.copy_(torch.tensor(weight))
            for number, norm in enumerate(head.norm):
                norm.weight.copy_(torch.tensor(scale(f"aclip {name} scale {number}", len(norm.weight))))
                norm.bias.copy_(torch.tensor(uniform(f"aclip {name} shift {number}", len(norm.bias))))
        method.head.linear[-1].bias.copy_(torch.tensor(uniform("aclip head bias", output)))
    method.teacher_projector = Momentum(method.projector)
    return method


def test_aclip_is_the_official_code():
    """Two steps of gradient descent: losses and gradients, with SimCLR as released and as meant; the teacher's head."""
    expected, method = numbers("aclip"), official_aclip()
    projection = leaf(uniform("aclip projection", WIDTH, DIMENSION))
    for number, step in enumerate(expected["steps"]):
        for views in ("both", "first_twice"):  # the official step follows the last one
            method.config = method.config.model_copy(update={"simclr_views": views})
            method.zero_grad()
            projection.grad = None
            made = {name: leaf(uniform(f"aclip {name} {number}", BATCH, WIDTH)) for name in ("aug", "aug2")}
            made["text"] = leaf(uniform(f"aclip text {number}", BATCH, DIMENSION))
            embedded = {name: unit(made[view] @ projection) for name, view in (("image", "aug"), ("image2", "aug2"))}
            local = {"match_id": torch.arange(BATCH), **made, **embedded, "text": unit(made["text"])}
            local["teacher"] = torch.tensor(uniform(f"aclip teacher {number}", BATCH, WIDTH))
            loss, terms = method.objective(local, local, 0.0)
            loss.backward()
            assert loss.item() == pytest.approx(step[views]["loss"], rel=LIMIT)
            assert terms["simclr"].item() == pytest.approx(step[views]["simclr"], rel=LIMIT)
            assert_gradients(
                {**made, "projection": projection},
                {name: value for name, value in step[views]["gradients"].items() if name != "log_scale"},
            )
            by_scale = step[views]["gradients"]["log_scale"]
            assert method.temperature.log_scale.grad.item() == pytest.approx(by_scale, rel=LIMIT)
        assert terms["contrast"].item() == pytest.approx(step["contrast"], rel=LIMIT)
        assert terms["byol"].item() == pytest.approx(step["byol"], rel=LIMIT)
        if number + 1 < len(expected["steps"]):  # the code moves its teacher at the beginning of the next step
            moved = [projection, *(p for p in method.parameters() if p.grad is not None)]
            with torch.no_grad():
                for parameter in moved:
                    parameter -= ACLIP_RATE * parameter.grad
            method.after_step({name: value.detach() for name, value in local.items()}, 0.0)
    teacher, theirs = method.teacher_projector.module, expected["teacher_projector"]
    ours = {"0.weight": teacher.linear[0].weight, "1.weight": teacher.norm[0].weight, "1.bias": teacher.norm[0].bias}
    assert_near({**ours, "3.weight": teacher.linear[1].weight}, theirs)


def test_aclip_chooses_the_official_patches():
    """Scores of two layers, their map in a view, and the blocks that are kept: of the map itself, and of both views.

    The code resizes the map to pixels and back. Ours reads it off at the centres of the patches.
    """
    expected, scores = numbers("aclip"), []
    tokens = torch.tensor(uniform("aclip tokens", BATCH, 7, 12))
    names = {"norm": "ln_", "attn.qkv.": "attn.in_proj_", "attn.proj": "attn.out_proj"}
    names |= {"mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    for number in range(2):
        block = ResidualAttentionBlock(12, 3)
        with torch.no_grad():
            for ours, parameter in block.named_parameters():
                theirs = ours
                for timms, open_clips in names.items():
                    theirs = theirs.replace(open_clips, timms)
                values = uniform(f"aclip block {number} {theirs}", *parameter.shape) / 2
                parameter.copy_(torch.tensor(values))
            scores.append(class_row(block.attn, block.ln_1(tokens))[:, 1:])
            tokens = block(tokens)
    np.testing.assert_allclose(sum(scores) / 2, expected["scores"], rtol=LIMIT)

    attention, crops = torch.tensor(aclip_attention()), torch.tensor(aclip_crops()).float()
    assert blocks_of(best_patches(attention, ACLIP_GRID, 0.5, more=1)) == expected["best"]
    height, width = ACLIP_IMAGE
    recorded = torch.zeros(BATCH, 3, FLIP + 1)
    recorded[..., BOX] = crops[..., [1, 0, 3, 2]] / torch.tensor([width, height, width, height])
    for view, blocks in enumerate(expected["blocks"]):
        of_view = scores_in_view(attention, ACLIP_GRID, recorded[:, 2], recorded[:, view])
        assert blocks_of(best_patches(of_view, ACLIP_GRID, 0.5, more=1)) == blocks
        if view == 0:
            spread = np.ptp(expected["map"])
            np.testing.assert_allclose(of_view[0], expected["map"], rtol=0, atol=0.02 * spread)


def blocks_of(keep):
    """The blocks of 2 x 2 patches, ascending, whose patches are kept, for each image."""
    rows, columns = keep // ACLIP_GRID[1], keep % ACLIP_GRID[1]
    return [row.unique().tolist() for row in rows // 2 * (ACLIP_GRID[1] // 2) + columns // 2]
