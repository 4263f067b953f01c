"""A whole run on two ranks from shards behind a faulty link, beside the same run from the same shards on this machine.

    python tests/far_run.py DATA [--recipe tiny] [--samples 4000] [--shards 16] [--share 0.02] [--set KEY=VALUE]

DATA is any source of images and captions. Its samples become tar shards, and a web server of this machine gives them
away: a share of its answers fails, in every way that tests/data/far_away.py knows. The cache has room for half of the
shards. Weights and everything that is logged must be equal bit for bit.
"""

import argparse
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from PIL import Image

import forked
from askew.data.sources import open_source
from drill import differences, steps_of

sys.path.append(str(Path(__file__).parent / "data"))
from far_away import WebServer

KINDS = ("503", "reset", "short", "cut", "hang")
ANSWERS = 1_000_000  # more than any run asks for


def write_shards(data: str, folder: Path, samples: int, shards: int) -> str:
    """Tar shards of a source's first samples, with one caption each, and the pattern of their names."""
    source = open_source(data)
    samples = min(samples, len(source))
    folder.mkdir(parents=True)
    for shard in range(shards):
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as tar:
            for index in range(shard, samples, shards):
                sample = source[index]
                suffix = str(Image.open(io.BytesIO(sample.image)).format).lower()
                for name, content in ((suffix, sample.image), ("txt", sample.captions[0].encode())):
                    member = tarfile.TarInfo(f"{index:06d}.{name}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    return f"{{00000..{shards - 1:05d}}}.tar"


def trained(recipe: str, data: str, out: Path, sets: list[str]) -> None:
    """A run of two ranks, which must come to its end."""
    command = [forked.python(), "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "askew", "train", recipe]
    command += ["--data", data, "--out", str(out), *(word for one in sets for word in ("--set", one))]
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHON_EXEC": forked.python()}
    with out.with_suffix(".log").open("w", encoding="utf-8") as log:
        done = subprocess.run(command, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise SystemExit(f"{data}: exit status {done.returncode}; {out.with_suffix('.log')} says why")


def compared(
    data: str, folder: Path, recipe: str, samples: int, shards: int, share: float, sets: list[str]
) -> dict[str, object]:
    """Both runs, and what differs at their ends.

    Args:
        share: of the answers that fail.
    """
    pattern = write_shards(data, folder / "shards", samples, shards)
    trained(recipe, str(folder / "shards" / pattern), folder / "here", sets)
    rng = random.Random(0)
    faults = [rng.choice(KINDS) if rng.random() < share else "" for _ in range(ANSWERS)]
    num_bytes = sum(file.stat().st_size for file in (folder / "shards").iterdir())
    remote = {"remote_cache_gb": num_bytes / 2e9, "remote_folder": folder / "cache", "remote_timeout": 2}
    with WebServer(folder / "shards", faults=list(faults)).running() as web:
        far = [*sets, *(f"data.{name}={value}" for name, value in remote.items())]
        trained(recipe, f"{web.url}/{pattern}", folder / "far", far)
        met = faults[: len(faults) - len(web.faults)]
    return {
        "steps": len(steps_of(folder / "here")),
        "requests": len(web.requests),
        "faults": {kind: met.count(kind) for kind in KINDS},
        "megabytes of shards": num_bytes / 1e6,
        "differences": differences(folder / "far", folder / "here"),
    }


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--share", type=float, default=0.02, help="of the answers that fail")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "askew-far-run")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="sets")
    chosen = parser.parse_args()
    shutil.rmtree(chosen.folder, ignore_errors=True)
    found = compared(
        chosen.data, chosen.folder, chosen.recipe, chosen.samples, chosen.shards, chosen.share, chosen.sets
    )
    print(json.dumps(found))
    return 1 if found["differences"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
