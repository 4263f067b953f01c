"""How long training pauses for a checkpoint: written from a copy by a thread, and written at once.

    python benchmarks/checkpoints.py [--rounds 5] [--towers ViT-B-32] [--folder DIR]

The state is that of CLIP with an open_clip configuration and AdamW after one step. The ways take turns in one process,
and each row has medians over rounds. `pause` is the time in which no step can be taken, `written` the time until the
checkpoint is there. The first copy, which takes new memory, is counted apart. `--folder` names the disk.
"""

import argparse
import statistics
import tempfile
import threading
import time
from pathlib import Path

import torch

from askew.config import TowerSettings
from askew.methods.clip import CLIP
from askew.training import checkpoint
from askew.training.saving import copied
from askew.training.towers import build_towers, resolve


def trained(towers: str) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """CLIP and its optimiser after a step with small gradients."""
    method = CLIP.Config().build(build_towers(resolve(TowerSettings(model=towers)), 0, False), ())
    parameters = [parameter for parameter in method.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters)
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 1e-3)
    optimizer.step()
    optimizer.zero_grad()
    return method, optimizer


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--towers", default="ViT-B-32")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    method, optimizer = trained(options.towers)
    size = sum(v.nbytes for tensors in checkpoint.state_of(method, optimizer).values() for v in tensors.values()) / 1e6
    paused: dict[str, list[float]] = {"at once": [], "by a thread": []}
    written: list[float] = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        start = time.perf_counter()
        copy = copied(checkpoint.state_of(method, optimizer), {})
        first = time.perf_counter() - start
        for step in range(options.rounds):
            start = time.perf_counter()
            checkpoint.save(Path(folder), 2 * step, method, optimizer, {}, 1)
            paused["at once"].append(time.perf_counter() - start)
            start = time.perf_counter()
            copy = copied(checkpoint.state_of(method, optimizer), copy)
            thread = threading.Thread(target=checkpoint.write, args=(Path(folder), 2 * step + 1, copy, {}, 1))
            thread.start()
            paused["by a thread"].append(time.perf_counter() - start)
            thread.join()
            written.append(time.perf_counter() - start)
    before, after = (statistics.median(seconds) for seconds in paused.values())
    print(f"{options.towers}, a checkpoint of {size:.0f} MB, {options.rounds} rounds")
    print(f"at once      pause {before:.3f} s")
    print(f"by a thread  pause {after:.3f} s ({before / after:.1f} times shorter), first copy {first:.3f} s, ", end="")
    print(f"written after {statistics.median(written):.3f} s")


if __name__ == "__main__":
    main()
