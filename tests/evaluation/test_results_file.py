"""Results and outcomes on disk: appended, read back, and intact after a crash."""

import json

import numpy as np
import pytest

from askew import __version__
from askew.errors import UserError
from askew.evaluation.results import Outcomes, Result, ResultsFile, load

OUTCOMES = Outcomes(np.array(["a", "b"]), np.array(["first", "second"]), {"top1": np.array([True, False])})
ZERO_SHOT = Result("set/zero_shot", {"top1": 0.5, "n": 2}, {"ties": "first wins", "notes": ["größer"]}, OUTCOMES)
OVERLAP = Result("set/overlap", {"exact": 0}, {})


def test_a_line_per_result_and_the_outcomes_of_its_items(tmp_path):
    file = ResultsFile(tmp_path / "run" / "results.jsonl")
    file.append([ZERO_SHOT, OVERLAP], {"weights": "student", "ties": "unknown"})
    versions = {"askew": __version__, "numpy": np.__version__}
    assert file.read() == [
        {
            "task": "set/zero_shot",
            "values": {"top1": 0.5, "n": 2},
            "protocol": {"weights": "student", "ties": "first wins", "notes": ["größer"], **versions},
        },
        {
            "task": "set/overlap",
            "values": {"exact": 0},
            "protocol": {"weights": "student", "ties": "unknown", **versions},
        },
    ]
    lines = file.path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == file.read()
    assert "größer" in lines[0]
    outcomes = load(tmp_path / "run" / "outcomes" / "set" / "zero_shot.npz")
    assert outcomes.right["top1"].tolist() == [True, False]
    assert sorted(p.name for p in tmp_path.rglob("*.*")) == ["results.jsonl", "zero_shot.npz"]


def test_results_are_appended_and_outcomes_replaced(tmp_path):
    file = ResultsFile(tmp_path / "results.jsonl")
    for _ in range(2):
        file.append(iter([ZERO_SHOT]), {"weights": "student"})
    file.append([ZERO_SHOT], {"weights": "teacher"})
    assert [line["protocol"]["weights"] for line in file.read()] == ["student", "student", "teacher"]
    found = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.npz"))
    assert found == ["outcomes-teacher/set/zero_shot.npz", "outcomes/set/zero_shot.npz"]


def test_the_folder_of_outcomes_is_named_after_the_file(tmp_path):
    names = {
        ("results.jsonl", "student"): "outcomes",
        ("results.jsonl", "teacher"): "outcomes-teacher",
        ("other.jsonl", "student"): "other-outcomes",
        ("other.jsonl", "teacher"): "other-outcomes-teacher",
    }
    for (name, weights), folder in names.items():
        assert ResultsFile(tmp_path / name).outcomes(weights) == tmp_path / folder
    assert ResultsFile(tmp_path / "results.jsonl").outcomes() == tmp_path / "outcomes"


def test_a_file_that_does_not_exist_has_no_results(tmp_path):
    assert ResultsFile(tmp_path / "none.jsonl").read() == []


@pytest.mark.parametrize("cut", [1, 20, "within a character"])
def test_a_line_cut_off_by_a_crash_is_skipped_and_the_next_starts_a_new_line(tmp_path, cut):
    file = ResultsFile(tmp_path / "results.jsonl")
    file.append([OVERLAP], {"weights": "student"})
    file.append([ZERO_SHOT], {"weights": "student"})
    whole = file.path.read_bytes()
    end = whole.index("ö".encode()) + 1 if isinstance(cut, str) else len(whole) - 1 - cut
    file.path.write_bytes(whole[:end])
    assert [line["task"] for line in file.read()] == ["set/overlap"]
    file.append([ZERO_SHOT], {"weights": "student"})
    assert [line["task"] for line in file.read()] == ["set/overlap", "set/zero_shot"]
    assert file.path.read_bytes().startswith(whole[:end] + b"\n")


def test_a_file_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"the results could not be written to \S+results.jsonl"):
        ResultsFile(tmp_path / "file" / "results.jsonl").append([ZERO_SHOT], {"weights": "student"})
