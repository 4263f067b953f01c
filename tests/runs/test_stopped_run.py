"""The model of a stopped run: evaluated and trained from as what it is, the weights of a step."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from askew.errors import UserError
from askew.recipes import find
from askew.recipes.settings import from_yaml, override
from askew.runs.directory import RunDirectory
from askew.runs.evaluate import load_model
from askew.runs.export import export_checkpoint, pretrained_run
from askew.training.export import save_models
from micro_runs import askew_here, micro_recipe, train, trainer_of

WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture(scope="module")
def stopped(table, tmp_path_factory):
    """A run of MCD at step 4 of 9, and the models of that moment."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    recipe = override(micro_recipe(table, "mcd"), ["evaluation.suite=tiny", "evaluation.before=true"])
    directory = RunDirectory.create("run", folder)
    trainer = trainer_of(recipe, folder)
    directory.write_recipe(trainer.recipe)
    trainer.run(until=4)
    trainer.save()
    save_models(trainer.method, recipe.towers, folder.parent / "then")
    return folder


@pytest.mark.parametrize(("weights", "name"), [("student", "model"), ("teacher", "teacher")])
def test_the_evaluated_weights_are_those_of_the_checkpoint(stopped, weights, name):
    cpu = torch.device("cpu")
    found = load_model(str(stopped), cpu, weights)
    expected = load_model(f"local-dir:{stopped.parent / 'then' / name}", cpu)
    assert found.protocol["weights"] == f"{weights} at step 4 of 9"
    assert found.protocol["weights_sha256"] == expected.protocol["weights_sha256"]
    assert found.text(["a red kite"]).tolist() == expected.text(["a red kite"]).tolist()
    assert not (stopped / "model").exists()


def test_eval_says_what_it_evaluates_and_keeps_the_results_apart(stopped, table, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(stopped, run)
    done = askew_here("eval", run)
    assert done.returncode == 0, done.stderr
    assert "suite tiny (student at step 4 of 9)" in done.stdout
    assert "has no model/ yet: these are the weights of its last checkpoint" in " ".join(done.stderr.split())
    lines = [json.loads(line) for line in (run / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {line["protocol"]["weights"] for line in lines} == {"student at step 4 of 9"}
    assert not (run / "outcomes").exists()
    assert (run / "outcomes-student-at-step-4-of-9").is_dir()
    directory = RunDirectory(run)
    assert not directory.is_complete(directory.read_recipe())

    train(directory.read_recipe(), run, resume=True)  # its end is not confused with these
    assert directory.is_complete(directory.read_recipe())
    weights = [line["protocol"]["weights"] for line in directory.results.read()]
    assert set(weights) == {"student at step 4 of 9", "student"}
    assert (run / "outcomes").is_dir()
    assert load_model(str(run), torch.device("cpu")).protocol["weights"] == "student"


def test_the_newest_whole_checkpoint_counts(stopped, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(stopped, run)
    newer = run / "checkpoints" / "step-000000006"
    shutil.copytree(run / "checkpoints" / "step-000000004", newer)
    (newer / "method.safetensors").write_bytes(b"")
    warned = []
    folder, found = export_checkpoint(RunDirectory(run), lambda step: tmp_path / "out", warned.append)
    assert found.step == 4
    assert "step-000000006 is damaged" in warned[0]
    assert (folder / "model" / WEIGHTS).read_bytes() == (stopped.parent / "then" / "model" / WEIGHTS).read_bytes()


def test_training_from_a_run_means_its_model(table, tmp_path, monkeypatch):
    first = train(micro_recipe(table, "mcd", max_steps=2), tmp_path / "first")
    monkeypatch.setenv("HOME", str(tmp_path))
    for asked, name in (("~/first", "model"), (str(first), "model"), (f"{first}/teacher", "teacher")):
        recipe = override(micro_recipe(table, "clip", max_steps=2), [f"towers.pretrained={asked}"])
        run = train(recipe, tmp_path / f"second-{len(asked)}")
        assert from_yaml(run / "recipe.yaml").towers.pretrained == str((first / name).resolve())
        shutil.rmtree(run / "model")
        train(recipe, run, resume=True)  # named again in the same way, it is the same recipe


def test_training_from_a_stopped_run_starts_at_its_checkpoint(stopped, table, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(stopped, run)
    then = stopped.parent / "then"
    for asked, name in ((run, "model"), (run / "teacher", "teacher"), (run / "model", "model")):
        recipe = override(micro_recipe(table, "clip"), [f"towers.pretrained={asked}"])
        assert override(find("tiny"), [f"towers.pretrained={asked}"]).towers.vision_cfg == {}  # the run's own shape
        towers = pretrained_run(recipe.towers, "cpu", pytest.fail)
        assert towers.pretrained == str(run / "exported" / "step-000000004" / name)
        made = load_file(run / "exported" / "step-000000004" / name / WEIGHTS)
        assert all(torch.equal(value, made[key]) for key, value in load_file(then / name / WEIGHTS).items())


def test_a_run_without_a_checkpoint_has_no_model(stopped, tmp_path):
    shutil.copytree(stopped, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(UserError, match="neither a model nor a checkpoint"):
        load_model(str(tmp_path / "run"), torch.device("cpu"))


def test_a_run_that_ends_between_its_two_models_is_not_taken_for_finished(table, tmp_path, monkeypatch):
    recipe, written = micro_recipe(table, "mcd"), []
    finished = train(recipe, tmp_path / "finished")

    def save_one(state, path, **more):
        if written:
            raise KeyboardInterrupt
        written.append(path.parent.name)
        save_file(state, path, **more)

    monkeypatch.setattr("askew.training.export.save_file", save_one)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "run")
    assert written == ["teacher.tmp"]
    monkeypatch.undo()
    train(recipe, tmp_path / "run", resume=True)
    for name in ("model", "teacher"):
        weights = [folder / name / WEIGHTS for folder in (tmp_path / "run", finished)]
        assert weights[0].read_bytes() == weights[1].read_bytes()
