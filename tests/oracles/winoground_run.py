"""Run CLIP_benchmark's task for Winoground on the inputs of evaluation_inputs.py, and keep its answers.

    python tests/oracles/winoground_run.py CLIP_BENCHMARK

The argument is a checkout of LAION-AI/CLIP_benchmark at 48de38c. The answers are written to winoground_numbers.json:
its three shares, and a string with 0 or 1 for each item, from runs on one item at a time.
"""

import argparse
import importlib
import json
import sys
from pathlib import Path

import evaluation_inputs as inputs
import torch
from evaluation_run import Lookup, tokenize

OUT = Path(__file__).with_name("winoground_numbers.json")


def answers(module, kind: str) -> dict:
    """The shares of `evaluate` over all items, and of each item alone."""
    given = inputs.two_by_two(kind)
    model = Lookup(given.text.reshape(-1, given.text.shape[-1]))
    items = [
        (torch.tensor(given.image[i : i + 1, :, :, None, None]), [[str(2 * i), str(2 * i + 1)]])
        for i in range(len(given.image))
    ]
    found = module.evaluate(model, items, tokenize, "cpu", amp=False)
    each = [module.evaluate(model, [item], tokenize, "cpu", amp=False) for item in items]
    return found | {f"{name}_right": "".join(str(int(one[name])) for one in each) for name in found}


def main() -> None:
    """Run everything and write the answers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip_benchmark", type=Path)
    sys.path.insert(0, str(parser.parse_args().clip_benchmark))
    module = importlib.import_module("clip_benchmark.metrics.image_caption_selection")
    made = {"commit": "48de38c", "torch": torch.__version__} | {kind: answers(module, kind) for kind in inputs.KINDS}
    OUT.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
