"""A study runs every row and seed once, goes on where it was stopped, and lays all results side by side."""

import json
import shutil
from functools import partial

import pytest
import yaml

from askew.errors import UserError
from askew.report.console import Console
from askew.runs.studies import run as study
from askew.runs.studies.plan import read_study
from micro_runs import micro_settings, table_of_25

RESULTS = "results.jsonl"
SETTINGS = [setting for setting in micro_settings() if setting != "--set"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return table_of_25(tmp_path_factory.mktemp("pairs"))


def write(folder, table, **changes):
    """A study of two methods and two seeds."""
    rows = {"MCD, whole": {"recipe": "tiny"}, "CLIP": {"recipe": "tiny-clip", "set": ["train.learning_rate=2e-3"]}}
    fields = {"name": "two", "set": [*SETTINGS, f"data.source={table}", "train.max_steps=2"], "seeds": [0, 3]}
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({**fields, "rows": rows, **changes}, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture
def scored(monkeypatch):
    """In place of the suite, which needs the embedded drawings: every run is given a result of its seed."""

    def scored(resumed, recipe, place, console):
        called.append((place.name, resumed))
        folder = place if resumed else whole(recipe, place, console).path
        values = {"top1": 0.10 + 0.01 * recipe.train.seed, "n": 5, "classes": 9}
        line = {"task": "naming/unseen_style", "values": values, "protocol": {"weights": "student"}}
        (folder / RESULTS).write_text(json.dumps(line) + "\n", encoding="utf-8")

    whole, called = study.start, []
    monkeypatch.setattr(study, "start", partial(scored, False))
    monkeypatch.setattr(study, "resume", partial(scored, True))
    monkeypatch.setattr(study.RunDirectory, "is_complete", lambda self, recipe: (self.path / RESULTS).exists())
    return called


def test_every_row_and_seed_once_and_again_only_what_is_missing(table, tmp_path, scored, capsys):
    path, out = write(tmp_path, table), tmp_path / "runs"
    first = study.run_study(path, out, Console(quiet=True))
    names = ["mcd--whole-seed0", "mcd--whole-seed3", "clip-seed0", "clip-seed3"]
    assert scored == [(name, False) for name in names]
    assert yaml.safe_load((out / "clip-seed3" / "recipe.yaml").read_text())["train"]["learning_rate"] == 2e-3
    lines = first.splitlines()
    assert lines[0] == "| | MCD, whole | CLIP |"
    assert lines[2] == "| naming/unseen_style, top-1 | 11.5 (10.0 to 13.0) | 11.5 (10.0 to 13.0) |"
    assert "| samples seen | 16 (16 to 16) | 16 (16 to 16) |" in lines
    assert (out / "table.md").read_text() == first + "\n"

    (out / "clip-seed0" / RESULTS).unlink()  # stopped in its evaluation
    shutil.rmtree(out / "clip-seed3")
    scored.clear()
    assert study.run_study(path, out, Console(quiet=True)).splitlines()[:3] == lines[:3]
    assert scored == [("clip-seed0", True), ("clip-seed3", False)]


def test_runs_of_other_settings_are_not_passed_off(table, tmp_path, scored):
    out = tmp_path / "runs"
    study.run_study(write(tmp_path, table), out, Console(quiet=True))
    changed = write(tmp_path, table, rows={"CLIP": {"recipe": "tiny-clip"}})
    with pytest.raises(UserError, match=r"clip-seed0 was run with other settings .*train.learning_rate.*--out DIR"):
        study.run_study(changed, out, Console(quiet=True))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rows": {}}, r"rows: .*at least 1.*a study is a mapping"),
        ({"rows": {"A": {"recipe": "tyni"}}}, "did you mean 'tiny'"),
        ({"rows": {"A": {"recipe": "tiny", "set": ["train.epoch=2"]}}}, "did you mean 'train.epochs'"),
        ({"seeds": []}, "seeds: .*at least 1"),
        ({"colour": "red"}, "colour: extra inputs"),
    ],
)
def test_a_mistake_shows_before_the_first_run(table, tmp_path, scored, changes, words):
    with pytest.raises(UserError, match=words):
        study.run_study(write(tmp_path, table, **changes), tmp_path / "runs", Console(quiet=True))
    assert scored == []


def test_files_that_are_no_study(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_study(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("rows: [", encoding="utf-8")
    with pytest.raises(UserError, match="not valid YAML"):
        read_study(tmp_path / "bad.yaml")
