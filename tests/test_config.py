"""A recipe is data: YAML in and out, typed overrides, and clear words for what is wrong."""

import open_clip
import pytest

from askew import config
from askew.errors import UserError
from askew.methods.clip import CLIP
from askew.methods.mcd import MCD
from askew.recipes import RECIPES, find
from askew.recipes.settings import from_yaml, leaves, override, to_yaml
from askew.training.towers import open_clip_config, resolve


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_survives_yaml(name, tmp_path):
    recipe = find(name)
    file = tmp_path / "recipe.yaml"
    file.write_text(to_yaml(recipe), encoding="utf-8")
    assert from_yaml(file) == recipe
    assert find(str(file)) == recipe
    assert recipe.name == name


def test_clip_differs_from_mcd_in_the_method_alone():
    one, other = (leaves(find(name).model_dump(mode="json")) for name in ("tiny", "tiny-clip"))
    changed = {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}
    assert {key.split(".")[0] for key in changed} == {"name", "method"}


@pytest.mark.parametrize(
    ("setting", "key", "value"),
    [
        ("train.learning_rate=1e-3", "train.learning_rate", 0.001),
        ("train.epochs=2", "train.epochs", 2.0),
        ("views.image_scale=[0.2, 1]", "views.image_scale", [0.2, 1.0]),
        ("method.noisy=own_against_own", "method.noisy", "own_against_own"),
        ("data.caption_column=title", "data.caption_column", "title"),
        ("data.caption_column=", "data.caption_column", ""),
        ("data.source=a=b.csv", "data.source", "a=b.csv"),
        ("data.source=a.csv*2 + b.parquet", "data.source", "a.csv*2 + b.parquet"),
        ("data.source=[a.csv, b.csv*2]", "data.source", ["a.csv", "b.csv*2"]),
        ("name=7days", "name", "7days"),
    ],
)
def test_overrides_are_typed(setting, key, value):
    assert leaves(override(find("tiny"), [setting]).model_dump(mode="json"))[key] == value


def test_tower_fields_are_free():
    changed = override(find("tiny"), ["towers.vision_cfg.image_size=40", "towers.text_cfg.no_causal_mask=true"])
    assert changed.towers.vision_cfg["image_size"] == 40
    assert changed.towers.text_cfg["no_causal_mask"] is True
    assert changed.towers.vision_cfg["timm_model_name"] == find("tiny").towers.vision_cfg["timm_model_name"]


def test_a_recipe_is_not_changed_by_an_override_of_it():
    before = to_yaml(find("tiny"))
    override(find("tiny"), ["towers.vision_cfg.image_size=40", "train.seed=3"])
    assert to_yaml(find("tiny")) == before


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("trian.epochs=2", ["unknown key 'trian", "train"]),
        ("train.epoch=2", ["unknown key 'train.epoch'", "'train.epochs'"]),
        ("epochs=2", ["unknown key 'epochs'", "'train.epochs'"]),
        ("method.momentun=0.9", ["unknown key 'method.momentun'", "'method.momentum'"]),
        ("method.name=mdc", ["method", "mdc"]),
        ("train.epochs=soon", ["train.epochs", "valid number", "'soon'"]),
        ("train.epochs=-1", ["train.epochs", "greater than 0", "-1"]),
        ("train.epochs=.inf", ["train.epochs", "finite"]),
        ("train.learning_rate=1e-6", ["train.min_learning_rate", "above the peak, train.learning_rate=1e-06", "1e-05"]),
        ("train.betas=[0.9, 1]", ["train.betas.1", "less than 1"]),
        ("method.temperatures=[0, 0.07, 0.07]", ["method.temperatures.0", "greater than 0"]),
        ("method.momentum=.nan", ["method.momentum", "finite"]),
        ("views.image_scale=[50, 100]", ["views.image_scale.0", "less than or equal to 1", "50"]),
        ("views.aug_scale=[0.9, 0.1]", ["views.aug_scale", "the first of the range is above the second"]),
        ("views.jitter=[0.4, 0.4, 0.4, 0.6]", ["views.jitter.3", "less than or equal to 0.5"]),
        ("views.blur_sigma=[-2, -1]", ["views.blur_sigma.0", "greater than or equal to 0"]),
        ("towers.std=[0, 1, 1]", ["towers.std.0", "greater than 0"]),
        ("train.precision=fp8", ["train.precision", "'bf16' or 'fp32'", "fp8"]),
        ("views.flip=2", ["views.flip", "less than or equal to 1"]),
        ("train.epochs", ["KEY=VALUE"]),
        ("views.jitter=[1, 2", ["not valid YAML"]),
        ("train.epochs.x=1", ["unknown key 'train.epochs'"]),
    ],
)
def test_a_wrong_setting_is_named_with_its_remedy(setting, words):
    with pytest.raises(UserError) as error:
        override(find("tiny"), [setting])
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_another_method_by_name_takes_its_own_defaults():
    changed = override(find("tiny"), ["method.name=clip"])
    assert changed.method == CLIP.Config()
    back = override(changed, ["method.name=mcd", "method.mlm_weight=0"])
    assert back.method == MCD.Config(mlm_weight=0)
    assert override(back, ["method.name=mcd"]).method == MCD.Config()
    assert override(changed, ["method.mlm_weight=0", "method.name=mcd"]) == back, "in any order"


@pytest.mark.parametrize("name", ["tiny", "mcd-yfcc15m-vitb32-timm", "mcd-yfcc15m-vitb32"])
def test_another_model_by_name_comes_as_open_clip_has_it(name):
    """And not with the shape that the recipe gave its own towers."""
    towers = resolve(override(find(name), ["towers.model=ViT-S-32"]).towers)
    assert towers == resolve(config.TowerSettings(model="ViT-S-32"))
    assert open_clip_config(towers)["vision_cfg"] == open_clip.get_model_config("ViT-S-32")["vision_cfg"]


def test_changes_of_another_model_are_kept_whatever_the_order():
    settings = ["towers.vision_cfg.image_size=64", "towers.embed_dim=32", "towers.lock=text", "towers.model=ViT-S-32"]
    for order in (settings, settings[::-1]):
        towers = override(find("tiny"), order).towers
        assert towers == config.TowerSettings(
            model="ViT-S-32", vision_cfg={"image_size": 64}, embed_dim=32, lock="text"
        )


def test_the_model_that_a_recipe_has_already_keeps_its_changes():
    changed = override(find("mcd-yfcc15m-vitb32"), ["towers.vision_cfg.patch_dropout=0.5"])
    assert override(changed, ["towers.model=ViT-B-32"]) == changed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n- b\n", ["a recipe is a mapping"]),
        ("name: [x\n", ["not valid YAML"]),
        ("name: x\nmethod: {name: clip}\ntrains: {}\n", ["unknown key 'trains'", "train"]),
        ("name: x\nmethod: {name: mcd, momentun: 1}\n", ["unknown key 'method.momentun'", "'method.momentum'"]),
        ("name: x\n", ["method", "required"]),
        ("name: !!python/object/apply:os.system ['true']\n", ["not valid YAML"]),
    ],
)
def test_a_wrong_file_is_named(tmp_path, text, words):
    file = tmp_path / "recipe.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as error:
        from_yaml(file)
    for word in [str(file), *words]:
        assert word in str(error.value)


def test_a_recipe_by_module_and_function():
    assert find("askew.recipes.tiny:tiny") == find("tiny")
    for wrong in ("askew.recipes.tiny:nothing", "askew.nothing:tiny", "askew.config:leaves"):
        with pytest.raises((UserError, TypeError)):
            find(wrong)


def test_parts_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        find("tiny").train.epochs = 3
    assert config.TrainSettings().betas == (0.9, 0.98)
