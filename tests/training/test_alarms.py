"""Alarms: each is raised once by a run that goes wrong, and by no run that learns."""

import pytest

from askew.config import TrainSettings
from askew.recipes.settings import override
from askew.runs.directory import RunDirectory
from askew.runs.reporting import words
from askew.runs.reporting.read import read_run
from askew.training import alarms
from askew.training.alarms import Alarms
from askew.training.schedule import Schedule
from micro_runs import metrics_of, micro_recipe, trainer_of

SCHEDULE = Schedule.of(TrainSettings(epochs=40, warmup_epochs=4), 10)  # 400 steps, of which 40 warm up
QUIET = {"contrast": 1.0, "logit_scale": 14.0, "image_rank": 9.0, "text_rank": 9.0}
QUIET |= {"image_uniformity": -2.0, "text_uniformity": -2.0}
EMPTY = {"image_rank": 1.1, "image_uniformity": -0.02}


def first_raised(values, every=10, chance=2.0, **changing):
    """The step at which each alarm is raised by lines with these values; `changing` gives some by step."""
    watched, found = Alarms(chance), {}
    for step in range(every, 401, every):
        line = {**QUIET, **values, **{name: value(step) for name, value in changing.items()}, "step": step}
        found |= dict.fromkeys(watched.after(line, SCHEDULE), step)
    return found


@pytest.mark.parametrize(
    ("values", "raised"),
    [
        ({}, {}),
        ({"contrast": 1.97}, {"loss_at_chance": 150}),  # a window of 100 steps after the warm-up
        ({"contrast": 1.95}, {}),
        ({"contrast": 9.0}, {"loss_at_chance": 150}),
        (EMPTY, {"image_collapse": 150}),
        ({"image_rank": 1.1}, {}),  # far from one another, on one line
        ({"text_rank": 1.0, "text_uniformity": 0.0}, {"text_collapse": 150}),
        ({"logit_scale": 100.0}, {}),  # a pretrained model starts there
    ],
)
def test_what_lasts_raises_an_alarm_once(values, raised):
    assert first_raised(values) == raised


def test_the_start_raises_none():
    assert first_raised({}, contrast=lambda step: 2.0 if step <= 60 else 1.5) == {}
    assert first_raised({}, contrast=lambda step: 2.5 - step / 200) == {}


def test_rare_lines_are_enough_and_few_are_not():
    assert first_raised(EMPTY, every=50) == {"image_collapse": 150}
    assert first_raised(EMPTY, every=150) == {}


def test_a_scale_that_doubles_or_is_soon_at_its_limit_raises_one():
    assert first_raised({}, logit_scale=lambda step: 14 * 1.006**step) == {}
    assert first_raised({}, logit_scale=lambda step: 14 * 1.01**step) == {"logit_scale": 80}
    assert first_raised({}, logit_scale=lambda step: min(100.0, 60 + step / 4)) == {}  # at its limit, but late
    assert first_raised({}, logit_scale=lambda step: 40.0 if step < 30 else 100.0) == {"logit_scale": 30}


@pytest.mark.parametrize(("growth", "raised"), [(1.003, 310), (1.002, None)])
def test_a_scale_may_reach_its_limit_late_and_not_early(growth, raised):
    watched, schedule = Alarms(2.0), Schedule.of(TrainSettings(epochs=400), 10)  # a tenth of it are 400 steps
    found = {}
    for step in range(10, 4000, 10):
        line = {**QUIET, "logit_scale": min(100.0, 40 * growth**step), "step": step}
        found |= dict.fromkeys(watched.after(line, schedule), step)
    assert found.get("logit_scale") == raised


def test_what_is_not_logged_raises_none():
    watched = Alarms(None)
    for step in range(10, 400, 10):
        assert watched.after({"step": step, "logit_scale": 3.0}, SCHEDULE) == {}


def test_a_run_that_learns_nothing_says_so_once_everywhere(table, tmp_path):
    said = []
    RunDirectory(tmp_path / "run").path.mkdir()
    recipe = micro_recipe(table, "clip", epochs=60, warmup_epochs=1, learning_rate=1.0, log_every=5)
    trainer = trainer_of(recipe, tmp_path / "run", said.append)
    trainer.run(until=110)
    trainer.save()
    raised = [line["alarms"] for line in metrics_of(tmp_path / "run") if "alarms" in line]
    names = [name for one in raised for name in one]
    assert sorted(names) == sorted(set(names))
    assert set(names) == {"loss_at_chance", "image_collapse", "text_collapse"}
    assert len([text for text in said if text.startswith("alarm")]) == len(names)
    directory = RunDirectory(tmp_path / "run")
    directory.write_recipe(trainer.recipe)
    shown = [text for name, text in words.facts(read_run(directory)) if name == "alarm"]
    assert len(shown) == len(names)
    assert any("the loss `contrast` is at chance" in text for text in shown)
    again = trainer_of(trainer.recipe, tmp_path / "run")
    again.load(directory.latest_checkpoint(pytest.fail))
    assert again.alarms.raised == set(names)  # a resumed run does not repeat them


def test_a_temperature_that_runs_away_says_so(table):
    said = []
    recipe = micro_recipe(table, "fastclip", epochs=60, log_every=5)
    recipe = override(recipe, ["method.temperature_rate=0.05"])
    trainer_of(recipe, say=said.append).run(until=25)
    found = [text for text in said if text.startswith("alarm")]
    assert len(found) == 1
    assert "the logit scale explodes: from 1" in found[0]


def test_a_run_that_learns_is_quiet(table):
    lines = []
    recipe = micro_recipe(table, "clip", epochs=60, warmup_epochs=1, log_every=10)
    trainer = trainer_of(recipe, progress=lines.append)
    trainer.run(until=125)
    assert len(lines) >= 12
    assert [line for line in lines if "alarms" in line] == []
    assert lines[-1]["step"] - trainer.schedule.warmup > alarms.WINDOW  # all three could have been raised
