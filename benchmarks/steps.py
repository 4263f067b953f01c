"""Time of a training step of a recipe, and of another tree or other settings in turn with it: a paired ratio.

    python benchmarks/steps.py [RECIPE] [--set KEY=VALUE ...] [--against OTHER/src] [--rounds 3]
    python benchmarks/steps.py photos-clip --with method.words_weight=1

Batches are made before the clock starts; a step is everything from the batch on the device to the moved teacher. The
machine must be otherwise idle. OTHER is a checkout of another commit (`git worktree add OTHER COMMIT`).
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from fresh import result_of


def trainer_of(recipe: str, settings: list[str]) -> Any:
    """A trainer of the tree that is on the path: this one, or the one before runs had a room of their own."""
    from askew import recipes

    settings = ["loader.num_workers=0", "train.minutes=0", *settings]
    try:
        from askew.recipes.settings import override
        from askew.training.build import build
        from askew.training.loop import Trainer
        from askew.training.towers import resolve
    except ImportError:
        from askew.build import resolve
        from askew.train import Trainer

        from askew.config import override

        made = override(recipes.find(recipe), settings)
        return Trainer(made.model_copy(update={"towers": resolve(made.towers)}), None)
    made = override(recipes.find(recipe), settings)
    return Trainer(build(made.model_copy(update={"towers": resolve(made.towers)})), None)


def child(recipe: str, settings: list[str], steps: int) -> None:
    """Print the seconds of every step but the first four, as JSON."""
    trainer = trainer_of(recipe, settings)
    batches = [trainer.loader.batch(step) for step in range(steps + 4)]
    seconds = []
    for batch in batches:
        for key in ("bad_samples", "broken"):
            batch.pop(key, None)
        start = time.perf_counter()
        trainer._one_step(batch)
        seconds.append(time.perf_counter() - start)
        trainer.done += 1
    print(json.dumps({"seconds": seconds[4:], "batch": trainer.recipe.loader.batch_size}))


def measure(source: Path, settings: list[str], arguments: argparse.Namespace) -> tuple[float, int]:
    """Median seconds of a step with these settings, and the batch size, in a fresh process on that source tree."""
    command = [__file__, arguments.recipe, "--child", "--steps", str(arguments.steps)]
    command += [part for setting in settings for part in ("--set", setting)]
    found = result_of(command, {"PYTHONPATH": str(source)})
    return statistics.median(found["seconds"]), found["batch"]


def operations(recipe: str, settings: list[str]) -> float:
    """Floating-point operations of a step of this tree, divided by its samples."""
    from askew import recipes
    from askew.recipes.settings import override
    from askew.training.flops import flops_per_sample
    from askew.training.towers import resolve

    made = override(recipes.find(recipe), settings)
    return flops_per_sample(made.model_copy(update={"towers": resolve(made.towers)}))


def main() -> None:
    """Print samples/s, and the ratio to the other tree or settings. With other settings, that of operations too."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", nargs="?", default="tiny")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--against", type=Path)
    other.add_argument("--with", action="append", default=[], metavar="KEY=VALUE", dest="more")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.recipe, arguments.set, arguments.steps)
        return
    here = (Path(__file__).resolve().parents[1] / "src", arguments.set)
    variants = {"here": here}
    if arguments.more:
        variants = {"without": here, "with": (here[0], arguments.set + arguments.more)}
        before, after = (operations(arguments.recipe, settings) for _, settings in variants.values())
        print(f"operations of a sample: {before / 1e9:.4f} and {after / 1e9:.4f} GFLOP, {after / before:.3f} times")
    if arguments.against:
        variants = {str(arguments.against): (arguments.against.resolve(), arguments.set), "here": here}
    ratios = []
    for number in range(arguments.rounds):
        line, seconds = [f"round {number + 1}"], []
        for label, (source, settings) in variants.items():
            found, batch = measure(source, settings, arguments)
            seconds.append(found)
            line.append(f"{label}: {1e3 * found:.0f} ms a step, {batch / found:.0f} samples/s")
        if len(seconds) == 2:
            ratios.append(seconds[0] / seconds[1])
            line.append(f"{ratios[-1]:.3f} times as fast")
        print("; ".join(line), flush=True)
    if ratios:
        print(f"median ratio {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
