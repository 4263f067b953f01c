"""Training steps of MCD and CLIP on a GPU, beside open_clip's own step: time, memory, operations, waits for the device.

    python benchmarks/gpu.py [--models ViT-B-32 ViT-B-16] [--batch-size 256] [--steps 20] [--rounds 3] [--workers 8]
    python benchmarks/gpu.py --device cpu --models ViT-S-32-alt --batch-size 8 --steps 2 --rounds 1 --workers 1

The second line only tries the script. Both sides train in bf16 with AdamW, on the same random JPEG files and captions.
open_clip's side is `open_clip_train.train.train_one_epoch` as it is, with its model, loss and transform. A step without
the loader takes batches that are in memory; with the loader, they are decoded by as many workers. The first steps are
not timed, and the device is waited for once at the end, as in training. Waits are those that PyTorch reports
(`torch.cuda.set_sync_debug_mode`) during one step.

In a round every side runs once, in a process of its own, and ratios are of the same round.
"""

import argparse
import json
import logging
import statistics
import tempfile
import time
import warnings
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from fresh import result_of
from PIL import Image
from steps import trainer_of

from askew.devices import peak_memory_mb
from askew.training.flops import flops_per_sample
from askew.training.utilisation import matrix_product_speed

WARM = 3  # steps that are not timed
SIZE = (320, 240)  # of the images


def make(folder: Path, num: int) -> None:
    """`num` images of smooth noise, and their captions."""
    rng = np.random.default_rng(0)
    words = ("red", "old", "small", "dog", "boat", "tree", "street", "child", "at", "night", "with", "a", "the", "two")
    lines = ["filepath,title"]
    for index in range(num):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        coarse.resize(SIZE, Image.Resampling.BICUBIC).save(folder / f"{index}.jpg", quality=90)
        lines.append(f"{index}.jpg,{' '.join(rng.choice(words, size=rng.integers(5, 20)))}")
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


class Clock:
    """The time from the end of step WARM to the end of the last step."""

    def __init__(self, device: torch.device):
        self.device, self._started = device, 0.0

    def finish(self) -> float:
        """Wait for the device. Seconds since the last call."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        before, self._started = self._started, time.perf_counter()
        return self._started - before


def waits(step) -> int | None:
    """How often a step waits for a GPU; None on other devices."""
    if not torch.cuda.is_available():
        return None
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(warning.message) for warning in caught)


def askew(method: str, arguments: Namespace) -> dict:
    """Seconds of a step, with and without the loader, and what else is known of it."""
    settings = [
        f"towers.model={arguments.model}", f"data.source={arguments.folder / 'pairs.csv'}",
        f"loader.batch_size={arguments.batch_size}", f"train.device={arguments.device}", "train.precision=bf16",
        "train.log_every=1000000", "data.max_megapixels=1",
    ]  # fmt: skip
    trainer = trainer_of(f"{method}-yfcc15m-vitb32", settings)
    clock = Clock(trainer.device)
    batches = [trainer.loader.batch(step) for step in range(2)]
    for batch in batches:
        batch.pop("bad_samples")
    for step in range(WARM + arguments.steps):
        if step == WARM:
            clock.finish()
        trainer._one_step(dict(batches[step % 2]))
        trainer.done += 1
    found = {"seconds": clock.finish() / arguments.steps, "memory": peak_memory_mb(trainer.device)}
    found["waits"] = waits(lambda: trainer._one_step(dict(batches[0])))
    found["tflops"] = flops_per_sample(trainer.recipe) * arguments.batch_size / found["seconds"] / 1e12
    found["peak"] = matrix_product_speed(trainer.device, "bf16") / 1e12
    loading = trainer_of(f"{method}-yfcc15m-vitb32", [*settings, f"loader.num_workers={arguments.workers}"])
    loading.hooks = (lambda at, line: clock.finish() if at.done == WARM else None,)
    loading.run(until=WARM + arguments.steps)
    return {**found, "loaded": clock.finish() / arguments.steps}


class Batches:
    """What open_clip's loop takes for a data set: batches, the clock is reset before step WARM."""

    def __init__(self, batches, arguments: Namespace, clock: Clock):
        self.num_batches = WARM + arguments.steps
        self.num_samples = self.num_batches * arguments.batch_size
        self.dataloader, self._batches, self._clock = self, batches, clock

    def set_epoch(self, epoch: int) -> None:
        """Every epoch is the same."""

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for step, batch in zip(range(self.num_batches), self._batches, strict=False):
            if step == WARM:
                self._clock.finish()
            yield batch


class Pairs(torch.utils.data.Dataset):
    """Images and captions by open_clip's transform and tokenizer."""

    def __init__(self, folder: Path, transform, tokenizer, length: int):
        lines = (folder / "pairs.csv").read_text(encoding="utf-8").splitlines()[1:]
        self.folder, self.transform, self.tokenizer, self.length = folder, transform, tokenizer, length
        self.rows = [line.split(",", 1) for line in lines]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int):
        name, caption = self.rows[index % len(self.rows)]
        with Image.open(self.folder / name) as image:
            return self.transform(image), self.tokenizer([caption])[0]


def open_clip_step(arguments: Namespace) -> dict:
    """The same of open_clip's own loop for CLIP."""
    import open_clip
    from open_clip_train import train

    logging.disable(logging.INFO)
    device = torch.device(arguments.device)
    model, transform, _ = open_clip.create_model_and_transforms(
        arguments.model, device=device, precision="amp_bf16", output_dict=True
    )
    tokenizer, loss = open_clip.get_tokenizer(arguments.model), open_clip.ClipLoss(cache_labels=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2)
    clock, size = Clock(device), arguments.batch_size
    settings = SimpleNamespace(
        device=arguments.device, precision="amp_bf16", distill=False, accum_freq=1, skip_scheduler=True,
        grad_clip_norm=None, horovod=False, rank=0, local_rank=0, world_size=1, log_every_n_steps=10**9,
        batch_size=size, wandb=False, log_local=False, save_logs=False,
    )  # fmt: skip

    def epoch(batches) -> None:
        data = {"train": Batches(batches, arguments, clock)}
        train.train_one_epoch(model, data, loss, 0, optimizer, None, None, None, settings)

    pairs = Pairs(arguments.folder, transform, tokenizer, size * (WARM + arguments.steps))
    loader = torch.utils.data.DataLoader(
        pairs, size, num_workers=arguments.workers, pin_memory=device.type == "cuda", drop_last=True
    )
    pinned = [batch for batch, _ in zip(loader, range(2), strict=False)]
    epoch(pinned * (WARM + arguments.steps))
    found = {"seconds": clock.finish() / arguments.steps, "memory": peak_memory_mb(device)}
    one = SimpleNamespace(**vars(arguments) | {"steps": 1 - WARM})
    found["waits"] = waits(
        lambda: train.train_one_epoch(
            model, {"train": Batches(pinned, one, clock)}, loss, 0, optimizer, None, None, None, settings
        )
    )
    epoch(loader)
    return {**found, "loaded": clock.finish() / arguments.steps}


def main() -> None:
    """Print a line for each round, and the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["ViT-B-32", "ViT-B-16"])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--images", type=int, default=2048)
    for name, kind in (("child", str), ("model", str), ("folder", Path)):
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        found = open_clip_step(arguments) if arguments.child == "open_clip" else askew(arguments.child, arguments)
        print(json.dumps(found))
        return
    shared = [f"--{key}={getattr(arguments, key)}" for key in ("device", "steps", "workers")]
    shared += [f"--batch-size={arguments.batch_size}"]
    with tempfile.TemporaryDirectory() as name:
        make(Path(name), max(arguments.images, 2 * arguments.batch_size))
        for model in arguments.models:
            found: dict[str, list[dict]] = {"open_clip": [], "clip": [], "mcd": []}
            for _ in range(arguments.rounds):
                for side, rounds in found.items():
                    rounds.append(result_of([__file__, "--child", side, "--model", model, "--folder", name, *shared]))
            print(table(model, arguments.batch_size, found), flush=True)


def table(model: str, batch_size: int, found: dict[str, list[dict]]) -> str:
    """Medians over rounds of each side, and of the ratios of a round to open_clip."""
    lines = [f"{model}, batch {batch_size}", "| step | ms | ratio | ms with the loader | ratio | MB | TFLOP/s | of a "
             "product | waits |", "|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for side, rounds in found.items():
        pairs = list(zip(rounds, found["open_clip"], strict=True))
        middle = {key: statistics.median(one[key] for one in rounds) for key in ("seconds", "loaded", "memory")}
        ratio, loaded = (
            statistics.median(one[key] / theirs[key] for one, theirs in pairs) for key in ("seconds", "loaded")
        )
        speed = statistics.median(one.get("tflops", 0) for one in rounds)
        share = statistics.median(one["tflops"] / one["peak"] if "peak" in one else 0 for one in rounds)
        counted = "-" if rounds[0]["waits"] is None else str(rounds[0]["waits"])
        lines.append(
            f"| {side} | {1e3 * middle['seconds']:.0f} | {ratio:.2f} | {1e3 * middle['loaded']:.0f} | {loaded:.2f} "
            f"| {middle['memory']:,.0f} | {f'{speed:.2f} | {share:.0%}' if speed else '- | -'} | {counted} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
