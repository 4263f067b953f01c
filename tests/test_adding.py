"""The examples of docs/adding.md, run as a user would run them: every part lives in a file outside askew."""

import io
import json
import math
import os
import re
import signal
import sqlite3
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from askew.data import check
from askew.evaluation.results import ResultsFile
from askew.recipes.settings import from_yaml
from askew.runs.directory import RunDirectory
from helpers import micro_batch, micro_method, write_pairs
from micro_runs import as_options, askew_here, assert_same_state, metrics_of, micro_settings, state_of, trainer_of

PAGE = (Path(__file__).parents[1] / "docs" / "adding.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```python\n# (\w+)\.py\n(.*?)```", PAGE, flags=re.DOTALL))
SUPERCLIP = as_options("method.name=superclip:SuperCLIP", "method.words_weight=0.5")
STEPS = 3  # of 8 of 25 pairs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with the files of the page, and the data that they read."""
    folder = tmp_path_factory.mktemp("outside")
    for name, code in FILES.items():
        (folder / f"{name}.py").write_text(code, encoding="utf-8")
    write_pairs(folder, 25)
    write_database(folder / "pairs.sqlite", 25)
    write_shapes(folder / "data" / "shapes", 12)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.chdir(folder)
        for name in FILES:
            patch.delitem(sys.modules, name, raising=False)
        yield folder
        for name in FILES:
            sys.modules.pop(name, None)


def picture(seed):
    """A PNG of random blocks."""
    blocks = np.random.default_rng(seed).integers(0, 256, size=(4, 4, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(blocks).resize((40, 40), Image.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()


def write_database(path, num):
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE pairs (image BLOB, caption TEXT)")
        rows = [(picture(row), f"picture number {row}") for row in range(num)]
        database.executemany("INSERT INTO pairs VALUES (?, ?)", rows)


def write_shapes(folder, num):
    folder.mkdir(parents=True)
    for row in range(num):
        (folder / f"{row}.png").write_bytes(picture(row))
    lines = [f"{row}.png,{('sq', 'ci')[row % 2]}\n" for row in range(num)]
    (folder / "test.csv").write_text("".join(lines), encoding="utf-8")


def run(*arguments, code=0):
    """An askew command in the working directory."""
    done = askew_here(*arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def whole(folder):
    """An uninterrupted run of the method."""
    run("train", "tiny", "--data", "pairs.csv", "--out", "whole", *micro_settings(), *SUPERCLIP)
    return folder / "whole"


def test_the_page_has_these_files():
    assert list(FILES) == ["superclip", "test_superclip", "my_operations", "my_source", "my_sets", "my_recipes"]
    assert all(f"{name}.py" in PAGE.split("## A method")[0] for name in FILES if not name.startswith("test_"))
    code = [line for line in FILES["superclip"].splitlines() if line.strip() and not line.strip().startswith("#")]
    assert len(code) <= 60


def test_the_method_keeps_the_contract(folder):
    import_module("test_superclip").test_superclip_keeps_the_contract()


def test_the_methods_word_term_is_the_formula_of_the_page(folder):
    """As a loop in float64: rare words count more, a word that repeats counts once, pads are no words."""
    method = micro_method(import_module("superclip").SuperCLIP.Config())
    batch = micro_batch([0, 1, 2])
    repeated, none = [49406, 320, 1125, 320, 49407], [49406, 49407]
    batch["text"] = torch.tensor([ids + [0] * (16 - len(ids)) for ids in (repeated, [49406, 2368, 49407], none)])
    gathered = {**method.targets(batch), **method.embed(batch)}
    for _ in range(2):
        method.after_step(gathered, 0.5)
    assert (method.seen.item(), method.counts[320].item(), method.counts.sum().item()) == (6, 2, 6)
    method.counts[320] = 5
    with torch.no_grad():
        found = method.embed(batch)["words"]
        logits = method.head(method.towers.image(batch["image"]).pooled).double().tolist()
    for row, words in enumerate(({320, 1125}, {2368}, set())):
        rarity = {word: math.log((6 + 2) / ((5 if word == 320 else 2) + 1)) for word in words}
        log_sum = math.log(math.fsum(math.exp(logit) for logit in logits[row]))
        terms = [w / sum(rarity.values()) * (log_sum - logits[row][word]) for word, w in rarity.items()]
        assert found[row].item() == pytest.approx(sum(terms), rel=1e-5)


def test_the_method_trains_and_its_terms_are_logged_by_its_names(whole):
    lines = metrics_of(whole)
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert {"contrast", "words"} <= lines[0].keys()
    assert lines[0]["loss"] == pytest.approx(lines[0]["contrast"] + 0.5 * lines[0]["words"], rel=1e-5)
    recipe = from_yaml(whole / "recipe.yaml")
    assert (recipe.method.name, recipe.method.words_weight) == ("superclip:SuperCLIP", 0.5)
    state = state_of(whole)
    (seen,) = [value for key, value in state.items() if key.endswith("/seen")]
    assert seen.tolist() == [8 * STEPS]


def test_the_method_resumes_bit_equal(folder, whole, monkeypatch):
    append = RunDirectory.append_metrics

    def stopped_by_ctrl_c(directory, line):
        append(directory, line)
        if line["step"] == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(RunDirectory, "append_metrics", stopped_by_ctrl_c)
    command = ("train", "tiny", "--data", "pairs.csv", "--out", "stopped", *micro_settings(), *SUPERCLIP)
    run(*command, code=128 + signal.SIGINT)
    monkeypatch.undo()
    assert not (folder / "stopped" / "model").exists()
    run("train", "--out", "stopped", "--resume")
    assert_same_state(state_of(folder / "stopped"), state_of(whole))


def test_the_method_exports_to_open_clip(whole):
    exported, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{whole / 'model'}")
    tokens = open_clip.get_tokenizer(f"local-dir:{whole / 'model'}")(["a red kite", "an owl"])
    recipe = from_yaml(whole / "recipe.yaml")
    method = trainer_of(recipe).method
    state = {key.removeprefix("method/"): value for key, value in state_of(whole).items() if key.startswith("method/")}
    method.load_state_dict(state)
    image = torch.stack([preprocess(Image.open(io.BytesIO(picture(seed)))) for seed in range(2)])
    exported, method = exported.eval(), method.eval()
    with torch.no_grad():
        found = exported.encode_image(image, normalize=True), exported.encode_text(tokens, normalize=True)
        expected = method.towers.image(image).embedding, method.towers.text(tokens).embedding
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
    assert exported.logit_scale.item() == method.logit_scale.item()


def test_the_operation_is_recorded_and_applied(folder):
    settings = as_options("method.name=uniclip", 'views.operations={"my_operations:GAMMA": 0.5}')
    run("train", "tiny", "--data", "pairs.csv", "--out", "gamma", *micro_settings(), *settings)
    loader = trainer_of(from_yaml(folder / "gamma" / "recipe.yaml")).loader
    batch = loader.views.finish(loader.batch(0))
    exponents = batch["aug_params"][:, 11]
    assert batch["aug_params"].shape == (8, 12)
    assert ((exponents == 1) | ((exponents >= 0.5) & (exponents <= 2))).all()
    assert 0 < (exponents != 1).sum() < 8
    assert (batch["image_params"][:, 11] == 1).all()
    gamma = import_module("my_operations").GAMMA
    made = gamma.apply(torch.full((2, 3, 1, 1), 0.25), torch.tensor([0.5, 2.0]), gamma.strength)
    assert made[:, 0, 0, 0].tolist() == [0.5, 0.0625]


def test_the_source_is_checked_and_trains(folder, monkeypatch):
    feeding = check.feeding
    monkeypatch.setattr(check, "feeding", lambda source, views, seconds, say: feeding(source, views, 0.01, say))
    report = json.loads(run("data", "check", "my_source:pairs", "--json"))
    assert report["samples"] == 25
    run("train", "tiny", "--data", "my_source:pairs", "--out", "database", *micro_settings())
    assert len(metrics_of(folder / "database")) == STEPS
    source = trainer_of(from_yaml(folder / "database" / "recipe.yaml")).loader.source
    assert source[3].captions == ("picture number 3",)
    assert source[3].image == picture(3)
    assert source.name(3) == "pairs.sqlite, row 4"


def test_the_data_set_is_evaluated(folder, whole):
    where = ("--data-root", "data", "--cache", "cache", "--out", "shapes.jsonl")
    shown = run("eval", "whole", "--suite", "my_sets:SHAPES", *where)
    assert "shapes" in shown
    (result,) = ResultsFile(folder / "shapes.jsonl").read()
    assert result["task"] == "shapes/zero_shot"
    assert (result["values"]["n"], result["protocol"]["found"]) == (12, {"test": 12})
    assert result["protocol"]["templates"] == ["a drawing of a {}.", "a {}."]


def test_the_recipe_trains_and_repeats(folder):
    arguments = [*micro_settings(), *as_options("train.precision=fp32")]
    run("train", "my_recipes:gentle", *arguments)
    first = folder / "runs" / "gentle-001"
    recipe = from_yaml(first / "recipe.yaml")
    assert recipe.method.name == "superclip:SuperCLIP"
    assert recipe.views.operations == {"my_operations:GAMMA": 0.3}
    assert recipe.data.source == "my_source:pairs"
    assert recipe.train.learning_rate == 5e-4
    run("train", first / "recipe.yaml")
    assert_same_state(state_of(folder / "runs" / "gentle-002"), state_of(first))
