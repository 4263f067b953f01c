"""Micro recipes and runs for the tests of the loop: seconds on one core."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

import torch

import forked
from askew import cli, config
from askew.config import Recipe
from askew.methods.aclip import ACLIP
from askew.methods.albef import ALBEF
from askew.methods.clip import CLIP
from askew.methods.declip import DeCLIP
from askew.methods.fastclip import FastCLIP
from askew.methods.mcd import MCD
from askew.methods.siglip import SigLIP
from askew.methods.slip import SLIP
from askew.methods.uniclip import UniCLIP
from askew.report.console import Console
from askew.runs.directory import RunDirectory
from askew.runs.resume import resume as resume_run
from askew.runs.train import start
from askew.training.build import build
from askew.training.interfaces import Hook, Reporter
from askew.training.loop import Trainer
from helpers import micro_towers, write_pairs

STEPS = 9  # three epochs of three batches of 8 from 25 pairs: an epoch drops a partial batch
METHODS = {
    "clip": CLIP.Config(),
    "mcd": MCD.Config(momentum=0.8),
    "slip": SLIP.Config(),
    "declip": DeCLIP.Config(queue_size=50),
    "uniclip": UniCLIP.Config(),
    "siglip": SigLIP.Config(),
    "fastclip": FastCLIP.Config(temperature_rate=1e-3, gamma="epoch"),
    "albef": ALBEF.Config(queue_size=50, momentum=0.8),
    "aclip": ACLIP.Config(momentum=0.8),
}


def micro_recipe(table: Path, method: str = "mcd", **train) -> Recipe:
    """Three epochs of three steps on 25 pairs."""
    settings = {"epochs": 3, "learning_rate": 5e-3, "warmup_epochs": 0.5, "log_every": 1, "precision": "fp32", **train}
    return Recipe(
        name=f"micro-{method}",
        method=METHODS[method],
        towers=micro_towers(),
        data=config.DataSettings(source=str(table)),
        loader=config.LoaderSettings(batch_size=8, num_workers=0),
        train=config.TrainSettings(**settings),
        evaluation=config.EvaluationSettings(suite="none", report=False),
    )


def table_of_25(folder: Path) -> Path:
    """pairs.csv beside its images."""
    return write_pairs(folder, 25)


def train(recipe: Recipe, folder: Path, resume: bool = False) -> Path:
    """A whole run in this process."""
    go = resume_run if resume else start
    return go(recipe, folder, Console(quiet=True)).path


def trainer_of(
    recipe: Recipe,
    folder: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
    progress: Callable[[dict], None] = lambda line: None,
    hooks: tuple[Hook, ...] = (),
) -> Trainer:
    """A trainer of a recipe, which writes into a run's directory where one is given."""
    reporter = Reporter(say, lambda line, terms, total_steps: progress(line))
    return Trainer(build(recipe, say), RunDirectory(folder) if folder else None, reporter, hooks)


def state_of(folder: Path) -> dict[str, torch.Tensor]:
    """Everything in the newest checkpoint: weights, teacher, temperatures, optimiser."""
    from safetensors.torch import load_file

    newest = sorted((folder / "checkpoints").glob("step-*"))[-1]
    return {
        f"{file.stem}/{key}": value
        for file in sorted(newest.glob("*.safetensors"))
        for key, value in load_file(file).items()
    }


def assert_same_state(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """Bit for bit."""
    assert one.keys() == other.keys()
    different = [key for key in one if not torch.equal(one[key], other[key])]
    assert different == []


def metrics_of(folder: Path, name: str = "metrics.jsonl") -> list[dict]:
    """The logged lines."""
    return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]


def askew(
    *arguments: str | Path, cwd: Path | None = None, timeout: float = 120, program: str | None = None
) -> subprocess.CompletedProcess:
    """`python -m askew ...` in a process of its own, which `program` starts: by default one that is there at once."""
    command = [program or forked.python(), "-m", "askew", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout)


def askew_here(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess:
    """The same in this process."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    before = sys.argv
    sys.argv = ["askew", *map(str, arguments)]
    try:
        with chdir(cwd or Path.cwd()), redirect_stdout(out), redirect_stderr(err):
            cli.main()
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    finally:
        sys.argv = before
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def as_options(*settings: str) -> list[str]:
    """Each `KEY=VALUE` behind its `--set`."""
    return [part for setting in settings for part in ("--set", setting)]


def micro_settings() -> list[str]:
    """`--set` options that make the recipe `tiny` a matter of seconds."""
    towers = micro_towers()
    settings = {
        "towers.embed_dim": towers.embed_dim,
        "towers.vision_cfg": json.dumps(towers.vision_cfg),
        "towers.text_cfg": json.dumps(towers.text_cfg),
        "loader.batch_size": 8,
        "loader.num_workers": 0,
        "train.epochs": 1,
        "train.log_every": 1,
        "train.checkpoint_steps": 1,
        "evaluation.report": "false",
        "evaluation.suite": "none",
    }
    return as_options(*(f"{key}={value}" for key, value in settings.items()))
