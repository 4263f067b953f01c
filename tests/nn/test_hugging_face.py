"""Text towers of Hugging Face against open_clip's own encoder with the same weights."""

import copy

import pytest
import torch
from torch import nn

from askew.config import TowerSettings
from askew.nn.locking import lock
from askew.nn.momentum import Momentum
from askew.nn.plain import plain_config, plain_state
from askew.training.optimizer import is_block_matrix
from askew.training.text import text_of
from askew.training.towers import build_towers, open_clip_config, resolve
from text_folders import CAPTIONS, text_folder, with_text_folder

KINDS = ("bert", "xlm-roberta", "mt5")
POOLERS = {"bert": "cls_pooler", "xlm-roberta": "mean_pooler", "mt5": "mean_pooler"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {kind: text_folder(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}


def settings(folder, **text_cfg) -> TowerSettings:
    """Resolved micro towers with the text tower of a folder, random."""
    return resolve(with_text_folder(folder, **text_cfg))


def tokens(towers: TowerSettings, captions=CAPTIONS) -> torch.Tensor:
    text = text_of(towers)
    return torch.stack([text.tokenizer(caption, text.context_length) for caption in captions])


@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_are_open_clips_bit_for_bit_and_trimming_changes_rounding_only(folders, kind):
    resolved = settings(folders[kind], hf_pooler_type=POOLERS[kind], context_length=36)
    towers, ids = build_towers(resolved, seed=0, mask_token=False), tokens(resolved)
    reference = text_of(resolved).build(open_clip_config(resolved), with_weights=False).eval()
    state = plain_state(towers.image, towers.text, torch.zeros(1))
    found = {key: value for key, value in state.items() if key.startswith("text.")}
    assert not reference.load_state_dict(found, strict=False).unexpected_keys
    with torch.no_grad():
        ours = towers.eval().text(ids, ids != towers.text.pad)
        expected = reference.encode_text(ids, normalize=True)
        trimmed = towers.train().text(ids, ids != towers.text.pad)
    assert torch.equal(ours.embedding, expected)
    assert ours.embedding.shape == (len(ids), 16)
    assert ours.pooled.shape == (len(ids), towers.text.width) == (len(ids), 32)
    assert (ids == towers.text.pad).any(dim=1).all()  # so something was trimmed
    assert float((trimmed.embedding - ours.embedding).abs().max()) < 1e-6
    assert float((trimmed.tokens - ours.tokens).abs().max()) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_not_attended_to(folders, kind):
    """A text alone, and the same text padded by a longer context."""
    short, long = settings(folders[kind], context_length=12), settings(folders[kind], context_length=36)
    tower = build_towers(long, seed=0, mask_token=False).eval().text
    with torch.no_grad():
        few, many = (tower(tokens(s, ["二匹の犬"])).embedding for s in (short, long))
    assert float((few - many).abs().max()) < 1e-6


def test_the_mask_token_is_the_tokenizers_or_an_appended_row(folders):
    for kind, appended in (("bert", 0), ("xlm-roberta", 0), ("mt5", 1)):
        resolved = settings(folders[kind])
        towers, text = build_towers(resolved, seed=0, mask_token=True), text_of(resolved)
        assert towers.text.vocab_size == towers.text.plain_vocab_size + appended
        assert text.mask == (towers.text.plain_vocab_size if appended else text.tokenizer.mask)
        saved = plain_state(towers.image, towers.text, torch.zeros(1))
        rows = [v.shape[0] for k, v in saved.items() if "word_embeddings" in k or "embed_tokens" in k]
        assert rows == [text.files.config["vocab_size"]]


def test_what_is_saved_names_no_folder_of_this_machine(folders):
    made = plain_config(open_clip_config(settings(folders["bert"])))["text_cfg"]
    assert (made["hf_model_name"], made["hf_tokenizer_name"], made["hf_model_pretrained"]) == (".", ".", False)
    named = plain_config({"vision_cfg": {}, "text_cfg": {"hf_model_name": "xlm-roberta-base"}})["text_cfg"]
    assert named["hf_model_name"] == named["hf_tokenizer_name"] == "xlm-roberta-base"


def test_weights_of_the_folder_are_loaded_and_random_ones_follow_token_std(tmp_path):
    folder = text_folder(tmp_path / "with", "bert", weights=True)
    loaded = build_towers(settings(folder, hf_model_pretrained=True), seed=0, mask_token=False).text
    from transformers import AutoModel

    saved = AutoModel.from_pretrained(folder).state_dict()
    assert all(torch.equal(value, saved[name]) for name, value in loaded.trunk.state_dict().items())
    random = settings(folder)
    half = build_towers(random.model_copy(update={"token_std": 0.01}), seed=0, mask_token=False).text.trunk
    whole = build_towers(random, seed=0, mask_token=False).text.trunk
    torch.testing.assert_close(half.get_input_embeddings().weight * 2, whole.get_input_embeddings().weight)


@pytest.mark.parametrize("kind", KINDS)
def test_a_locked_tower_trains_its_last_block_and_what_follows(folders, kind):
    tower = build_towers(settings(folders[kind], hf_pooler_type=POOLERS[kind]), seed=0, mask_token=False).text
    lock(tower, 1)
    trained = {name for name, parameter in tower.named_parameters() if parameter.requires_grad}
    block = "trunk.block.1." if kind == "mt5" else "trunk.encoder.layer.1."
    after = tuple(name for name in ("trunk.pooler.", "trunk.final_layer_norm.", "projection."))
    assert trained == {name for name, _ in tower.named_parameters() if name.startswith((block, *after))}
    matrices = {name for name, p in tower.named_parameters() if is_block_matrix(f"text.{name}", p)}
    of_block = {n for n, p in tower.named_parameters() if p.ndim == 2 and n.startswith(block)}
    assert matrices == of_block - {n for n in of_block if "relative" in n}


def test_a_teacher_has_no_dropout_and_a_student_the_generators(tmp_path):
    resolved = settings(text_folder(tmp_path / "drops", "bert", dropout=0.5))
    tower, ids = build_towers(resolved, seed=0, mask_token=False).train().text, tokens(resolved)
    teacher = Momentum(tower).train()
    assert torch.equal(teacher(ids).embedding, teacher(ids).embedding)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(tower(ids).embedding)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_a_tower_without_a_projection_is_refused(folders):
    with pytest.raises(Exception, match="hf_proj_type=linear or mlp"):
        build_towers(settings(folders["bert"], hf_proj_type="none"), seed=0, mask_token=False)
    same = settings(folders["bert"], hf_proj_type=None).model_copy(update={"embed_dim": 32})
    assert isinstance(build_towers(same, seed=0, mask_token=False).text.projection, nn.Identity)
    assert copy.deepcopy(same) == same
