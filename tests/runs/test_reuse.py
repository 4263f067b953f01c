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
        f"evaluate: [{{data: photos/dev.parquet}}]\nrows:\n  Again: {row}\n",
        encoding="utf-8",
    )
    return path


def test_runs_with_the_same_recipe_are_taken_over(tmp_path):
    from askew.runs.studies.record import Record

    path, out = plan(tmp_path, "{recipe: photos}"), tmp_path / "record"
    source = Record.read(RECORDS / "photos-readings")
    tasks = ["dev/image_to_text", "dev/text_to_image"]
    assert reuse(source.folder, "MCD", path, out, "Again", tasks) == [0, 1]
    assert reuse(source.folder, "MCD", path, out, "Again", tasks) == []
    found = Record.read(out)
    assert [(run.row, run.seed, run.folder) for run in found.runs] == [
        ("Again", 0, "again-seed0"),
        ("Again", 1, "again-seed1"),
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
    with pytest.raises(SystemExit, match="the recipe of mcd-seed0 is not that of 'Again'"):
        reuse(RECORDS / "photos-readings", "MCD", path, tmp_path / "record", "Again", ["dev/image_to_text"])
