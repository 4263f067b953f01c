"""Evaluation while training goes on gives the numbers of `askew eval`, and training does not notice it."""

import json
import os
import signal

import pytest

from askew.errors import Interrupted, UserError
from askew.recipes.settings import from_yaml, override, to_yaml
from askew.report.console import Console
from askew.runs import during
from askew.runs.directory import RunDirectory
from askew.runs.during import During, open_during
from askew.runs.evaluate import evaluate
from askew.runs.report import write_report
from askew.runs.request import Request
from askew.runs.resume import resume
from askew.runs.train import start
from helpers import write_pairs
from micro_runs import assert_same_state, metrics_of, micro_recipe, state_of, table_of_25, train, trainer_of

DUE = [3, 6, 9]  # of nine steps in three epochs
NAMES = [f"eval/dev/{way}/r@{k}" for way in ("image_to_text", "text_to_image") for k in (1, 5, 10)]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    dev = write_pairs(folder / "b", 20, seed=1)
    return table_of_25(folder / "a"), dev.rename(dev.with_name("dev.csv"))


def recipe_of(tables, *settings):
    return override(micro_recipe(tables[0], "clip", checkpoint_steps=3), [f"evaluation.during={tables[1]}", *settings])


def evaluated(run):
    """Step: its values of an evaluation."""
    found = {}
    for line in metrics_of(run):
        values = {name: value for name, value in line.items() if name.startswith("eval/")}
        if values:
            found[line["step"]] = values
    return found


def by_askew_eval(model, data, cache, weights="student"):
    out = cache / f"{weights}.jsonl"
    evaluate(Request(str(model), data=str(data), cache=cache, out=out, weights=weights), Console(quiet=True))
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    return {f"eval/{line['task']}/{k}": v for line in lines for k, v in line["values"].items() if k.startswith("r@")}


@pytest.fixture(scope="module")
def run(tables, tmp_path_factory):
    recipe = recipe_of(tables, "evaluation.best=dev/mean_recall", "evaluation.before=true")
    return RunDirectory(train(recipe, tmp_path_factory.mktemp("run") / "run"))


def test_every_epoch_and_the_start_are_evaluated(run):
    found = evaluated(run.path)
    assert list(found) == [0, *DUE]
    assert all(set(values) == {*NAMES, "eval/dev/mean_recall"} for values in found.values())
    for values in found.values():
        assert values["eval/dev/mean_recall"] == pytest.approx(sum(values[name] for name in NAMES) / 6)
    assert len({values["eval/dev/mean_recall"] for values in found.values()}) > 1  # the models differ


def test_the_last_values_are_those_of_askew_eval(run, tables, tmp_path):
    last = evaluated(run.path)[9]
    assert by_askew_eval(run.path, tables[1], tmp_path) == {name: last[name] for name in NAMES}


def test_the_results_are_those_that_askew_eval_keeps(run, tables, tmp_path):
    kept = run.results.read()
    evaluate(Request(str(run.path), data=str(tables[1]), cache=tmp_path, out=tmp_path / "x.jsonl"), Console(quiet=True))
    assert kept == [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert (run.results.outcomes() / "dev" / "image_to_text.npz").is_file()


def test_values_on_the_way_are_those_of_the_model_of_that_step(tables, tmp_path, run):
    """The same run, stopped after the first epoch: `askew eval` makes a model of its checkpoint."""
    recipe = from_yaml(run.recipe_file)
    stopped = RunDirectory.create("run", tmp_path / "run")
    stopped.write_recipe(recipe)
    trainer_of(recipe, stopped.path).run(until=3)
    found = by_askew_eval(stopped.path, tables[1], tmp_path / "cache")
    assert found == {name: evaluated(run.path)[3][name] for name in NAMES}


def test_training_does_not_notice(run, tables, tmp_path):
    without = train(recipe_of(tables, "evaluation.during=[]"), tmp_path / "run")
    losses = [line["loss"] for line in metrics_of(run.path) if "loss" in line]
    assert losses == [line["loss"] for line in metrics_of(without)]
    assert_same_state(state_of(run.path), state_of(without))


def test_the_best_model_is_kept_beside_the_last(run, tables, tmp_path):
    values = {step: v["eval/dev/mean_recall"] for step, v in evaluated(run.path).items()}
    best = run.read_best()
    assert best == {"measure": "dev/mean_recall", "value": max(values.values()), "step": max(values, key=values.get)}
    found = by_askew_eval(run.path, tables[1], tmp_path, weights="best")
    assert found == {name: evaluated(run.path)[best["step"]][name] for name in NAMES}


def test_the_first_of_equal_models_is_the_best(tables, tmp_path):
    recipe = recipe_of(tables, "evaluation.best=dev/image_to_text/r@1")
    folder = RunDirectory.create("run", tmp_path / "run")
    keeper = During(recipe, [], folder, Console(quiet=True))
    trainer = trainer_of(recipe)
    model = tmp_path / "model"
    model.mkdir()
    for step, value in ((1, 0.5), (2, 0.5), (3, 0.4), (4, 0.6)):
        trainer.done = step
        keeper._keep_best(trainer, {"dev/image_to_text/r@1": value}, model)
    assert folder.read_best()["step"] == 4
    trainer.done = 5
    keeper._keep_best(trainer, {"dev/image_to_text/r@1": 0.6}, model)
    assert folder.read_best()["step"] == 4


@pytest.mark.parametrize(("every", "steps"), [(0.5, [2, 3, 5, 6, 8, 9]), (2, [6, 9]), (0.01, list(range(1, 10)))])
def test_how_often(tables, tmp_path, every, steps):
    run = train(recipe_of(tables, f"evaluation.during_every={every}"), tmp_path / "run")
    assert list(evaluated(run)) == steps


class SignalInside:
    """Raises a signal within the evaluation of one step, once."""

    def __init__(self, monkeypatch, step):
        self.step, self.sent = step, False
        make = during.SharedExtractor.pass_over

        def pass_over(extractor, images):
            share = extractor._share

            def signalled(work):
                def working():
                    if self.at == self.step and not self.sent:
                        self.sent = True
                        os.kill(os.getpid(), signal.SIGTERM)
                    return work()

                return share(working)

            extractor._share = signalled
            return make(extractor, images)

        monkeypatch.setattr(during.SharedExtractor, "pass_over", pass_over)
        evaluate_now = During.evaluate

        def evaluate(keeper, trainer, guard):
            self.at = trainer.done
            return evaluate_now(keeper, trainer, guard)

        monkeypatch.setattr(During, "evaluate", evaluate)


@pytest.mark.parametrize("step", [0, 3, 9])
def test_a_signal_ends_the_evaluation_and_it_is_done_on_resume(run, tables, tmp_path, monkeypatch, step, capsys):
    signalled = SignalInside(monkeypatch, step)
    folder, recipe = tmp_path / "run", from_yaml(run.recipe_file)
    with pytest.raises(Interrupted):
        start(recipe, folder, Console())
    assert signalled.sent
    assert "SIGTERM: ending the evaluation" in capsys.readouterr().err
    if step == 0:  # nothing was trained: the same command starts it
        assert not folder.exists()
        start(recipe, folder, Console(quiet=True))
    else:
        resume(None, folder, Console(quiet=True))
    assert evaluated(folder) == evaluated(run.path)
    assert_same_state(state_of(folder), state_of(run.path))
    assert RunDirectory(folder).read_best() == run.read_best()
    kept = [(line["task"], line["values"]) for line in RunDirectory(folder).results.read()]
    assert kept == [(line["task"], line["values"]) for line in run.results.read()]


def test_a_set_that_cannot_be_evaluated_costs_a_warning(tables, tmp_path, capsys):
    bad = write_pairs(tmp_path / "bad", 20, seed=2)
    next(path for path in bad.parent.rglob("*.png")).unlink()
    entries = json.dumps([str(tables[1]), {"data": str(tables[0])}])
    recipe = recipe_of(tables, f"evaluation.during={entries}")
    opened = open_during(recipe)
    broken = opened[1].dataset.images
    broken.read = lambda index: (_ for _ in ()).throw(OSError(5, "cannot be read"))
    type(broken).__getitem__, whole = (lambda self, index: self.read(index)), type(broken).__getitem__
    directory = RunDirectory.create("run", tmp_path / "run")
    try:
        trainer = trainer_of(recipe, directory.path)
        trainer.measuring.evaluation = During(recipe, opened[1:], directory, Console())
        trainer.run(until=3)
    finally:
        type(broken).__getitem__ = whole
    assert trainer.done == 3
    assert "warning: not evaluated: none of the 25 images can be read" in capsys.readouterr().err


def test_the_report_shows_a_panel_for_each_task(run, tmp_path):
    page = tmp_path / "report.html"
    write_report([run], page, Console(quiet=True))
    text = page.read_text()
    assert "Evaluation during training" in text
    assert {f.name for f in (tmp_path / "report").glob("eval-*")} == {
        "eval-dev.svg", "eval-dev-image_to_text.svg", "eval-dev-text_to_image.svg",
    }  # fmt: skip


def test_a_recipe_with_entries_survives_yaml(tables, tmp_path):
    recipe = recipe_of(tables, f'evaluation.during=[{{data: {tables[1]}, set: ["data.split=test"], tasks: retrieval}}]')
    file = tmp_path / "recipe.yaml"
    file.write_text(to_yaml(recipe))
    assert from_yaml(file) == recipe
    assert recipe.evaluation.during[0].settings == ["data.split=test"]
    assert recipe.evaluation.during[0].tasks == ["retrieval"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["evaluation.best=dev/recall"], "evaluation.best=dev/recall is none of the measures: dev/image_to_text/r@1, "),
        (["evaluation.during=[]", "evaluation.best=x"], "nothing is evaluated; name it in evaluation.during"),
        (["evaluation.during=nowhere.csv"], "evaluation.during: data: nowhere.csv does not exist"),
        (["evaluation.during={suite: caltech101}"], "suite caltech101 needs data_root"),
        (["evaluation.during={suite: tiny, tasks: zero_shot}"], "the suite tiny is fixed"),
        (["evaluation.during=[{data: $dev, tasks: guess}]"], "the task guess is not known"),
        (["evaluation.during=[$dev, $dev]"], "two data sets are called dev"),
        (["evaluation.during=[{data: $dev, tasks: linear_probe_sgd}]"], "run it after training with askew eval"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_before_the_run(tables, tmp_path, settings, message):
    settings = [setting.replace("$dev", str(tables[1])) for setting in settings]
    with pytest.raises(UserError) as refused:
        start(recipe_of(tables, *settings), tmp_path / "run", Console(quiet=True))
    assert message in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_a_best_model_that_was_never_measured_is_said(tables, tmp_path, capsys):
    recipe = recipe_of(tables, "evaluation.best=dev/mean_recall")
    keeper = During(recipe, [], RunDirectory.create("run", tmp_path / "run"), Console())
    trainer = trainer_of(recipe)
    keeper._last = (trainer.done, [], {})
    keeper.finish(trainer)
    assert "no best model was kept: evaluation.best=dev/mean_recall was not measured" in capsys.readouterr().err


def test_lines_of_evaluations_alone_are_no_steps(run):
    lines = run.metrics.read_trained()
    assert [line["step"] for line in lines] == list(range(1, 10))
    assert run.metrics.read()[0]["step"] == 0


def test_wrong_captions_and_retrieval_of_one_source(tables, tmp_path):
    entries = json.dumps([str(tables[1]), {"wrong_captions": str(tables[1])}])
    settings = (f"evaluation.during={entries}", "evaluation.best=dev/wrong_captions/auroc_distance")
    run = train(recipe_of(tables, *settings), tmp_path / "run")
    assert "eval/dev/wrong_captions/auroc_distance" in evaluated(run)[9]
    tasks = [line["task"] for line in RunDirectory(run).results.read()]
    assert tasks == ["dev/image_to_text", "dev/text_to_image", "dev/wrong_captions"]
