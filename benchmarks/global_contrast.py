"""What contrast with the whole data set costs beyond CLIP's: its share of the time of a step of FastCLIP.

    python benchmarks/global_contrast.py [RECIPE] [--set KEY=VALUE ...] [--steps 20] [--device cpu]

A step is everything from the batch to the moved weights. After each, three things are measured in turn, on random
embeddings of its size: the objective of FastCLIP and that of CLIP, forward and backward, and the update of the running
means. The last line says the same of the largest batch of the paper's recipes. The goal is at most 1 % of a step. The
machine must be otherwise idle.
"""

import argparse
import statistics
from typing import Any

import torch
from collapse import seconds

from askew import recipes
from askew.methods.base import Method
from askew.methods.clip import CLIP
from askew.methods.fastclip import FastCLIP
from askew.recipes.settings import override
from askew.training.build import build
from askew.training.loop import Trainer
from askew.training.towers import resolve

LARGEST, WIDTH = 4096, 512  # samples and D
PROGRESS = 0.3


def embedded(num: int, width: int, device: torch.device) -> dict[str, torch.Tensor]:
    """What the objective of FastCLIP compares: random embeddings of samples that all differ."""
    made = {name: torch.randn(num, width, device=device) for name in ("image", "text")}
    made = {name: torch.nn.functional.normalize(value, dim=1) for name, value in made.items()}
    rows = torch.arange(num, device=device)
    return {**made, "match_id": rows, "row": rows, "scale": torch.full((num,), 14.0, device=device)}


def compared(method: Method, samples: dict[str, torch.Tensor]) -> None:
    """The objective, forward and backward."""
    leaves = {name: samples[name].detach().requires_grad_() for name in ("image", "text")}
    local = {**samples, **leaves}
    method.objective(local, local, PROGRESS)[0].backward()


def costs(method: FastCLIP, clip: CLIP, samples: dict[str, torch.Tensor]) -> list[float]:
    """Seconds of FastCLIP's objective, of CLIP's, and of the update."""
    device = samples["image"].device
    works: list[Any] = [
        lambda: compared(method, samples),
        lambda: compared(clip, samples),
        lambda: method.after_step(samples, PROGRESS),
    ]
    return [seconds(work, device)[0] for work in works]


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", nargs="?", default="photos-fastclip")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    arguments = parser.parse_args()
    settings = ["loader.num_workers=0", "train.minutes=0", *arguments.set, f"train.device={arguments.device}"]
    made = override(recipes.find(arguments.recipe), settings)
    trainer = Trainer(build(made.model_copy(update={"towers": resolve(made.towers)})), None)
    method, device = trainer.method, trainer.device
    assert isinstance(method, FastCLIP), "a recipe of FastCLIP"
    clip, size, width = CLIP(CLIP.Config(), method.towers), trainer.loader.batch_size, trainer.recipe.towers.embed_dim
    clip.to(device)
    kept: list[list[float]] = []
    for number in range(arguments.steps + 4):
        batch = trainer.loader.batch(number)
        batch.pop("bad_samples", None)
        step, _ = seconds(lambda batch=batch: trainer._one_step(batch), device)
        trainer.done += 1
        kept.append([step, *costs(method, clip, embedded(size, width, device))])
    step, ours, clips, update = map(statistics.median, zip(*kept[4:], strict=True))
    print(
        f"{arguments.recipe} on {device}, {torch.get_num_threads()} threads, N = {size}, D = {width}: step "
        f"{1e3 * step:.1f} ms, objective {1e3 * ours:.2f} ms (CLIP's {1e3 * clips:.2f}), update {1e3 * update:.2f} ms: "
        f"{(ours - clips + update) / step:.2%} of a step more than CLIP"
    )
    method.allocate(LARGEST)
    samples = embedded(LARGEST, WIDTH, device)
    ours, clips, update = map(statistics.median, zip(*(costs(method, clip, samples) for _ in range(3)), strict=True))
    print(f"N = {LARGEST}, D = {WIDTH}: objective {ours:.3f} s (CLIP's {clips:.3f}), update {update:.3f} s")


if __name__ == "__main__":
    main()
