"""Data sets and tasks that do not go together are named, and never end in silence."""

import json

import pytest
from standins import micro_model

from askew.config import EvaluateEntry
from askew.errors import UserError
from askew.evaluation.datasets.catalog import open_set
from askew.evaluation.suite import KNOWN_TASKS, EvaluationOptions, image_sets, suits, tasks_of
from askew.report.console import Console
from askew.runs.during import open_sets
from askew.runs.evaluate import evaluate
from askew.runs.request import Request
from askew.runs.tables import paper_tables
from helpers import write_pairs


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("suited")
    write_pairs(root / "pairs", 6)
    micro_model(root / "model")
    return root


def asked(root, tasks, **changes):
    return Request(
        f"local-dir:{root / 'model'}", cache=root / "cache", options=EvaluationOptions(tasks), out=root / "x.jsonl",
        **changes,
    )  # fmt: skip


def test_drawings_need_no_data_root_and_each_kind_is_a_result(root):
    evaluate(asked(root, ("zero_shot", "winoground"), suite="emoji-pairs"), Console(quiet=True))
    lines = [json.loads(line) for line in (root / "x.jsonl").read_text().splitlines()]
    assert [line["task"].removeprefix("emoji-pairs/winoground") for line in lines] == [
        "", "/skin_tone", "/skin_tones_swapped", "/gender", "/colour", "/direction", "/state", "/hair",
    ]  # fmt: skip
    assert sum(line["values"]["n"] for line in lines[1:]) == lines[0]["values"]["n"] == 668
    assert lines[0]["protocol"]["counts_as_expected"]
    assert (root / "x-outcomes" / "emoji-pairs" / "winoground" / "hair.npz").is_file()


@pytest.mark.parametrize(
    ("tasks", "options", "words"),
    [
        (("zero_shot",), {"suite": "emoji-pairs"}, "emoji-pairs: none of the tasks zero_shot suits it; it takes wino"),
        (("winoground",), {"data": "pairs/pairs.csv"}, "pairs: none of the tasks winoground suits it; it takes retr"),
    ],
)
def test_a_set_that_no_task_suits_is_one_line(root, monkeypatch, tasks, options, words):
    monkeypatch.chdir(root)
    with pytest.raises(UserError, match=words):
        evaluate(asked(root, tasks, **options), Console(quiet=True))


def test_only_the_sets_that_need_a_data_root_are_named(root):
    with pytest.raises(UserError, match=r"needs --data-root DIR, .* \(for winoground\)"):
        evaluate(asked(root, ("winoground",), suite="emoji-pairs,winoground"), Console(quiet=True))
    with pytest.raises(UserError, match=r"holds the data sets$"):
        evaluate(asked(root, ("winoground",), suite="winoground"), Console(quiet=True))


def test_training_refuses_at_once_what_it_could_not_evaluate():
    with pytest.raises(UserError, match=r"evaluation\.during: emoji-pairs: none of the tasks zero_shot suits it"):
        open_sets([EvaluateEntry(suite="emoji-pairs", tasks=["zero_shot"])])
    with pytest.raises(UserError, match="two data sets are called emoji-pairs; name it once, with all tasks"):
        open_sets([EvaluateEntry(suite="emoji-pairs"), EvaluateEntry(suite="emoji-pairs")])
    (one,) = open_sets([EvaluateEntry(suite="emoji-pairs", allow_missing=True)])
    assert one.options.allow_missing
    with pytest.raises(ValueError, match="allow_missing belongs to suite"):
        EvaluateEntry(data="pairs.csv", allow_missing=True)


def test_what_suits_a_set_has_images_to_look_at():
    opened = open_set("emoji-pairs", None)
    for task in KNOWN_TASKS:
        assert (
            suits(opened, [task]) == (task in tasks_of(opened)) == bool(image_sets(opened, EvaluationOptions((task,))))
        )


def test_the_table_has_the_chance_of_each_score(root):
    from askew.evaluation.results import Result

    values = {"text": 0.3, "image": 0.2, "group": 0.1, "n": 10}
    (table,) = paper_tables([Result("emoji-pairs/winoground/hair", values, {})], "model")
    assert table.rows[0][2] == "25.0  25.0  16.7"
