"""Embeddings of images and texts from an exported folder, with NumPy, Pillow, onnxruntime and tokenizers alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import tokenizers
from PIL import Image

RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


class OnnxModel:
    """The graphs image.onnx and text.onnx, and what preprocessing.json and tokenizer.json say of their inputs.

    Args:
        suffix: "_int8" names the quantised graphs, if there are any.
    """

    def __init__(self, folder: Path, suffix: str = ""):
        self.settings = json.loads((folder / "preprocessing.json").read_text(encoding="utf-8"))
        self.tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.image, self.text = (
            onnxruntime.InferenceSession(str(folder / f"{kind}{suffix}.onnx"), providers=["CPUExecutionProvider"])
            for kind in ("image", "text")
        )

    def encode_images(self, images: list[Image.Image]) -> np.ndarray:
        """Unit-length embeddings (n, D) of Pillow images."""
        pixels = np.stack([pixels_of(image, self.settings["image"]) for image in images])
        return np.asarray(self.image.run(None, {"pixels": pixels})[0])

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        """Unit-length embeddings (m, D) of texts, cut and padded to the context length L."""
        tokens = np.array([encoded.ids for encoded in self.tokenizer.encode_batch(texts)], dtype=np.int64)  # (m, L)
        return np.asarray(self.text.run(None, {"tokens": tokens})[0])


def pixels_of(image: Image.Image, settings: dict[str, Any]) -> np.ndarray:
    """A normalised image (3, H, W): resized, then cropped or padded to H x W around its centre."""
    (rows, columns), image = settings["size"], image.convert("RGB")
    size = resized(image.width, image.height, rows, columns, settings["resize"])
    image = image.resize(size, RESAMPLING[settings["interpolation"]])
    canvas = Image.new("RGB", (columns, rows), (settings["fill"],) * 3)
    canvas.paste(image, (offset(columns - image.width), offset(rows - image.height)))
    mean, std = (np.array(settings[name], dtype=np.float32) for name in ("mean", "std"))
    return ((np.asarray(canvas, dtype=np.float32) / np.float32(255) - mean) / std).transpose(2, 0, 1)


def resized(width: int, height: int, rows: int, columns: int, how: str) -> tuple[int, int]:
    """Width and height that an image is resized to before it is cropped or padded to rows x columns."""
    if how == "squash":  # both sides, regardless of the ratio
        return columns, rows
    if how == "shortest" and rows == columns:  # the longer side is rounded down
        short = min(width, height)
        return int(rows * width / short), int(rows * height / short)
    ratio = (max if how == "longest" else min)(width / columns, height / rows)
    return round(width / ratio), round(height / ratio)


def offset(room: int) -> int:
    """Where a resized side begins, with that many pixels to spare; a negative number is cropped, rounded to even."""
    return room // 2 if room > 0 else -round(-room / 2)
