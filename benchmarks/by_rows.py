"""Memory and time of MCD's objective, forward and backward, whole and a block of rows at a time.

    python benchmarks/by_rows.py [--samples 512 1024 2048] [--blocks 64 256]

Embeddings have 256 numbers, and there are no towers. Every line is a process of its own; its peak memory before the
objective is subtracted. The whole keeps matrices of 3N x 3N pairs for the backward pass, a block of R samples 3R x 3N.
"""

import argparse
import resource
import subprocess
import sys
import time


def child(num: int, block: int) -> None:
    """Print MB above the start, and seconds."""
    import torch

    from askew.config import TowerSettings
    from askew.data.operations import IDENTITY
    from askew.methods.mcd import MCD
    from askew.nn.towers import unit
    from askew.objectives.reduce import by_rows
    from askew.training.towers import build_towers

    vision = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16}
    text = {"context_length": 16, "width": 32, "heads": 2, "layers": 1}
    towers = build_towers(TowerSettings(model="", embed_dim=256, vision_cfg=vision, text_cfg=text), 0, mask_token=False)
    method = MCD.Config(mlm_weight=0).build(towers, IDENTITY)
    leaves = {name: torch.randn(num, 256, requires_grad=True) for name in ("image", "aug", "text")}
    local = {"match_id": torch.arange(num), **{name: unit(leaf) for name, leaf in leaves.items()}}
    local |= {f"teacher_{name}": unit(torch.randn(num, 256)) for name in ("image", "aug")}

    def objective(rows: dict) -> dict:
        loss, terms = method.objective(rows, local, 0.5)
        return {"": loss, **terms}

    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    (by_rows(objective, local, block) if block else objective(local))[""].backward()
    seconds = time.perf_counter() - start
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, seconds)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, nargs="+", default=[512, 1024, 2048])
    parser.add_argument("--blocks", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--child", type=int, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child)
        return
    print(f"{'samples':>8}{'block':>8}{'MB':>8}{'seconds':>10}")
    for num in arguments.samples:
        for block in (0, *arguments.blocks):
            command = [sys.executable, __file__, "--child", str(num), str(block)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            megabytes, seconds = map(float, done.stdout.split())
            print(f"{num:>8}{block or 'whole':>8}{megabytes:>8.0f}{seconds:>10.2f}", flush=True)


if __name__ == "__main__":
    main()
