"""Two ranks evaluate while they train: the numbers of one, and no hang when one of them dies on the way."""

import json
import os
import subprocess
import time

import numpy as np
import pytest

import forked
from askew.evaluation.features import SHARD
from askew.evaluation.sharing import shares
from helpers import write_pairs
from micro_runs import metrics_of, micro_settings

SOURCE = """
import os, signal, threading
from pathlib import Path
from askew.data.sources import open_source


class Dev:
    def __init__(self, inner):
        self.inner, self.reads, self.lock = inner, 0, threading.Lock()
        self.describe, self.notes, self.block, self.window = inner.describe, inner.notes, inner.block, inner.window

    def __len__(self):
        return len(self.inner)

    def name(self, index):
        return self.inner.name(index)

    def __getitem__(self, index):
        with self.lock:  # several threads read
            self.reads += 1
            if os.environ["RANK"] == "1":
                Path("read-by-rank-1").write_text(str(self.reads))
                if os.environ["CASE"] == "killed" and self.reads == 20 + 3:  # 20 to open it, the others to evaluate it
                    os.kill(os.getpid(), signal.SIGKILL)
        return self.inner[index]


def dev(options):
    return Dev(open_source("dev/pairs.csv", options))
"""


def command(ranks, out, *more):
    launch = (
        ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks), "-m", "askew"] if ranks > 1 else ["-m", "askew"]
    )
    sets = ["train.device=cpu", "method.name=clip", "evaluation.during=devs:dev", "evaluation.before=true"]
    sets += ["evaluation.batch_size=8", "evaluation.best=devs-dev/mean_recall", "train.epochs=2"]
    options = [part for one in (*sets, *more) for part in ("--set", one)]
    return [
        forked.python(),
        *launch,
        "train",
        "tiny",
        "--data",
        "train/pairs.csv",
        "--out",
        out,
        *micro_settings(),
        *options,
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    write_pairs(folder / "train", 16)
    write_pairs(folder / "dev", 20, seed=1)
    (folder / "devs.py").write_text(SOURCE, encoding="utf-8")
    return folder


def ran(folder, ranks, out, *more, case="whole"):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CASE": case, "PYTHONPATH": str(folder)}
    environment["PYTHON_EXEC"] = forked.python()  # what torchrun starts the ranks with
    environment |= {"RANK": "0", "WORLD_SIZE": "1"} if ranks == 1 else {}
    return subprocess.run(
        command(ranks, out, *more), cwd=folder, env=environment, capture_output=True, text=True, timeout=150
    )


def evaluated(run):
    return {
        line["step"]: {name: value for name, value in line.items() if name.startswith("eval/")}
        for line in metrics_of(run)
        if any(name.startswith("eval/") for name in line)
    }


def test_two_ranks_measure_what_one_measures(folder):
    alone, both = ran(folder, 1, "alone"), ran(folder, 2, "both")
    assert (alone.returncode, both.returncode) == (0, 0), both.stderr
    found, expected = evaluated(folder / "both"), evaluated(folder / "alone")
    assert list(found) == list(expected) == [0, 2, 4]
    assert found == expected
    assert int((folder / "read-by-rank-1").read_text()) < 20 + 4 * 20  # it encodes a share, not everything
    results = [(folder / run / "results.jsonl").read_text().splitlines() for run in ("alone", "both")]
    values = [[(json.loads(line)["task"], json.loads(line)["values"]) for line in lines] for lines in results]
    assert values[0] == values[1]
    assert len(values[0]) == 2  # rank 0 alone writes
    outcomes = [np.load(folder / run / "outcomes/devs-dev/image_to_text.npz") for run in ("alone", "both")]
    assert all(np.array_equal(outcomes[0][name], outcomes[1][name]) for name in outcomes[0].files)
    assert (folder / "both" / "best" / "open_clip_config.json").is_file()
    assert both.stderr.count("eval     step 4: ") == 1


def test_sharded_towers_are_measured_as_they_are_saved(folder):
    sharded = ran(folder, 2, "sharded", "train.parallel=fsdp2", "loader.micro_batch_size=3")
    assert sharded.returncode == 0, sharded.stderr
    assert list(evaluated(folder / "sharded")) == [0, 2, 4]
    again = subprocess.run(
        [forked.python(), "-m", "askew", "eval", "sharded", "--data", "dev/pairs.csv", "--out", "again.jsonl"],
        cwd=folder, capture_output=True, text=True, timeout=100
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    during, after = ([json.loads(line)["values"] for line in (folder / name).read_text().splitlines()]
                     for name in ("sharded/results.jsonl", "again.jsonl"))  # fmt: skip
    assert during == after


def test_a_rank_that_dies_in_an_evaluation_ends_the_run(folder):
    started = time.monotonic()
    ended = ran(folder, 2, "killed", case="killed")
    assert time.monotonic() - started < 100
    assert ended.returncode != 0
    assert "rank      : 1 (local_rank: 1)" in ended.stderr  # torchrun names it, and its signal
    assert "Signal 9 (SIGKILL)" in ended.stderr
    assert not (folder / "killed" / "metrics.jsonl").exists()  # it was the evaluation before the first step


@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
@pytest.mark.parametrize(("size", "batch"), [(1, 8), (20, 8), (3000, 256), (3000, 100), (2 * SHARD, SHARD)])
def test_shares_are_whole_batches_and_make_up_the_whole(size, batch, ranks):
    parts = shares(size, batch, ranks)
    assert sorted(index for part in parts for index in part) == list(range(size))
    whole = [list(range(a, min(a + batch, s + SHARD, size)))
             for s in range(0, size, SHARD) for a in range(s, min(s + SHARD, size), batch)]  # fmt: skip
    for part in parts:
        made = [part[s : s + SHARD][a : a + batch] for s in range(0, len(part), SHARD) for a in range(0, SHARD, batch)]
        assert all(one in whole for one in made if one)
