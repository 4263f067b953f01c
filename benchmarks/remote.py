"""Samples per second from shards behind a slow link, beside the same shards on this machine.

    python benchmarks/remote.py [--latency 0.05] [--megabytes 100] [--rounds 3] [--workers 2]

A web server in a process of its own stands for the store: it answers after `latency` seconds, and all of its answers
share a link of `megabytes` per second. The shards have JPEG files of 500 x 375 pixels with the spectrum of photographs.
Loaders make MCD's two views at 224 pixels. The index is there; the cache is empty at the start of every round, and has
room for half of the data. A window of the order has 512 samples here, and six of the eight windows are read, so that
parts are removed before the end. The ways take turns, and the first batches of each (half a window) are not counted.
"""

import argparse
import io
import multiprocessing
import shutil
import statistics
import tarfile
import tempfile
import threading
import time
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from input_pipeline import MEAN, ORIGINAL, STD, STRONG, photograph

from askew.data.loader import Loader
from askew.data.sources import Source, SourceOptions, open_source
from askew.data.views import MaskedTokens, Normalise, Tokens, Views

SHARDS, SAMPLES, FILES = 8, 512, 32  # shards, samples in each, and different JPEG files
BLOCK, WINDOW = 256, 512
BATCH, WARM, COUNTED = 32, 8, 88  # samples; batches


class Store(BaseHTTPRequestHandler):
    """Files with byte ranges, behind a link."""

    protocol_version = "HTTP/1.1"
    folder, latency, bytes_per_second, link = Path(), 0.0, 1.0, threading.Lock()

    def log_message(self, *ignored: object) -> None:
        """Nothing is printed."""

    def do_HEAD(self) -> None:
        """Size and version."""
        self.answer(contents=False)

    def do_GET(self) -> None:
        """Contents, or a part of them."""
        with suppress(ConnectionError):  # a worker that is ended hangs up
            self.answer(contents=True)

    def answer(self, contents: bool) -> None:
        """Answer after the link's delay, at its speed."""
        time.sleep(self.latency)
        data, asked = (self.folder / self.path.lstrip("/")).read_bytes(), self.headers.get("Range")
        self.send_response(206 if asked else 200)
        if asked:
            first, last = map(int, asked.removeprefix("bytes=").split("-"))
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
            data = data[first : last + 1]
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", '"1"')
        self.end_headers()
        for start in range(0, len(data) if contents else 0, 2**18):
            chunk = data[start : start + 2**18]
            with self.link:
                time.sleep(len(chunk) / self.bytes_per_second)
            self.wfile.write(chunk)


def serve(folder: Path, latency: float, bytes_per_second: float, ready: "multiprocessing.Queue[int]") -> None:
    """The server's process."""
    Store.folder, Store.latency, Store.bytes_per_second = folder, latency, bytes_per_second
    server = ThreadingHTTPServer(("127.0.0.1", 0), Store)
    ready.put(server.server_port)
    server.serve_forever()


def write_shards(folder: Path) -> None:
    """Tar shards of photographs with captions. The files repeat under other names."""
    files = [photograph(500, 375, seed, 90) for seed in range(FILES)]
    for shard in range(SHARDS):
        with tarfile.open(folder / f"{shard}.tar", "w") as tar:
            for number in range(SAMPLES):
                for suffix, data in (("jpg", files[number % FILES]), ("txt", b"a photograph of noise")):
                    member = tarfile.TarInfo(f"{shard}-{number:05d}.{suffix}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))


def rate(source: Source, workers: int) -> float:
    """Samples/s of a loader, after the first batches."""
    source.block, source.window = BLOCK, WINDOW
    views = Views(("image", "aug", "text"), (ORIGINAL, STRONG), Tokens(77), MaskedTokens(), Normalise(MEAN, STD), 0.0)
    batches = Loader(source, views, BATCH, seed=0, num_workers=workers).batches(0, WARM + COUNTED)
    started = 0.0
    for number, _ in enumerate(batches, 1):
        started = time.perf_counter() if number == WARM else started
    return BATCH * COUNTED / (time.perf_counter() - started)


def emptied(folder: Path) -> None:
    """Leave only the indices."""
    for file in folder.iterdir():
        if file.is_file():
            file.unlink()


def main() -> None:
    """Print samples/s of every way, and the ratio to local reading."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds before an answer begins")
    parser.add_argument("--megabytes", type=float, default=100, help="per second, of the whole link")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    place = Path(tempfile.mkdtemp())
    shards, cache = place / "shards", place / "cache"
    shards.mkdir()
    write_shards(shards)
    total = sum(file.stat().st_size for file in shards.iterdir())
    ready: multiprocessing.Queue[int] = multiprocessing.Queue()
    start = partial(multiprocessing.Process, daemon=True)
    server = start(target=serve, args=(shards, asked.latency, asked.megabytes * 1e6, ready))
    server.start()
    pattern = f"{{0..{SHARDS - 1}}}.tar"
    address = f"http://127.0.0.1:{ready.get()}/{pattern}"
    room = total / 2 / 1e9
    options = {"remote_folder": str(cache), "remote_cache_gb": room}
    sources = {
        "local": open_source(str(shards / pattern)),
        "range": open_source(address, SourceOptions(**options)),
        "whole": open_source(address, SourceOptions(**options, remote_read="whole")),
    }
    rates: dict[str, list[float]] = {name: [] for name in sources}
    for number in range(asked.rounds):
        names = list(sources)
        for name in names[number % 3 :] + names[: number % 3]:
            emptied(cache)
            rates[name].append(rate(sources[name], asked.workers))
    server.terminate()
    shutil.rmtree(place)
    print(f"{total / 1e6:.0f} MB in {SHARDS} shards; a link of {asked.latency * 1e3:.0f} ms, {asked.megabytes:g} MB/s")
    for name, found in rates.items():
        ratios = [one / local for one, local in zip(found, rates["local"], strict=True)]
        print(
            f"{name:6} {statistics.median(found):7.1f} samples/s ({min(found):.1f} to {max(found):.1f}), "
            f"{statistics.median(ratios):.2f} of local ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
