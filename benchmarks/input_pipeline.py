"""Samples per second on one core, from JPEG files to two training views: ours, SLIP's PIL pipeline, and open_clip's.

    python benchmarks/input_pipeline.py [FOLDER] [--rounds 5] [--profile]

FOLDER contains JPEG files, at any depth. Without it, files of 500 x 375 and 1600 x 1200 are made from noise with the
spectrum of photographs. The pipelines take turns on the same files, in a different order each round, and medians over
rounds are printed. Ours includes both stages, from bytes to the normalised batch of 64. open_clip's makes only one
view. The machine must be otherwise idle.
"""

import argparse
import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image, ImageFilter
from torchvision import transforms

from askew.data.batch_stage import finish
from askew.data.images import Picture
from askew.data.views import Drawn, ImageView, MaskedTokens, Normalise, Tokens, Views, stream
from askew.devices import keep_freed_memory

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ORIGINAL = ImageView("image", 224, (0.5, 1.0))
STRONG = ImageView("aug", 224, (0.08, 1.0), 0.5, 0.8, (0.4, 0.4, 0.4, 0.1), 0.2, 0.5, (0.1, 2.0))
BATCH = 64


def photograph(width: int, height: int, seed: int, quality: int, soft: bool = False) -> bytes:
    """A JPEG of noise whose amplitude falls as 1 / frequency, in luminance and, weaker, in colour.

    A soft image has no frequencies above a quarter of the highest, like a photograph enlarged four times.
    """
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[(frequency == 0) | ((frequency > 0.125) & soft)] = np.inf
    planes = []
    for _ in range(3):
        spectrum = (rng.normal(size=frequency.shape) + 1j * rng.normal(size=frequency.shape)) / frequency
        plane = np.fft.irfft2(spectrum, s=(height, width))
        planes.append(plane / plane.std())
    light, red, blue = planes
    pixels = 120 + 45 * np.stack([light + 0.3 * red, light - 0.15 * (red + blue), light + 0.3 * blue], axis=-1)
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


class PillowBlur:
    """SLIP's blur: Pillow's, with a random radius."""

    def __call__(self, image: Image.Image) -> Image.Image:
        return image.filter(ImageFilter.GaussianBlur(float(np.random.uniform(0.1, 2.0))))


def rgb(data: bytes) -> Image.Image:
    """The whole image, as torchvision's and open_clip's loaders read it."""
    return Image.open(io.BytesIO(data)).convert("RGB")


def contestants() -> dict[str, Callable[[list[bytes], int], object]]:
    """The pipelines by name: functions of (files, round)."""
    views = Views(("image", "aug"), (ORIGINAL, STRONG), Tokens(77), MaskedTokens(), Normalise(MEAN, STD), 0.0)
    end = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    weak = transforms.Compose([transforms.RandomResizedCrop(224, (0.5, 1.0)), *end])
    jitter = transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8)
    strong = transforms.Compose(
        [
            transforms.RandomResizedCrop(224, (0.08, 1.0)),
            jitter,
            transforms.RandomGrayscale(0.2),
            transforms.RandomApply([PillowBlur()], 0.5),
            transforms.RandomHorizontalFlip(),
            *end,
        ]
    )
    plain = open_clip.image_transform(224, is_train=True, mean=MEAN, std=STD)

    def ours(files: list[bytes], number: int) -> object:
        made = [views.sample(Picture(data), ("",), (), [number, index]) for index, data in enumerate(files)]
        return views.finish(stack(made))

    def slip(files: list[bytes], number: int) -> object:
        made = [(weak(image), strong(image)) for image in map(rgb, files)]
        return [torch.stack(views) for views in zip(*made, strict=True)]

    def one_view(files: list[bytes], number: int) -> object:
        return torch.stack([plain(rgb(data)) for data in files])

    def decoding(files: list[bytes], number: int) -> object:
        return [rgb(data).size for data in files]  # only the size, so that each image is freed at once

    return {
        "ours, two views": ours,
        "SLIP, two views": slip,
        "open_clip, one view": one_view,
        "Pillow decode": decoding,
    }


def race(files: list[bytes], rounds: int) -> dict[str, list[float]]:
    """Samples/s of every pipeline in every round, without the first round."""
    runners = contestants()
    rates: dict[str, list[float]] = {name: [] for name in runners}
    names = list(runners)
    for number in range(rounds + 1):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            start = time.perf_counter()
            runners[name](files, number)
            if number:
                rates[name].append(len(files) / (time.perf_counter() - start))
    return rates


def profile(files: list[bytes]) -> None:
    """Print the milliseconds per sample of each part of our pipeline."""

    def clock(name: str, work: Callable, *arguments) -> Any:
        made, seconds = None, []
        for _ in range(5):
            start = time.perf_counter()
            made = work(*arguments)
            seconds.append(time.perf_counter() - start)
        print(f"    {name:34} {1e3 * statistics.median(seconds) / len(files):6.3f} ms")
        return made

    normalise = Normalise(MEAN, STD)
    clock("header", lambda: [Picture(data) for data in files])
    for shrink in (4, 2, 1):
        clock(f"decode at 1/{shrink} size", lambda shrink: [Picture(d).pixels(shrink).shape for d in files], shrink)
    pixels = [Picture(data).pixels() for data in files]
    for view in (ORIGINAL, STRONG):
        drawn = clock(f"{view.key}: draw", draw, view, pixels)
        cuts = clock(f"{view.key}: cut", cut, view, pixels, drawn)
        batch = clock(f"{view.key}: stack", stack, cuts)
        image, parameters = batch[view.key], batch[f"{view.key}_params"]
        clock(f"{view.key}: finish", finish, image, parameters, view.operations, normalise)
        for name, columns in (("untouched", []), ("jitter", [4, 5, 6, 7]), ("blur", [8]), ("grayscale", [10])):
            only = torch.zeros_like(parameters)
            only[:, columns] = parameters[:, columns]
            if view is STRONG:
                clock(f"  finish: {name}", finish, image, only, view.operations, normalise)


def draw(view: ImageView, pixels: list[torch.Tensor]) -> list[Drawn]:
    """What the view draws for each image."""
    return [view.draw(p.shape[2], p.shape[1], stream([0, i], view.key)) for i, p in enumerate(pixels)]


def cut(view: ImageView, pixels: list[torch.Tensor], drawn: list[Drawn]) -> list[dict[str, torch.Tensor]]:
    """The sample stage of a view on decoded images."""
    return [view.cut(*pair) for pair in zip(pixels, drawn, strict=True)]


def stack(samples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """A batch."""
    return {key: torch.stack([one[key] for one in samples]) for key in samples[0]}


def main() -> None:
    """Print the table for each set of files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as training on a CPU does; all pipelines benefit
    sets: dict[str, list[bytes]] = {}
    if arguments.folder:
        paths = sorted(p for p in arguments.folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))[:BATCH]
        sets[str(arguments.folder)] = [path.read_bytes() for path in paths]
    else:
        sets["500 x 375, noise, quality 85"] = [photograph(500, 375, i, 85) for i in range(BATCH)]
        sets["1600 x 1200, soft noise, quality 75"] = [photograph(1600, 1200, i, 75, True) for i in range(BATCH // 4)]
        sets["1600 x 1200, noise, quality 60"] = [photograph(1600, 1200, i, 60) for i in range(BATCH // 4)]
    for name, files in sets.items():
        rates = race(files, arguments.rounds)
        median = {key: statistics.median(values) for key, values in rates.items()}
        kilobytes = sum(map(len, files)) / len(files) / 1e3
        print(f"{name}: {len(files)} files of {kilobytes:.0f} kB, samples/s on one core")
        for key, values in rates.items():
            ratio = statistics.median(o / v for o, v in zip(rates["ours, two views"], values, strict=True))
            print(f"    {key:22} {median[key]:7.0f}  {1e3 / median[key]:6.2f} ms   ours: {ratio:.2f} times")
        if arguments.profile:
            profile(files)


if __name__ == "__main__":
    main()
