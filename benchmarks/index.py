"""Index of tar shards: MB/s to build it, seconds to open ten million samples, and time to the first batch.

    python benchmarks/index.py [--folder DIR] [--samples 10000000]

It first writes shards (about 0.6 GB in DIR, by default in a temporary folder) and then reads them from the page cache.
The ten million samples are a thousand links to one shard of ten thousand. The machine must be otherwise idle.
"""

import argparse
import io
import os
import shutil
import statistics
import tarfile
import tempfile
import time
from pathlib import Path

from PIL import Image

from askew.config import Recipe, TowerSettings
from askew.data.loader import Loader
from askew.data.sources import TarSource, open_source
from askew.data.sources.index import SUFFIX
from askew.data.sources.layout import layout
from askew.methods.clip import CLIP
from askew.training.build import build_views

SHARD = 10_000  # samples
BATCH = 256


def write_shard(path: Path, samples: int, image: bytes) -> None:
    """Write samples of the same image, each with a short text."""
    with tarfile.open(path, "w") as tar:
        for number in range(samples):
            for suffix, data in (("png", image), ("txt", b"a caption of some words")):
                member = tarfile.TarInfo(f"{number:09d}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def build_rate(folder: Path, image_bytes: int, total: int) -> None:
    """Print MB/s and samples/s on one core, the best of five, for a shard with images of this size."""
    path = folder / f"{image_bytes}.tar"
    write_shard(path, total // (image_bytes + 1536), os.urandom(image_bytes))
    size, seconds = path.stat().st_size, []
    for _ in range(5):
        started = time.perf_counter()
        table, _ = layout(path)
        seconds.append(time.perf_counter() - started)
    rate = size / min(seconds) / 1e6
    print(f"index build, images of {image_bytes:,} bytes: {rate:,.0f} MB/s, {len(table) / min(seconds):,.0f} samples/s")


def open_and_resume(folder: Path, samples: int) -> None:
    """Print the seconds to open a large set, its memory, and the time of a first batch at its start and its middle."""
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), "teal").save(buffer, "PNG")
    write_shard(folder / "real", SHARD, buffer.getvalue())
    (folder / "set").mkdir()
    first = folder / "set" / "00000.tar"
    first.symlink_to(folder / "real")
    open_source(str(first))
    for number in range(1, samples // SHARD):
        (folder / "set" / f"{number:05d}.tar").symlink_to(folder / "real")
        shutil.copy(f"{first}{SUFFIX}", folder / "set" / f"{number:05d}.tar{SUFFIX}")
    pattern = str(folder / "set" / "*.tar")
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        source = open_source(pattern)
        seconds.append(time.perf_counter() - started)
    assert isinstance(source, TarSource)
    print(f"opening {len(source):,} samples in {samples // SHARD:,} shards: {min(seconds):.2f} s")
    touched = sum(ids.nbytes for ids in source._ids) + 16 * len(source)  # ids, and the positions of images and texts
    print(f"memory of the index: {touched / len(source):.0f} bytes per sample, mapped and shared")
    recipe = Recipe(name="", method=CLIP.Config(), towers=TowerSettings(vision_cfg={"image_size": 32}))
    views = build_views(recipe, ("image", "text"))
    middle = len(source) // BATCH // 2
    Loader(source, views, BATCH, seed=0).batch(7)  # makes the tokenizer
    for name, step in (("the start", 0), ("the middle", middle)):
        seconds = []
        for seed in range(5):
            loader = Loader(source, views, BATCH, seed=seed)
            started = time.perf_counter()
            loader.batch(step)
            seconds.append(time.perf_counter() - started)
        print(f"first batch of {BATCH} at {name}: {1000 * statistics.median(seconds):.0f} ms (median of 5)")


def main() -> None:
    """Write, measure and clean up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where to write the shards; must not contain any")
    parser.add_argument("--samples", type=int, default=10_000_000, help=f"in the large set; a multiple of {SHARD:,}")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for image_bytes in (2_000, 20_000, 100_000):
            build_rate(Path(folder), image_bytes, 200_000_000)
        open_and_resume(Path(folder), arguments.samples)


if __name__ == "__main__":
    main()
