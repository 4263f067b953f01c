"""Stand-ins for what evaluation takes: images in memory, encoders that know or tell nothing, micro models on disk."""

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
    """A coloured picture of blocks."""
    blocks = np.random.default_rng(seed).integers(0, 256, size=(4, 4, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(blocks).resize((size, size), Image.Resampling.NEAREST).save(buffer, "PNG")
    return buffer.getvalue()


class Pictures:
    """Encoded images in memory; counts how often each is decoded."""

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
    """A model whose feature is the mean colour, at unit length; texts are given vectors."""

    batch_size = 4
    layer = "mean colour"

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
    """Tells nothing from anything."""

    vector = np.random.default_rng(5).normal(size=37).astype(np.float32)

    def features(self, pixels: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        embed = np.tile(self.vector / np.linalg.norm(self.vector), (len(pixels), 1))
        return embed, embed

    def text(self, texts) -> np.ndarray:
        return np.tile(self.vector / np.linalg.norm(self.vector), (len(texts), 1))


def features_of(embed: np.ndarray, readable: np.ndarray | None = None) -> Features:
    """Features with these embeddings, items numbered."""
    items = tuple(f"{i:032x}" for i in range(len(embed)))
    readable = np.ones(len(embed), dtype=bool) if readable is None else readable
    return Features(embed, embed, items, readable, (), "content")


def embedded(encoders, images) -> Features:
    """One pass without a cache."""
    return Extractor(encoders, workers=1).embed(images)


def micro_model(folder: Path, seed: int = 0, **changes) -> Path:
    """An open_clip directory with random weights; changes are merged into its configuration."""
    from open_clip.model import CLIP  # seconds to import, and not for processes that embed colours

    config = json.loads(json.dumps(MICRO))
    for key, value in changes.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    save_file(CLIP(**config).state_dict(), folder / "open_clip_model.safetensors")
    return folder
