"""Training with a text tower of Hugging Face, from the contract of a method to a saved model that was moved."""

import json
import shutil
import sys
from functools import partial

import open_clip
import pytest
import torch

import askew
from askew.data.short_text import ShortText
from askew.data.tokens import MaskedTokens, Tokens
from askew.errors import UserError
from askew.methods.albef import ALBEF
from askew.methods.clip import CLIP
from askew.methods.mcd import MCD
from askew.nn.towers import DIRECTORY_CONFIG
from askew.recipes.settings import override
from askew.training.build import build, build_method
from askew.training.contract import CHECKS, check_method, micro
from askew.training.text import text_of
from askew.training.towers import resolve
from helpers import METHOD_NAMES, METHODS, micro_batch, micro_method, micro_towers, write_pairs
from micro_runs import assert_same_state, metrics_of, micro_recipe, state_of, train
from text_folders import CAPTIONS, edit_json, text_folder, with_text_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return text_folder(tmp_path_factory.mktemp("bert"), "bert")


@pytest.fixture
def micro_text(folder, monkeypatch):
    """The micro method and its batches with this text tower."""
    resolved = resolve(with_text_folder(folder))
    text = text_of(resolved)
    monkeypatch.setattr(micro, "micro_towers", lambda patch_size: resolved)
    monkeypatch.setattr(micro, "Tokens", partial(Tokens, folder=text.folder))
    monkeypatch.setattr(micro, "MaskedTokens", partial(MaskedTokens, folder=text.folder, mask=text.mask))
    monkeypatch.setattr(micro, "ShortText", partial(ShortText, folder=text.folder))
    return text


@pytest.mark.parametrize("config", METHODS, ids=METHOD_NAMES)
def test_every_method_trains_such_a_tower(config, micro_text):
    method = micro_method(config)
    loss, terms, gradients = micro.run_step(method, micro_batch([0, 1, 2, 3, 3, 5]))
    assert torch.isfinite(loss)
    trained = {name for name, parameter in method.towers.text.named_parameters()}
    assert {name.removeprefix("towers.text.") for name in gradients if name.startswith("towers.text.")} == trained
    if config.needs_mask_token:
        assert abs(float(terms["mlm"]) - method.loss_at_chance(6)["mlm"]) < 0.3
        assert method.towers.text.vocab_size == micro_text.files.config["vocab_size"]


@pytest.mark.parametrize("config", [MCD.Config(), ALBEF.Config(queue_size=12, momentum=0.8, mlm_weight=0.2)])
def test_a_method_keeps_its_contract(config, micro_text):
    """Equal ranks average to the whole, a step is reproducible, one batch can be overfitted, and so on."""
    assert len(CHECKS) > 15
    check_method(config)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole run of MCD with dropout in its text tower, checkpoints after steps 4 and 8."""
    here = tmp_path_factory.mktemp("run")
    drops = text_folder(here / "encoder", "bert", dropout=0.2)
    recipe = micro_recipe(write_pairs(here / "data", 25), checkpoint_steps=4, keep_checkpoints=9)
    recipe = recipe.model_copy(update={"towers": with_text_folder(drops, hf_pooler_type="cls_pooler")})
    train(recipe, here / "run")
    return here


def test_a_run_resumes_exactly(finished, tmp_path):
    """Dropout included: what a tower draws depends on the step alone."""
    shutil.copytree(finished / "run", tmp_path / "run")
    for folder in [*(tmp_path / "run" / "checkpoints").glob("step-*")][:]:
        if folder.name != "step-000000004":
            shutil.rmtree(folder)
    shutil.rmtree(tmp_path / "run" / "model")
    train(None, tmp_path / "run", resume=True)
    assert_same_state(state_of(tmp_path / "run"), state_of(finished / "run"))
    assert metrics_of(finished / "run")[-1]["mlm"] < 5.7  # nats: log of the vocabulary of 300


def test_a_saved_model_is_whole_wherever_it_lies(finished, tmp_path, monkeypatch):
    """askew needs nothing but the folder; open_clip must be called in it."""
    moved = tmp_path / "elsewhere"
    shutil.copytree(finished / "run" / "model", moved)
    assert str(finished) not in (moved / DIRECTORY_CONFIG).read_text(encoding="utf-8")
    model = askew.load(str(moved))
    found = torch.from_numpy(model.encode_texts(list(CAPTIONS)))

    recipe = askew_recipe(finished)
    method = build_method(recipe, pretrained=False).eval()
    from safetensors.torch import load_file

    newest = sorted((finished / "run" / "checkpoints").glob("step-*"))[-1]
    method.load_state_dict(load_file(newest / "method.safetensors"))
    ids = torch.stack([Tokens(16, folder=text_of(recipe.towers).folder).sample(caption) for caption in CAPTIONS])
    with torch.no_grad():
        trained = method.towers.text(ids).embedding
    assert float((found - trained).abs().max()) < 1e-5

    monkeypatch.chdir(moved)
    alone, _, _ = open_clip.create_model_and_transforms("local-dir:.")
    tokenizer = open_clip.get_tokenizer("local-dir:.")
    assert torch.equal(tokenizer(list(CAPTIONS)), ids)
    with torch.no_grad():
        assert float((alone.eval().encode_text(ids, normalize=True) - trained).abs().max()) < 1e-6


def askew_recipe(finished):
    """The recipe that the run recorded."""
    from askew.runs.directory import RunDirectory

    return RunDirectory(finished / "run").read_recipe()


def test_a_saved_model_is_trained_on(finished, tmp_path):
    recipe = micro_recipe(write_pairs(tmp_path / "data", 25), "clip", max_steps=1)
    towers = micro_towers().model_copy(update={"pretrained": str(finished / "run" / "model")})
    shape = {"model": "", "embed_dim": 0, "vision_cfg": {}, "text_cfg": {}}
    built = build(recipe.model_copy(update={"towers": resolve(towers.model_copy(update=shape))}))
    model = askew.load(str(finished / "run" / "model"))
    batch = built.loader.batch(0)
    with torch.no_grad():
        ours = built.method.eval().towers.text(batch["text"]).embedding
    captions = [caption for index in range(25) for caption in built.loader.source[index].captions]
    theirs = torch.from_numpy(model.encode_texts(captions))
    assert float((ours @ theirs.T).max(dim=1).values.min()) > 1 - 1e-5


def test_long_texts_are_counted(finished):
    model = askew.load(str(finished / "run" / "model"))
    with pytest.warns(UserWarning, match="1 of"):
        model.encode_texts(["two dogs", " ".join(CAPTIONS)])


def test_another_tokenizer_is_noticed(finished, tmp_path):
    here = shutil.copytree(finished, tmp_path / "copy")
    recipe = askew_recipe(here)
    edit_json(here / "encoder" / "tokenizer_config.json", model_max_length=99)
    towers = recipe.towers
    moved = {**towers.text_cfg, "hf_tokenizer_name": str(here / "encoder"), "hf_model_name": str(here / "encoder")}
    with pytest.raises(UserError, match=r"not the one that the run began with .* put its files back"):
        text_of(towers.model_copy(update={"text_cfg": moved}))


def test_a_pair_of_tokenizer_and_weights_that_do_not_fit_is_not_evaluated(finished, tmp_path):
    here = shutil.copytree(finished / "run" / "model", tmp_path / "model")
    text_folder(tmp_path / "other", "xlm-roberta")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tmp_path / "other" / name, here / name)
    with pytest.raises(UserError, match="put the tokenizer that the weights were trained with beside them"):
        askew.load(str(here))


def test_without_transformers_both_sides_name_the_extra(finished, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install 'askew\[text\]'"):
        resolve(with_text_folder(folder))
    with pytest.raises(UserError, match=r"pip install 'askew\[text\]'"):
        askew.load(str(finished / "run" / "model"))


def test_words_of_the_caption_leave_out_special_tokens(micro_text):
    words = micro_method(CLIP.Config(words_weight=1.0)).words
    batch = micro_batch([0, 1, 2])
    predicted = words._predicted(batch["text"])
    assert set(predicted.unique().tolist()) & set(micro_text.tokenizer.special) == set()
    released = override(micro_recipe("x", "clip"), ["method.words_weight=1", "method.words_targets=released"])
    assert micro_method(released.method).words._predicted(batch["text"]).equal(batch["text"])


def test_names_of_hidden_fields_are_dropped(folder):
    made = resolve(with_text_folder(folder, width=256, heads=4)).text_cfg
    assert set(made) == {
        *("hf_model_name", "hf_tokenizer_name", "hf_pooler_type", "hf_proj_type", "hf_model_pretrained"),
        "context_length",
    }
    assert json.loads(json.dumps(made)) == made


def test_a_name_on_the_hub_is_taken_from_its_cache(tmp_path, monkeypatch):
    """The cache as the hub's client keeps it, without a network."""
    cache = tmp_path / "models--org--encoder"
    text_folder(cache / "snapshots" / "abc", "xlm-roberta")
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("abc", encoding="utf-8")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    resolved = resolve(with_text_folder("org/encoder"))
    assert resolved.text_cfg["hf_model_name"] == resolved.text_cfg["hf_tokenizer_name"] == "org/encoder"
    assert text_of(resolved).files.encoder == cache / "snapshots" / "abc"
    assert build_method(micro_recipe("x", "clip").model_copy(update={"towers": resolved})).towers.files.keys() == {
        *("config.json", "tokenizer.json", "tokenizer_config.json"),
    }


def test_a_tokenizer_that_was_trained_again_is_read_again(tmp_path):
    here = text_folder(tmp_path / "encoder", "bert")
    before = text_of(resolve(with_text_folder(here))).tokenizer
    assert text_of(resolve(with_text_folder(here))).tokenizer is before
    text_folder(here, "xlm-roberta")
    after = text_of(resolve(with_text_folder(here))).tokenizer
    assert (before.pad, after.pad) == (0, 1)
