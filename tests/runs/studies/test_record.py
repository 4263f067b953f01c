"""The record of a study gives back what a run's outcomes said, and knows nothing of the machine."""

import numpy as np
import pytest

from askew.errors import UserError
from askew.evaluation.results import Outcomes, item_hash
from askew.evaluation.significance import differences
from askew.runs.studies.plan import Study
from askew.runs.studies.record import Record, RecordedRun, without_folders, write_outcomes, write_record

STUDY = Study.model_validate(
    {
        "name": "two",
        "set": ["data.source=/here/there/train.parquet"],
        "seeds": [1, 0],
        "baseline": "A",
        "rows": {"A": {"recipe": "tiny"}, "B, more": {"recipe": "tiny-clip", "seeds": [4], "set": ["train.epochs=2"]}},
    }
)


def recorded(row, seed, folder):
    values = {"top1": 0.5, "n": 11}
    return RecordedRun(
        row, seed, folder, {"name": "tiny", "data": {"source": "train.parquet"}}, {"pets/zero_shot": values},
        {"pets/zero_shot": {"weights": "student"}}, {"samples": 16.0, "processor": "one"}, {"askew": "1"}, ("suite",),
    )  # fmt: skip


def outcomes(right, order=None):
    """Eleven items of two classes, in three clusters."""
    order = np.arange(11) if order is None else order
    items = np.array([item_hash(str(i)) for i in range(11)])[order]
    names = np.array([f"/private/{i}" for i in range(11)])[order]
    columns = {"top1": right[order], "mean_per_class": right[order]}
    classes = {"mean_per_class": np.arange(11)[order] % 2}
    return Outcomes(items, names, columns, classes)


def test_what_is_written_is_read(tmp_path):
    runs = tuple(recorded(run.row, run.seed, run.folder) for run in STUDY.runs())
    write_record(Record(STUDY, runs, tmp_path))
    found = Record.read(tmp_path)
    assert found.runs == runs
    assert [run.folder for run in found.runs] == ["a-seed1", "a-seed0", "b--more-seed4"]
    assert [run.seed for run in found.of("A")] == [0, 1]
    assert found.of("C") == []
    assert found.study == STUDY.model_copy(update={"settings": ["data.source=train.parquet"]})


def test_differences_of_two_runs_are_those_of_their_outcomes(tmp_path):
    generator = np.random.default_rng(5)
    one, other = outcomes(generator.random(11) < 0.5), outcomes(generator.random(11) < 0.5, generator.permutation(11))
    write_record(Record(STUDY, (), tmp_path))
    for name, made in (("a-seed0", one), ("a-seed1", other)):
        write_outcomes(tmp_path, name, "pets/zero_shot", made)
    record = Record.read(tmp_path)
    back = [record.outcomes(recorded("A", seed, f"a-seed{seed}"), "pets/zero_shot") for seed in (0, 1)]
    assert differences("pets", *back, ("a", "b")) == differences("pets", one, other, ("a", "b"))
    assert (back[0].right["top1"] == one.right["top1"]).all()
    assert back[0].clusters is None
    assert set(back[0].names) == {""}
    assert not any(b"private" in file.read_bytes() for file in tmp_path.rglob("*.npz"))
    assert record.outcomes(recorded("A", 0, "a-seed0"), "pets/linear_probe") is None


def test_outcomes_are_small_and_the_same_bytes_again(tmp_path):
    items = np.array([item_hash(str(i)) for i in range(4000)])
    made = Outcomes(items, items, {f"r@{k}": np.arange(4000) % k == 0 for k in (1, 5, 10)}, clusters=np.arange(4000))
    for folder in (tmp_path / "one", tmp_path / "two"):
        for name in ("a-seed0", "a-seed1"):
            write_outcomes(folder, name, "dev/text_to_image", made)
    files = sorted((tmp_path / "one").rglob("*.npz"))
    assert [file.name for file in files] == ["a-seed0.npz", "a-seed1.npz", "items.npz"]
    assert files[0].stat().st_size < 3 * 4000 / 8 + 1000
    assert files[2].stat().st_size < 48_000
    assert [file.read_bytes() for file in files] == [f.read_bytes() for f in sorted((tmp_path / "two").rglob("*.npz"))]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("/here/there/train.parquet", "train.parquet"),
        ("~/there/train.parquet", "train.parquet"),
        ("/here/J. Doe/a.csv + /other/b.csv*2", "a.csv + b.csv*2"),
        ("data.source=[/here/a.csv, '/there/b.csv']", "data.source=[a.csv, 'b.csv']"),
        (r"C:\Users\x\a.csv", "a.csv"),
        ("photos/dev.parquet", "photos/dev.parquet"),
        ("a photo of a {}, front and/or back", "a photo of a {}, front and/or back"),
    ],
)
def test_absolute_paths_lose_their_folders(text, kept):
    assert without_folders({"source": [text, 3]}) == {"source": [kept, 3]}


def test_a_damaged_record_costs_one_line(tmp_path):
    with pytest.raises(UserError, match=r"no record of a study \(no study.yaml\)"):
        Record.read(tmp_path)
    write_record(Record(STUDY, (recorded("A", 0, "a-seed0"),), tmp_path))
    (tmp_path / "runs.jsonl").write_text('{"row": "A"}\n', encoding="utf-8")
    with pytest.raises(UserError, match="not the runs of a record"):
        Record.read(tmp_path)
    write_record(Record(STUDY, (), tmp_path))
    write_outcomes(tmp_path, "a-seed0", "pets", outcomes(np.ones(11, bool)))
    (tmp_path / "outcomes" / "pets" / "items.npz").write_bytes(b"cut")
    with pytest.raises(UserError, match="not the outcomes of a record"):
        Record.read(tmp_path).outcomes(recorded("A", 0, "a-seed0"), "pets")
