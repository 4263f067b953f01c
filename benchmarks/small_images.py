"""Time the pass over 10,000 images of 32 x 32 pixels with a small tower: images per second, and the encoder's share.

    python benchmarks/small_images.py [--images 10000] [--rounds 3] [--clip-benchmark DIR] [--precision fp32|bf16]

The images are those of a CIFAR-10 in its own files, of random pixels. The encoder's share is the time that the encoder
alone takes for the same batches, ready in memory, divided by the time of the whole pass: read, hash, prepare, encode.
The share of preparing is that of the same pass with an encoder that does nothing. They overlap: threads prepare.
With a checkout of CLIP_benchmark (48de38c), its own pass is timed in turn: torchvision's CIFAR-10, a DataLoader with a
worker for each core, `run_classification`. There is no cache. Use an idle machine.
"""

import argparse
import json
import os
import pickle
import statistics
import sys
import tempfile
import time
from pathlib import Path

from fresh import result_of

TOWER = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 32, "layers": 6, "width": 192, "patch_size": 8, "head_width": 64},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
}
BATCH = 256


def make(folder: Path, num: int) -> None:
    """A model directory with random weights, and a CIFAR-10 whose test batch has `num` images."""
    import numpy as np
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    (folder / "model").mkdir()
    (folder / "model" / "open_clip_config.json").write_text(json.dumps({"model_cfg": TOWER, "preprocess_cfg": {}}))
    save_file(open_clip.CLIP(**TOWER).state_dict(), folder / "model" / "open_clip_model.safetensors")
    data = folder / "cifar-10-batches-py"
    data.mkdir()
    rng = np.random.default_rng(0)
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    (data / "batches.meta").write_bytes(pickle.dumps({"label_names": names}, 3))
    for batch, size in (*((f"data_batch_{number}", 20) for number in range(1, 6)), ("test_batch", num)):
        pixels = rng.integers(0, 256, size=(size, 3072), dtype=np.uint8)
        labels = [index % 10 for index in range(size)]
        (data / batch).write_bytes(pickle.dumps({"data": pixels, "labels": labels}, 3))


def ours(folder: Path, precision: str) -> dict:
    """Seconds of the pass, of the encoder alone, and of everything else alone."""
    import numpy as np
    import torch

    from askew.evaluation.datasets.base import Classification
    from askew.evaluation.datasets.catalog import open_set
    from askew.evaluation.features import Extractor
    from askew.evaluation.loading import load_encoders

    encoders = load_encoders(f"local-dir:{folder / 'model'}", torch.device("cpu"), BATCH, precision)
    opened = open_set("cifar10", folder)
    assert isinstance(opened, Classification)
    images = opened.test.images
    batch = torch.stack([encoders.preprocess(images[index]) for index in range(BATCH)])
    encoders.features(batch)
    start = time.perf_counter()
    for first in range(0, len(images), BATCH):
        encoders.features(batch[: len(images) - first])
    alone = time.perf_counter() - start
    start = time.perf_counter()
    Extractor(encoders).embed(images)
    seconds = time.perf_counter() - start
    nothing = np.ones((BATCH, 1), dtype=np.float32)
    encoders.features = lambda pixels: (None, nothing[: len(pixels)])  # type: ignore[method-assign]
    start = time.perf_counter()
    Extractor(encoders).embed(images)
    return {"seconds": seconds, "encoder": alone, "preparing": time.perf_counter() - start}


def theirs(folder: Path, checkout: Path) -> dict:
    """Seconds of CLIP_benchmark's pass, without its texts."""
    sys.path.insert(0, str(checkout))
    import open_clip
    import torch
    from clip_benchmark.metrics import zeroshot_classification
    from torchvision.datasets import CIFAR10

    class Set(CIFAR10):
        def _check_integrity(self) -> bool:  # the pixels are not CIFAR's
            return True

        def _load_meta(self) -> None:
            self.classes = [str(number) for number in range(10)]

    Set.train_list, Set.test_list = [], [["test_batch", ""]]
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder / 'model'}")
    model.eval()
    weights = torch.nn.functional.normalize(torch.randn(TOWER["embed_dim"], 10), dim=0)
    start = time.perf_counter()
    data = Set(str(folder), train=False, transform=preprocess)
    loader = torch.utils.data.DataLoader(data, batch_size=BATCH, num_workers=os.cpu_count() or 1)
    zeroshot_classification.run_classification(model, weights, loader, "cpu", amp=False)
    return {"seconds": time.perf_counter() - start}


def main() -> None:
    """Print images per second, the encoder's share, and the ratio to CLIP_benchmark where it is given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--clip-benchmark", type=Path)
    parser.add_argument("--child", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        made = (
            ours(arguments.folder, arguments.precision)
            if arguments.child == "ours"
            else theirs(arguments.folder, arguments.clip_benchmark.resolve())
        )
        print(json.dumps(made))
        return
    shares, ratios = [], []
    with tempfile.TemporaryDirectory() as name:
        make(Path(name), arguments.images)
        for number in range(arguments.rounds):
            found = {}
            for side in ("theirs", "ours") if arguments.clip_benchmark else ("ours",):
                command = [__file__, "--child", side, "--folder", name]
                command += ["--precision", arguments.precision]
                if arguments.clip_benchmark:
                    command += ["--clip-benchmark", str(arguments.clip_benchmark.resolve())]
                found[side] = result_of(command)
            seconds = found["ours"]["seconds"]
            shares.append(found["ours"]["encoder"] / seconds)
            line = (
                f"round {number + 1}: {arguments.images / seconds:,.0f} images/s, encoder {shares[-1]:.0%} of the pass"
                f", preparing {found['ours']['preparing'] / seconds:.0%}"
            )
            if "theirs" in found:
                ratios.append(found["theirs"]["seconds"] / seconds)
                line += f"; CLIP_benchmark {arguments.images / found['theirs']['seconds']:,.0f}, ratio {ratios[-1]:.2f}"
            print(line, flush=True)
    print(
        f"median share {statistics.median(shares):.0%}" + (f", ratio {statistics.median(ratios):.2f}" if ratios else "")
    )


if __name__ == "__main__":
    main()
