"""A drill: runs that are killed, stopped, robbed of a rank or of their disk, or whose checkpoints are damaged.

    python tests/drill.py [--trials 200] [--kinds kill,flip] [--seed 0] [--folder DIR]

Each trial starts a run of a few steps with micro towers, lets one fault happen at a random moment, and resumes the run.
What counts is its end: weights, optimiser and logged numbers must equal those of a run that nothing has disturbed, bit
for bit. Results are kept in DIR/trials.jsonl as they come, so that the same command continues after a stop.
"""

import argparse
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import forked
from askew.recipes.settings import override, to_yaml
from askew.training import checkpoint
from micro_runs import metrics_of, micro_recipe, state_of, table_of_25

SHARES = {"kill": 60, "term": 40, "rank": 20, "disk": 30, "truncate": 25, "flip": 25}  # of 200 trials
EXACT, REFUSED = "resumed exactly", "refused clearly"
OUTCOMES = (EXACT, REFUSED, "lost", "wrong", "hung")
MODELS = ("model", "teacher")
LARGEST = 4_000_000  # bytes: about what the largest file of a checkpoint has
Change = Callable[[random.Random, bytes], bytes]
STEPS, EVERY = 10, 2  # of a run, and between its checkpoints
LIMIT = 300.0  # seconds in which a process must end
TIME_DEPENDENT = {"samples_per_second", "data_wait", "peak_memory_mb", "seconds"}


class Hung(Exception):
    """A process does not end, or does not come as far as it should."""


class Wrong(Exception):
    """A run ends in another way than its fault should end it."""


class Life:
    """One process that trains, or torchrun and its ranks: from the start or from the last checkpoint to its end."""

    def __init__(self, arguments: list[str], folder: Path, ranks: int):
        launch = ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks)] if ranks > 1 else []
        environment = {**os.environ, "PYTHON_EXEC": forked.python(), "OMP_NUM_THREADS": "1"}
        self.log = folder.with_suffix(".log")
        with self.log.open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [forked.python(), *launch, "-m", "askew", "train", *arguments],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._deadline = time.monotonic() + LIMIT

    @property
    def pid(self) -> int:
        """Of the process itself, which a program stands for; 0 if it has ended."""
        self.wait_until(lambda: forked.process_of(self.process) != self.process.pid)
        return forked.process_of(self.process) if self.process.poll() is None else 0

    def kill(self) -> None:
        """kill -9, and wait until it is dead."""
        if pid := self.pid:
            os.kill(pid, signal.SIGKILL)
        self.end()

    def kill_rank(self, number: int) -> bool:
        """kill -9 of one rank of torchrun, if all are there."""
        try:
            started = [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
            pids = [int(Path(f"{forked.python()}.{pid}").read_text(encoding="utf-8")) for pid in started]
            os.kill(pids[number], signal.SIGKILL)
        except (OSError, ValueError, IndexError):  # not yet, or no longer
            return False
        return True

    def wait_until(self, condition: Callable[[], bool]) -> bool:
        """Whether it came true before the process ended."""
        while not condition():
            if self.process.poll() is not None:
                return False
            self._check()
            time.sleep(0.001)
        return True

    def end(self) -> tuple[int, str]:
        """The exit status, and what was printed."""
        while self.process.poll() is None:
            self._check()
            time.sleep(0.01)
        return self.process.returncode, " ".join(self.log.read_text(encoding="utf-8", errors="replace").split())

    def _check(self) -> None:
        if time.monotonic() > self._deadline:
            self.process.kill()
            self.process.wait()
            raise Hung


class Drill:
    """The trials of one folder, which holds the data, the recipe and the runs that nothing disturbs."""

    def __init__(self, folder: Path):
        self.folder, self.recipe = folder, folder / "recipe.yaml"
        folder.mkdir(parents=True, exist_ok=True)
        if not self.recipe.exists():
            recipe = micro_recipe(table_of_25(folder / "data"), "mcd", epochs=STEPS, max_steps=STEPS)
            sets = [f"train.checkpoint_steps={EVERY}", "towers.text_cfg.width=8", "towers.text_cfg.heads=1"]
            self.recipe.write_text(to_yaml(override(recipe, sets)), encoding="utf-8")

    def whole(self, ranks: int) -> Path:
        """A run on so many ranks that nothing disturbs, made once."""
        run = self.folder / f"whole-{ranks}"
        if not (run / "model").exists():
            shutil.rmtree(run, ignore_errors=True)
            code, printed = Life([str(self.recipe), "--out", str(run)], run, ranks).end()
            assert code == 0, printed
        return run

    def trial(self, kind: str, seed: int) -> dict[str, object]:
        """What came of one fault: `outcome` is one of OUTCOMES, and `how` says more."""
        rng, ranks = random.Random(f"{kind} {seed}"), 2 if kind == "rank" else 1
        whole, run = self.whole(ranks), self.folder / f"{kind}-{seed}"
        shutil.rmtree(run, ignore_errors=True)
        workers = ["--set", f"loader.num_workers={rng.randrange(2)}"]
        how = more = ""
        try:
            life = Life([str(self.recipe), "--out", str(run), *workers], run, ranks)
            how, expected = FAULTS[kind](rng, life, run)
            more = too_old(run)
            outcome, more = ("lost", more) if more else self._after(run, whole, ranks, workers, expected)
        except Hung:
            outcome = "hung"
        except Wrong as error:
            outcome, how = "wrong", str(error)
        if outcome in (EXACT, REFUSED):  # what failed is kept, to be looked at
            shutil.rmtree(run)
            run.with_suffix(".log").unlink()
        return {"kind": kind, "seed": seed, "outcome": outcome, "how": f"{how}{more}"}

    def _after(self, run: Path, whole: Path, ranks: int, workers: list[str], expected: str) -> tuple[str, str]:
        """Resume what the fault has left, and compare it with the run that nothing has disturbed.

        Args:
            expected: what the resumed run must say.
        """
        if all((run / name).exists() for name in MODELS):
            found = differences(run, whole)
            return ("wrong", f", finished before, differs in {found}") if found else (EXACT, ", finished before")
        start = ["--resume"] if (run / "recipe.yaml").exists() else [str(self.recipe)]
        code, printed = Life([*start, "--out", str(run), *workers], run, ranks).end()
        if code == 2 and "Traceback" not in printed and str(run / "checkpoints") in printed:
            return REFUSED, ""
        if code != 0:
            return "lost", f", exit {code}: {printed[-400:]}"
        if expected not in printed:
            return "lost", f", without the words: {expected}"
        found = differences(run, whole)
        return ("wrong", f", differs in {found}") if found else (EXACT, "")


def differences(run: Path, whole: Path) -> list[str]:
    """What differs at the end of two runs."""
    one, other = state_of(run), state_of(whole)
    found = ["names of tensors"] if one.keys() != other.keys() else []
    found += [name for name in one.keys() & other.keys() if not one[name].equal(other[name])]
    same = {line["step"]: line for line in steps_of(whole)}
    found += ["metrics"] if steps_of(run) != list(same.values()) else []
    discarded = steps_of(run, "metrics.discarded.jsonl")  # of steps that were taken again
    found += ["discarded metrics"] if any(line != same[line["step"]] for line in discarded) else []
    for name in MODELS:
        file = Path(name) / "open_clip_model.safetensors"
        found += [name] if (run / file).read_bytes() != (whole / file).read_bytes() else []
    return found + [path.name for path in (run / "checkpoints").glob("*.tmp")]


def steps_of(run: Path, name: str = "metrics.jsonl") -> list[dict]:
    """What was logged, without what depends on the machine's pace. A line that was cut off is left out."""
    if not (run / name).exists():
        return []
    try:
        lines = metrics_of(run, name)
    except ValueError:
        whole = [text for text in (run / name).read_text(encoding="utf-8").splitlines() if text.endswith("}")]
        lines = [json.loads(text) for text in whole]
    return [{k: v for k, v in line.items() if k not in TIME_DEPENDENT} for line in lines]


# Moments and faults


def wait_for_a_moment(rng: random.Random, life: Life, run: Path) -> str:
    """Some moment of a run: at its start, after a step, or while it saves."""
    when = rng.choice(("start", "step", "step", "save"))
    if when == "start":
        time.sleep(rng.uniform(0, 2))
    elif when == "save":
        step = EVERY * rng.randrange(STEPS // EVERY)
        life.wait_until(lambda: newest(run) >= step and any((run / "checkpoints").glob("*.tmp")))
    else:
        step = rng.randrange(STEPS)
        life.wait_until(lambda: lines_of(run) > step)
        time.sleep(rng.uniform(0, 0.05))
    return when


def lines_of(run: Path) -> int:
    """How many steps were logged, a torn line included."""
    file = run / "metrics.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def newest(run: Path) -> int:
    """The step of the newest checkpoint, or 0."""
    present = checkpoint.checkpoints(run / "checkpoints")
    return int(present[-1].name.removeprefix("step-")) if present else 0


def too_old(run: Path) -> str:
    """What is wrong if more than the checkpoint that was being written is gone; "" if it is not.

    A step is logged before its checkpoint begins, and a checkpoint begins when the one before it is whole. So a step
    that was logged after the beginning of one vouches for the one before.
    """
    due = (lines_of(run) - 1) // EVERY * EVERY - EVERY
    there = newest(run)
    return f", {lines_of(run)} steps were logged, and the newest checkpoint is of step {there}" if there < due else ""


def resumed_from(run: Path) -> str:
    """What a resumed run says of the checkpoint that is there."""
    step = newest(run)
    return f"(from step {step})" if step else ""


def kill(rng: random.Random, life: Life, run: Path) -> tuple[str, str]:
    """kill -9."""
    moment = wait_for_a_moment(rng, life, run)
    life.kill()
    return moment, resumed_from(run)


def term(rng: random.Random, life: Life, run: Path) -> tuple[str, str]:
    """SIGTERM, after which the run saves."""
    moment = wait_for_a_moment(rng, life, run)
    if pid := life.pid:
        os.kill(pid, signal.SIGTERM)
    code, printed = life.end()
    saved = re.search(r"saved at step (\d+)", printed)
    if code not in (0, 143, -signal.SIGTERM) or "Traceback" in printed:
        raise Wrong(f"exit {code} after SIGTERM ({moment}): {printed[-400:]}")
    if saved and int(saved[1]) != newest(run):
        raise Wrong(f"{saved[0]}, and the newest checkpoint is of step {newest(run)}")
    return moment, resumed_from(run)


def rank(rng: random.Random, life: Life, run: Path) -> tuple[str, str]:
    """kill -9 of one of two ranks, which torchrun must notice."""
    moment, number = wait_for_a_moment(rng, life, run), rng.randrange(2)
    life.wait_until(partial(life.kill_rank, number))
    code, printed = life.end()
    if code == 0 and not (run / "model").exists():
        raise Wrong(f"torchrun says that all is well ({moment}): {printed[-400:]}")
    return f"{moment}, rank {number}", resumed_from(run)


def disk(rng: random.Random, life: Life, run: Path) -> tuple[str, str]:
    """From a moment on, no file can grow beyond some size, as on a disk that is full: writes fail in their midst."""
    moment, limit = wait_for_a_moment(rng, life, run), rng.randrange(1, LARGEST)
    if pid := life.pid:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, limit))
    code, printed = life.end()
    if code not in (0, 2) or "Traceback" in printed:
        raise Wrong(f"exit {code} on a full disk ({moment}): {printed[-400:]}")
    if code == 2 and "could not be written" not in printed and "cannot be made" not in printed:
        raise Wrong(f"no clear line on a full disk ({moment}): {printed[-400:]}")
    return f"{moment}, {limit} bytes", resumed_from(run)


def damage(change: Change, rng: random.Random, life: Life, run: Path) -> tuple[str, str]:
    """A file of the newest checkpoint is not what was written: it must be named, and the one before it used."""
    step = EVERY * rng.randrange(2, STEPS // EVERY)
    life.wait_until(lambda: newest(run) >= step)
    life.kill()
    for name in MODELS:  # of a run that was quicker, and would be finished
        shutil.rmtree(run / name, ignore_errors=True)
    last = checkpoint.checkpoints(run / "checkpoints")[-1]
    file = rng.choice(sorted(last.iterdir()))
    old, new = file.read_bytes(), change(rng, file.read_bytes())
    file.write_bytes(new)
    if says_the_same(file.name, old, new):
        return f"{file.name}, white space", resumed_from(run)
    return file.name, f"{last.name} is damaged"


def truncated(rng: random.Random, content: bytes) -> bytes:
    """Its first bytes."""
    return content[: rng.randrange(len(content))]


def flipped(rng: random.Random, content: bytes) -> bytes:
    """One bit is another."""
    position = rng.randrange(len(content))
    return content[:position] + bytes([content[position] ^ 1 << rng.randrange(8)]) + content[position + 1 :]


def says_the_same(name: str, old: bytes, new: bytes) -> bool:
    """Whether only white space of JSON has changed."""
    try:
        return name.endswith(".json") and json.loads(old) == json.loads(new)
    except ValueError:
        return False


FAULTS: dict[str, Callable[[random.Random, Life, Path], tuple[str, str]]] = {
    "kill": kill,
    "term": term,
    "rank": rank,
    "disk": disk,
    "truncate": partial(damage, truncated),
    "flip": partial(damage, flipped),
}


# The whole drill


def planned(trials: int, kinds: list[str], seed: int) -> list[tuple[str, int]]:
    """Kind and seed of each trial, in proportion to SHARES, the kinds in turn."""
    whole = sum(SHARES[kind] for kind in kinds)
    plan = [
        ((number + 0.5) / SHARES[kind], kind, seed + number)
        for kind in kinds
        for number in range(max(1, round(trials * SHARES[kind] / whole)))
    ]
    return [(kind, number) for _, kind, number in sorted(plan)]


def table(results: list[dict]) -> str:
    """Markdown: outcomes by kind of fault."""
    rows = [["fault", "trials", *OUTCOMES]]
    for kind in [kind for kind in SHARES if any(one["kind"] == kind for one in results)]:
        counts = Counter(one["outcome"] for one in results if one["kind"] == kind)
        rows.append([kind, str(counts.total()), *(str(counts[outcome]) for outcome in OUTCOMES)])
    counts = Counter(one["outcome"] for one in results)
    rows.append(["all", str(counts.total()), *(str(counts[outcome]) for outcome in OUTCOMES)])
    rows.insert(1, ["---"] + ["---:"] * (len(OUTCOMES) + 1))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def drilled(folder: Path, plan: list[tuple[str, int]], say: Callable[[str], None] = print) -> list[dict]:
    """The results of all trials of a plan; those that the folder has already are not made again."""
    drill, file = Drill(folder), folder / "trials.jsonl"
    kept = [json.loads(text) for text in file.read_text("utf-8").splitlines()] if file.exists() else []
    found = {(one["kind"], one["seed"]): one for one in kept}
    for number, trial in enumerate(plan, 1):
        if trial not in found:
            found[trial] = drill.trial(*trial)
            with file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(found[trial]) + "\n")
            one = found[trial]
            say(f"{number}/{len(plan)} {one['kind']} {one['seed']}: {one['outcome']} ({one['how']})")
    return [found[trial] for trial in plan]


def main() -> int:
    """Print the table. The exit status is 1 where anything was lost, wrong or hung."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=sum(SHARES.values()))
    parser.add_argument("--kinds", default=",".join(SHARES), help="with commas between them; default: all")
    parser.add_argument("--seed", type=int, default=0, help="of the first trial of each kind")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "askew-drill")
    options = parser.parse_args()
    kinds = options.kinds.split(",")
    if unknown := sorted(set(kinds) - SHARES.keys()):
        parser.error(f"--kinds: {unknown[0]} is none of {', '.join(SHARES)}")
    results = drilled(options.folder, planned(options.trials, kinds, options.seed), partial(print, flush=True))
    print(table(results))
    return int(any(one["outcome"] in ("lost", "wrong", "hung") for one in results))


if __name__ == "__main__":
    sys.exit(main())
