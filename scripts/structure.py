"""How far a batch and a recipe travel through the package: what a reader has to open to follow them.

    python scripts/structure.py [--against OTHER/src]

Trains one step of MCD from a small tar shard, and watches every call. Printed are the files of askew that a batch
passes on its way from the shard to the loss and the moved weights, and how often a recipe is handed to the functions of
each module. OTHER is a checkout of another commit (`git worktree add OTHER COMMIT`).
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from PIL import Image

SETTINGS = {
    "towers.embed_dim": 16,
    "towers.vision_cfg": '{"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16}',
    "towers.text_cfg": '{"context_length": 16, "width": 32, "heads": 2, "layers": 1}',
    "loader.batch_size": 8,
    "loader.num_workers": 0,
    "train.max_steps": 1,
    "train.minutes": 0,
    "evaluation.suite": "none",
}
MAKES_A_BATCH, TAKES_A_STEP = ("loader.py", "batch"), (("train.py", "loop.py"), "_one_step")


def write_shard(path: Path) -> None:
    """Sixteen pairs."""
    with tarfile.open(path, "w") as shard:
        for number in range(16):
            image = io.BytesIO()
            Image.new("RGB", (40, 40), (16 * number, 0, 255 - 16 * number)).save(image, "PNG")
            for suffix, data in (("png", image.getvalue()), ("txt", f"picture {number}".encode())):
                member = tarfile.TarInfo(f"{number:03d}.{suffix}")
                member.size = len(data)
                shard.addfile(member, io.BytesIO(data))


class Watch:
    """Counts calls: files while a batch is made or a step is taken, modules that are handed a recipe."""

    def __init__(self, package: Path):
        self.package = package
        self.files: set[str] = set()
        self.recipes: Counter[str] = Counter()
        self._depth = 0

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        """What sys.setprofile calls."""
        file = frame.f_code.co_filename
        if not file.startswith(str(self.package)) or event not in ("call", "return"):
            return
        name, function = Path(file).name, frame.f_code.co_name
        travels = (name, function) == MAKES_A_BATCH or (name in TAKES_A_STEP[0] and function == TAKES_A_STEP[1])
        if event == "return":
            self._depth -= travels
            return
        self._depth += travels
        place = Path(file).relative_to(self.package).as_posix()
        if self._depth:
            self.files.add(place)
        arguments = frame.f_code.co_varnames[: frame.f_code.co_argcount]
        if any(type(frame.f_locals.get(one)).__name__ == "Recipe" for one in arguments) and function[0] != "<":
            self.recipes[place] += 1


def child() -> None:
    """Print what was counted, as JSON."""
    import askew
    from askew.cli import app

    watch = Watch(Path(askew.__file__).parent)
    with tempfile.TemporaryDirectory() as folder:
        write_shard(Path(folder) / "pairs.tar")
        options = [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")]
        arguments = ["train", "tiny", "--data", f"{folder}/pairs.tar", "--out", f"{folder}/run", *options]
        sys.setprofile(watch)
        try:
            app(arguments, standalone_mode=False)
        finally:
            sys.setprofile(None)
    print(json.dumps({"files": sorted(watch.files), "recipes": watch.recipes.most_common()}))


def counted(source: Path) -> dict[str, Any]:
    """The counts of a source tree, in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--child"],
        env=os.environ | {"PYTHONPATH": str(source)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Print both counts of this tree, and of another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", type=Path, help="the src folder of another checkout")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child()
        return
    here = Path(__file__).resolve().parents[1] / "src"
    for source in filter(None, (arguments.against, here)):
        found = counted(source.resolve())
        print(f"{source}: a batch passes {len(found['files'])} files: {', '.join(found['files'])}")
        print(f"{source}: a recipe is handed to {', '.join(f'{place} {n}' for place, n in found['recipes'])}")


if __name__ == "__main__":
    main()
