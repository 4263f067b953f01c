"""Fine-tuning: from a model of our own, trained on half of the embedded data, on the other half."""

import json
import os
import shutil
import signal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from safetensors.torch import load_file

from askew import recipes
from askew.config import DataSettings, LoaderSettings, Recipe, TowerSettings, TrainSettings, ViewSettings
from askew.data.sources import embedded_files
from askew.errors import Interrupted, UserError
from askew.methods.clip import CLIP
from askew.methods.mcd import MCD
from askew.recipes.settings import from_yaml, override
from askew.report.console import Console
from askew.runs.evaluate import evaluate_tiny
from askew.training.build import build_method
from askew.training.towers import resolve
from helpers import micro_towers
from micro_runs import as_options, askew, askew_here, assert_same_state, metrics_of, state_of, train, trainer_of

WEIGHTS = "model/open_clip_model.safetensors"


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """The training rows of the emoji, halved by concept."""
    folder = tmp_path_factory.mktemp("halves")
    table = pq.read_table(next(p for p in embedded_files() if p.stem == "emoji"))
    table = table.filter(pa.array([cell == "train" for cell in table["cell"].to_pylist()]))
    _, concept = np.unique(table["concept"].to_pylist(), return_inverse=True)
    for half in range(2):
        pq.write_table(table.filter(pa.array(concept % 2 == half)), folder / f"{half}.parquet")
    return folder


@pytest.fixture(scope="module")
def pretrained(halves, tmp_path_factory):
    """A micro model trained on the first half, with an activation and a normalisation of its own."""
    towers = micro_towers().model_copy(update={"quick_gelu": True, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)})
    recipe = Recipe(
        name="pretrained",
        method=CLIP.Config(temperature=0.05),
        towers=towers,
        data=DataSettings(source=str(halves / "0.parquet")),
        views=ViewSettings(tags=0.5),
        loader=LoaderSettings(batch_size=64, num_workers=0),
        train=TrainSettings(epochs=8, learning_rate=3e-3, warmup_epochs=0.5, grad_clip_norm=1.0),
    )
    return train(recipe, tmp_path_factory.mktemp("run") / "first")


@pytest.fixture(scope="module")
def tuned(pretrained, halves, tmp_path_factory):
    """The one command of the recipe, on the other half."""
    folder = tmp_path_factory.mktemp("tuned") / "run"
    settings = [f"towers.pretrained={pretrained / 'model'}", "loader.batch_size=64", "loader.num_workers=0"]
    settings += ["train.learning_rate=3e-4", "train.epochs=4", "train.log_every=1"]
    return folder, askew(
        "train", "finetune", "--data", halves / "1.parquet", "--out", folder, *as_options(*settings), timeout=300
    )


def scores(file):
    return {line["task"]: line["values"] for line in map(json.loads, file.read_text(encoding="utf-8").splitlines())}


def test_accuracy_is_printed_before_and_after(tuned, pretrained):
    folder, done = tuned
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("suite tiny (student)") == 2
    assert "before, %" in done.stdout
    assert done.stderr.index("before   the weights that training starts from") < done.stderr.index("step 1/")
    before, after = scores(folder / "results.before.jsonl"), scores(folder / "results.jsonl")
    assert before.keys() == after.keys()
    evaluate_tiny(str(pretrained), "student", Console(quiet=True), folder / "again.jsonl")
    assert before == scores(folder / "again.jsonl")  # the weights it started from, as they were
    # It learns the concepts of the other half without losing what it had
    assert after["naming/unseen_style"]["top5"] > before["naming/unseen_style"]["top5"]
    assert not (folder / "start.tmp").exists()


def test_preprocessing_activation_and_temperature_are_the_pretrained_models(tuned, pretrained):
    folder, _ = tuned
    first, last = (json.loads((f / "model" / "open_clip_config.json").read_text()) for f in (pretrained, folder))
    assert first == last
    assert first["model_cfg"]["quick_gelu"] is True
    assert first["preprocess_cfg"]["mean"] == [0.5, 0.4, 0.3]
    scale = load_file(pretrained / WEIGHTS)["logit_scale"]
    for method in (CLIP.Config(), MCD.Config()):
        towers = resolve(TowerSettings(pretrained=str(pretrained / "model")))
        made = build_method(Recipe(name="x", method=method, towers=towers))
        assert torch.equal(made.logit_scale.detach(), scale[None])
    assert metrics_of(folder)[0]["logit_scale"] == pytest.approx(scale.exp().item(), rel=0.01)


@pytest.mark.parametrize("lock", ["image", "text"])
@pytest.mark.parametrize("method", ["clip", "mcd"])
def test_a_locked_tower_keeps_its_weights(lock, method, pretrained, halves, tmp_path):
    settings = [f"towers.pretrained={pretrained / 'model'}", f"towers.lock={lock}", f"method.name={method}"]
    settings += [f"data.source={halves / '1.parquet'}", "loader.batch_size=8", "loader.num_workers=0"]
    recipe = override(
        recipes.find("finetune"), [*settings, "train.max_steps=3", "evaluation.suite=none", "evaluation.report=false"]
    )
    folder = train(recipe, tmp_path / "run")
    before, after = load_file(pretrained / WEIGHTS), load_file(folder / WEIGHTS)
    changed = [key for key in before if not torch.equal(before[key], after[key]) and key != "logit_scale"]
    moved = {"image" if key.startswith("visual.") else "text" for key in changed}
    assert moved == {"text" if lock == "image" else "image"}


@pytest.mark.parametrize("std", [0.003, 0.02])
def test_a_setting_that_pretrained_weights_make_void_is_named(std, pretrained, halves, tmp_path):
    settings = [f"towers.pretrained={pretrained / 'model'}", f"towers.token_std={std}", "loader.batch_size=8"]
    settings += ["loader.num_workers=0", "train.max_steps=1", "evaluation.suite=none", "evaluation.report=false"]
    done = askew_here(
        "train", "finetune", "--data", halves / "1.parquet", "--out", tmp_path / "run", *as_options(*settings)
    )
    assert done.returncode == 0, done.stderr
    assert ("towers.token_std is not used" in done.stderr) == (std != 0.02)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (
            "towers.vision_cfg.patch_size=8",
            "towers.vision_cfg.patch_size=8 does not fit the pretrained model",
        ),
        ("towers.text_cfg.width=64", "towers.text_cfg.width=64 does not fit"),
        ("towers.embed_dim=7", "towers.embed_dim=7 does not fit"),
    ],
)
def test_another_shape_than_the_pretrained_models_is_refused(setting, words, pretrained):
    for recipe in ("finetune", "tiny"):
        asked = override(recipes.find(recipe), [setting, f"towers.pretrained={pretrained / 'model'}"])
        with pytest.raises(UserError, match=words):
            resolve(asked.towers)


def test_a_recipes_own_shape_gives_way_to_a_pretrained_model(pretrained):
    plain = resolve(TowerSettings(pretrained=str(pretrained / "model")))
    assert resolve(override(recipes.find("tiny"), [f"towers.pretrained={pretrained / 'model'}"]).towers) == plain
    assert resolve(plain) == plain


def test_a_file_of_weights_has_the_preprocessing_that_lies_beside_it_or_open_clips(pretrained, tmp_path):
    assert resolve(TowerSettings(pretrained=str(pretrained / WEIGHTS))).mean == (0.5, 0.4, 0.3)
    alone = shutil.copy(pretrained / WEIGHTS, tmp_path / "weights.safetensors")
    towers = resolve(TowerSettings(pretrained=str(alone)))
    assert (towers.mean, towers.std) == (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD)
    assert resolve(towers) == towers
    assert resolve(TowerSettings(pretrained=str(alone), mean=(0.5, 0.5, 0.5))).mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"model_cfg": 3}'])
def test_a_directory_that_is_none_is_one_line(text, tmp_path):
    (tmp_path / "open_clip_config.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"open_clip_config.json is not an open_clip configuration"):
        resolve(TowerSettings(pretrained=str(tmp_path)))


def test_weights_of_other_shapes_name_the_first_difference(pretrained, tmp_path):
    towers = resolve(
        micro_towers(width=64).model_copy(update={"pretrained": str(pretrained / WEIGHTS), "quick_gelu": True})
    )
    with pytest.raises(UserError, match=r"does not fit the towers of the recipe: .*text pos_embed width"):
        build_method(Recipe(name="x", method=CLIP.Config(), towers=towers))


def test_a_run_goes_on_when_its_pretrained_weights_are_gone(pretrained, halves, tmp_path):
    shutil.copytree(pretrained / "model", tmp_path / "start")
    settings = [f"towers.pretrained={tmp_path / 'start'}", f"data.source={halves / '1.parquet'}", "train.max_steps=4"]
    settings += ["loader.batch_size=8", "loader.num_workers=0", "evaluation.suite=none", "evaluation.report=false"]
    recipe = override(recipes.find("finetune"), settings)
    train(recipe, tmp_path / "whole")

    def stop(line):
        if line["step"] == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(tmp_path / "whole" / "recipe.yaml", folder)
    with pytest.raises(Interrupted):
        trainer_of(from_yaml(folder / "recipe.yaml"), folder, progress=stop).run()
    shutil.rmtree(tmp_path / "start")
    asked = override(from_yaml(folder / "recipe.yaml"), ["train.log_every=2"])
    train(asked, folder, resume=True)
    assert_same_state(state_of(folder), state_of(tmp_path / "whole"))
