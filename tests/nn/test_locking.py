"""Partial locks: which parameters are trained, as open_clip groups them; and that the others stay."""

import copy

import pytest
import torch

from askew.config import TowerSettings
from askew.errors import UserError
from askew.nn.towers import build_model
from askew.recipes.settings import override
from askew.training.build import build_method
from askew.training.optimizer import parameter_groups
from askew.training.towers import build_towers
from helpers import micro_towers
from micro_runs import askew_here, micro_recipe, table_of_25, train, trainer_of

LAYERS = 4
NATIVE = TowerSettings(
    model="",
    embed_dim=16,
    vision_cfg={"image_size": 32, "layers": LAYERS, "width": 32, "patch_size": 16, "head_width": 16},
    text_cfg={"context_length": 16, "width": 32, "heads": 2, "layers": LAYERS},
)


def timm(name, **more):
    vision = {"image_size": 32, "timm_model_name": name, "timm_model_pretrained": False, "timm_proj": "linear", **more}
    return NATIVE.model_copy(update={"vision_cfg": vision})


def trained_of(module, prefix=""):
    return {prefix + name for name, p in module.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("blocks", [0, 1, 2, LAYERS])
def test_a_native_image_tower_is_locked_as_by_open_clip(blocks):
    """k blocks are open_clip's k + 1 groups: there, the projection is one of them."""
    pair = build_towers(NATIVE.model_copy(update={"lock": "image", "unlock_image_blocks": blocks}), 0, False)
    model = build_model(pair.config)
    model.lock_image_tower(unlocked_groups=blocks + 1 if blocks else 0)
    expected = {name.replace("proj", "projection.weight") if name == "proj" else f"trunk.{name}"
                for name in trained_of(model.visual)}  # fmt: skip
    assert trained_of(pair.image) == expected
    assert trained_of(pair.text) == {name for name, _ in pair.text.named_parameters()}


@pytest.mark.parametrize("blocks", [0, 1, 2, LAYERS])
def test_a_text_tower_is_locked_as_by_open_clip(blocks):
    pair = build_towers(NATIVE.model_copy(update={"lock": "text", "unlock_text_blocks": blocks}), 0, False)
    model = build_model(pair.config)
    model.lock_text_tower(unlocked_layers=blocks + 1 if blocks else 0)
    expected = {"projection.weight" if name == "text_projection" else f"trunk.{name}"
                for name in trained_of(model.text)}  # fmt: skip
    assert trained_of(pair.text) == expected


@pytest.mark.parametrize(
    ("towers", "first"),
    [
        (timm("test_vit", timm_pool="avg"), "blocks.5."),
        (timm("test_convnext2", timm_pool="avg"), "stages.3.downsample.0."),
    ],
)
def test_a_timm_tower_is_locked_by_its_blocks(towers, first):
    pair = build_towers(towers.model_copy(update={"lock": "image", "unlock_image_blocks": 1}), 0, False)
    trained, names = trained_of(pair.image), [name for name, _ in pair.image.trunk.named_parameters(prefix="trunk")]
    start = next(index for index, name in enumerate(names) if f"trunk.trunk.{first}" in name)
    assert trained == {*names[start:], *(f"projection.{name}" for name, _ in pair.image.projection.named_parameters())}
    assert any("norm" in name for name in trained)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["towers.lock=image", "towers.unlock_image_blocks=5"], "unlock_image_blocks=5 asks for more blocks than"),
        (["towers.lock=both", "towers.unlock_text_blocks=9"], "TextTransformer, which has 4"),
        (
            ["towers.lock=text", "towers.unlock_image_blocks=1"],
            "the image tower is trained as a whole; set towers.lock",
        ),
        (["towers.unlock_text_blocks=1"], "the text tower is trained as a whole; set towers.lock=text"),
    ],
)
def test_what_cannot_be_unlocked(tmp_path, settings, words):
    recipe = micro_recipe(tmp_path / "pairs.csv", "clip").model_copy(update={"towers": NATIVE})
    with pytest.raises(UserError, match=words):
        build_method(override(recipe, settings))


@pytest.mark.parametrize("method", ["clip", "mcd"])
def test_frozen_weights_stay_and_the_teacher_follows(tmp_path, method):
    recipe = micro_recipe(table_of_25(tmp_path), method).model_copy(update={"towers": NATIVE})
    settings = ["towers.lock=both", "towers.unlock_image_blocks=1", "towers.unlock_text_blocks=2"]
    trainer = trainer_of(override(recipe, settings))
    before = copy.deepcopy(trainer.method.towers.state_dict())
    trained = trained_of(trainer.method.towers)
    grouped = {id(p) for group in parameter_groups(trainer.method, 0.2) for p in group["params"]}
    towers = dict(trainer.method.towers.named_parameters())
    assert {name for name, p in towers.items() if id(p) in grouped} == trained
    trainer.run(until=3)
    moved = {name for name, value in trainer.method.towers.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == trained
    assert {id(p) for p in trainer.optimizer.state} <= grouped
    if method == "mcd":
        teacher = dict(trainer.method.teacher.module.named_parameters())
        assert not any(p.requires_grad for p in teacher.values())
        followed = {
            f"image.{name}" for name, value in teacher.items() if not torch.equal(value, before[f"image.{name}"])
        }
        assert followed == {name for name in trained if name.startswith("image.")}


def test_a_partly_locked_run_resumes_and_says_what_is_trained(tmp_path):
    recipe = micro_recipe(table_of_25(tmp_path / "data"), "mcd", max_steps=2).model_copy(update={"towers": NATIVE})
    recipe = override(recipe, ["towers.lock=image", "towers.unlock_image_blocks=2"])
    run = train(recipe, tmp_path / "run")
    (run / "model").rename(tmp_path / "model")
    done = askew_here("train", "--resume", "--out", run)
    assert done.returncode == 0, done.stderr
    printed = " ".join(done.stderr.split())
    assert "the image tower keeps its weights, except its last 2 blocks and what follows them" in printed


def test_all_is_trained_where_nothing_is_locked():
    pair = build_towers(micro_towers(), 0, False)
    assert all(p.requires_grad for p in pair.parameters())
