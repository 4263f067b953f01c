"""A run with held-out pairs ends with retrieval on them: the numbers that `askew eval` gives."""

import pytest

from askew.recipes.settings import override
from askew.report.console import Console
from askew.runs.directory import RunDirectory
from askew.runs.evaluate import evaluate
from askew.runs.request import Request
from helpers import write_pairs
from micro_runs import micro_recipe, table_of_25, train


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    return table_of_25(folder / "a"), write_pairs(folder / "b", 20, seed=1)


def recipe_of(tables, *settings):
    return override(micro_recipe(tables[0], "clip", max_steps=2), [f"evaluation.held_out={tables[1]}", *settings])


def test_the_numbers_are_those_of_askew_eval(tables, tmp_path):
    run = RunDirectory(train(recipe_of(tables), tmp_path / "run"))
    at_the_end = run.results.read()
    assert [line["task"] for line in at_the_end] == ["pairs/image_to_text", "pairs/text_to_image"]
    assert all(line["values"]["n"] == 20 for line in at_the_end)
    evaluate(Request(str(run.path), data=str(tables[1]), cache=tmp_path / "cache"), Console(quiet=True))
    again = run.results.read()[len(at_the_end) :]
    assert [(line["task"], line["values"]) for line in again] == [(x["task"], x["values"]) for x in at_the_end]


def test_it_can_be_left_out(tables, tmp_path):
    run = RunDirectory(train(recipe_of(tables, "evaluation.held_out_retrieval=false"), tmp_path / "run"))
    assert run.results.read() == []


def test_a_pair_that_cannot_be_read_does_not_fail_the_run(tables, tmp_path, capsys):
    bad = write_pairs(tmp_path / "bad", 20, seed=2)
    image = next(path for path in bad.parent.rglob("*.png"))
    image.write_bytes(b"no image")
    run = RunDirectory(train(recipe_of((tables[0], bad)), tmp_path / "run"))
    assert run.model().is_dir()
    assert run.results.read() == []
    error = capsys.readouterr().err
    assert "retrieval was not measured" in error
    assert f"try again: askew eval {run.path} --data {bad}" in error
