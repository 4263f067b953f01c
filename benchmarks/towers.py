"""Image towers on this machine: samples/s of the image part of a step, to choose a small recipe by measurement.

    python benchmarks/towers.py [--size 48] [--batch 128] [NAME ...]

Prints, for every timm name, samples/s forward and backward, forward only, and of MCD's image part (two views through
the student with gradient and through the teacher without), in bf16 autocast; the best of several repetitions is taken.
"""

import argparse
import time
from collections.abc import Callable

import timm
import torch

NAMES = ("convnext_atto", "convnext_zepto_rms", "test_convnext2", "test_convnext3", "edgenext_xx_small", "test_vit3")


def seconds(function: Callable[[], None], repetitions: int) -> float:
    """The best time of a call, after one to warm up."""
    function()
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def measure(name: str, size: int, batch: int, repetitions: int) -> tuple[float, float, float]:
    """Parameters in millions, seconds per sample with gradient, seconds per sample without."""
    vit = {"img_size": size} if "vit" in name else {}
    model = timm.create_model(name, num_classes=0, **vit)
    images = torch.randn(batch, 3, size, size)

    def train() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            features = model(images)
        features.float().square().mean().backward()

    def infer() -> None:
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            model(images)

    millions = sum(p.numel() for p in model.parameters()) / 1e6
    return millions, seconds(train, repetitions) / batch, seconds(infer, repetitions) / batch


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    print(f"{arguments.size} px, batch {arguments.batch}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{'timm name':<24}{'M params':>10}{'train/s':>10}{'infer/s':>10}{'MCD/s':>10}")
    for name in arguments.names:
        millions, train, infer = measure(name, arguments.size, arguments.batch, arguments.repetitions)
        print(f"{name:<24}{millions:>10.1f}{1 / train:>10.0f}{1 / infer:>10.0f}{1 / (2 * train + 2 * infer):>10.0f}")


if __name__ == "__main__":
    main()
