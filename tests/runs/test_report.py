"""A report shows what there is of a run, in any state, and says what there is not."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from askew.evaluation.results import Outcomes, Result, item_hash
from askew.evaluation.significance import intervals
from askew.recipes import find
from askew.recipes.settings import override
from askew.report.console import Console
from askew.runs import report as reporting
from askew.runs import train as training
from askew.runs.compare import compared
from askew.runs.directory import RunDirectory
from askew.runs.facts import RunFacts, read_facts, write_facts
from askew.runs.report import write_report
from micro_runs import askew_here, metrics_of, micro_recipe, table_of_25
from micro_runs import train as trained

HOSTILE = "<script>alert(1)</script>\u202e$x$"
FACTS = RunFacts(
    data="pairs of a table",
    notes=("12 names are listed twice",),
    samples=5162,
    towers="a tower",
    trained_parameters=17_000_000,
    device="cpu",
    cores=2,
    precision="fp32",
    steps_per_epoch=10,
    total_steps=10,
    chance={"contrast": 4.852},
    versions={"askew": "0.1.0", "torch": "2"},
    started="2026-01-01T00:00:00+00:00",
)


def line(step: int, **more) -> dict:
    values = {
        "step": step, "epoch": step / 10, "samples": 8 * step, "loss": 5 - step / 10, "contrast": 4.9 - step / 10,
        "alpha": step / 10, "momentum": 0.99, "learning_rate": 1e-3, "gradient_norm": 2.0, "samples_per_second": 20.0,
        "data_wait": 0.05, "logit_scale": 14.0, "peak_memory_mb": 900.0, "skipped": 0, "seconds": 3.0 * step,
    }  # fmt: skip
    return values | more


def result(task: str, right: list[int], **protocol) -> Result:
    found = np.array(right, dtype=bool)
    items = np.array([item_hash(str(i)) for i in range(len(found))])
    values = {"top1": float(found.mean()), "n": len(found), "classes": 4}
    return Result(task, values, protocol, Outcomes(items, items, {"top1": found}))


def short(step: int, **more) -> dict:
    """A line of few values, which takes few figures."""
    return {key: line(step)[key] for key in ("step", "epoch", "samples", "loss", "seconds")} | more


LINES = tuple(line(step) for step in range(1, 11))
FEW = tuple(short(step) for step in range(1, 11))


def a_run(folder: Path, lines=FEW, results=(), facts=FACTS) -> RunDirectory:
    """A run of ten steps, written by hand."""
    folder.mkdir(parents=True)
    run = RunDirectory(folder)
    run.write_recipe(override(find("tiny-clip"), ["train.max_steps=10", "loader.batch_size=8"]))
    if facts is not None:
        write_facts(run, facts)
    for one in lines:
        run.append_metrics(one)
    if results:
        run.results.append(results, {"weights": "student"})
    return run


class Page(HTMLParser):
    """The text of a page, and what is in it."""

    def __init__(self, file: Path):
        super().__init__()
        self.html = file.read_text("utf-8")
        self.tags: list[str] = []
        self.ids: list[str] = []
        self._texts: list[str] = []
        self._skip = ""
        self.feed(self.html)
        self.text = re.sub(r"\s+", " ", " ".join(self._texts))

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self._skip = tag if tag in ("style", "script") else ""
        self.ids += [value for name, value in attributes if name == "id" and value]

    def handle_endtag(self, tag):
        self._skip = ""

    def handle_data(self, data):
        if not self._skip:
            self._texts.append(data)


def page_of(*runs: RunDirectory, out: Path | None = None) -> Page:
    target = out or runs[0].report
    write_report(runs, target, Console(quiet=True))
    return Page(target)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run with results, and its page."""
    right = [1] * 6 + [0] * 14
    run = a_run(tmp_path_factory.mktemp("runs") / "whole", LINES, results=[result("naming/seen_seen", right)])
    return run, page_of(run)


def test_a_finished_run_says_what_was_trained_and_how_well(whole):
    run, page = whole
    for words in (
        "clip, trained on pairs of a table.", "Finished: 10 of 10 steps, 0:30 of training.",
        "12 names are listed twice", "17,000,000", "torch 2", f"askew train {run.path}/recipe.yaml --out NEW-RUN",
        "naming/seen_seen", "30.0 %", "14.5 to 51.9", "25.00", "The whole recipe",
    ):  # fmt: skip
        assert words in page.text, words
    low, high = intervals(result("t", [1] * 6 + [0] * 14).outcomes)["top1"]
    assert (f"{100 * low:.1f}", f"{100 * high:.1f}") == ("14.5", "51.9")


def test_terms_have_their_chance_and_every_figure_is_a_file(whole):
    run, page = whole
    assert page.text.count("chance") >= 3  # a headline, a column, a dashed line
    names = {file.stem for file in (run.path / "report").glob("*.svg")}
    assert names >= {"loss", "contrast", "alpha", "momentum", "learning_rate", "gradient_norm", "data_wait", "results"}
    assert "skipped" not in names  # none were
    assert page.tags.count("svg") == page.tags.count("figure") == len(names)
    assert len(page.ids) == len(set(page.ids))
    assert {"what", "terms", "schedules", "optimisation", "speed", "results", "missing"} <= set(page.ids)


def test_signs_of_collapse_and_held_out_losses_are_drawn_where_they_were_logged(tmp_path):
    more = {"image_rank": 12.0, "text_rank": 9.0, "modality_gap": 0.8, "alignment": 1.1, "held_out/contrast": 4.0}
    run = a_run(tmp_path / "run", [short(step, contrast=4.5, **more) for step in (1, 2)])
    page = page_of(run)
    names = {file.stem for file in (run.path / "report").glob("*.svg")}
    assert {"rank", "modality_gap", "alignment"} <= names
    assert "uniformity" not in names
    assert "collapse" in page.ids
    assert "training" in page.text
    assert "held-out" in page.text
    assert "did not log them" not in page.text
    assert not any("held_out" in name for name in names)  # beside the training loss, not apart


STATES = {
    "none": ((), "No step was logged"),
    "one line": ((short(1),), "Not finished: the last logged step is 1 of 10"),
    "killed": (tuple(short(s) for s in (1, 2, 3)), "--resume --out"),
    "without numbers": (({"step": 1, "loss": "much", "contrast": float("nan"), "alpha": None, "x": True},),
                        "4 values in metrics.jsonl that are not finite numbers left out"),
    "too large": (({"step": 10**400, "loss": 1.0}, {"step": 1, "loss": 10**400}), "last logged step is 1 of 10"),
    "twice": ((short(5), short(2), short(5)), "the last logged step is 5 of 10"),
    "a term of any name": ((short(1), short(2, **{HOSTILE: 2.0})), "<script>alert(1)</script>\\u202e$x$"),
}  # fmt: skip


@pytest.mark.parametrize("state", STATES)
def test_a_run_in_any_state_gets_a_report_of_what_is_there(tmp_path, state):
    lines, words = STATES[state]
    page = page_of(a_run(tmp_path / "run", lines))
    assert words in page.text
    assert "the run was not evaluated. askew eval" in page.text
    assert page.tags.count("script") == 1


def test_a_line_that_was_cut_off_is_left_out_and_counted(tmp_path):
    run = a_run(tmp_path / "run")
    with (run.path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 11, "loss": 1.0\n\xff\xfe[1]\n')
    page = page_of(run)
    assert "2 damaged lines of metrics.jsonl left out" in page.text
    assert run.metrics.read()[-1]["step"] == 10


def test_a_run_of_an_earlier_version_says_what_is_not_known(tmp_path):
    page = page_of(a_run(tmp_path / "run", facts=None))
    assert "Device, versions, number of parameters and the levels of chance" in page.text
    assert "10 steps of 8 pairs, 1.0 epochs" in page.text  # from the logged epochs


def test_results_that_nobody_knows_and_outcomes_of_others_do_no_harm(tmp_path):
    strange = Result("../" + HOSTILE, {"share": 0.5, "n": 3}, {"unreadable": ["a"]})
    other = result("naming/seen_seen", [1, 0, 0, 0])
    run = a_run(tmp_path / "run", results=[other, strange])
    changed = Result("naming/seen_seen", {**other.values, "top1": 0.75}, {})
    run.results.append([changed], {"weights": "student"})  # the outcomes are those of another number
    with run.results.path.open("a", encoding="utf-8") as file:
        file.write('[1]\n{"task": 3}\n{"task": "a", "values": {"n": null}}\n')
    page = page_of(run)
    assert "<script>alert(1)</script>\\u202e$x$" in page.text
    assert "75.0" in page.text
    assert " to " not in page.text.split("naming/seen_seen")[-1].split("share")[0]
    assert "2 lines of results.jsonl that are no results left out" in page.text
    assert "the outcomes of single items are not there" in page.text


def test_a_removed_model_and_an_unreadable_recipe_are_said(tmp_path):
    run = a_run(tmp_path / "run")
    assert "All 10 steps were taken (0:30 of training), but the end is missing" in page_of(run).text
    text = (run.path / "recipe.yaml").read_text("utf-8")
    (run.path / "recipe.yaml").write_text(text.replace("name: clip", "name: gone:Method"), "utf-8")
    run.facts.write_text("{", "utf-8")
    page = page_of(run)
    assert "The recipe cannot be read" in page.text
    assert "gone" in page.text
    assert read_facts(run) is None


def test_two_runs_side_by_side_have_the_intervals_of_compare(tmp_path):
    ones, others = [1] * 12 + [0] * 8, [0] * 6 + [1] * 12 + [0] * 2
    a = a_run(tmp_path / "a", results=[result("t/x", ones)])
    b = a_run(tmp_path / "b", [short(1), short(2)], results=[result("t/x", others)])
    b.write_recipe(override(b.read_recipe(), ["train.learning_rate=0.01"]))
    page = page_of(a, b, out=tmp_path / "both.html")
    (difference,) = compared(str(a.path), str(b.path)).differences
    assert f"{100 * difference.low:+.1f} to {100 * difference.high:+.1f}" in page.text
    assert "2 runs side by side" in page.text
    assert "train.learning_rate 0.0" in page.text
    assert {"A", "B"} <= set(re.findall(r">\s*([AB])</text>", page.html))
    assert (tmp_path / "both" / "loss.svg").is_file()
    third = a_run(tmp_path / "c")
    assert "A and C cannot be compared" in page_of(a, b, third, out=tmp_path / "three.html").text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "run"), "a run is named twice"),
        (("nothing",), "nothing is not a run directory"),
        (("run", "--out", "page.txt"), "name a file that ends in .html"),
    ],
)
def test_wrong_commands_end_in_one_line(tmp_path, arguments, words):
    a_run(tmp_path / "run", lines=())
    done = askew_here("report", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_command_names_the_page(tmp_path):
    a_run(tmp_path / "run", lines=())
    done = askew_here("report", "run", cwd=tmp_path)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "report   run/report.html")
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_run_ends_with_its_report_and_a_report_that_fails_ends_no_run(tmp_path, monkeypatch, capsys):
    recipe = override(micro_recipe(table_of_25(tmp_path), "clip", max_steps=2), ["evaluation.report=true"])
    with monkeypatch.context() as patched:
        patched.setattr(training, "write_report", lambda *_: json.loads("{"))
        trained(recipe, tmp_path / "unlucky")
    assert "the report was not written (JSONDecodeError" in capsys.readouterr().err
    assert not (tmp_path / "unlucky" / "report.html").exists()
    monkeypatch.setattr(reporting, "examples_figures", lambda found: {})  # slow, and tested where they are made
    run = RunDirectory(trained(recipe, tmp_path / "lucky"))
    assert "Finished: 2 of 2 steps" in Page(run.report).text
    assert metrics_of(tmp_path / "lucky") != []
    facts = read_facts(run)
    assert facts is not None
    assert (facts.samples, facts.steps_per_epoch, facts.total_steps, facts.precision) == (25, 3, 2, "fp32")
    assert facts.chance == {"contrast": pytest.approx(np.log(8))}
