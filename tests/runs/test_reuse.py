"""Runs of one study as runs of another: studies/reuse.py."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "studies" / "results"
reuse = runpy.run_path(str(ROOT / "studies" / "reuse.py"))["reuse"]


def plan(folder, row):
    path = folder / "plan.yaml"
    path.write_text(
        "name: other\nset: [data.source=photos/train.parquet]\nseeds: [0, 1, 5]\n"
        f"evaluate: [{{data: photos/dev.parquet}}]\nrows:\n  Mine: {row}\n",
        encoding="utf-8",
    )
    return path


def test_runs_with_the_same_recipe_are_taken_over(tmp_path):
    from askew.runs.studies.record import Record

    path, out = plan(tmp_path, "{recipe: photos}"), tmp_path / "record"
    source = Record.read(RECORDS / "photos-readings")
    tasks = ["dev/image_to_text", "dev/text_to_image"]
    assert reuse(source.folder, "MCD", path, out, "Mine", tasks) == [0, 1]
    assert reuse(source.folder, "MCD", path, out, "Mine", tasks) == []
    found = Record.read(out)
    assert [(run.row, run.seed, run.folder) for run in found.runs] == [
        ("Mine", 0, "mine-seed0"),
        ("Mine", 1, "mine-seed1"),
    ]
    for run, other in zip(found.runs, source.of("MCD"), strict=False):
        assert run.results == other.results
        for task in tasks:
            one, two = found.outcomes(run, task), source.outcomes(other, task)
            assert {name: right.tolist() for name, right in one.right.items()} == {
                name: right.tolist() for name, right in two.right.items()
            }


def test_another_recipe_is_refused(tmp_path):
    path = plan(tmp_path, "{recipe: photos, set: [train.learning_rate=1e-3]}")
    with pytest.raises(SystemExit, match="the recipe of mcd-seed0 is not that of 'Mine'"):
        reuse(RECORDS / "photos-readings", "MCD", path, tmp_path / "record", "Mine", ["dev/image_to_text"])
