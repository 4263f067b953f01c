"""How much of the device a run uses: operations per second, and their share of what a matrix product reaches there."""

import statistics
import time

import torch

from askew import distributed
from askew.config import Recipe
from askew.training.flops import flops_per_sample

SIZES = {"cuda": 8192, "cpu": 1024}  # of the square matrices that the device's speed is measured with
TRIES = 5


class Utilisation:
    """Made once, before training: it counts the operations of a step, and measures the device. Every rank enters.

    Args:
        recipe: with resolved towers and precision.

    Attributes:
        flops_per_sample: of a step: see training/flops.py.
        peak: floating-point operations per second of a matrix product in the recipe's precision, on this device.
    """

    def __init__(self, recipe: Recipe, device: torch.device):
        self.flops_per_sample = flops_per_sample(recipe)
        self.peak = matrix_product_speed(device, recipe.train.precision)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)  # the memory of counting is not that of training

    def of(self, samples_per_second: float) -> dict[str, float]:
        """`tflops`: 10^12 operations per second on each device, and `utilisation`: their share of the peak.

        Args:
            samples_per_second: of all ranks together.
        """
        speed = samples_per_second / distributed.world_size() * self.flops_per_sample
        return {"tflops": speed / 1e12, "utilisation": speed / self.peak}


def matrix_product_speed(device: torch.device, precision: str) -> float:
    """Floating-point operations per second of a large square matrix product: the median of some tries."""
    size, dtype = SIZES.get(device.type, SIZES["cpu"]), torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = torch.ones(2, size, size, dtype=dtype, device=device)
    seconds = []
    for _ in range(TRIES + 1):
        _finish(device)
        start = time.perf_counter()
        torch.mm(left, right)
        _finish(device)
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(seconds[1:])  # the first one may load the library


def _finish(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()
