"""What a format needs to know of a model, and what it gives back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from askew.errors import UserError
from askew.evaluation.model import Encoders


@dataclass(frozen=True)
class SourceModel:
    """The model that is exported.

    Attributes:
        encoders: askew's own, in float32 on the CPU: the numbers that the exported model must give.
        model_cfg, preprocess_cfg: the two parts of an open_clip_config.json.
        state: its weights, with the names that open_clip gives them in a model of `model_cfg`.
    """

    encoders: Encoders
    model_cfg: dict[str, Any]
    preprocess_cfg: dict[str, Any]
    state: dict[str, Tensor]


@dataclass(frozen=True)
class ExportedModel:
    """What was written, read back by the library that it is for, with that library's own preprocessing.

    Attributes:
        images: unit-length embeddings (n, D) of n encoded images.
        texts: unit-length embeddings (m, D) of m texts.
        library: the Hub's name of the library, for the model card.
        versions: of what the directory was read with, such as {"transformers": "5.24.0"}.
        snippet: Python that loads the directory it is in and embeds photo.jpg and a text, for the card.
        notes: a line each of what the format keeps, and what it does not; Markdown.
        further: given the encoded images and texts of the parity check, lines of what else was measured on them.
    """

    images: Callable[[Sequence[bytes]], np.ndarray]
    texts: Callable[[Sequence[str]], np.ndarray]
    library: str
    versions: dict[str, str]
    snippet: str
    notes: tuple[str, ...] = ()
    further: Callable[[Sequence[bytes], Sequence[str]], tuple[str, ...]] | None = None


Target = Callable[[SourceModel, Path], ExportedModel]
"""Writes a model into an empty folder. Raises UserError where the format cannot express the model."""


def require_extra(*modules: str) -> None:
    """Raise UserError if a module of the extra `export` is not installed."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise UserError(f"--to: {', '.join(missing)} is not installed; pip install 'askew[export]'")


def in_batches(encode: Callable[[list[Any]], np.ndarray], items: Sequence[Any], batch_size: int = 32) -> np.ndarray:
    """The rows that `encode` gives for all items, of which it sees `batch_size` at once."""
    starts = range(0, len(items), batch_size)
    return np.concatenate([encode(list(items[start : start + batch_size])) for start in starts])
