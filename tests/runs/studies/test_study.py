"""A study runs every row and seed once, evaluates and records each, and continues where it was stopped."""

import json
import shutil
import signal

import pytest
import yaml

from askew.errors import Interrupted, RunFailed, UserError
from askew.report.console import Console
from askew.runs.directory import RunDirectory
from askew.runs.evaluate import evaluate
from askew.runs.request import Request
from askew.runs.resume import resume
from askew.runs.studies import evaluating, one
from askew.runs.studies import run as study
from askew.runs.studies.plan import read_study
from askew.runs.train import start
from micro_runs import metrics_of, micro_settings

SETTINGS = [setting for setting in micro_settings() if setting != "--set"]
QUIET = Console(quiet=True)
FAST = {"recipe": "tiny-clip", "set": ["train.learning_rate=2e-3"]}


@pytest.fixture
def published(monkeypatch):
    """In place of tables and page, which have tests of their own: the records that were published."""
    records = []
    monkeypatch.setattr(study, "publish", lambda record, console: records.append(record) or [])
    return records


@pytest.fixture
def started(monkeypatch):
    """The folders of runs that were started or resumed, and the evaluations that were done."""
    done = []

    def noted(name, function, place):
        def call(*arguments):
            done.append((name, place(arguments)))
            return function(*arguments)

        return call

    monkeypatch.setattr(one, "start", noted("start", one.start, lambda a: a[1].name))
    monkeypatch.setattr(one, "resume", noted("resume", one.resume, lambda a: a[1].name))
    monkeypatch.setattr(evaluating, "evaluate", noted("evaluate", evaluating.evaluate, lambda a: a[0].options.tasks[0]))
    return done


def write(folder, table, **changes):
    """A study of CLIP with two seeds."""
    fields = {"name": "two", "set": [*SETTINGS, f"data.source={table}", "train.max_steps=2"], "seeds": [0, 3]}
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({**fields, "rows": {"CLIP": FAST}, **changes}, sort_keys=False), encoding="utf-8")
    return path


def test_every_row_and_seed_once_and_again_only_what_is_missing(table, tmp_path, published, started):
    rows = {"CLIP": FAST, "SigLIP, one": {"recipe": "tiny-siglip", "seeds": [5]}}
    tasks = [{"data": str(table)}, {"wrong_captions": str(table)}]
    path, out = write(tmp_path, table, rows=rows, evaluate=tasks), tmp_path / "runs"
    study.run_study(path, out, QUIET)
    names = ["clip-seed0", "siglip--one-seed5", "clip-seed3"]  # one seed of every row first
    assert [name for kind, name in started if kind == "start"] == names
    assert [task for kind, task in started if kind == "evaluate"] == ["zero_shot", "wrong_captions"] * 3
    assert RunDirectory(out / "clip-seed3").read_recipe().train.learning_rate == 2e-3
    (record,) = published
    assert record.study.settings[-2:] == [f"data.source={table.name}", "train.max_steps=2"]
    assert [run.folder for run in record.runs] == ["clip-seed0", "clip-seed3", "siglip--one-seed5"]
    first = record.runs[0]
    assert set(first.results) == {"pairs/image_to_text", "pairs/text_to_image", "pairs/wrong_captions"}
    assert first.cost["samples"] == 16
    assert first.cost["pairs"] == 25
    assert first.cost["flops"] == 16 * first.cost["flops_per_sample"] > 1e6
    assert record.runs[1].cost["flops_per_sample"] == first.cost["flops_per_sample"]  # counted once per row
    assert (
        record.outcomes(first, "pairs/text_to_image").right["r@5"].mean() == first.results["pairs/text_to_image"]["r@5"]
    )
    assert (
        str(tmp_path) not in (out / "record" / "runs.jsonl").read_text() + (out / "record" / "study.yaml").read_text()
    )
    assert not (out / "clip-seed0" / "checkpoints").exists()
    assert (out / "clip-seed0" / "model").exists()

    shutil.rmtree(out / "clip-seed3")  # the others are left alone
    started.clear()
    shutil.rmtree(out / "record")
    study.run_study(path, out, QUIET)
    assert [step for step in started if step[0] != "evaluate"] == [("start", "clip-seed3")]
    again = published[-1]
    assert [run.results for run in again.runs] == [run.results for run in record.runs]
    study.tabulate(out / "record", QUIET)
    assert published[-1] == again


def test_one_row_and_seed_alone(table, tmp_path, published, started):
    rows = {"CLIP": FAST, "SigLIP": {"recipe": "tiny-siglip", "seeds": [3, 5]}}
    path, out = write(tmp_path, table, rows=rows), tmp_path / "runs"
    study.run_study(path, out, QUIET, rows=["SigLIP"], seeds=[3])
    assert started == [("start", "siglip-seed3")]
    study.run_study(path, out, QUIET, seeds=[3])
    assert started[1:] == [("start", "clip-seed3")]
    study.run_study(path, out, QUIET)
    assert started[2:] == [("start", "clip-seed0"), ("start", "siglip-seed5")]
    assert [[run.folder for run in record.runs] for record in published] == [
        ["siglip-seed3"],
        ["clip-seed3", "siglip-seed3"],
        ["clip-seed0", "clip-seed3", "siglip-seed3", "siglip-seed5"],
    ]


def test_a_stopped_run_is_resumed_and_ends_the_same(table, tmp_path, published, started):
    path, out = write(tmp_path, table, seeds=[0]), tmp_path / "runs"
    study.run_study(path, out, QUIET, keep="all")
    losses = [line["loss"] for line in metrics_of(out / "clip-seed0")]
    shutil.rmtree(out / "clip-seed0" / "model")
    shutil.rmtree(out / "clip-seed0" / "checkpoints" / "step-000000002")
    study.run_study(path, out, QUIET, keep="all")
    assert started == [("start", "clip-seed0"), ("resume", "clip-seed0")]
    assert [line["loss"] for line in metrics_of(out / "clip-seed0")] == losses


def test_runs_made_before_are_adopted(table, tmp_path, published, started):
    """Trained by hand, and evaluated on one of the two: only the other is done."""
    path, out = write(tmp_path, table, seeds=[3]), tmp_path / "runs"
    recipe = read_study(path).recipe(next(read_study(path).runs()))
    folder = start(recipe, out / "clip-seed3", QUIET).path
    evaluate(Request(str(folder), data=str(table)), QUIET)
    path = write(tmp_path, table, seeds=[3], evaluate=[{"data": str(table)}, {"wrong_captions": str(table)}])
    study.run_study(path, out, QUIET)
    assert started == [("evaluate", "wrong_captions")]
    assert len(published[0].runs) == 1
    assert len(RunDirectory(folder).results.read()) == 3


def test_a_study_continues_from_its_record_alone(table, tmp_path, published, started):
    path = write(tmp_path, table, seeds=[0])
    study.run_study(path, tmp_path / "runs", QUIET, record=tmp_path / "kept")
    started.clear()
    study.run_study(path, tmp_path / "other", QUIET, record=tmp_path / "kept")
    assert started == []
    assert published[0] == published[1]
    path = write(tmp_path, table, seeds=[0], rows={"CLIP": {**FAST, "set": ["train.learning_rate=1e-3"]}})
    study.run_study(path, tmp_path / "other", QUIET, record=tmp_path / "kept")
    assert started == [("start", "clip-seed0")]
    assert published[-1].runs[0].recipe["train"]["learning_rate"] == 1e-3


def test_a_run_that_fails_does_not_stop_the_others(table, tmp_path, published, monkeypatch):
    rows = {
        "bad": {**FAST, "set": ["train.learning_rate=1e38", "train.max_steps=4", "train.epochs=2"]},
        "bug": {"recipe": "tiny-siglip", "set": ["train.learning_rate=3e-3"]},
        "CLIP": FAST,
    }
    whole = one.start

    def fails(recipe, place, console):
        if place.name.startswith("bug"):
            raise ZeroDivisionError("a bug")
        return whole(recipe, place, console)

    monkeypatch.setattr(one, "start", fails)
    path = write(tmp_path, table, rows=rows, seeds=[0])
    with pytest.raises(RunFailed, match=r"2 of 3 runs failed: bad-seed0 .*not finite.*bug-seed0 .*ZeroDivisionError"):
        study.run_study(path, tmp_path / "runs", QUIET)
    assert [run.row for run in published[0].runs] == ["CLIP"]
    assert "Traceback" in (tmp_path / "runs" / "logs" / "bug-seed0.log").read_text()


def test_a_signal_ends_the_study_and_not_one_run_of_it(table, tmp_path, published, monkeypatch):
    """The run has saved; the next one does not begin, and the same command goes on."""
    begun, whole = [], one.start

    def stopped(recipe, place, console):
        begun.append(place.name)
        if len(begun) == 1:
            raise Interrupted(signal.SIGTERM, "saved")
        return whole(recipe, place, console)

    monkeypatch.setattr(one, "start", stopped)
    path = write(tmp_path, table)
    with pytest.raises(Interrupted, match="saved"):
        study.run_study(path, tmp_path / "runs", QUIET)
    assert begun == ["clip-seed0"]
    study.run_study(path, tmp_path / "runs", QUIET)
    assert begun == ["clip-seed0", "clip-seed0", "clip-seed3"]


def test_a_run_without_weights_is_finished_and_cannot_be_evaluated(table, tmp_path, published, started):
    path, out = write(tmp_path, table, seeds=[0], evaluate=[{"wrong_captions": str(table)}]), tmp_path / "runs"
    study.run_study(path, out, QUIET, keep="results")
    assert not {"model", "checkpoints"} & {entry.name for entry in (out / "clip-seed0").iterdir()}
    started.clear()
    study.run_study(path, out, QUIET, keep="results")
    assert started == []
    assert published[0] == published[1]
    more = write(tmp_path, table, seeds=[0], evaluate=[{"wrong_captions": str(table)}, {"data": str(table)}])
    with pytest.raises(UserError, match=r"clip-seed0 was to be evaluated on .*data.* weights were removed .*--out DIR"):
        study.run_study(more, out, QUIET)
    with pytest.raises(UserError, match=r"clip-seed0 is finished, and its checkpoints were removed"):
        resume(None, out / "clip-seed0", QUIET)
    with pytest.raises(UserError, match="weights of this run were removed"):
        evaluate(Request(str(out / "clip-seed0"), data=str(table)), QUIET)


def test_runs_of_other_settings_are_not_passed_off(table, tmp_path, published):
    out = tmp_path / "runs"
    study.run_study(write(tmp_path, table, seeds=[0]), out, QUIET)
    changed = write(tmp_path, table, rows={"CLIP": {"recipe": "tiny-clip"}})
    with pytest.raises(UserError, match=r"clip-seed0 was run with other settings .*train.learning_rate.*--out DIR"):
        study.run_study(changed, out, QUIET)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rows": {}}, r"rows: .*at least 1.*a study is a mapping"),
        ({"rows": {"A": {"recipe": "tyni"}}}, "did you mean 'tiny'"),
        ({"rows": {"A": {"recipe": "tiny", "set": ["train.epoch=2"]}}}, "did you mean 'train.epochs'"),
        ({"rows": {"A, b": FAST, "a. B": FAST}}, "'A, b' and 'a. B' would share the folder a--b-seed0; rename one"),
        ({"seeds": []}, "seeds: .*at least 1"),
        ({"seeds": [1, 1]}, "CLIP has the seed 1 twice"),
        ({"colour": "red"}, "colour: extra inputs"),
        ({"baseline": "CLPI"}, "baseline: 'CLPI' is no row; did you mean 'CLIP'"),
        ({"curves": {"line": ["CLIP", "X"]}}, "curves: line: 'X' is no row; rows: CLIP"),
        ({"differences": {"gain": {"CLPI": 1}}}, "differences: gain: 'CLPI' is no row; did you mean 'CLIP'"),
        ({"differences": {"gain": {"CLIP": 0.5}}}, "differences: gain: the weights add up to 0.5; give weights that"),
        ({"differences": {"gain": {"CLIP": 0}}}, "differences: gain: the weights add up to 0; give weights that"),
        ({"evaluate": [{"suite": "calltech"}]}, "evaluate.0: .*calltech"),
        ({"evaluate": [{"suite": "caltech101"}]}, "evaluate.0: suite caltech101 needs data_root"),
        ({"evaluate": [{"suite": "caltech101", "data_root": "none"}]}, "evaluate.0: "),
        ({"evaluate": [{"data": "none.parquet"}]}, "evaluate.0: .*none.parquet does not exist"),
        ({"evaluate": [{"wrong_captions": "none.csv"}]}, "evaluate.0: .*none.csv does not exist"),
        ({"evaluate": [{}]}, "evaluate.0: an entry names one of data, suite, wrong_captions"),
        ({"evaluate": [{"data": "a.csv", "suite": "tiny"}]}, "an entry names one of"),
        ({"evaluate": [{"suite": "tiny", "tasks": "zeroshot"}]}, "the task zeroshot is not known; tasks: zero_shot"),
        ({"set": [*SETTINGS, "data.source=gone.csv"]}, "CLIP: data.source: gone.csv is not there"),
    ],
)
def test_a_mistake_shows_before_the_first_run(table, tmp_path, started, changes, words):
    with pytest.raises(UserError, match=words):
        study.run_study(write(tmp_path, table, **changes), tmp_path / "runs", QUIET)
    assert started == []
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_holds_something_else_is_no_record(table, tmp_path, started):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "notes.txt").write_text("to keep", encoding="utf-8")
    with pytest.raises(UserError, match="holds no record of a study; choose a new folder"):
        study.run_study(write(tmp_path, table), tmp_path / "runs", QUIET, record=tmp_path / "kept")
    (tmp_path / "kept" / "study.yaml").write_text(json.dumps({"name": "x", "rows": {"A": FAST}}), encoding="utf-8")
    with pytest.raises(UserError, match="holds the record of another study, x"):
        study.run_study(write(tmp_path, table), tmp_path / "runs", QUIET, record=tmp_path / "kept")
    assert started == []


def test_files_that_are_no_study(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_study(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("rows: [", encoding="utf-8")
    with pytest.raises(UserError, match="not valid YAML"):
        read_study(tmp_path / "bad.yaml")
