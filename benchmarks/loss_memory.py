"""Memory and time of a method's objective over embeddings of N samples, forward and backward, in one process.

    python benchmarks/loss_memory.py [METHOD] [--samples 1024 4096 16384] [--chunks N ...] [--whole-up-to 4096]

Embeddings have 512 numbers, and there are no towers. Every line is a process of its own. Its memory is the highest
resident set during the objective and its backward pass, less what was resident before: the embeddings of the student
(and of MCD's teacher) are held already, their gradients are not. `whole` compares all pairs at once, which is what the
automatic size is set beside: ratio of memory, ratio of time, and the largest relative difference of the gradients. The
machine must be otherwise idle. Linux only.
"""

import argparse
import json
import resource
import time
from pathlib import Path

from fresh import result_of

WIDTH = 512  # D


def child(name: str, num: int, chunk_size: int, keep: str) -> None:
    """Print MB and seconds as JSON, and keep the gradients of 64 samples of each tensor, if there is a place."""
    import torch

    from askew import recipes
    from askew.config import TowerSettings
    from askew.data.operations import IDENTITY
    from askew.nn.towers import unit
    from askew.training.step import objective_in_chunks
    from askew.training.towers import build_towers

    vision = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16}
    text = {"context_length": 16, "width": 32, "heads": 2, "layers": 1}
    config = recipes.find(f"tiny-{name}" if name != "mcd" else "tiny").method
    if "mlm_weight" in type(config).model_fields:
        config = config.model_copy(update={"mlm_weight": 0.0})
    settings = TowerSettings(model="", embed_dim=WIDTH, vision_cfg=vision, text_cfg=text)
    method = config.build(build_towers(settings, 0, mask_token=False), IDENTITY)
    generator = torch.Generator().manual_seed(0)
    names = ("image", "aug", "text", "teacher_image", "teacher_aug")
    made = {key: unit(torch.randn(num, WIDTH, generator=generator)) for key in names}
    leaves = {key: value.requires_grad_() for key, value in made.items() if not key.startswith("teacher")}
    local = {"match_id": torch.arange(num) // 2, **made}

    page = resource.getpagesize()
    before = int(Path("/proc/self/statm").read_text().split()[1]) * page
    Path("/proc/self/clear_refs").write_text("5")
    start = time.perf_counter()
    objective_in_chunks(method, local, local, 0.5, chunk_size)[0].backward()
    seconds = time.perf_counter() - start
    status = Path("/proc/self/status").read_text()
    highest = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024
    if keep:
        torch.save({key: leaf.grad[:64].clone() for key, leaf in leaves.items() if leaf.grad is not None}, keep)
    print(json.dumps({"memory": (highest - before) / 2**20, "seconds": seconds}))


def measure(name: str, num: int, chunk_size: int, keep: str = "") -> dict[str, float]:
    """What `child` prints, of a fresh process."""
    return result_of([__file__, name, "--child", str(num), str(chunk_size), keep])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("method", nargs="?", default="mcd")
    parser.add_argument("--samples", type=int, nargs="+", default=[1024, 4096, 16384])
    parser.add_argument("--chunks", type=int, nargs="+", default=[0], help="samples compared at once; 0: automatic")
    parser.add_argument("--whole-up-to", type=int, default=4096)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.method, int(arguments.child[0]), int(arguments.child[1]), arguments.child[2])
        return
    import tempfile

    import torch

    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/{name}.pt" for name in ("whole", "part")]
        print(f"{'samples':>8}{'chunk':>8}{'MiB':>8}{'seconds':>9}{'memory':>8}{'time':>7}{'gradients':>11}")
        for num in arguments.samples:
            whole = None
            if num <= arguments.whole_up_to:
                whole = measure(arguments.method, num, num, paths[0])
                print(f"{num:>8}{'whole':>8}{whole['memory']:>8,.0f}{whole['seconds']:>9.2f}", flush=True)
            for chunk in arguments.chunks:
                found = measure(arguments.method, num, chunk, paths[1])
                line = f"{num:>8}{chunk or 'auto':>8}{found['memory']:>8,.0f}{found['seconds']:>9.2f}"
                if whole:
                    expected, part = (torch.load(path) for path in paths)
                    apart = max(((part[k] - v).norm() / v.norm()).item() for k, v in expected.items())
                    memory, seconds = found["memory"] / whole["memory"], found["seconds"] / whole["seconds"]
                    line += f"{memory:>8.3f}{seconds:>7.2f}{apart:>11.1e}"
                print(line, flush=True)


if __name__ == "__main__":
    main()
