"""What the signs of collapse cost: their share of the time of a run's steps, both measured in turn in one process.

    python benchmarks/collapse.py [RECIPE] [--set KEY=VALUE ...] [--steps 20] [--device cpu]

A step is everything from the batch to the moved teacher. On every step some rows of the embeddings are copied, and on
every train.log_every-th step the signs are computed. The last lines say what they cost for as many rows as are ever
looked at, of wide embeddings.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from askew import recipes
from askew.recipes.settings import override
from askew.training.build import build
from askew.training.collapse import MOST_ROWS, sample_of, signs_of
from askew.training.loop import Trainer
from askew.training.towers import resolve

WIDTHS = (256, 512, 1024)  # D


def seconds(work: Callable[[], Any], device: torch.device) -> tuple[float, Any]:
    """How long it takes until the device has done it, and what it returns."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    value = work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start, value


def share_of_steps(recipe: str, settings: list[str], steps: int) -> None:
    """Print the median times of a step, of a copy and of the signs, and the share."""
    made = override(recipes.find(recipe), ["loader.num_workers=0", "train.minutes=0", *settings])
    trainer = Trainer(build(made.model_copy(update={"towers": resolve(made.towers)})), None)
    device, every = trainer.device, trainer.recipe.train.log_every
    kept: list[list[float]] = [[], [], []]
    for number in range(steps + 4):
        batch = trainer.loader.batch(number)
        batch.pop("bad_samples", None)
        step, record = seconds(lambda batch=batch: trainer._one_step(batch), device)
        trainer.done += 1
        sample = record["embeddings"]
        copy, _ = seconds(lambda sample=sample: sample_of(sample), device)
        signs, values = seconds(lambda sample=sample: signs_of(sample), device)
        if number >= 4:
            for times, one in zip(kept, (step, copy, signs), strict=True):
                times.append(one)
    step, copy, signs = map(statistics.median, kept)
    share = (signs + every * copy) / (every * step)
    rows, width = sample["image"].shape
    print(
        f"{recipe} on {device}, {torch.get_num_threads()} threads: step {1e3 * step:.1f} ms, copy {1e6 * copy:.0f} µs, "
        f"signs {1e3 * signs:.2f} ms ({rows} x {width}): {share:.3%} of the steps when every {every}th is logged, "
        f"{(signs + copy) / step:.2%} when every one is"
    )
    print("  the last: " + ", ".join(f"{name} {value:.3f}" for name, value in values.items()))


def largest(device: torch.device) -> None:
    """Print the time of the signs of the largest sample."""
    for width in WIDTHS:
        image, text = (torch.nn.functional.normalize(torch.randn(MOST_ROWS, width, device=device), dim=1) for _ in "it")
        sample = {"image": image, "text": text, "match_id": torch.arange(MOST_ROWS, device=device)}
        times = [seconds(lambda sample=sample: signs_of(sample), device)[0] for _ in range(6)][1:]
        print(f"{MOST_ROWS} x {width} on {device}: {1e3 * statistics.median(times):.1f} ms", flush=True)


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", nargs="?", default="tiny")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    arguments = parser.parse_args()
    share_of_steps(arguments.recipe, [*arguments.set, f"train.device={arguments.device}"], arguments.steps)
    largest(torch.device(arguments.device))


if __name__ == "__main__":
    main()
