"""What a run decides by its machine, and records: the precision, and the number of steps that fit into minutes."""

from types import SimpleNamespace

import numpy as np
import pytest

from askew import devices
from askew.config import TrainSettings
from askew.recipes.settings import override
from askew.runs.directory import RunDirectory
from askew.training import checkpoint
from askew.training.build import build
from askew.training.schedule import MEASURED_SECONDS, MEASURED_STEPS, PaceMeter, Schedule
from micro_runs import (
    STEPS,
    as_options,
    askew_here,
    assert_same_state,
    metrics_of,
    micro_recipe,
    micro_settings,
    state_of,
    train,
    trainer_of,
)


@pytest.fixture
def two_seconds(monkeypatch):
    """Every step takes two seconds, and three of them are enough to measure."""
    monkeypatch.setattr(PaceMeter, "lap", lambda self: self.seconds.append(2.0))
    monkeypatch.setattr(PaceMeter, "is_enough", property(lambda self: len(self.seconds) >= 3))


# Steps that fit into minutes


@pytest.mark.parametrize("method", ["clip", "mcd"])
def test_minutes_cut_the_run_and_its_recipe_repeats_it(table, tmp_path, two_seconds, method):
    said = []
    recipe = micro_recipe(table, method, minutes=0.2, warmup_epochs=1.5)
    trainer = trainer_of(recipe, say=said.append)
    trainer.run()
    assert trainer.done == trainer.total == 6  # twelve seconds of two seconds each
    assert trainer.recipe.train.max_steps == 6
    assert trainer.recipe.train.settled == (3, STEPS)
    (line,) = [text for text in said if text.startswith("plan")]
    assert "2 s per step, measured over 1 steps: 6 steps fit into train.minutes=0.2" in line
    assert "cut from 9 steps to 6. train.minutes=0 takes them all; train.max_steps=6 gives another method as" in line

    whole = train(recipe, tmp_path / "cut")
    assert metrics_of(whole)[-1]["step"] == 6
    again = train(trainer.recipe, tmp_path / "again")
    assert_same_state(state_of(whole), state_of(again))
    weights = trainer.method.state_dict()
    assert_same_state(state_of(whole), state_of(whole) | {f"method/{key}": value for key, value in weights.items()})


def test_minutes_never_lengthen_a_run(table, two_seconds):
    said = []
    trainer = trainer_of(micro_recipe(table, "clip", minutes=60), say=said.append)
    trainer.run()
    assert trainer.done == STEPS
    assert trainer.recipe.train.settled[1] == trainer.recipe.train.max_steps == STEPS
    assert any("1,800 steps fit into train.minutes=60; the run takes 9, as planned" in text for text in said)


@pytest.mark.parametrize("settings", [{}, {"max_steps": 4}], ids=["no limit", "max_steps"])
def test_nothing_is_measured_where_nothing_is_asked(table, settings):
    trainer = trainer_of(micro_recipe(table, "clip", minutes=0, **settings))
    trainer.run()
    assert trainer.done == settings.get("max_steps", STEPS)
    assert trainer.recipe.train.settled == (0, 0)


def test_max_steps_caps_what_minutes_allow(table, two_seconds):
    trainer = trainer_of(micro_recipe(table, "clip", minutes=60, max_steps=5))
    trainer.run()
    assert trainer.done == 5
    assert trainer.recipe.train.settled == (3, 5)


def test_the_warm_up_lasts_until_the_steps_are_settled(table, monkeypatch):
    """However short the warm-up is: the measurement is never cut, and the rate stays at its peak meanwhile."""
    monkeypatch.setattr(PaceMeter, "lap", lambda self: self.seconds.append(2.0))
    monkeypatch.setattr(PaceMeter, "is_enough", property(lambda self: len(self.seconds) >= 5))
    lines = []
    recipe = micro_recipe(table, "clip", minutes=0.25, warmup_epochs=0.67)
    trainer = trainer_of(recipe, progress=lines.append)
    trainer.run()
    assert trainer.recipe.train.settled == (5, STEPS)
    assert trainer.total == 7
    rates = [line["learning_rate"] for line in lines]
    assert rates[:2] == pytest.approx([1e-6, (1e-6 + 5e-3) / 2])
    assert rates[2:6] == [5e-3] * 4  # two steps of warm-up, then held; the first after it is settled decays from there
    assert rates[6] < 5e-3


def test_the_measurement_is_of_real_steps(table, monkeypatch):
    """Five steps are slow because of a load, and the others take 0.5 s by the clock."""
    now = [0.0]
    monkeypatch.setattr("askew.training.schedule.time", SimpleNamespace(monotonic=lambda: now[0]))
    recipe = micro_recipe(table, "clip", epochs=40, minutes=2, warmup_epochs=1)

    def tick(trainer, line):
        now[0] += 2.5 if 10 <= trainer.done < 15 else 0.5

    said = []
    trainer = trainer_of(recipe, say=said.append, hooks=(tick,))
    trainer.run(until=60)
    step, planned = trainer.recipe.train.settled
    assert (step, planned) == (32, 120)  # 30 steps that count, and 25 seconds
    assert trainer.total == 120
    assert any("0.5 s per step, measured over 30 steps: 240 steps fit into train.minutes=2" in text for text in said)


def test_a_run_stopped_after_its_steps_were_settled_takes_as_many(table, tmp_path, two_seconds):
    recipe = micro_recipe(table, "mcd", minutes=0.2)
    reference = train(recipe, tmp_path / "whole")
    stopped = trainer_of(recipe, tmp_path / "run")
    (tmp_path / "run").mkdir()
    stopped.storage.write_recipe(recipe)
    stopped.run(until=4)
    stopped.save()
    train(recipe, tmp_path / "run", resume=True)
    assert_same_state(state_of(tmp_path / "run"), state_of(reference))


def test_a_run_killed_between_settling_and_the_next_checkpoint_can_be_resumed(table, tmp_path, two_seconds):
    """The recipe knows the settled steps already, and the checkpoint is of the plan before."""
    recipe = micro_recipe(table, "mcd", minutes=0.2, checkpoint_steps=2)
    reference = train(recipe, tmp_path / "whole")
    killed = trainer_of(recipe, tmp_path / "run")
    (tmp_path / "run").mkdir()
    killed.storage.write_recipe(recipe)
    killed.run(until=3)
    assert killed.recipe.train.settled == (3, STEPS)
    assert checkpoint.latest(tmp_path / "run" / "checkpoints", pytest.fail).step == 2
    train(recipe, tmp_path / "run", resume=True)
    assert_same_state(state_of(tmp_path / "run"), state_of(reference))


def test_a_run_stopped_before_its_steps_are_settled_measures_again(table, tmp_path, two_seconds):
    recipe = micro_recipe(table, "clip", minutes=0.2)
    stopped = trainer_of(recipe, tmp_path / "run")
    (tmp_path / "run").mkdir()
    stopped.storage.write_recipe(recipe)
    stopped.run(until=2)
    stopped.save()
    train(recipe, tmp_path / "run", resume=True)
    assert RunDirectory(tmp_path / "run").read_recipe().train.settled == (5, STEPS)
    assert metrics_of(tmp_path / "run")[-1]["step"] == 6


def test_another_plan_from_a_settled_recipe_is_measured_anew(table):
    recipe = micro_recipe(table, "clip", minutes=0.2, max_steps=6, settled=(3, STEPS))
    assert override(recipe, ["train.log_every=2"]).train.settled == (3, STEPS)
    for setting in ("train.epochs=4", "train.minutes=60"):
        changed = override(recipe, [setting]).train
        assert (changed.settled, changed.max_steps) == ((0, 0), 0)
    changed = override(recipe, ["train.max_steps=5"]).train
    assert (changed.settled, changed.max_steps) == ((0, 0), 5)


def test_a_run_of_the_command_line_says_what_minutes_do(table, tmp_path):
    options = ["--data", table, "--out", tmp_path / "run", *micro_settings()]
    cut = askew_here("train", "tiny", *options, *as_options("train.minutes=1e-9", "train.epochs=3"))
    assert "plan     9 steps of 8" in cut.stderr
    assert "fewer steps if these do not fit into train.minutes=1e-09: the first steps are timed" in cut.stderr
    assert "0 steps fit into train.minutes=1e-09; the run is cut from 9 steps to" in cut.stderr.replace("\n", " ")
    again = askew_here("train", tmp_path / "run" / "recipe.yaml", "--out", tmp_path / "again")
    assert "steps fit into" not in again.stderr
    assert "plan     settled by train.minutes=1e-09 at step 7" in again.stderr
    assert_same_state(state_of(tmp_path / "run"), state_of(tmp_path / "again"))


# The pace


def measured(steps, **settings):
    meter = PaceMeter(**settings)
    for seconds in steps:
        if meter.is_enough:
            break
        meter.seconds.append(seconds)
    return meter


def test_the_pace_is_measured_for_long_enough():
    slow, fast = measured([2.0] * 500), measured([0.01] * 5000)
    assert len(slow.seconds) == MEASURED_STEPS + 2
    assert len(fast.seconds) == pytest.approx(MEASURED_SECONDS / 0.01, abs=1)
    assert measured([2.0] * 500, longest=15).seconds == [2.0] * 8
    assert measured([2.0] * 500, longest=0).seconds == [2.0] * 7  # never from fewer than five


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("at the start", lambda t: 2.5 if t < 10 else 1.0),
        ("for two seconds in four", lambda t: 2.5 if t % 4 < 2 else 1.0),
        ("in the middle", lambda t: 4.0 if 5 < t < 15 else 1.0),
        ("for a moment now and then", lambda t: 8.0 if t % 5 < 0.5 else 1.0),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_load_that_comes_and_goes_does_not_change_the_pace(name, factor):
    """Steps of half a second, beside a load that makes them slower for a while. The quiet steps decide."""
    rng = np.random.default_rng(0)
    meter, time = PaceMeter(), 0.0
    while not meter.is_enough:
        seconds = 0.5 * factor(time) * rng.uniform(0.98, 1.02)
        time += seconds
        meter.seconds.append(seconds)
    assert meter.seconds_per_step == pytest.approx(0.5, rel=0.1), name
    assert np.mean(meter.seconds) > 0.6


def test_batches_that_come_in_bursts_are_averaged():
    """Four workers deliver four batches at once: three steps do not wait, and the fourth waits for all of them."""
    meter = measured([1.9 if step % 4 == 3 else 0.1 for step in range(500)], window=4)
    assert meter.seconds_per_step == pytest.approx(0.55, rel=0.01)


# The schedule


def test_a_settled_schedule_is_a_function_of_the_step():
    config = TrainSettings(epochs=10, warmup_epochs=1, learning_rate=1.0, minutes=1)
    planned = Schedule.of(config, steps_per_epoch=20)
    assert planned.is_open
    settled = planned.settled(15, seconds_per_step=0.6)
    assert not settled.is_open
    assert settled.total == 100
    rebuilt = Schedule.of(settled.config, steps_per_epoch=20)  # as a run that is resumed does
    progress = [settled.progress(step) for step in range(100)]
    assert progress == [rebuilt.progress(step) for step in range(100)]
    assert progress == [step / (200 if step < 15 else 100) for step in range(100)]
    assert settled.progress_after(99) == 1.0
    assert progress == sorted(progress)
    rates = [settled.learning_rate(step) for step in range(100)]
    assert rates == [rebuilt.learning_rate(step) for step in range(100)]
    assert rates[:20] == pytest.approx([1e-6 + (1 - 1e-6) * step / 20 for step in range(20)])
    assert rates[20] == max(rates)
    assert planned.total_after(14) == settled.total_after(14) == 200
    assert settled.total_after(15) == 100


def test_a_pace_too_slow_for_another_step_ends_the_run_where_it_is():
    settled = Schedule.of(TrainSettings(epochs=10, minutes=1e-9), steps_per_epoch=20).settled(4, 1.0)
    assert settled.total == 4


# Precision


def test_precision_is_decided_by_the_device_and_recorded(table, monkeypatch):
    for there, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(devices, "_cpu_multiplies_bf16", lambda there=there: there)
        built = build(micro_recipe(table, "clip", precision="auto", device="cpu"))
        assert built.recipe.train.precision == built.step.precision == expected
        assert build(micro_recipe(table, "clip", precision="bf16")).step.precision == "bf16"


def test_what_the_machine_decided_is_no_change_of_the_recipe(table, tmp_path):
    """A run that is resumed on another machine keeps what was decided where it began."""
    recipe = micro_recipe(table, "clip", precision="auto", minutes=50)
    stopped = trainer_of(recipe, tmp_path)
    recorded = stopped.recipe.train.model_copy(update={"max_steps": 5, "settled": (2, STEPS)})
    stopped.storage.write_recipe(stopped.recipe.model_copy(update={"train": recorded}))
    train(recipe, tmp_path, resume=True)
    assert metrics_of(tmp_path)[-1]["step"] == 5
