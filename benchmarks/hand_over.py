"""Batches per second that workers hand over to the loop: ours, PyTorch's own way, and through a pipe.

    python benchmarks/hand_over.py [--rounds 5] [--workers 2]

The samples are ready in memory, so that nothing but stacking and handing over is measured. The ways take turns, in a
different order each round, and the medians over rounds are printed. The machine must be otherwise idle.
"""

import argparse
import os
import statistics
import time

import torch

from askew.data import parcel
from askew.data.loader import Loader
from askew.data.parcel import Mail

STEPS = 40


class Ready(Loader):
    """A loader whose samples are made already: two views of 224 pixels and their texts."""

    def __post_init__(self) -> None:
        views = {key: torch.zeros(3, 224, 224, dtype=torch.uint8) for key in ("image", "aug")}
        self.made = {**views, "text": torch.zeros(77, dtype=torch.int64), "id": torch.tensor(0)}

    def samples(self, step: int) -> tuple[list[dict[str, torch.Tensor]], list]:
        """The same sample, as often as the batch needs it."""
        return [self.made] * self.batch_size, []


def rate(way: str, batch_size: int, workers: int) -> float:
    """Batches per second, without the first ones."""
    pack, share = Mail.pack, parcel.can_share
    if way == "PyTorch":  # the batch goes as it is

        def stacked(self: Mail, worker: int, step: int, samples: list, other: dict) -> dict:
            return {**{key: torch.stack([one[key] for one in samples]) for key in samples[0]}, **other}

        Mail.pack = stacked  # type: ignore[method-assign,assignment]
    parcel.can_share = (lambda: False) if way == "pipe" else share
    try:
        batches = Ready(None, None, batch_size, 0, workers).batches(0, STEPS)  # type: ignore[arg-type]
        for _ in range(4):
            next(batches)
        start, total = time.perf_counter(), 0
        for batch in batches:
            total += int(batch["image"][:, 0, 0, 0].sum())  # one byte of every sample, as the loop would touch it
        return (STEPS - 4) / (time.perf_counter() - start)
    finally:
        Mail.pack, parcel.can_share = pack, share  # type: ignore[method-assign]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    ways = ["ours", "PyTorch", "pipe"]
    print(f"{os.cpu_count()} cores, {arguments.workers} workers")
    for batch_size in (16, 64, 256):
        rates: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(arguments.rounds):
            for way in ways[number % 3 :] + ways[: number % 3]:
                rates[way].append(rate(way, batch_size, arguments.workers))
        size = batch_size * 2 * 3 * 224 * 224 / 1e6
        print(f"batches of {batch_size} ({size:.0f} MB), per second")
        for way, found in rates.items():
            ratio = statistics.median(o / v for o, v in zip(rates["ours"], found, strict=True))
            print(f"    {way:8} {statistics.median(found):7.1f}   ours: {ratio:.2f} times")


if __name__ == "__main__":
    main()
