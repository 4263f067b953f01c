"""Pretrained weights at another image size or context length: open_clip's interpolation, in a model that it loads."""

import json

import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip.model import CLIP as PlainCLIP
from open_clip.model import resize_pos_embed, resize_text_pos_embed
from safetensors.torch import load_file

from askew.config import TowerSettings
from askew.errors import UserError
from askew.recipes.settings import from_yaml, override
from askew.training.build import build_method
from askew.training.export import save_models
from askew.training.towers import changed_sizes, resolve
from micro_runs import as_options, askew_here, micro_recipe, train

WEIGHTS = "open_clip_model.safetensors"
TIMM = {"timm_model_name": "test_convnext2", "timm_pool": "avg", "timm_proj": "linear", "image_size": 32}


@pytest.fixture(scope="module")
def trained(table, tmp_path_factory):
    """A model for images of 32 px, 2 x 2 patches, and 16 tokens."""
    return train(micro_recipe(table, "clip", max_steps=2), tmp_path_factory.mktemp("first") / "run") / "model"


def towers_at(trained, image_size, context_length):
    sizes = {"vision_cfg": {"image_size": image_size}, "text_cfg": {"context_length": context_length}}
    return resolve(TowerSettings(pretrained=str(trained), **sizes))


def built(table, towers):
    return build_method(micro_recipe(table, "clip").model_copy(update={"towers": towers}))


@pytest.mark.parametrize(("image_size", "length"), [(32, 16), (96, 16), (16, 16), (32, 24), (32, 9), (64, 40)])
def test_positions_are_those_of_open_clips_own_functions(trained, table, image_size, length):
    towers = towers_at(trained, image_size, length)
    assert (towers.vision_cfg["image_size"], towers.text_cfg["context_length"]) == (image_size, length)
    method = built(table, towers)
    before = load_file(trained / WEIGHTS)
    config = json.loads((trained / "open_clip_config.json").read_text(encoding="utf-8"))["model_cfg"]
    config["vision_cfg"]["image_size"], config["text_cfg"]["context_length"] = image_size, length
    expected = dict(before)
    model = PlainCLIP(**config)
    resize_pos_embed(expected, model)
    resize_text_pos_embed(expected, model)
    found = dict(method.towers.state_dict())
    names = {"visual.positional_embedding": "image.trunk.positional_embedding"}
    names |= {"positional_embedding": "text.trunk.positional_embedding"}
    for theirs, ours in names.items():
        assert torch.equal(found[ours], expected[theirs])
        same_shape = expected[theirs].shape == before[theirs].shape
        assert same_shape == torch.equal(
            expected[theirs][: len(before[theirs])], before[theirs][: len(expected[theirs])]
        )
    assert torch.equal(found["image.trunk.conv1.weight"], before["visual.conv1.weight"])


def test_the_interpolation_is_bicubic_with_antialiasing_for_images_and_linear_for_texts(trained, table):
    """Written out, with the class token left as it is."""
    method, before = built(table, towers_at(trained, 96, 24)), load_file(trained / WEIGHTS)
    grid = before["visual.positional_embedding"][1:].reshape(1, 2, 2, -1).permute(0, 3, 1, 2)
    larger = F.interpolate(grid, (6, 6), mode="bicubic", antialias=True).permute(0, 2, 3, 1).reshape(36, -1)
    image = method.towers.image.trunk.positional_embedding
    assert torch.equal(image[0], before["visual.positional_embedding"][0])
    assert torch.allclose(image[1:], larger)
    line = before["positional_embedding"].T[None]
    assert torch.allclose(method.towers.text.trunk.positional_embedding, F.interpolate(line, 24, mode="linear")[0].T)


def test_the_saved_model_works_in_open_clip_at_its_new_size(trained, table, tmp_path):
    towers = towers_at(trained, 96, 24)
    method = built(table, towers).eval()
    save_models(method, towers, tmp_path)
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'model'}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'model'}")
    model.eval()
    pixels, tokens = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0)), tokenizer(["a red kite"])
    assert tokens.shape == (1, 24)
    assert preprocess.transforms[0].size in (96, (96, 96))
    with torch.no_grad():
        assert torch.allclose(
            model.encode_image(pixels, normalize=True), method.towers.image(pixels).embedding, atol=1e-6
        )
        assert torch.allclose(
            model.encode_text(tokens, normalize=True), method.towers.text(tokens).embedding, atol=1e-6
        )


def test_a_run_at_another_size_says_so_trains_and_resumes(trained, table, tmp_path):
    settings = [f"towers.pretrained={trained}", "towers.vision_cfg.image_size=48", "towers.text_cfg.context_length=20"]
    settings += [
        "loader.batch_size=8",
        "loader.num_workers=0",
        "train.max_steps=2",
        "evaluation.suite=none",
        "evaluation.report=false",
    ]
    run = tmp_path / "run"
    done = askew_here("train", "finetune", "--data", table, "--out", run, *as_options(*settings))
    assert done.returncode == 0, done.stderr
    printed = " ".join(done.stderr.split())
    assert "another size: images of 48 px instead of 32, captions of 20 tokens, not 16; positions are inter" in printed
    towers = from_yaml(run / "recipe.yaml").towers
    assert resolve(towers) == towers
    assert changed_sizes(towers) == ["images of 48 px instead of 32", "captions of 20 tokens, not 16"]
    (run / "model").rename(tmp_path / "model")
    again = askew_here("train", "--resume", "--out", run, "--set", "train.log_every=2")
    assert again.returncode == 0, again.stderr
    config = json.loads((run / "model" / "open_clip_config.json").read_text(encoding="utf-8"))
    assert config["preprocess_cfg"]["size"] == 48


def test_the_same_size_is_not_mentioned(trained):
    assert changed_sizes(towers_at(trained, 32, 16)) == []
    assert changed_sizes(TowerSettings()) == []
    assert changed_sizes(resolve(TowerSettings(model="ViT-B-32", pretrained="openai"))) == []
    smaller = TowerSettings(model="ViT-B-32", pretrained="openai", vision_cfg={"image_size": 96})
    assert changed_sizes(resolve(smaller)) == ["images of 96 px instead of 224"]


def test_a_convolutional_tower_takes_any_size_and_a_timm_vit_one(table, tmp_path):
    recipe = micro_recipe(table, "clip", max_steps=1)
    recipe = recipe.model_copy(update={"towers": recipe.towers.model_copy(update={"vision_cfg": TIMM})})
    first = train(recipe, tmp_path / "first") / "model"
    tuned = train(override(recipe, [f"towers.pretrained={first}", "towers.vision_cfg.image_size=64"]), tmp_path / "run")
    assert open_clip.create_model(f"local-dir:{tuned / 'model'}").visual.image_size == (64, 64)
    towers = recipe.towers.model_copy(update={"vision_cfg": {**TIMM, "timm_model_name": "vit_tiny_patch16_224"}})
    with pytest.raises(UserError, match="this timm VisionTransformer takes images of 224 px only"):
        built(table, resolve(towers))
