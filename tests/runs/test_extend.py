"""Training on after the end: what becomes of the schedule, and that it stays exact and resumable."""

import math
import os
import signal

import pytest
import yaml

from askew.config import TrainSettings
from askew.errors import Interrupted, UserError
from askew.recipes.settings import from_yaml, override
from askew.report.console import Console
from askew.runs.directory import RunDirectory
from askew.runs.resume import extended
from askew.runs.resume import resume as resume_run
from askew.training.schedule import Schedule
from micro_runs import (
    STEPS,
    askew_here,
    assert_same_state,
    metrics_of,
    micro_recipe,
    state_of,
    train,
    trainer_of,
)

LONGER = 18  # steps of six epochs


@pytest.fixture(scope="module", params=["clip", "mcd"])
def longer(request, table, tmp_path_factory):
    """A run of three epochs that was extended to six."""
    folder = tmp_path_factory.mktemp("longer") / "run"
    train(micro_recipe(table, request.param), folder)
    weights = (folder / "model" / "open_clip_model.safetensors").read_bytes()
    resume_run(None, folder, Console(quiet=True), extend_to=6)
    return request.param, folder, weights


def rates(settings, spe=3):
    schedule = Schedule.of(TrainSettings(**settings), spe)
    return [schedule.learning_rate(step) for step in range(schedule.total)], schedule


PLAN = {"epochs": 3, "learning_rate": 1.0, "min_learning_rate": 0.1, "warmup_learning_rate": 0, "warmup_epochs": 2 / 3}


def test_the_learning_rate_warms_up_again_from_the_minimum():
    before, first = rates(PLAN)
    after, schedule = rates({**PLAN, "epochs": 6, "extended": (9,)})
    assert after[:9] == before
    assert len(after) == 18
    assert after[9] == 0.1
    assert after[10] == pytest.approx(0.55)  # halfway to the peak
    assert after[11] == 1.0
    assert after[11:] == sorted(after[11:], reverse=True)
    assert after[14] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi * 3 / 7)) / 2)
    assert schedule.total_after(9) == first.total_after(9) == 9  # the checkpoint from which it went on
    assert schedule.total_after(10) == 18


def test_progress_is_of_the_plan_of_its_time():
    _, schedule = rates({**PLAN, "epochs": 6, "extended": (9,)})
    assert schedule.progress(8) == 8 / 9
    assert schedule.progress_after(8) == 1
    assert schedule.progress(9) == 9 / 18
    assert schedule.progress_after(17) == 1


def test_a_run_may_be_extended_twice():
    once, _ = rates({**PLAN, "epochs": 6, "extended": (9,)})
    twice, schedule = rates({**PLAN, "epochs": 7, "extended": (9, 18)})
    assert twice[:18] == once
    assert twice[18:] == [0.1, 1.0, 0.55]  # a warm-up of no more than half of it
    assert [schedule.total_after(step) for step in (3, 9, 10, 18, 19)] == [9, 9, 18, 18, 21]


@pytest.mark.parametrize("stages", [(18,), (20,), (9, 9), (12, 9)])
def test_stages_that_do_not_fit_the_plan_are_refused(stages):
    with pytest.raises(UserError, match=r"train.extended=.* set train.extended=\[\]"):
        rates({**PLAN, "epochs": 6, "extended": stages})


def test_an_extension_is_a_plan_that_could_have_been_made_at_once(longer, table, tmp_path):
    """Bit for bit: recipe.yaml repeats the whole run."""
    method, folder, _ = longer
    recipe = from_yaml(folder / "recipe.yaml")
    assert (recipe.train.epochs, recipe.train.extended) == (6, (9,))
    train(recipe, tmp_path / "again")
    assert_same_state(state_of(folder), state_of(tmp_path / "again"))
    lines = metrics_of(folder)
    assert [line["step"] for line in lines] == list(range(1, LONGER + 1))
    if method == "mcd":
        assert lines[STEPS]["alpha"] == pytest.approx(0.5, abs=1e-6)  # at 9 / 18


@pytest.mark.parametrize("step", [STEPS + 1, LONGER - 1])
def test_a_stopped_extension_resumes_bit_equal(longer, table, tmp_path, step):
    method, folder, _ = longer
    run = tmp_path / "run"
    train(micro_recipe(table, method), run)
    recipe = from_yaml(folder / "recipe.yaml")

    def progress(line):
        if line["step"] == step:
            os.kill(os.getpid(), signal.SIGTERM)

    directory = RunDirectory(run)
    directory.write_recipe(recipe)  # as --extend-to does
    trainer = trainer_of(recipe, run, progress=progress)
    trainer.load(directory.latest_checkpoint(pytest.fail))
    with pytest.raises(Interrupted, match=f"saved at step {step}"):
        trainer.run()
    done = askew_here("train", "--resume", "--out", run, "--extend-to", "6")  # the same command again
    assert done.returncode == 0, done.stderr
    assert_same_state(state_of(run), state_of(folder))


def test_the_model_that_it_had_is_kept_apart(longer):
    _, folder, weights = longer
    earlier = folder / "earlier" / "step-000000009" / "model" / "open_clip_model.safetensors"
    assert earlier.read_bytes() == weights
    assert (folder / "model" / "open_clip_model.safetensors").read_bytes() != weights


def test_results_of_a_run_are_set_aside_with_its_model(tmp_path):
    directory = RunDirectory(tmp_path)
    for name in ("model", "teacher", "outcomes", "outcomes-teacher"):
        (tmp_path / name).mkdir()
    (tmp_path / "results.jsonl").write_text("{}\n", encoding="utf-8")
    directory.set_aside(9)
    directory.set_aside(9)  # nothing is left to move
    assert [p.name for p in tmp_path.iterdir()] == ["earlier"]
    names = sorted(p.name for p in (tmp_path / "earlier" / "step-000000009").iterdir())
    assert names == ["model", "outcomes", "outcomes-teacher", "results.jsonl", "teacher"]


def test_the_plan_says_what_happens(table, tmp_path):
    run = tmp_path / "run"
    train(micro_recipe(table, "clip"), run)
    done = askew_here("train", "--resume", "--out", run, "--extend-to", "4.5")
    assert done.returncode == 0, done.stderr
    printed = " ".join(done.stderr.split())
    assert "extended at step 9: the learning rate rises again to 0.005 over 2 steps and falls to 1e-05" in printed
    assert "9 / 14 = 0.64, not from 1" in printed
    again = askew_here("train", "--resume", "--out", run, "--extend-to", "4.5")
    assert again.returncode == 2
    assert "--extend-to 4.5 is no more than the 4.5 epochs (14 steps)" in " ".join(again.stderr.split())
    recorded = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))["train"]
    assert (recorded["epochs"], recorded["extended"]) == (4.5, [9])


def test_a_changed_plan_forgets_extensions(table):
    recipe = micro_recipe(table, "clip", epochs=6, extended=(9,))
    assert override(recipe, ["train.epochs=4"]).train.extended == ()
    assert override(recipe, ["train.log_every=4"]).train.extended == (9,)


@pytest.mark.parametrize(
    ("settings", "done", "epochs", "words"),
    [
        ({}, 9, 2, "no more than the 3 epochs"),
        ({}, 9, 3, "no more than the 3 epochs"),
        ({}, 9, float("inf"), "no more than"),
        ({}, 5, 6, "has taken 5 of its 9 steps"),
        ({"max_steps": 9}, 9, 6, "train.max_steps=9 limits this run"),
        ({"minutes": 3, "settled": (4, 9), "max_steps": 9}, 9, 6, "limits this run"),
        ({"epochs": 6, "extended": (9,)}, 12, 7, "has taken 12 of its 18 steps"),
    ],
)
def test_what_cannot_be_extended(table, settings, done, epochs, words):
    recipe = micro_recipe(table, "clip", **settings)
    with pytest.raises(UserError, match=words):
        extended(recipe, 3, done, epochs)
