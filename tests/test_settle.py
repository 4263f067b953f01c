"""What a run settles by the machine it starts on, and records: precision, and steps where minutes are given."""

import time

import pytest
import torch

from askew import devices
from askew.config import to_yaml
from askew.train import Trainer
from runs import (
    STEPS,
    as_options,
    askew_here,
    assert_same_state,
    metrics_of,
    micro_recipe,
    micro_settings,
    state_of,
    table_of_25,
    train,
)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return table_of_25(tmp_path_factory.mktemp("pairs"))


def test_minutes_cut_the_schedule_and_the_recipe_records_the_steps(table, tmp_path, monkeypatch):
    seconds = iter(range(0, 10**6, 2))  # two seconds from one look at the clock to the next
    recipe = micro_recipe(table, "mcd", minutes=0.1)
    trainer = Trainer(recipe, None)
    before = {name: value.clone() for name, value in trainer.method.state_dict().items()}
    monkeypatch.setattr(time, "perf_counter", lambda: next(seconds))
    trainer.fit_into_minutes()
    assert trainer.total == 3  # six seconds of two seconds each
    assert trainer.cut_from == STEPS
    assert trainer.recipe.train.max_steps == 3
    assert all(torch.equal(value, before[name]) for name, value in trainer.method.state_dict().items())
    assert all(parameter.grad is None for parameter in trainer.method.parameters())
    whole = train(trainer.recipe, tmp_path / "fitted")
    assert_same_state(state_of(whole), state_of(train(micro_recipe(table, "mcd", max_steps=3), tmp_path / "told")))


@pytest.mark.parametrize("settings", [{"minutes": 0}, {"minutes": 1e-9, "max_steps": 4}], ids=["no limit", "told"])
def test_nothing_is_measured_where_nothing_is_asked(table, settings):
    trainer = Trainer(micro_recipe(table, "clip", **settings), None)
    total = trainer.total
    trainer.fit_into_minutes()
    assert trainer.total == total
    assert trainer.recipe.train.max_steps == settings.get("max_steps", 0)


def test_minutes_never_lengthen_a_run(table):
    trainer = Trainer(micro_recipe(table, "clip", minutes=60), None)
    trainer.fit_into_minutes()
    assert trainer.total == STEPS
    assert trainer.cut_from == 0


def test_a_run_that_minutes_cut_says_so_and_how_to_lift_it(table, tmp_path):
    options = ["--data", table, "--out", tmp_path / "run", *micro_settings()]
    cut = askew_here("train", "tiny", *options, *as_options("train.minutes=1e-9"))
    assert "plan     1 steps of 8" in cut.stderr
    assert "plan     cut from 3 steps: more do not fit into train.minutes=1e-09 here; train.minutes=0" in cut.stderr
    again = askew_here("train", tmp_path / "run" / "recipe.yaml", "--out", tmp_path / "again")
    assert "plan     1 steps of 8" in again.stderr
    assert "cut from" not in again.stderr


def test_precision_is_settled_by_the_device_and_recorded(table, tmp_path, monkeypatch):
    for there, settled in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(devices, "_cpu_multiplies_bf16", lambda there=there: there)
        trainer = Trainer(micro_recipe(table, "clip", precision="auto", device="cpu"), None)
        assert trainer.recipe.train.precision == trainer.step.precision == settled
        assert Trainer(micro_recipe(table, "clip", precision="bf16"), None).step.precision == "bf16"


def test_what_the_machine_settled_is_no_change_of_the_recipe(table, tmp_path):
    """Asked for by the same words on another machine, a run goes on with what was settled at its start."""
    recipe = micro_recipe(table, "clip", precision="auto", minutes=50)
    stopped = Trainer(recipe, tmp_path)
    stopped.fit_into_minutes()
    recorded = stopped.recipe.model_copy(update={"train": stopped.recipe.train.model_copy(update={"max_steps": 5})})
    (tmp_path / "recipe.yaml").write_text(to_yaml(recorded), encoding="utf-8")
    train(recipe, tmp_path, resume=True)
    assert metrics_of(tmp_path)[-1]["step"] == 5
