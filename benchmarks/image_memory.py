"""The most memory that one image takes, in evaluation and in training, by format.

    python benchmarks/image_memory.py [--side 8000] [--only rgb.jp2 rgb.webp]

Every line is a process of its own: read, decode and preprocess one image of SIDE x SIDE pixels, or, for `thin`, of one
column with as many. Printed is its peak of memory above that after the imports, the encoded file included. 8000 is the
largest side within the default limit.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

FILES = {  # options of Pillow's writer
    "rgb.jpg": {},
    "progressive.jpg": {"progressive": True, "subsampling": 0},
    "rgb.png": {"compress_level": 1},
    "rgba.png": {"compress_level": 1},
    "gray16.png": {"compress_level": 1},
    "rgb.webp": {"method": 0},
    "rgba.webp": {"method": 0},
    "palette.gif": {},
    "rgb.bmp": {},
    "rgb.tif": {"compression": "tiff_lzw"},
    "float.tif": {},
    "thin.tif": {},
    "rgb.jp2": {"quality_layers": [50]},
    "rgb.avif": {"speed": 10},
}


def picture(kind: str, side: int) -> Image.Image:
    """A smooth picture whose pixels are of that kind."""
    ramp = np.add.outer(np.arange(side) // 40, np.arange(side) // 32).astype(np.uint8)
    gray = Image.fromarray(ramp)
    if kind == "gray16":
        return Image.fromarray(ramp.astype(np.uint16) * 257)
    if kind == "float":
        return Image.fromarray(ramp.astype(np.float32) / 255)
    if kind == "thin":
        return Image.fromarray(np.full((side * side, 1), 0.5, dtype=np.float32))
    if kind == "palette":
        return gray.convert("P")
    bands = [gray, gray.transpose(Image.Transpose.FLIP_LEFT_RIGHT), gray]
    return Image.merge("RGBA" if kind == "rgba" else "RGB", [*bands, gray] if kind == "rgba" else bands)


def child(path: Path, training: bool) -> None:
    """Print MiB above the start."""
    from open_clip.transform import image_transform

    from askew.data.images import Picture, decode
    from askew.data.views import ImageView
    from askew.evaluation.preprocess import Trimmed

    preprocess, view = Trimmed(image_transform(224, False)), ImageView("image", 224, (1.0, 1.0), flip=0.5)
    preprocess(Image.new("RGB", (300, 300)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    data = path.read_bytes()
    if training:
        image = Picture(data)
        view.cut(image.pixels(), view.draw(image.width, image.height, np.random.default_rng(0)))
    else:
        preprocess(decode(data))
    print(f"{(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024:.0f}")


def main() -> None:
    """Every format, in evaluation and in training."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=8000)
    parser.add_argument("--only", nargs="*", default=list(FILES))
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(Path(asked.child[0]), asked.child[1] == "training")
        return
    with tempfile.TemporaryDirectory() as folder:
        for name in asked.only:
            path = Path(folder) / name
            picture(name.split(".")[0], asked.side).save(path, **FILES[name])
            found = [
                subprocess.run([sys.executable, __file__, "--child", str(path), what], capture_output=True, text=True)
                for what in ("evaluation", "training")
            ]
            mib = [int(done.stdout) for done in found]
            print(f"{name:<16} evaluation {mib[0]:>5} MiB, training {mib[1]:>5} MiB", flush=True)
            path.unlink()


if __name__ == "__main__":
    main()
