"""Each method's step beside CLIP's: time, floating-point operations, peak memory; same towers, batch and machine.

    python benchmarks/methods.py [--rounds 3] [--steps 8] [--base tiny-clip] [--set KEY=VALUE ...] [NAME ...]

A NAME is a recipe, and --base is the one that all are compared with. Each measurement is a process of its own. In a
round every method runs once, so a slow minute of the machine affects all of them, and a ratio is the median over rounds
of time over the base's time of the same round. PyTorch counts operations over forward and backward, including the
teacher's; products of the optimiser and of augmentation are left out. The goal is a ratio of times of at most 1.15
times that of operations.
The machine must be otherwise idle.
"""

import argparse
import json
import statistics
import time

from fresh import result_of

NAMES = [
    "tiny-slip",
    "tiny-declip",
    "tiny-uniclip",
    "tiny",
    "tiny-siglip",
    "tiny-albef",
    "tiny-clip-aug",
    "tiny-ablation-kl",
]


def child(name: str, settings: list[str], steps: int) -> None:
    """Print median seconds of a step, operations of a step, peak MB, as JSON."""
    import torch
    from steps import trainer_of
    from torch.utils.flop_counter import FlopCounterMode

    from askew.devices import peak_memory_mb

    trainer = trainer_of(name, settings)
    batches = [trainer.loader.batch(step) for step in range(steps + 2)]
    seconds = []
    for batch in batches:
        batch.pop("bad_samples", None)
        start = time.perf_counter()
        trainer._one_step(batch)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
        trainer.done += 1
    memory = peak_memory_mb(trainer.device)  # before counting, which keeps more
    batch = trainer.loader.views.finish({key: value.to(trainer.device) for key, value in batches[-1].items()})
    counter = FlopCounterMode(display=False)
    with counter:
        trainer.backward(batch, 0.5)
    print(json.dumps([statistics.median(seconds[2:]), counter.get_total_flops(), memory]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--base", default="tiny-clip", metavar="NAME")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.names[0], arguments.set, arguments.steps)
        return
    names = [arguments.base, *(name for name in arguments.names if name != arguments.base)]
    found: dict[str, list[list[float]]] = {name: [] for name in names}
    for _ in range(arguments.rounds):
        for name in names:
            command = [__file__, name, "--child", "--steps", str(arguments.steps)]
            command += [part for setting in arguments.set for part in ("--set", setting)]
            found[name].append(result_of(command))
    print(f"{'recipe':<18}{'ms':>8}{'time':>8}{'GFLOP':>8}{'ops':>8}{'time/ops':>10}{'MB':>8}")
    for name, rounds in found.items():
        seconds, operations, memory = map(statistics.median, zip(*rounds, strict=True))
        time_ratio = statistics.median(
            one[0] / clip[0] for one, clip in zip(rounds, found[arguments.base], strict=True)
        )
        ratio = operations / found[arguments.base][0][1]
        print(
            f"{name:<18}{1e3 * seconds:>8.0f}{time_ratio:>8.2f}{operations / 1e9:>8.1f}{ratio:>8.2f}"
            f"{time_ratio / ratio:>10.2f}{memory:>8.0f}"
        )


if __name__ == "__main__":
    main()
