"""What `loader.micro_batch_size` costs and saves: a step in 16 micro-batches beside the same step taken as a whole.

    python benchmarks/feature_cache.py [RECIPE] [--set KEY=VALUE ...] [--batch-size 1024] [--parts 16] [--rounds 3]

Three steps in turn, each in a fresh process: the whole batch at once, the same batch in micro-batches, and a batch as
large as one micro-batch. The time is that of everything from the batch on the device to the moved teacher; the ratio is
paired by rounds. Memory is the highest resident set of the process during its steps, less what it held when the batch
was made and no step was taken. The machine must be otherwise idle. Linux only.
"""

import argparse
import json
import resource
import statistics
import time
from pathlib import Path

from fresh import result_of
from steps import trainer_of


def resident() -> int:
    """Bytes of this process in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def highest() -> int:
    """The highest number of bytes since the last call of `forget`."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024


def forget() -> None:
    """Set the highest number to the present one."""
    Path("/proc/self/clear_refs").write_text("5")


def child(recipe: str, settings: list[str], steps: int) -> None:
    """Print the median seconds of a step but the first, and the memory that steps need, as JSON."""
    trainer = trainer_of(recipe, settings)
    batch = trainer.loader.batch(0)
    batch.pop("bad_samples")
    before = resident()
    forget()
    seconds = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        trainer._one_step(dict(batch))
        seconds.append(time.perf_counter() - start)
        trainer.done += 1
    held = sum(value.nbytes for value in batch.values())
    print(json.dumps({"seconds": statistics.median(seconds[1:]), "memory": highest() - before, "batch": held}))


def measure(arguments: argparse.Namespace, *settings: str) -> dict[str, float]:
    """What `child` prints, of a fresh process."""
    command = [__file__, arguments.recipe, "--child", "--steps", str(arguments.steps)]
    for setting in (*arguments.set, *settings):
        command += ["--set", setting]
    return result_of(command)


def main() -> None:
    """Print the three steps, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", nargs="?", default="photos")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--parts", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.recipe, arguments.set, arguments.steps)
        return
    size, micro = arguments.batch_size, arguments.batch_size // arguments.parts
    ways = {
        f"batch {size}": [f"loader.batch_size={size}"],
        f"batch {size} in micro-batches of {micro}": [f"loader.batch_size={size}", f"loader.micro_batch_size={micro}"],
        f"batch {micro}": [f"loader.batch_size={micro}"],
    }
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for number in range(arguments.rounds):
        for name, settings in ways.items():
            found[name].append(measure(arguments, *settings))
            last = found[name][-1]
            print(f"round {number + 1}  {name}: {last['seconds']:.3f} s, {last['memory'] / 2**20:,.0f} MiB", flush=True)
    whole, cached, small = found.values()
    times = [b["seconds"] / a["seconds"] for a, b in zip(whole, cached, strict=True)]
    memory = [statistics.median(one["memory"] for one in way) / 2**20 for way in (whole, cached, small)]
    print(f"time     {statistics.median(times):.2f} of the whole ({', '.join(f'{ratio:.2f}' for ratio in times)})")
    print(
        f"memory   {memory[1]:,.0f} MiB of {memory[0]:,.0f}; one micro-batch {memory[2]:,.0f}, the batch as it comes "
        f"from the loader {whole[0]['batch'] / 2**20:,.0f}"
    )


if __name__ == "__main__":
    main()
