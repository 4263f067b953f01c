"""The format `open_clip`: the directory that open_clip loads by `local-dir:`, which every run has as RUN/model."""

import json
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from askew.export.parity import opened
from askew.export.target import ExportedModel, SourceModel, in_batches
from askew.nn.towers import DIRECTORY_CONFIG, DIRECTORY_WEIGHTS

SNIPPET = """\
import open_clip
import torch
from PIL import Image

folder = "."  # the folder of this file
model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
model.eval()
image = preprocess(Image.open("photo.jpg").convert("RGB"))[None]
with torch.inference_mode():
    image_embedding = model.encode_image(image, normalize=True)
    text_embedding = model.encode_text(tokenizer(["a red bicycle"]), normalize=True)
"""


def save_directory(source: SourceModel, folder: Path) -> None:
    """Write open_clip_config.json and open_clip_model.safetensors."""
    settings = {"model_cfg": source.model_cfg, "preprocess_cfg": source.preprocess_cfg}
    (folder / DIRECTORY_CONFIG).write_text(json.dumps(settings, indent=2), encoding="utf-8")
    save_file(source.state, folder / DIRECTORY_WEIGHTS, metadata={"format": "pt"})


def write_open_clip(source: SourceModel, folder: Path) -> ExportedModel:
    """Write the directory, and load it with open_clip alone."""
    save_directory(source, folder)
    loaded: tuple = open_clip.create_model_and_transforms(f"local-dir:{folder}", device="cpu")
    model, _, preprocess = loaded
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    model.eval()

    def encode_images(encoded: list[bytes]) -> np.ndarray:
        pixels = torch.stack([preprocess(opened(data)) for data in encoded])
        with torch.inference_mode():
            return F.normalize(model.encode_image(pixels), dim=-1).numpy()

    def encode_texts(texts: list[str]) -> np.ndarray:
        with torch.inference_mode():
            return F.normalize(model.encode_text(tokenizer(texts)), dim=-1).numpy()

    return ExportedModel(
        images=lambda encoded: in_batches(encode_images, encoded),
        texts=lambda texts: in_batches(encode_texts, texts),
        library="open_clip",
        versions={"open_clip": open_clip.__version__},
        snippet=SNIPPET,
    )
