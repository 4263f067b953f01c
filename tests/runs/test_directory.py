"""A run's directory: made, claimed, read and repaired in one place."""

import json

import pytest

from askew.errors import UserError
from askew.recipes import find
from askew.runs.directory import RunDirectory


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_numbers_are_never_used_twice(here):
    first, second = RunDirectory.create("tiny", None), RunDirectory.create("tiny", None)
    assert [run.path.as_posix() for run in (first, second)] == ["runs/tiny-001", "runs/tiny-002"]
    first.path.rmdir()
    (here / "runs" / "tiny-clip-007").mkdir()  # of another recipe
    (here / "runs" / "tiny-x").mkdir()
    assert RunDirectory.create("tiny", None).path.name == "tiny-003"
    assert RunDirectory.create("tiny-clip", None).path.name == "tiny-clip-008"


def test_the_newest_run_is_the_one_with_the_highest_number(here):
    for number in (9, 10, 2):
        run = RunDirectory(here / "runs" / f"tiny-{number:03d}")
        run.path.mkdir(parents=True)
        run.write_recipe(find("tiny"))
    assert RunDirectory.newest("tiny").path.name == "tiny-010"
    with pytest.raises(UserError, match="there is no run of tiny-clip under runs/; name one with --out DIR"):
        RunDirectory.newest("tiny-clip")


def test_an_output_folder_is_claimed_only_if_it_is_empty(here):
    assert RunDirectory.create("tiny", here / "a" / "b").path.is_dir()
    (here / "left").mkdir()
    (here / "left" / "start.tmp").mkdir()  # of a crash
    assert RunDirectory.create("tiny", here / "left").path == here / "left"
    (here / "full").mkdir()
    (here / "full" / "notes.txt").write_text("notes")
    with pytest.raises(UserError, match="full is not empty; choose a new folder"):
        RunDirectory.create("tiny", here / "full")
    RunDirectory(here / "left").write_recipe(find("tiny"))
    with pytest.raises(UserError, match="holds another run; choose a new folder, or resume it: --resume --out"):
        RunDirectory.create("tiny", here / "left")


def test_a_recipe_is_read_as_it_was_written(here):
    run = RunDirectory(here)
    assert not run.exists
    with pytest.raises(UserError, match=r"is not a run directory \(no recipe.yaml\)"):
        RunDirectory.open(here)
    run.write_recipe(find("tiny"))
    run.write_recipe(find("tiny-clip"))
    assert RunDirectory.open(here).read_recipe() == find("tiny-clip")
    assert [file.name for file in here.iterdir()] == ["recipe.yaml"]


def test_metrics_of_steps_that_are_taken_again_are_set_aside(here):
    run = RunDirectory(here)
    assert run.metrics.read() == []
    run.metrics.discard_after(0)
    assert list(here.iterdir()) == []
    for step in (1, 2, 3):
        run.append_metrics({"step": step, "loss": step / 10})
    file = here / "metrics.jsonl"
    file.write_bytes(file.read_bytes() + b'{"step": 4, "lo')  # cut off by a crash
    assert [line["step"] for line in run.metrics.read()] == [1, 2, 3]
    run.metrics.discard_after(2)
    assert [json.loads(line)["step"] for line in file.read_text().splitlines()] == [1, 2]
    assert (here / "metrics.discarded.jsonl").read_text() == '{"step": 3, "loss": 0.3}\n{"step": 4, "lo\n'
    before = file.read_bytes()
    run.metrics.discard_after(2)
    assert file.read_bytes() == before
    file.write_bytes(before.rstrip(b"\n"))  # the last line is whole, and only its end is missing
    run.metrics.discard_after(2)
    run.append_metrics({"step": 3})
    assert [line["step"] for line in run.metrics.read()] == [1, 2, 3]


@pytest.mark.parametrize(
    ("settings", "last"),
    [
        ({"suite": "tiny"}, "results.jsonl"),
        ({"suite": "none"}, "model"),
        ({"suite": "tiny", "source": "pairs.csv"}, "model"),
        ({"suite": "tiny", "source": "pairs.csv", "before": True}, "results.jsonl"),
    ],
)
def test_a_run_is_complete_when_its_last_file_is_there(here, settings, last):
    recipe = find("tiny")
    evaluation = recipe.evaluation.model_copy(
        update={"suite": settings["suite"], "before": settings.get("before", False)}
    )
    data = recipe.data.model_copy(update={"source": settings.get("source", "embedded")})
    recipe = recipe.model_copy(update={"evaluation": evaluation, "data": data})
    run = RunDirectory(here)
    for name in {"results.jsonl", "model"} - {last}:
        (here / name).mkdir()
    assert not run.is_complete(recipe)
    (here / last).mkdir()
    assert run.is_complete(recipe)


def test_a_directory_is_removed_only_if_nothing_is_lost(here):
    run = RunDirectory(here / "run")
    run.path.mkdir()
    run.write_recipe(find("tiny"))
    run.append_metrics({"step": 1})
    run.remove_if_unstarted()
    assert run.exists
    (run.path / "metrics.jsonl").unlink()
    run.facts.write_text("{}", "utf-8")
    run.remove_if_unstarted()
    assert not run.path.exists()
