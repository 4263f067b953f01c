"""The page of a study, its table.md and its figures, from a record alone."""

import pytest

from askew.report.console import Console
from askew.runs.studies.curves import curve_lines, words
from askew.runs.studies.measures import measures
from askew.runs.studies.page import _warnings, publish
from askew.runs.studies.record import Record
from made_records import SIZES, growing, run, study, two_methods, written

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return growing(tmp_path_factory.mktemp("growing"))


def test_everything_is_written_beside_the_record(record, capsys):
    paths = publish(record, QUIET)
    names = [path.name for path in paths]
    assert names[:2] == ["table.md", "study.html"]
    assert {"cost.svg", "curve-dev-mean-recall-pairs.svg", "curve-dev-mean-recall-million.svg"} <= set(names)
    assert all(path.parent == record.folder for path in paths)
    text = paths[0].read_text(encoding="utf-8")
    assert text.startswith("# made\n\n8 rows, 24 runs: all are finished.\n\n## dev, %\n\n| row | seeds | mean recall |")
    assert "\n## dev: difference to CLIP 800, points\n" in text
    assert "\n## Learning curve: dev, mean recall\n\nCLIP: " in text
    assert max(map(len, text.splitlines())) <= 100
    page = paths[1].read_text(encoding="utf-8")
    for part in (
        "Best rows",
        "Against <bdi>CLIP 800",
        "What it may be at a million pairs",
        "against cost",
        "What each row is",
    ):
        assert part in page
    assert "mean recall" in capsys.readouterr().out


def test_what_the_study_asks_for_is_shown_beside_the_baselines(tmp_path):
    record = two_methods(tmp_path, differences={"<b>gain": {"MCD": 1, "CLIP": -1}})
    table, page, *figures = publish(record, QUIET)
    text = table.read_text(encoding="utf-8")
    assert (
        text.index("## dev: difference to CLIP")
        < text.index("## dev: differences between rows")
        < text.index("## Cost")
    )
    assert "<h3>Between rows</h3>" in page.read_text(encoding="utf-8")
    assert "<b>gain" not in page.read_text(encoding="utf-8")
    assert "difference-asked-dev-mean-recall.svg" in [figure.name for figure in figures]


def test_curves_are_over_pairs_and_over_operations(record):
    recall = measures(record)[0][0]
    clip, mcd = curve_lines(record, recall, "pairs")
    assert [point.size for point in clip.points] == list(SIZES)
    assert [point.size for point in curve_lines(record, recall, "flops")[1].points] == [2e10 * n for n in SIZES]
    assert mcd.curve is not None
    told = words([clip, mcd])
    assert told[0].startswith("CLIP: At 1,000,000 pairs: ")
    assert "MCD's lead over CLIP changes by " in told[2]
    assert "between 100 and 800 pairs" in told[2]


def test_two_sizes_are_drawn_and_not_fitted(record):
    runs = tuple(run for run in record.runs if run.row.endswith(("100", "200")))
    few = Record(record.study, runs, record.folder)
    lines = curve_lines(few, measures(few)[0][0], "pairs")
    assert [line.curve for line in lines] == [None, None]
    assert words(lines) == ["CLIP: 2 sizes are too few for a curve.", "MCD: 2 sizes are too few for a curve."]


def test_a_study_that_has_only_begun(tmp_path):
    empty = written(Record(study({"A": {"recipe": "tiny"}}, baseline="A", curves={"A": ["A"]}), (), tmp_path))
    table, page = publish(empty, QUIET)
    assert "1 rows" not in table.read_text(encoding="utf-8")
    assert "0 are finished" in table.read_text(encoding="utf-8")
    assert "No finished run has been evaluated yet" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("seeds", "told"),
    [
        ([1, 1, 1], ["every row has one seed, which says nothing of others"]),
        ([2, 1, 1], ["one seed, which says nothing of others: row 1; row 2"]),
        ([2, *[1] * 5], ["5 of 6 rows have one seed, which says nothing of others"]),
        ([2, 2], []),
        ([1], ["one seed, which says nothing of others: row 0"]),
    ],
)
def test_rows_with_one_seed_are_told(tmp_path, seeds, told):
    plan = {f"row {number}": {"recipe": "tiny", "seeds": list(range(many))} for number, many in enumerate(seeds)}
    runs = [
        run(tmp_path, row, seed, f"{row}-{seed}", 0.3, 1000)
        for row, many in zip(plan, seeds, strict=True)
        for seed in range(many)
    ]
    assert _warnings(Record(study(plan), tuple(runs), tmp_path)) == told


def test_names_are_escaped_and_the_same_record_gives_the_same_files(tmp_path):
    record = two_methods(tmp_path, ("<b>../..|x", "MCD"))
    paths = publish(record, QUIET)
    before = {path: path.read_bytes() for path in paths}
    assert {path: path.read_bytes() for path in publish(Record.read(tmp_path), QUIET)} == before
    assert "<b>" not in paths[1].read_text(encoding="utf-8")
    assert "\\|x" in paths[0].read_text(encoding="utf-8")
    assert all(path.parent == tmp_path for path in paths)
