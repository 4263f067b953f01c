"""The measures of a record, and its tables: by hand, with seeds that are missing, and with items that differ."""

from dataclasses import replace

import numpy as np
import pytest

from askew.evaluation.results import Outcomes
from askew.evaluation.seeds import interval, share_interval
from askew.report.markdown import markdown
from askew.runs.studies.differences import asked, asked_tables, compare, difference_tables
from askew.runs.studies.measures import measures
from askew.runs.studies.record import Record, write_outcomes
from askew.runs.studies.tables import cost_table, interval_tables, points, score_tables
from made_records import study, two_methods, written


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return two_methods(tmp_path_factory.mktemp("record"))


@pytest.fixture(scope="module")
def found(record):
    return {measure.name: measure for measure in measures(record)[0]}


def test_every_measure_in_its_group_with_chance(found):
    assert list(found) == [
        "dev, mean recall", "dev, i2t R@1", "dev, i2t R@5", "dev, i2t R@10", "dev, t2i R@1", "dev, t2i R@5",
        "dev, t2i R@10", "Pets, zero-shot top-1", "Pets, zero-shot mean per class",
        "dev, wrong captions, AUROC distance", "dev, wrong captions, AUROC noise",
    ]  # fmt: skip
    headline = [name for name, measure in found.items() if measure.headline]
    assert headline == ["dev, mean recall", "Pets, zero-shot top-1", "dev, wrong captions, AUROC noise"]
    assert found["dev, t2i R@5"].chance == 5 / 40
    assert found["dev, mean recall"].chance == pytest.approx((1 + 5 + 10) / 3 / 40)
    assert found["Pets, zero-shot top-1"].chance == 1 / 6
    assert found["dev, wrong captions, AUROC noise"].chance == 0.5


def test_mean_recall_is_the_mean_of_six_and_its_items_are_images(found):
    six = [measure for name, measure in found.items() if "R@" in name]
    mean = found["dev, mean recall"].rows["MCD"]
    assert mean.values == pytest.approx(np.mean([one.rows["MCD"].values for one in six], axis=0))
    assert mean.items is not None
    assert mean.items.shape == (3, 40)
    assert mean.items.mean(axis=1) == pytest.approx(mean.values)


def test_mean_recall_where_images_have_one_caption_or_two(tmp_path):
    """Image 0 has two captions, of which one finds it, and finds a caption; image 1 has one, and nothing is found.

    Image to text 1/2, text to image 1/3: mean 5/12. Image 0: (1 + 1/3 + (1 - 2/3) * 2/3) / 2 = 7/9; image 1 the rest.
    """
    planned = study({"A": {"recipe": "tiny", "seeds": [0]}})
    both = {
        "dev/image_to_text": ([True, False], [0, 1]),
        "dev/text_to_image": ([True, False, False], [0, 0, 1]),
    }
    results = {}
    for task, (right, clusters) in both.items():
        items = np.array([f"{one:032x}" for one in range(1, len(right) + 1)])
        columns = {f"r@{k}": np.array(right) for k in (1, 5, 10)}
        write_outcomes(tmp_path, "a-seed0", task, Outcomes(items, items, columns, clusters=np.array(clusters)))
        results[task] = {**{name: float(np.mean(right)) for name in columns}, "n": len(right), "candidates": 2}
    record = two_methods(tmp_path / "other")
    one = replace(record.runs[0], row="A", seed=0, folder="a-seed0", results=results)
    mean = measures(Record(planned, (one,), tmp_path))[0][0].rows["A"]
    assert mean.values == pytest.approx([5 / 12])
    assert mean.items is not None
    assert mean.items[0] == pytest.approx([7 / 9, 5 / 6 - 7 / 9])


def test_scores_with_their_spread_and_chance_last(record, found):
    table = score_tables(record, list(found.values()))[0]
    scores = found["dev, mean recall"].rows["CLIP"]
    cell = f"{points(scores.values.mean())} ± {points(scores.values.std(ddof=1))}"
    assert list(table.rows[0][:3]) == ["CLIP", "3", cell]
    assert list(table.rows[-1][:3]) == ["chance", "", "13"]
    estimate = share_interval(scores)
    wide = interval_tables(record, list(found.values()))[0]
    assert wide.rows[0][2] == f"{cell} ({points(estimate.low)} to {points(estimate.high)})"


def test_tables_fit_the_lines_of_a_file_and_lose_no_column(record, found):
    every = list(found.values())
    for made in (score_tables(record, every), difference_tables(record, every, "CLIP")):
        titles = [column for table in made for column in table.columns if column not in ("row", "seeds")]
        assert titles == [measure.title for measure in every]
        assert all(len(line) <= 100 for table in made for line in markdown(table).splitlines())
        assert len(made) > 3


def test_differences_are_marked_and_counted(record, found):
    pets = found["Pets, zero-shot top-1"]
    (one,) = compare(pets, "CLIP")
    assert one.name == "MCD"
    assert one.estimate.mean == pytest.approx((pets.rows["MCD"].values - pets.rows["CLIP"].values).mean())
    assert one.marks == "**"  # clear, and the only row
    table = next(t for t in difference_tables(record, [pets], "CLIP"))
    assert table.rows[0][1].endswith("**")
    assert "for the 1 rows" not in table.caption
    assert "Here is 1 interval" in table.caption
    assert compare(pets, "SLIP") == []


def test_differences_that_the_study_asks_for(tmp_path):
    """MCD less CLIP is what the baseline says; half of it is half; one that lacks a row is left out."""
    wanted = {"gain": {"MCD": 1, "CLIP": -1}, "half": {"CLIP": -0.5, "MCD": 0.5}, "later": {"MCD": 1, "SLIP": -1}}
    record = two_methods(tmp_path, differences={name: wanted[name] for name in ("gain", "half")})
    every = measures(record)[0]
    recall = next(measure for measure in every if measure.title == "mean recall")
    gain, half = asked(recall, wanted)
    (plain,) = compare(recall, "CLIP")
    assert gain.name == "gain"
    assert gain.estimate == plain.estimate
    assert [half.estimate.low, half.estimate.high] == pytest.approx([gain.estimate.low / 2, gain.estimate.high / 2])
    table = asked_tables(record, every)[0]
    assert table.title == "dev: differences between rows, points"
    assert table.columns[:2] == ["difference", "mean recall"]
    assert table.rows[0][1] == difference_tables(record, every, "CLIP")[0].rows[0][1]
    assert asked_tables(two_methods(tmp_path / "none"), every) == []


def test_one_seed_is_marked_and_never_clear(tmp_path):
    record = two_methods(tmp_path)
    one = Record(record.study, tuple(run for run in record.runs if run.row == "CLIP" or run.seed == 1), tmp_path)
    every = measures(one)[0]
    pets = next(measure for measure in every if measure.group == "Pets")
    (found,) = compare(pets, "CLIP")
    assert found.marks == "†"
    assert found.estimate.num_seeds == 1
    table = score_tables(one, every)[0]
    assert list(table.rows[1][:2]) == ["MCD", "1 of 3"]
    assert "±" not in table.rows[1][2]
    assert "† One seed" in difference_tables(one, [pets], "CLIP")[0].caption


def test_a_run_on_other_items_is_left_out_and_named(tmp_path):
    record = two_methods(tmp_path)
    last = record.runs[-1]
    old = record.outcomes(last, "pets/zero_shot")
    assert old is not None
    items = np.array([f"{one:016x}" for one in range(len(old.items))])
    write_outcomes(tmp_path, last.folder, "pets/zero_shot", Outcomes(items, items, old.right, old.classes))
    found, notes = measures(record)
    assert notes == ["pets/zero_shot: MCD, seed 2, was tested on other items than CLIP, and is left out"]
    assert next(one for one in found if one.group == "Pets").rows["MCD"].seeds == (0, 1)


def test_a_record_without_outcomes_has_intervals_of_seeds_alone(tmp_path):
    record = two_methods(tmp_path / "whole")
    bare = written(Record(record.study, record.runs, tmp_path / "bare"))
    for whole, alone in zip(measures(record)[0], measures(bare)[0], strict=True):
        assert alone.rows["MCD"].items is None
        assert alone.rows["MCD"].values == pytest.approx(whole.rows["MCD"].values)
        assert interval(alone.rows["MCD"]).item_error == 0


def test_costs_beside_the_baseline(record):
    rows = cost_table(record).rows
    assert list(rows[0]) == ["CLIP", "800", "8,000", "1.00", "1.00", "8.00", "1.00", "61", "900"]
    assert list(rows[1]) == ["MCD", "800", "8,000", "2.50", "2.50", "20.0", "2.50", "61", "900"]


def test_operations_that_were_not_counted_are_left_blank(tmp_path):
    record = two_methods(tmp_path)
    runs = tuple(replace(run, cost={**run.cost, "flops": 0.0, "flops_per_sample": 0.0}) for run in record.runs)
    rows = cost_table(Record(record.study, runs, tmp_path), short=True).rows
    assert list(rows[1]) == ["MCD", "800", "8,000", "", "", "", "", "61", "900"]
