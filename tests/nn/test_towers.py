"""Our towers against open_clip's own models with the same weights. Nothing is trained here."""

import copy

import pytest
import torch
from open_clip.model import CLIP

from askew.nn.cpu import packed_text
from askew.nn.cpu.packed_text import can_pack
from askew.nn.momentum import Momentum
from askew.nn.plain import plain_config, plain_state
from askew.nn.towers import (
    END_TOKEN,
    MASK_TOKEN,
    VOCABULARY,
    TwoTower,
    build_model,
    model_config,
)
from askew.recipes import find
from askew.training.towers import build_towers, open_clip_config, resolve
from helpers import micro_batch, micro_towers

NATIVE = open_clip_config(micro_towers())
TIMM = {"image_size": 32, "timm_model_name": "test_convnext2", "timm_pool": "avg", "timm_model_pretrained": False}


def changed(vision=None, text=None, **fields):
    """The micro configuration with changes."""
    config = copy.deepcopy(NATIVE) | fields
    config["vision_cfg"] |= vision or {}
    config["text_cfg"] |= text or {}
    return config


KINDS = {
    "native": NATIVE,
    "native-average": changed({"pool_type": "avg", "final_ln_after_pool": True}, quick_gelu=True),
    "bidirectional": changed(text={"no_causal_mask": True}),
    "pooled-by-eos": changed(text={"pool_type": "eos", "eos_id": END_TOKEN}),
    "timm-linear": changed(TIMM),
    "timm-mlp": changed(TIMM | {"timm_proj": "mlp", "timm_proj_bias": True}),
    "timm-own-head": changed(TIMM | {"timm_proj": ""}),
}
every_kind = pytest.mark.parametrize("config", KINDS.values(), ids=KINDS)


def pair(config, mask_token=False, seed=0):
    """Our towers, and open_clip's own model with the same weights, both in eval mode."""
    torch.manual_seed(seed)
    model = build_model(config)
    reference = build_model(config)
    reference.load_state_dict(copy.deepcopy(model.state_dict()))
    towers = TwoTower(config, model)
    if mask_token:
        towers.text.append_mask_token()
    return towers.eval(), reference.eval()


@pytest.fixture
def batch():
    return micro_batch([0, 1, 2, 3, 4])


# open_clip's own models


@pytest.mark.parametrize("gradient", [True, False], ids=["gradient", "no-gradient"])
@every_kind
def test_embeddings_are_open_clips_bit_for_bit(config, gradient, batch):
    """PyTorch takes another path through attention when no gradient is needed."""
    towers, reference = pair(config)
    with torch.set_grad_enabled(gradient):
        assert torch.equal(
            towers.image(batch["image"]).embedding, reference.encode_image(batch["image"], normalize=True)
        )
        assert torch.equal(towers.text(batch["text"]).embedding, reference.encode_text(batch["text"], normalize=True))


@every_kind
def test_embeddings_have_unit_length_also_under_autocast(config, batch):
    towers, _ = pair(config)
    for autocast in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            embeddings = towers.image(batch["image"]).embedding, towers.text(batch["text"]).embedding
        for embedding in embeddings:
            assert embedding.dtype == torch.float32
            torch.testing.assert_close(embedding.norm(dim=1), torch.ones(5), rtol=0, atol=1e-6)


@pytest.mark.parametrize("config", [NATIVE, KINDS["timm-linear"]], ids=["native", "timm"])
def test_pooled_features_are_what_the_projection_takes(config, batch):
    """Only the projection lies between the pooled features and open_clip's embedding."""
    towers, reference = pair(config)
    image, text = towers.image(batch["image"]), towers.text(batch["text"])
    weight = reference.visual.proj if config is NATIVE else reference.visual.head.proj.weight.T
    torch.testing.assert_close(image.pooled @ weight, reference.encode_image(batch["image"]))
    torch.testing.assert_close(text.pooled @ reference.text.text_projection, reference.encode_text(batch["text"]))
    assert image.pooled.shape == (5, len(weight))
    assert text.pooled.shape == (5, towers.text.width)
    assert image.tokens is None


def test_token_features_are_open_clips(batch):
    towers, reference = pair(NATIVE)
    wanted = torch.rand(5, 16) < 0.3
    tokens = towers.text(batch["text"], wanted).tokens
    reference.text.output_tokens = True
    assert torch.equal(tokens, reference.text(batch["text"])[1][wanted])
    assert tokens.shape == (wanted.sum(), 32)
    assert towers.text(batch["text"]).tokens.shape == (0, 32)


def test_every_parameter_is_taken_over_once():
    model = build_model(NATIVE)
    before = {id(p) for name, p in model.named_parameters() if name != "logit_scale"}
    towers = TwoTower(NATIVE, model)
    assert {id(p) for p in towers.parameters()} == before


# Rejected by name


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (changed({"timm_model_name": "test_resnet"}), "BatchNorm2d"),
        (changed({"timm_model_name": "test_byobnet"}), "BatchNormAct2d"),
        (changed(TIMM | {"timm_pool": "abs_attn", "timm_proj": ""}), "AttentionPool2d"),
        (changed(TIMM | {"timm_pool": "rot_attn"}), "RotAttentionPool2d"),
        (changed(TIMM | {"timm_proj": "none"}), "timm_proj=linear"),
        (changed({"layers": [1, 1, 1, 1], "width": 8}), "ModifiedResNet"),
        (changed({"pool_type": "none"}), "pool_type='none'"),
        (changed({"attentional_pool": "parallel"}), "pool_type='none'"),
        (changed({"output_tokens": True}), "output_tokens=True"),
        (changed(multimodal_cfg={"layers": 1}), "CoCa"),
        (changed(text={"pool_type": "first"}), "pool_type='first'"),
        (changed(text={"pool_type": "last"}), "pool_type='last'"),
        (changed(text={"pool_type": "none"}), "pool_type='none'"),
        (changed(text={"embed_cls": True}), "embed_cls=True"),
        (changed(text={"proj_bias": True}), "proj_bias=false"),
        (changed(text={"proj_type": "none"}), "projection"),
        (changed({"timm_model_name": "no_such_model"}), "no_such_model"),
        (changed(text={"no_such_field": 1}), "no_such_field"),
        (changed(text={"heads": 5}), "cannot build"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value,
)
def test_other_towers_are_rejected_by_name(config, name):
    with pytest.raises(ValueError, match=name):
        TwoTower(config, build_model(config))


def test_an_image_tower_without_projection_is_rejected():
    model = build_model(NATIVE)
    model.visual.proj = None
    with pytest.raises(ValueError, match="projection"):
        TwoTower(NATIVE, model)


def test_an_unknown_name_gives_the_closest():
    with pytest.raises(ValueError, match="ViT-B-32"):
        model_config("ViT-B32")


# The mask token


def test_a_mask_token_leaves_the_embeddings_of_texts_as_they_are(batch):
    towers, reference = pair(NATIVE, mask_token=True)
    assert towers.text.vocab_size == VOCABULARY + 1
    assert torch.equal(towers.text(batch["text"]).embedding, reference.encode_text(batch["text"], normalize=True))


@pytest.mark.parametrize("mode", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("config", [NATIVE, KINDS["bidirectional"]], ids=["causal", "bidirectional"])
def test_pools_at_the_end_token_although_the_mask_token_is_higher(config, mode, batch):
    towers, _ = pair(config, mask_token=True)
    masked = batch["text"].clone()
    masked[:, 1] = MASK_TOKEN
    at_end, at_mask = masked == END_TOKEN, masked == MASK_TOKEN
    assert len(at_end.nonzero()[:, 1].unique()) > 1
    encoded, other = towers.train(mode).text(masked, at_end), towers.text(masked, at_mask)
    assert torch.equal(encoded.pooled, encoded.tokens)
    assert torch.equal(encoded.pooled, other.pooled) or mode
    assert not torch.allclose(other.pooled, other.tokens)
    assert MASK_TOKEN > END_TOKEN == masked[masked != MASK_TOKEN].max()


def test_a_mask_token_starts_as_the_mean_word():
    towers, reference = pair(NATIVE, mask_token=True)
    words = reference.text.token_embedding.weight
    assert torch.equal(towers.text.trunk.token_embedding.weight[:-1], words)
    difference = towers.text.trunk.token_embedding.weight[-1] - words.mean(dim=0)
    assert 0.01 < difference.std() < 0.04  # the usual noise, 0.02


def test_a_mask_token_is_appended_once_and_to_open_clips_vocabulary():
    towers, _ = pair(NATIVE, mask_token=True)
    with pytest.raises(ValueError, match=f"{VOCABULARY}-token vocabulary, but this text tower has {VOCABULARY + 1}"):
        towers.text.append_mask_token()


# Trimming


DEEP = {
    "one-block": NATIVE,
    "two-blocks": changed(text={"layers": 2}),
    "scaled": changed(text={"layers": 3, "ls_init_value": 0.5}, quick_gelu=True),
}
either_way = pytest.mark.parametrize("packs", [True, False], ids=["packed", "trimmed"])  # on CPUs, and on other devices


def in_training(config, packs, monkeypatch):
    """Towers in training mode and open_clip's model, with weights far from their small initial values."""
    monkeypatch.setattr("askew.nn.text_towers.can_pack", lambda trunk: packs)
    towers, reference = pair(config)
    with torch.no_grad():
        for name, parameter in reference.text.named_parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
            own = "projection.weight" if name == "text_projection" else f"trunk.{name}"
            towers.text.get_parameter(own).copy_(parameter)
    assert towers.text.causal
    return towers.train(), reference


@either_way
@pytest.mark.parametrize("config", DEEP.values(), ids=DEEP)
def test_a_causal_tower_in_training_embeds_as_open_clip_does(config, packs, batch, monkeypatch):
    towers, reference = in_training(config, packs, monkeypatch)
    real = batch["text"] > 0
    for wanted in (None, real, real & (torch.rand(5, 16) < 0.3)):
        encoded = towers.text(batch["text"], wanted)
        reference.text.output_tokens = True
        pooled, tokens = reference.text(batch["text"])
        reference.text.output_tokens = False
        torch.testing.assert_close(encoded.embedding, reference.encode_text(batch["text"], normalize=True))
        torch.testing.assert_close(encoded.pooled @ towers.text.projection.weight, pooled, rtol=1e-4, atol=1e-4)
        if wanted is not None:
            torch.testing.assert_close(encoded.tokens, tokens[wanted], rtol=1e-4, atol=1e-4)


@either_way
@pytest.mark.parametrize("config", DEEP.values(), ids=DEEP)
def test_trimming_and_packing_do_not_change_the_gradient(config, packs, batch, monkeypatch):
    towers, reference = in_training(config, packs, monkeypatch)
    wanted, weight = (batch["text"] > 0) & (torch.rand(5, 16) < 0.5), torch.randn(5, 16)
    encoded = towers.text(batch["text"], wanted)
    ((encoded.embedding * weight).sum() + encoded.tokens.square().sum()).backward()
    (reference.encode_text(batch["text"], normalize=True) * weight).sum().backward()
    reference.text.output_tokens = True
    reference.text(batch["text"])[1][wanted].square().sum().backward()
    expected = dict(reference.text.named_parameters())
    for name, parameter in towers.text.trunk.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name].grad, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(
        towers.text.projection.weight.grad, expected["text_projection"].grad, rtol=1e-4, atol=1e-4
    )


def test_useless_work_is_skipped(batch, monkeypatch):
    """Pads, and tokens of the last block that are not wanted, do not reach the wide products. A few spare rows do."""
    monkeypatch.setattr(packed_text, "BUCKET", 4)
    towers, _ = pair(DEEP["two-blocks"])
    rows = []
    for block in towers.text.trunk.transformer.resblocks:
        block.mlp.register_forward_hook(lambda module, inputs, output: rows.append(len(inputs[0])))
    towers.train().text(batch["text"])
    assert rows == [-(-int((batch["text"] > 0).sum()) // 4) * 4, 8]  # 5 end tokens


@pytest.mark.parametrize("kind", ["bidirectional", "custom", "checkpointed", "compiled"])
def test_other_text_towers_are_left_to_open_clip(kind, batch):
    config = changed(text={"custom": {"scale_attn": True}, "bidirectional": {"no_causal_mask": True}}.get(kind))
    towers, reference = pair(config)
    trunk = towers.text.trunk
    assert can_pack(pair(NATIVE)[0].text.trunk)
    if kind == "checkpointed":
        trunk.set_grad_checkpointing()
    if kind == "compiled":
        trunk._compiled_call_impl = trunk._call_impl
    assert not can_pack(trunk)
    embedding = towers.train().text(batch["text"]).embedding
    torch.testing.assert_close(embedding, reference.encode_text(batch["text"], normalize=True), rtol=0, atol=1e-6)


def test_texts_of_full_length_are_not_cut(batch):
    towers, reference = pair(NATIVE)
    text = batch["text"].clone()
    text[0, 1:] = torch.arange(5, 20)
    text[0, -1] = END_TOKEN
    encoded = towers.train().text(text)
    torch.testing.assert_close(encoded.embedding, reference.encode_text(text, normalize=True), rtol=0, atol=1e-6)


def test_a_bidirectional_tower_is_not_trimmed_and_not_changed(batch):
    """It attends to pads, so it must see those that it was pretrained with."""
    towers, reference = pair(KINDS["bidirectional"])
    encoded = towers.train().text(batch["text"])
    assert not towers.text.causal
    assert torch.equal(encoded.embedding, reference.encode_text(batch["text"], normalize=True))
    short = batch["text"][:, :10]
    assert (towers.text(short).embedding - encoded.embedding).abs().max() > 1e-3


# The exported model


@pytest.mark.parametrize("mask_token", [False, True], ids=["", "mask"])
@every_kind
def test_the_plain_layout_is_an_open_clip_model_with_the_same_embeddings(config, mask_token, batch):
    towers, _ = pair(config, mask_token)
    plain = CLIP(**plain_config(config)).eval()
    plain.load_state_dict(plain_state(towers.image, towers.text, torch.tensor([2.5])), strict=True)
    assert plain.logit_scale.item() == 2.5
    assert plain.token_embedding.num_embeddings == VOCABULARY
    assert torch.equal(plain.encode_image(batch["image"], normalize=True), towers.image(batch["image"]).embedding)
    assert torch.equal(plain.encode_text(batch["text"], normalize=True), towers.text(batch["text"]).embedding)


@pytest.mark.parametrize("config", [NATIVE, KINDS["timm-linear"]], ids=["native", "timm"])
def test_a_teacher_is_exported_with_the_students_text_tower(config, batch):
    towers, _ = pair(config)
    teacher = Momentum(towers.image)
    plain = CLIP(**plain_config(config)).eval()
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
        plain.load_state_dict(plain_state(teacher.module, towers.text, torch.zeros(1)), strict=True)
        assert torch.equal(plain.encode_image(batch["image"], normalize=True), teacher(batch["image"]).embedding)
        assert torch.equal(plain.encode_text(batch["text"], normalize=True), towers.text(batch["text"]).embedding)
        assert not torch.equal(teacher(batch["image"]).embedding, towers.image(batch["image"]).embedding)


def test_the_plain_state_is_a_copy():
    towers, _ = pair(NATIVE)
    state = plain_state(towers.image, towers.text, torch.zeros(1))
    before = {name: value.clone() for name, value in state.items()}
    with torch.no_grad():
        for parameter in towers.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(value, before[name]) for name, value in state.items())
    assert all(value.is_contiguous() and not value.requires_grad for value in state.values())


def test_the_plain_configuration_needs_no_download_and_leaves_the_given_one_unchanged():
    config = changed(
        TIMM | {"timm_model_pretrained": True}, {"pool_type": "eos", "eos_id": END_TOKEN}, custom_text=True
    )
    before = copy.deepcopy(config)
    plain = plain_config(config)
    assert config == before
    assert plain["vision_cfg"]["timm_model_pretrained"] is False
    assert plain["text_cfg"]["pool_type"] == "argmax"
    assert "eos_id" not in plain["text_cfg"]
    assert "custom_text" not in plain


def test_towers_keep_their_own_copy_of_the_configuration():
    config = changed()
    towers = TwoTower(config, build_model(config))
    config["text_cfg"]["width"] = 0
    assert towers.config == NATIVE


def test_gradients_are_reproducible_with_two_threads():
    """If threads decided the order of a sum, its last digit would vary, and no run could be repeated exactly."""
    pair = build_towers(resolve(find("tiny").towers), 0, False)
    torch.manual_seed(0)
    text = torch.zeros(128, 32, dtype=torch.long)
    for row, length in enumerate(torch.randint(3, 32, (128,)).tolist()):
        text[row, :length] = torch.randint(1, 49_000, (length,))
        text[row, length] = END_TOKEN
    image, threads = torch.randn(64, 3, 40, 40), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        seen = []
        for _ in range(4):
            pair.zero_grad()
            (pair.image(image).embedding[:, :8].sum() + pair.text(text).embedding[:, :8].sum()).backward()
            seen.append({name: p.grad.clone() for name, p in pair.named_parameters() if p.grad is not None})
    finally:
        torch.set_num_threads(threads)
    different = {name for other in seen[1:] for name in other if not torch.equal(other[name], seen[0][name])}
    assert different == set()
