"""Time zero-shot classification on 1,000 classes from end to end, with askew and CLIP_benchmark in turn.

    python benchmarks/evaluation.py --clip-benchmark DIR [--model NAME] [--images 2000] [--templates 7] [--rounds 3]

DIR is a checkout of github.com/LAION-AI/CLIP_benchmark (measured: commit 48de38c). Both get the same random weights,
the same JPEG files (blocks of noise, as large as photographs), ImageNet's 1,000 names and SLIP's templates, in float32.
The clock runs from the loaded model to the accuracies, which must agree. There is no cache. Use an idle machine.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from fresh import result_of

CLASSES = 1000


def make(folder: Path, model: str, num: int) -> None:
    """A model directory with random weights, and `num` JPEG files in folders of classes."""
    import numpy as np
    import open_clip
    import torch
    from PIL import Image
    from safetensors.torch import save_file

    torch.manual_seed(0)
    config = open_clip.get_model_config(model)
    (folder / "model").mkdir()
    (folder / "model" / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    built = open_clip.create_model(model)
    save_file(built.state_dict(), folder / "model" / "open_clip_model.safetensors")
    rng = np.random.default_rng(0)
    for index in range(num):
        where = folder / "images" / f"{index % CLASSES:04d}"
        where.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(rng.integers(0, 256, size=(24, 32, 3), dtype=np.uint8))
        small.resize((500, 375)).save(where / f"{index:05d}.jpg", quality=90)


def ours(folder: Path, templates: int) -> dict:
    """Seconds and accuracies of askew."""
    import torch

    from askew.evaluation.datasets.base import Classification
    from askew.evaluation.datasets.custom import open_custom
    from askew.evaluation.datasets.prompts import prompts
    from askew.evaluation.features import Extractor
    from askew.evaluation.loading import load_encoders
    from askew.evaluation.tasks.zero_shot import classifier, zero_shot

    known = prompts("imagenet")
    encoders = load_encoders(f"local-dir:{folder / 'model'}", torch.device("cpu"), batch_size=64)
    start = time.perf_counter()
    folders = open_custom(str(folder / "images"))
    assert isinstance(folders, Classification)
    data = Classification("set", "top1", known.classes, known.templates[:templates], folders.test)
    features = Extractor(encoders).embed(data.test.images)
    images = time.perf_counter() - start
    result = zero_shot(encoders, data, features)
    seconds = time.perf_counter() - start
    begin = time.perf_counter()
    classifier(encoders, data.classes, data.templates)
    return {"seconds": seconds, "images": images, "texts": time.perf_counter() - begin, "top1": result.values["top1"],
            "top5": result.values["top5"]}  # fmt: skip


def theirs(folder: Path, templates: int, checkout: Path) -> dict:
    """Seconds and accuracies of CLIP_benchmark."""
    sys.path.insert(0, str(checkout))
    import open_clip
    import torch
    from clip_benchmark.metrics import zeroshot_classification
    from torchvision.datasets import ImageFolder

    from askew.evaluation.datasets.prompts import prompts

    known = prompts("imagenet")
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder / 'model'}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder / 'model'}")
    model.eval()
    names = [names[0] for names in known.classes]
    texts = [template.replace("{}", "{c}") for template in known.templates[:templates]]
    start = time.perf_counter()
    data = ImageFolder(str(folder / "images"), preprocess)
    loader = torch.utils.data.DataLoader(data, batch_size=64, num_workers=os.cpu_count() or 1)
    # The two steps of its `evaluate`; its last line of arithmetic does not run with NumPy 2.4
    weights = zeroshot_classification.zero_shot_classifier(model, tokenizer, names, texts, "cpu", amp=False)
    logits, target = zeroshot_classification.run_classification(model, weights, loader, "cpu", amp=False)
    best = logits.topk(5).indices == target[:, None]
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "top1": best[:, 0].double().mean().item(), "top5": best.sum(1).double().mean().item()}


def main() -> None:
    """Print the seconds of both, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip-benchmark", type=Path, required=True)
    parser.add_argument("--model", default="ViT-S-32-alt")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--templates", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child == "ours":
        print(json.dumps(ours(arguments.folder, arguments.templates)))
        return
    if arguments.child == "theirs":
        print(json.dumps(theirs(arguments.folder, arguments.templates, arguments.clip_benchmark.resolve())))
        return
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        make(Path(name), arguments.model, arguments.images)
        for number in range(arguments.rounds):
            found = {}
            for side in ("theirs", "ours"):
                command = [__file__, "--child", side, "--folder", name]
                command += ["--templates", str(arguments.templates)]
                command += ["--clip-benchmark", str(arguments.clip_benchmark.resolve())]
                found[side] = result_of(command)
            ratios.append(found["theirs"]["seconds"] / found["ours"]["seconds"])
            print(
                f"round {number + 1}: CLIP_benchmark {found['theirs']['seconds']:.1f} s, askew "
                f"{found['ours']['seconds']:.1f} s (images {found['ours']['images']:.1f}, texts "
                f"{found['ours']['texts']:.1f}), {ratios[-1]:.2f} times as fast; top-1 / top-5 "
                f"{found['theirs']['top1']:.4f} / {found['theirs']['top5']:.4f} and "
                f"{found['ours']['top1']:.4f} / {found['ours']['top5']:.4f}",
                flush=True,
            )
    print(f"median ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
