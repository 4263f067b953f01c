"""What contrast with the whole data set costs beyond that with the batch: its share of the time of a step.

    python benchmarks/global_contrast.py [RECIPE] [--set KEY=VALUE ...] [--steps 20] [--device cpu]
    python benchmarks/global_contrast.py tiny --set method.normaliser=global

A step is everything from the batch to the moved weights. After each, three things are measured in turn, on embeddings
of its samples: the objective with running means and that without them (FastCLIP against CLIP, MCD and UniCLIP against
themselves), forward and backward, and the update of the running means. The last line says the same of the largest batch
of the paper's recipes (`--largest 0` leaves it out: in MCD, it takes tens of gigabytes). The goal is at most 1 % of a
step. The machine must be otherwise idle; `--cpu-time` measures the processor time of this process instead, which other
work hardly changes (with OMP_NUM_THREADS=1).
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import collapse
import torch

from askew import recipes
from askew.data.operations import IDENTITY
from askew.methods.base import Batch, Method, with_targets
from askew.methods.clip import CLIP
from askew.methods.fastclip import FastCLIP
from askew.recipes.settings import override
from askew.training.build import build
from askew.training.loop import Trainer
from askew.training.towers import resolve

WIDTH = 512  # D of the largest batch
PROGRESS = 0.3
Seconds = Callable[[Callable[[], Any]], float]


def without_means(method: Method) -> Method:
    """The method whose contrast is with the batch alone."""
    if isinstance(method, FastCLIP):
        return CLIP(CLIP.Config(), method.towers)
    return method.config.model_copy(update={"normaliser": "batch"}).build(method.towers, IDENTITY)


@torch.no_grad()
def embedded(method: Method, batch: Batch) -> dict[str, torch.Tensor]:
    """What the objective compares."""
    targets = method.targets(batch)
    return {"match_id": batch["match_id"], **targets, **method.embed(with_targets(batch, targets))}


def enlarged(samples: dict[str, torch.Tensor], num: int, width: int) -> dict[str, torch.Tensor]:
    """As many samples that all differ, with random embeddings in the place of the embeddings."""
    size, wide = len(samples["match_id"]), samples["image"].shape[1]
    made = {key: value[torch.arange(num, device=value.device) % size] for key, value in samples.items()}
    for key, value in samples.items():
        if value.is_floating_point() and value.shape[1:] == (wide,):
            made[key] = torch.nn.functional.normalize(torch.randn(num, width, device=value.device), dim=1)
    return {**made, **{key: torch.arange(num, device=made[key].device) for key in ("match_id", "row")}}


def compared(method: Method, samples: dict[str, torch.Tensor]) -> None:
    """The objective, forward and backward."""
    leaves = {name: samples[name].detach().requires_grad_() for name in ("image", "text", "aug") if name in samples}
    local = {**samples, **leaves}
    method.objective(local, local, PROGRESS)[0].backward()


def costs(method: Method, plain: Method, samples: dict[str, torch.Tensor], seconds: Seconds) -> list[float]:
    """Seconds of the objective with running means, of that without them, and of the update."""
    update = method.normaliser.update if hasattr(method, "normaliser") else None
    works: list[Callable[[], Any]] = [
        lambda: compared(method, samples),
        lambda: compared(plain, samples),
        lambda: update(method.similarity, samples, PROGRESS) if update else method.after_step(samples, PROGRESS),
    ]
    return [seconds(work) for work in works]


def clock(device: torch.device, cpu_time: bool) -> Seconds:
    """Seconds that work takes."""

    def of_process(work: Callable[[], Any]) -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    return of_process if cpu_time else lambda work: collapse.seconds(work, device)[0]


def main() -> None:
    """Print one line or both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", nargs="?", default="photos-fastclip")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--largest", type=int, default=4096, metavar="N")
    arguments = parser.parse_args()
    settings = ["loader.num_workers=0", "train.minutes=0", *arguments.set, f"train.device={arguments.device}"]
    made = override(recipes.find(arguments.recipe), settings)
    trainer = Trainer(build(made.model_copy(update={"towers": resolve(made.towers)})), None)
    method, device, seconds = trainer.method, trainer.device, clock(trainer.device, arguments.cpu_time)
    assert isinstance(method, FastCLIP) or method.config.normaliser == "global", "a recipe with running means"
    plain, kept = without_means(method).to(device), []
    for number in range(arguments.steps + 4):
        batch = trainer.loader.batch(number)
        batch.pop("bad_samples", None)
        finished = trainer.loader.views.finish({key: value.to(device) for key, value in batch.items()})
        samples = embedded(method, finished)
        step = seconds(lambda batch=batch: trainer._one_step(batch))
        trainer.done += 1
        kept.append([step, *costs(method, plain, samples, seconds)])
    step, ours, plains, update = map(statistics.median, zip(*kept[4:], strict=True))
    print(
        f"{arguments.recipe} on {device}, {torch.get_num_threads()} threads, N = {len(samples['row'])}, D = "
        f"{samples['image'].shape[1]}: step {1e3 * step:.1f} ms, objective {1e3 * ours:.2f} ms (with the batch alone "
        f"{1e3 * plains:.2f}), update {1e3 * update:.2f} ms: {(ours - plains + update) / step:.2%} of a step more"
    )
    if not arguments.largest:
        return
    method.allocate(arguments.largest)
    samples = enlarged(samples, arguments.largest, WIDTH)
    found = [costs(method, plain, samples, seconds) for _ in range(3)]
    ours, plains, update = map(statistics.median, zip(*found, strict=True))
    print(f"N = {arguments.largest}, D = {WIDTH}: objective {ours:.3f} s (alone {plains:.3f}), update {update:.3f} s")


if __name__ == "__main__":
    main()
