"""Which process reports and writes; a whole run, its resumption and a refusal on two ranks."""

import io
import json
import os
import shutil
import socket
import time
from contextlib import redirect_stderr

import pytest
import torch
from torch import multiprocessing

from askew import distributed
from askew.errors import UserError
from askew.report.console import Console
from askew.runs.resume import resume
from askew.runs.train import start
from micro_runs import assert_same_state, metrics_of, micro_recipe, state_of, table_of_25

PATIENCE = 150  # seconds


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


def on_rank(rank, port, folder):
    """A run, its resumption from a damaged last checkpoint, and a refusal; what this rank printed is written down."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    run, errors = folder / "run", []
    recipe = micro_recipe(folder / "data" / "pairs.csv", "mcd", max_steps=6, checkpoint_steps=2, device="cpu")
    console = Console(quiet=not distributed.is_main())
    with redirect_stderr(io.StringIO()) as printed:
        start(recipe, run, console)
        distributed.barrier()
        if rank == 0:
            shutil.move(run / "checkpoints", folder / "whole" / "checkpoints")
            shutil.copytree(folder / "whole" / "checkpoints", run / "checkpoints")
            shutil.rmtree(run / "model")
            # As if the run had been killed while it saved
            (run / "checkpoints" / "step-000000006" / "manifest.json").write_text("cut")
        distributed.barrier()
        resume(None, run, console)
    try:
        start(recipe, run, console)
    except UserError as error:  # on rank 0, which claims the folder; torchrun then ends the others
        errors.append(str(error))
    (folder / f"rank{rank}.json").write_text(json.dumps({"printed": printed.getvalue(), "errors": errors}))


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What both ranks wrote down, and the folder of their run."""
    folder = tmp_path_factory.mktemp("ranks")
    table_of_25(folder / "data")
    (folder / "whole").mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.spawn(on_rank, args=(port, folder), nprocs=2, join=False)
    deadline = time.monotonic() + PATIENCE
    while not (folder / "rank0.json").exists() and time.monotonic() < deadline:
        assert any(process.is_alive() for process in context.processes), context.join()
        time.sleep(0.1)
    for process in context.processes:  # rank 1 waits for a folder that rank 0 was refused
        process.kill()
    return json.loads((folder / "rank0.json").read_text(encoding="utf-8")), folder


def test_two_ranks_start_and_resume_as_one_run(ranks):
    report, folder = ranks
    lines = report["printed"].splitlines()
    assert sum(line.startswith("run      ") for line in lines) == 2  # once per session: rank 0 alone reports
    assert sum(line.startswith("step 6/6 ") for line in lines) == 2
    assert sum("is damaged" in line for line in lines) == 1
    assert any("(from step 4)" in line for line in lines)
    assert [line["step"] for line in metrics_of(folder / "run")] == [1, 2, 3, 4, 5, 6]
    assert sorted(p.name for p in (folder / "run" / "checkpoints").iterdir()) == ["step-000000004", "step-000000006"]
    assert_same_state(state_of(folder / "run"), state_of(folder / "whole"))
    assert (folder / "run" / "model" / "open_clip_model.safetensors").is_file()


def test_a_folder_with_a_run_is_refused_on_two_ranks_too(ranks):
    report, folder = ranks
    assert report["errors"] == [
        f"--out {folder / 'run'} holds another run; choose a new folder, or resume it: --resume --out {folder / 'run'}"
    ]
