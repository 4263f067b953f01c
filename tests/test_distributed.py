"""Which process reports and writes; a whole run, its resumption and a refusal on two ranks."""

import os
import subprocess
import sys

import pytest

from askew import distributed
from micro_runs import as_options, assert_same_state, metrics_of, micro_settings, state_of, table_of_25


@pytest.mark.parametrize(
    ("variables", "main"),
    [
        ({}, True),
        ({"RANK": "1"}, True),  # left over, or of a scheduler: one process is alone and has to report
        ({"RANK": "1", "WORLD_SIZE": "1"}, True),
        ({"RANK": "0", "WORLD_SIZE": "2"}, True),
        ({"RANK": "1", "WORLD_SIZE": "2"}, False),
    ],
)
def test_one_process_reports(monkeypatch, variables, main):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert distributed.is_main() is main


def torchrun(*arguments, cwd):
    """`torchrun --nproc-per-node 2 -m askew train ...`."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "askew"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=180
    )


def test_two_ranks_start_stop_and_resume_as_one_run(tmp_path):
    table = table_of_25(tmp_path / "data")
    options = ["train", "tiny", "--data", table, "--out", "run", *micro_settings()]
    options += as_options("train.epochs=2", "train.precision=fp32", "train.checkpoint_steps=2")
    done = torchrun(*options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("run      run") == 1  # rank 0 alone reports
    assert done.stderr.count("step 6/6") == 1
    assert [line["step"] for line in metrics_of(tmp_path / "run")] == [1, 2, 3, 4, 5, 6]
    assert sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir()) == ["step-000000004", "step-000000006"]
    whole = state_of(tmp_path / "run")

    for name in ("model", "teacher"):
        for file in (tmp_path / "run" / name).iterdir():
            file.unlink()
        (tmp_path / "run" / name).rmdir()
    last = tmp_path / "run" / "checkpoints" / "step-000000006" / "manifest.json"
    last.write_text("cut")  # as if the run had been killed while it saved
    again = torchrun("train", "--resume", "--out", "run", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("is damaged") == 1
    assert "(from step 4)" in again.stderr
    assert_same_state(state_of(tmp_path / "run"), whole)
    assert (tmp_path / "run" / "teacher" / "open_clip_model.safetensors").is_file()

    taken = torchrun(*options, cwd=tmp_path)
    assert taken.returncode != 0
    assert taken.stderr.count("error: --out run holds another run") == 1
