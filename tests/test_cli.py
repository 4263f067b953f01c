"""The command line as a user meets it: exit codes, one clear line for what went wrong."""

import json
import subprocess
import sys

import open_clip
import pytest
import torch
import yaml

from askew import __version__, recipes
from askew.recipes.settings import to_yaml
from helpers import write_pairs
from micro_runs import as_options, askew, askew_here, metrics_of, micro_settings


@pytest.fixture(scope="module")
def run(table, tmp_path_factory):
    """A run on a user's own table, by the one command of the README."""
    folder = tmp_path_factory.mktemp("runs") / "local"
    settings = micro_settings()
    del settings[-2:]  # the recipe's own evaluation
    done = askew("train", "tiny", "--data", table, "--out", folder, *settings, program=sys.executable)
    return folder, done


def one_line(done, code=2):
    """What the user reads."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_training_on_a_users_table_is_one_command(run):
    folder, done = run
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in folder.iterdir()) == [
        "checkpoints",
        "metrics.jsonl",
        "model",
        "recipe.yaml",
        "run.json",
        "teacher",
    ]
    assert "25 images, 25 captions" in done.stderr
    assert "chance   contrast 3.091, mlm 10.808" in done.stderr  # log(3 * 8 - 2), log(49409)
    assert "askew eval" in done.stderr  # the drawings are not what it was trained for
    assert [line["step"] for line in metrics_of(folder)] == [1, 2, 3]
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder / 'model'}")
    assert model.encode_image(torch.zeros(1, 3, 32, 32)).shape == (1, 16)
    assert preprocess is not None


def test_a_run_runs_again_from_its_own_recipe(run, tmp_path):
    folder, _ = run
    again = askew("train", folder / "recipe.yaml", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    weights = "model/open_clip_model.safetensors"
    name = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))["name"]
    assert (tmp_path / "runs" / f"{name}-001" / weights).read_bytes() == (folder / weights).read_bytes()
    assert askew_here("train", folder / "recipe.yaml", cwd=tmp_path).returncode == 0
    assert (tmp_path / "runs" / f"{name}-002" / weights).is_file()


def test_eval_of_student_and_teacher(run, tmp_path):
    folder, _ = run
    for weights, command in (("student", askew), ("teacher", askew_here)):
        out = tmp_path / f"{weights}.jsonl"
        done = command("eval", folder, "--weights", weights, "--out", out)
        assert done.returncode == 0, done.stderr
        assert "naming/unseen_both" in done.stdout
        lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
        tasks = {line["task"]: line for line in lines}
        assert tasks["naming/unseen_style"]["values"]["classes"] == 1554
        assert {line["protocol"]["weights"] for line in lines} == {weights}
        assert all(0 <= line["values"].get("top1", 0) <= 1 for line in lines)
    assert not (folder / "results.jsonl").exists()


def test_a_folder_that_holds_a_run_is_refused(run, table):
    folder, _ = run
    before = (folder / "recipe.yaml").read_bytes()
    done = askew_here("train", "tiny", "--data", table, "--out", folder, *micro_settings())
    assert "holds another run" in one_line(done)
    assert (folder / "recipe.yaml").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "tyni"), ("'tyni' is not known", "did you mean 'tiny'")),
        (("train", "no.yaml"), ("no.yaml", "no such file")),
        (("train", "tiny", "--data", "nowhere.csv"), ("nowhere.csv does not exist", ".csv")),
        (("train", "tiny", "--set", "train.epoch=2"), ("unknown key 'train.epoch'", "train.epochs")),
        (("train", "tiny", "--set", "train.epochs=many"), ("train.epochs", "valid number", "'many'")),
        (("train", "tiny", "--set", "train.epochs"), ("KEY=VALUE",)),
        (("train", "tiny", "--resume", "--out", "nothing"), ("nothing is not a run directory",)),
        (("train", "--resume"), ("there is no run of tiny under runs/",)),
        (("eval", "nothing"), ("nothing", "neither a run directory")),
        (("eval", "nothing", "--weights", "bogus"), ("bogus", "student or teacher")),
        (("eval", "nothing", "--suite", "bogus"), ("bogus", "tiny")),
        (("eval", "nothing", "--suite", "tiny,pets"), ("the suite tiny takes", "no other names in --suite")),
        (("eval", "nothing", "--precision", "bf16"), ("the suite tiny takes", "no --precision bf16")),
        (("recipes", "tyni"), ("did you mean 'tiny'",)),
    ],
)
def test_what_a_user_gets_wrong_is_one_line(tmp_path, arguments, words):
    line = one_line(askew_here(*arguments, cwd=tmp_path))
    for word in words:
        assert word in line
    assert list(tmp_path.iterdir()) == []  # no folder is left behind


def test_a_missing_caption_column_names_the_columns(tmp_path):
    (tmp_path / "pairs.csv").write_text("image,words\na.png,b\n", encoding="utf-8")
    line = one_line(askew("train", "tiny", "--data", "pairs.csv", *micro_settings(), cwd=tmp_path))
    assert "no caption column; the columns are 'image', 'words'" in line
    assert "data.caption_column=NAME" in line


def test_a_named_model_is_the_one_that_is_trained_and_is_said(table, tmp_path):
    small = ["towers.vision_cfg={image_size: 32, layers: 1, width: 64, patch_size: 16}", "towers.text_cfg.layers=1"]
    settings = as_options("towers.model=ViT-S-32", *small, "train.epochs=1", "train.minutes=0")
    settings += as_options("loader.batch_size=8", "loader.num_workers=0", "train.max_steps=1")
    done = askew_here("train", "tiny", "--data", table, "--out", tmp_path / "run", *settings)
    assert done.returncode == 0, done.stderr
    assert "towers   ViT-S-32, images of 32 px, captions of 77 tokens, from random weights" in done.stderr
    saved = json.loads((tmp_path / "run/model/open_clip_config.json").read_text(encoding="utf-8"))["model_cfg"]
    named = open_clip.get_model_config("ViT-S-32")
    assert saved["embed_dim"] == named["embed_dim"]
    assert "timm_model_name" not in saved["vision_cfg"]
    assert saved["text_cfg"]["width"] == named["text_cfg"]["width"]


def test_a_run_that_fails_before_its_first_step_can_be_started_again_by_the_same_command(tmp_path):
    table = write_pairs(tmp_path, 25)
    command = ["train", "tiny", "--data", table, "--out", tmp_path / "run", *micro_settings()]
    command += as_options("train.minutes=0", "train.max_steps=1")
    images = sorted(tmp_path.glob("*.png"))
    for image in images:
        image.rename(image.with_suffix(".away"))
    assert "in a row could not be used" in one_line(askew_here(*command), code=3)
    assert not (tmp_path / "run").exists()
    for image in images:
        image.with_suffix(".away").rename(image)
    assert askew_here(*command).returncode == 0


def test_a_run_that_fails_exits_with_three_and_keeps_the_batch(table, tmp_path):
    settings = ["--set", "train.learning_rate=1e30", "--set", "train.grad_clip_norm=0", "--set", "train.epochs=20"]
    done = askew("train", "tiny", "--data", table, "--out", tmp_path / "run", *micro_settings(), *settings)
    line = one_line(done, code=3)
    assert "is not finite" in line
    assert "the step is kept" in line
    assert len(list((tmp_path / "run" / "fault").glob("step-*/rank-0/batch.safetensors"))) == 1


def test_recipes_are_listed_and_printed_as_yaml_that_is_taken_back(table, tmp_path):
    listed = askew("recipes").stdout
    assert [line.split()[0] for line in listed.splitlines()] == list(recipes.RECIPES)
    printed = askew_here("recipes", "tiny").stdout
    file = tmp_path / "tiny.yaml"
    file.write_text(printed, encoding="utf-8")
    assert askew_here("recipes", file).stdout == printed
    assert yaml.safe_load(printed)["name"] == "tiny"


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_recipe_is_yaml_that_is_taken_back(name, tmp_path):
    recipe = recipes.find(name)
    assert recipe.name == name
    (tmp_path / "recipe.yaml").write_text(to_yaml(recipe), encoding="utf-8")
    assert recipes.find(str(tmp_path / "recipe.yaml")) == recipe


def test_version_and_help():
    assert askew("--version", program=sys.executable).stdout.strip() == f"askew {__version__}"
    for arguments in ((), ("train",), ("eval",), ("recipes",)):
        assert askew(*arguments, "--help").returncode == 0


def test_help_imports_nothing_heavy():
    probe = """
import sys
sys.argv = ["askew", "--help"]
from askew.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code
heavy = {"torch", "numpy", "open_clip", "pyarrow", "sklearn", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, timeout=60)
