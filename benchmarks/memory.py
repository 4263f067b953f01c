"""Memory of an epoch: proportional memory of the loop and its workers while samples of a large source go by.

    python benchmarks/memory.py [--samples 200000] [--workers 2] [--kind tar|parquet] [--plot FILE.png]

The embedded drawings are repeated in a tar (or Parquet) source of that many samples, each under its own name. The Pss
of the process tree (/proc/PID/smaps_rollup) is sampled throughout, with and without the pages of files: torch's
libraries are shared with every other Python process on the machine, and our share changes when one of them ends. Growth
is the slope of a line through the memory without files, after the first fifth, per 10,000 samples. Linux only.
"""

import argparse
import io
import os
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from askew.config import Recipe, TowerSettings
from askew.data.loader import Loader
from askew.data.sources import EmbeddedSource, open_source
from askew.methods.mcd import MCD
from askew.training.build import build_views

BATCH, SHARD = 128, 10_000


def write_tar(folder: Path, samples: int) -> str:
    """Shards of ten thousand samples."""
    source = EmbeddedSource()
    for first in range(0, samples, SHARD):
        with tarfile.open(folder / f"{first // SHARD:05d}.tar", "w") as tar:
            for number in range(first, min(first + SHARD, samples)):
                sample = source[number % len(source)]
                for suffix, data in (("webp", sample.image), ("txt", f"{sample.captions[0]} {number}".encode())):
                    member = tarfile.TarInfo(f"{number:09d}.{suffix}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    return str(folder / "*.tar")


def write_parquet(folder: Path, samples: int) -> str:
    """Files of ten thousand rows, in row groups of a thousand."""
    source = EmbeddedSource()
    for first in range(0, samples, SHARD):
        drawn = [(n, source[n % len(source)]) for n in range(first, min(first + SHARD, samples))]
        columns = {
            "key": [f"{n:09d}" for n, _ in drawn],
            "image": pa.array([sample.image for _, sample in drawn], pa.binary()),
            "caption": [f"{sample.captions[0]} {n}" for n, sample in drawn],
        }
        pq.write_table(pa.table(columns), folder / f"{first // SHARD:05d}.parquet", row_group_size=1000)
    return str(folder)


def tree() -> list[int]:
    """This process and all below it."""
    found, ahead = [], [os.getpid()]
    while ahead:
        pid = ahead.pop()
        found.append(pid)
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            ahead += map(int, task.read_text().split())
    return found


def pss_mb() -> tuple[float, float]:
    """Proportional memory of the tree, shared pages counted once; and the same without pages of files."""
    total = files = 0
    for pid in tree():
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue  # it has just ended
        found = {line.split()[0]: line.split()[1] for line in lines[1:]}
        total, files = total + int(found["Pss:"]), files + int(found["Pss_File:"])
    return total / 1024, (total - files) / 1024


def main() -> None:
    """Write the source, run the epoch, print the growth, draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=200_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kind", choices=("tar", "parquet"), default="tar")
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write = write_tar if arguments.kind == "tar" else write_parquet
        source = open_source(write(Path(folder), arguments.samples))
        recipe = Recipe(name="", method=MCD.Config(), towers=TowerSettings(vision_cfg={"image_size": 32}))
        views = build_views(recipe, ("image", "aug", "text", "masked_text", "mlm_labels"))
        loader = Loader(source, views, BATCH, seed=0, num_workers=arguments.workers)
        seen, memory, started = [], [], time.monotonic()
        for number, batch in enumerate(loader.batches(0, loader.steps_per_epoch), 1):
            assert not batch["bad_samples"], batch["bad_samples"]
            if number % max(1, loader.steps_per_epoch // 50) == 0:
                seen.append(number * BATCH)
                memory.append(pss_mb())
        rate = seen[-1] / (time.monotonic() - started)
    warm = len(seen) // 5
    total, own = np.array(memory).T
    slope = float(np.polyfit(seen[warm:], own[warm:], 1)[0]) * 10_000
    print(f"{source.describe}; {arguments.workers} workers, {rate:.0f} samples/s")
    for name, values in (("all", total), ("without files", own)):
        print(
            f"Pss of the tree, {name}: {values[warm]:.1f} MB after {seen[warm]:,} samples, {values[-1]:.1f} at the end"
        )
    print(f"growth after warm-up: {slope:+.2f} MB per 10,000 samples")
    if arguments.plot:
        import matplotlib

        matplotlib.use("agg")
        from matplotlib import pyplot

        figure, axes = pyplot.subplots(figsize=(7, 3.5), layout="constrained")
        axes.plot(seen, total, label="all")
        axes.plot(seen, own, label="without pages of files")
        axes.legend()
        axes.set(xlabel="samples", ylabel="Pss of the process tree, MB", ylim=(0, None))
        axes.set_title(f"{arguments.kind}, {arguments.workers} workers: {slope:+.2f} MB per 10,000 samples", loc="left")
        figure.savefig(arguments.plot)


if __name__ == "__main__":
    main()
