"""Run CLIP_benchmark and SugarCrepe's script on the inputs of evaluation_inputs.py, and keep their answers.

    python tests/oracles/evaluation_run.py CLIP_BENCHMARK SUGAR_CREPE

The arguments are checkouts of LAION-AI/CLIP_benchmark at 48de38c and RAIVNLab/sugar-crepe at 0047054. Besides torch and
open_clip they need scikit-learn and tqdm, and CLIP_benchmark needs a NumPy that converts an array of one element to a
float (2.2.6 does, 2.4.6 does not). Their own functions are called, with a model that looks vectors up. The answers are
written to evaluation_numbers.json: shares as they are returned, and a string with 0 or 1 for each sample.
"""

import argparse
import importlib
import json
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import evaluation_inputs as inputs
import numpy
import torch
from PIL import Image

OUT = Path(__file__).with_name("evaluation_numbers.json")


class Lookup:
    """A model whose images are their own embeddings and whose tokens are rows of a table."""

    def __init__(self, texts):
        self.texts = torch.tensor(texts)

    def encode_image(self, images, normalize=False):
        return images.reshape(len(images), -1)

    def encode_text(self, tokens, normalize=False):
        return self.texts[tokens]


def tokenize(texts):
    """Tokens of texts that are the numbers of rows."""
    return torch.tensor([int(text) for text in ([texts] if isinstance(texts, str) else texts)])


class Batches(list):
    """A loader that also has a `dataset`, as CLIP_benchmark expects."""

    dataset = SimpleNamespace(classes=list(range(9)))


def bits(values) -> str:
    return "".join(str(int(value)) for value in values)


def classification(module, kind: str) -> dict:
    """The shares of `evaluate`, and whether the argmax of the logits of `run_classification` is the label."""
    given = inputs.classes(kind)
    num_classes, num_templates, _ = given.text.shape
    model = Lookup(given.text.reshape(num_classes * num_templates, -1))
    # {c} is the class's number, and the template's number follows it as two digits
    names, templates = [str(c) for c in range(num_classes)], ["{c}" + f"{t:02d}" for t in range(num_templates)]
    tokens = lambda texts: tokenize([int(t) // 100 * num_templates + int(t) % 100 for t in texts])  # noqa: E731
    data = Batches(
        (torch.tensor(given.image[i : i + 50]), torch.tensor(given.label[i : i + 50])) for i in range(0, 211, 50)
    )
    found = module.evaluate(model, data, tokens, names, templates, "cpu", amp=False)
    classifier = module.zero_shot_classifier(model, tokens, names, templates, "cpu", amp=False)
    logits, target = module.run_classification(model, classifier, data, "cpu", amp=False)
    return {**found, "right": bits(logits.argmax(dim=1) == target)}


def retrieval(module, kind: str) -> dict:
    """The recalls of `evaluate`, and for each query whether its `recall_at_k` is above 0."""
    given = inputs.captions(kind)
    texts_of = [[str(j) for j in (given.image_of == i).nonzero()[0]] for i in range(len(given.image))]
    data = [(torch.tensor(given.image[i : i + 20]), texts_of[i : i + 20]) for i in range(0, len(given.image), 20)]
    found = module.evaluate(Lookup(given.text), data, tokenize, "cpu", amp=False, recall_k_list=[1, 5, 10])
    scores = torch.tensor(given.text) @ torch.tensor(given.image).T
    positive = torch.zeros_like(scores, dtype=torch.bool)
    positive[torch.arange(len(scores)), torch.tensor(given.image_of)] = True
    for k in (1, 5, 10):
        found[f"image_right@{k}"] = bits(module.recall_at_k(scores, positive, k) > 0)
        found[f"text_right@{k}"] = bits(module.recall_at_k(scores.T, positive.T, k) > 0)
    return found


def sugarcrepe(official, benchmark, kind: str) -> dict:
    """The official script's share for each subset, and CLIP_benchmark's three numbers for the same items."""
    found = {"official": {}, "clip_benchmark": {}}
    with tempfile.TemporaryDirectory() as folder:
        for subset, given in inputs.choices(kind).items():
            items = {}
            for row in range(len(given.image)):
                Image.new("RGB", (1, 1), (row, 0, 0)).save(Path(folder) / f"{row}.png")
                items[str(row)] = {
                    "filename": f"{row}.png",
                    "caption": str(2 * row),
                    "negative_caption": str(2 * row + 1),
                }
            texts = (
                torch.stack([torch.tensor(given.positive), torch.tensor(given.negative)], dim=1).flatten(0, 1).numpy()
            )
            transform = lambda image, rows=given.image: torch.tensor(rows[image.getpixel((0, 0))[0]])  # noqa: E731
            model = Lookup(texts)
            found["official"] |= official.evaluate(folder, {subset: items}, model, tokenize, transform, "cpu")
            pairs = [
                (
                    torch.tensor(given.image[:, None, None, :]),
                    [[str(2 * i), str(2 * i + 1)] for i in range(len(given.image))],
                )
            ]
            found["clip_benchmark"][subset] = benchmark.evaluate(model, pairs, tokenize, "cpu", amp=False)
    return found


def main() -> None:
    """Run everything and write the answers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip_benchmark", type=Path)
    parser.add_argument("sugar_crepe", type=Path)
    arguments = parser.parse_args()
    sys.path[:0] = [str(arguments.clip_benchmark), str(arguments.sugar_crepe)]
    zero_shot = importlib.import_module("clip_benchmark.metrics.zeroshot_classification")
    ranking = importlib.import_module("clip_benchmark.metrics.zeroshot_retrieval")
    selection = importlib.import_module("clip_benchmark.metrics.image_caption_selection")
    official = importlib.import_module("main_eval")
    answers = {
        "commits": {"CLIP_benchmark": "48de38c", "sugar-crepe": "0047054"},
        "made_by": "python tests/oracles/evaluation_run.py CLIP_BENCHMARK SUGAR_CREPE",
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "classification": {kind: classification(zero_shot, kind) for kind in inputs.KINDS},
        "retrieval": {kind: retrieval(ranking, kind) for kind in inputs.KINDS},
        "sugarcrepe": {kind: sugarcrepe(official, selection, kind) for kind in inputs.KINDS},
    }
    OUT.write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")
    print(f"{OUT}: {OUT.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
