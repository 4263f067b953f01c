"""Train every method for a few steps on two source trees and compare what comes out, to the last bit.

    git worktree add OTHER COMMIT
    python scripts/same_numbers.py --against OTHER/src

A refactor must leave every logged loss and gradient norm and every final weight as they were. The numbers depend on the
machine, the number of threads and the versions of the libraries, so both trees run here, one after the other.
`--record FILE` keeps the numbers of this tree, and `--against FILE` compares with such a record.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

RECIPES = ("tiny-clip", "tiny-slip", "tiny-declip", "tiny-uniclip", "tiny", "tiny-siglip", "tiny-albef")
HERE = Path(__file__).resolve().parents[1] / "src"


def check_source(source: Path) -> None:
    """The tree that the path selects must be the one that is imported: else it would be compared with itself."""
    command = [sys.executable, "-c", "import askew; print(askew.__file__)"]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(source)}, capture_output=True, text=True, check=True
    )
    if not Path(done.stdout.strip()).is_relative_to(source):
        sys.exit(f"{source} is not what is imported, but {done.stdout.strip()}")


def numbers(source: Path, recipe: str, settings: list[str]) -> dict[str, Any]:
    """Losses and gradient norms of every step, and a hash of every final weight, by a run of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        options = [part for setting in settings for part in ("--set", setting)]
        subprocess.run(
            [sys.executable, "-m", "askew", "train", recipe, "--out", str(out), *options],
            env=os.environ | {"PYTHONPATH": str(source)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=True,
        )
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        state = load_file(sorted((out / "checkpoints").iterdir())[-1] / "method.safetensors")
        weights = {name: hashlib.sha256(value.numpy().tobytes()).hexdigest() for name, value in state.items()}
    return {
        "losses": [line["loss"] for line in lines],
        "gradient_norms": [line["gradient_norm"] for line in lines],
        "weights": weights,
    }


def compared(recipe: str, ours: dict[str, Any], theirs: dict[str, Any]) -> tuple[str, bool]:
    """One line for a recipe, and whether all of it is equal. Renamed weights are compared by their content."""
    same = {key: ours[key] == theirs[key] for key in ("losses", "gradient_norms")}
    common = ours["weights"].keys() & theirs["weights"].keys()
    same["weights"] = all(ours["weights"][name] == theirs["weights"][name] for name in common)
    same["weights"] &= sorted(ours["weights"].values()) == sorted(theirs["weights"].values())
    whole = hashlib.sha256("".join(sorted(ours["weights"].values())).encode()).hexdigest()[:12]
    verdicts = ", ".join(f"{key} {'equal' if equal else 'DIFFERENT'}" for key, equal in same.items())
    renamed = len(set(ours["weights"]) ^ set(theirs["weights"]))
    return (
        f"{recipe:<14} {len(ours['losses'])} steps, loss {ours['losses'][0]:.6f} to {ours['losses'][-1]:.6f}, "
        f"{len(ours['weights'])} tensors ({whole}): {verdicts}" + (f"; {renamed} names differ" if renamed else "")
    ), all(same.values())


def main() -> None:
    """Print one line per recipe; exit code 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--against", type=Path, help="the src folder of another checkout, or a record")
    parser.add_argument("--record", type=Path, help="write the numbers of this tree to a file")
    arguments = parser.parse_args()
    fixed = ["train.minutes=0", "train.epochs=11", "train.log_every=1", "evaluation.suite=none"]
    settings = [*fixed, f"train.max_steps={arguments.steps}", *arguments.set]
    record, good = {}, True
    for source in (HERE, arguments.against):
        if source is not None and source.is_dir():
            check_source(source.resolve())
    for recipe in arguments.recipes:
        own = [*settings, "method.momentum=0.925"] if recipe == "tiny" else settings
        record[recipe] = numbers(HERE, recipe, own)
        if arguments.against is None:
            print(f"{recipe}: loss {record[recipe]['losses'][-1]:.6f}", flush=True)
            continue
        if arguments.against.is_file():
            theirs = json.loads(arguments.against.read_text())[recipe]
        else:
            theirs = numbers(arguments.against.resolve(), recipe, own)
        line, same = compared(recipe, record[recipe], theirs)
        good &= same
        print(line, flush=True)
    if arguments.record is not None:
        arguments.record.write_text(json.dumps(record))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
