"""Stand-ins for what evaluation works on: images in memory, simple encoders, micro models on disk."""

import io
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from askew.data.images import decode
from askew.evaluation.features import Extractor, Features

MICRO = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 16, "width": 32, "heads": 2, "layers": 1},
}


def png(seed: int, size: int = 40) -> bytes:
    """A picture of coloured blocks."""
    blocks = np.random.default_rng(seed).integers(0, 256, size=(4, 4, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(blocks).resize((size, size), Image.Resampling.NEAREST).save(buffer, "PNG")
    return buffer.getvalue()


class Pictures:
    """Encoded images in memory. Counts how many are decoded."""

    def __init__(self, encoded: list[bytes], prefix: str = "p"):
        self.encoded, self.keys = encoded, [f"{prefix}/{i}.png" for i in range(len(encoded))]
        self.decoded = 0

    def __len__(self) -> int:
        return len(self.encoded)

    def read(self, index: int) -> bytes:
        return self.encoded[index]

    def __getitem__(self, index: int) -> Image.Image:
        self.decoded += 1
        return decode(self.encoded[index])


def pictures(num: int, first: int = 0) -> Pictures:
    """`num` different pictures."""
    return Pictures([png(seed) for seed in range(first, first + num)])


class Colours:
    """A model whose features are an image's colours. The vectors of texts are given."""

    batch_size = 4
    layer = "mean colour"
    device = torch.device("cpu")

    def __init__(self, texts: dict[str, np.ndarray] | None = None, name: str = "colours"):
        self.texts, self.name, self.forwards = texts or {}, name, 0

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        return torch.tensor(np.asarray(image.resize((2, 2))), dtype=torch.float32).flatten() / 255

    def features(self, pixels: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        self.forwards += len(pixels)
        pooled = pixels.numpy()
        return pooled, pooled / np.linalg.norm(pooled, axis=1, keepdims=True)

    def text(self, texts) -> np.ndarray:
        return np.stack([self.texts[text] for text in texts]).astype(np.float32)

    def fingerprint(self) -> str:
        return self.name


class Constant(Colours):
    """A model that gives every image and every text the same vector."""

    vector = np.random.default_rng(5).normal(size=37).astype(np.float32)

    def features(self, pixels: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        embedding = np.tile(self.vector / np.linalg.norm(self.vector), (len(pixels), 1))
        return embedding, embedding

    def text(self, texts) -> np.ndarray:
        return np.tile(self.vector / np.linalg.norm(self.vector), (len(texts), 1))


def features_of(embedding: np.ndarray, readable: np.ndarray | None = None) -> Features:
    """Features with these embeddings, and numbered items."""
    items = tuple(f"{i:032x}" for i in range(len(embedding)))
    readable = np.ones(len(embedding), dtype=bool) if readable is None else readable
    return Features(embedding, embedding, items, readable, (), "content")


def embedded(encoders, images) -> Features:
    """The features of images, without a cache."""
    return Extractor(encoders, workers=1).embed(images)


def micro_model(folder: Path, seed: int = 0, **changes) -> Path:
    """An open_clip directory with random weights. Changes are merged into its configuration."""
    from open_clip.model import CLIP  # takes seconds to import, and not every process needs it

    config = json.loads(json.dumps(MICRO))
    for key, value in changes.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    save_file(CLIP(**config).state_dict(), folder / "open_clip_model.safetensors")
    return folder
