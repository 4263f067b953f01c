"""`askew.load`, and the model that it returns."""

import os
import warnings
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch

from askew.api.encoding import image_embeddings
from askew.api.inputs import ImageInput, each, each_text
from askew.api.zero_shot import ZeroShotClassifier, class_weights
from askew.data.images import PixelLimit
from askew.devices import choose_device
from askew.errors import UserError, printable
from askew.evaluation.model import Encoders
from askew.evaluation.reading_ahead import decoding_threads
from askew.runs.evaluate import load_model

PRECISIONS, WEIGHTS = ("fp32", "bf16"), ("student", "teacher", "best")
BATCH = 256  # as the command line has it


class Model:
    """A model that embeds images and texts. `askew.load` makes it.

    Embeddings are NumPy arrays of float32 on the CPU, regardless of the device: that is what evaluation computes with,
    what `askew embed` writes and what other libraries take, and `torch.from_numpy` makes a tensor of one without a
    copy. They have unit length, so that their products are cosines.

    Several images or texts are always given as a list, an array or another iterable, such as a generator, and of none
    the result is empty. A single one is an error. Images are decoded without their orientation tag, as in `askew eval`.

    Attributes:
        protocol: what `askew eval` notes of a model: weights and their hash, precision, resolution, preprocessing,
            versions.
    """

    protocol: dict[str, str]

    def __init__(self, encoders: Encoders):
        self.protocol = dict(encoders.protocol)
        self._encoders = encoders

    def __repr__(self) -> str:
        return f"askew.load({self.protocol['model']!r}, weights={self.protocol['weights']!r})"

    @cached_property
    def embedding_dim(self) -> int:
        """D, the width of the embeddings."""
        return self._encoders.text(["a"]).shape[1]

    @property
    def logit_scale(self) -> float:
        """The model's own factor of the cosines; 1 if it has none."""
        scale = getattr(self._encoders.model, "logit_scale", None)
        return 1.0 if scale is None else float(scale.detach().exp())

    @property
    def logit_bias(self) -> float:
        """What the model adds to the scaled cosines, as SigLIP's do; 0 if it has none."""
        bias = getattr(self._encoders.model, "logit_bias", None)
        return 0.0 if bias is None else float(bias.detach())

    def encode_images(
        self, images: Iterable[ImageInput], batch_size: int = BATCH, num_workers: int | None = None
    ) -> np.ndarray:
        """Embeddings (n, D) of images, float32 of unit length, in order; (0, D) of no images.

        Paths and bytes are read and decoded by threads, ahead of the encoder. Arrays, tensors and Pillow images are
        copied as they are taken, so a generator may reuse their memory. No more than three batches are taken before
        the first is encoded.

        Args:
            images: paths, bytes of image files, Pillow images, arrays (H, W, 3) of uint8, or tensors (3, H, W) of uint8
                or of floats in [0, 1], which are rounded to 8 bits.
            batch_size: images that are encoded at once, at least 1. It changes the last digits only.
            num_workers: threads that decode and preprocess, at least 1; None: one for each core. No effect on results.

        Raises:
            ImageError: an image that cannot be used, with its index and path.
            UserError: a single image in place of several, or embeddings that are not finite.
        """
        _check_positive("batch_size", batch_size)
        workers = decoding_threads() if num_workers is None else num_workers
        _check_positive("num_workers", workers)
        parts = image_embeddings(self._encoders, each(images, "images"), batch_size, workers)
        return _finite(np.concatenate(parts)) if parts else self._empty()

    def encode_texts(self, texts: Iterable[str], batch_size: int = BATCH) -> np.ndarray:
        """Embeddings (m, D) of texts, float32 of unit length, in order; (0, D) of no texts.

        A text that is longer than the model's context is cut, and a warning says how many are.

        Args:
            batch_size: texts that are encoded at once, at least 1. It changes the last digits only.

        Raises:
            UserError: a single string in place of several, an item that is no string, or embeddings that are not
                finite.
        """
        _check_positive("batch_size", batch_size)
        given = each_text(texts)
        cut = self._encoders.cut(given)
        if cut:
            warnings.warn(f"{cut:,} of {len(given):,} texts are longer than the model's context, and their ends are "
                          "not encoded", stacklevel=2)  # fmt: skip
        return _finite(self._encoders.text(given, batch_size)) if given else self._empty()

    def similarity(self, images: Iterable[ImageInput], texts: Iterable[str]) -> np.ndarray:
        """Cosines (n, m) of n images and m texts, float32. Raises what encoding raises."""
        text = self.encode_texts(texts)  # first, since what is wrong with texts shows at once
        return self.encode_images(images) @ text.T

    def logits(self, images: Iterable[ImageInput], texts: Iterable[str]) -> np.ndarray:
        """Cosines (n, m) times the model's scale plus its bias, as it was trained with. Raises what encoding raises."""
        return self.similarity(images, texts) * np.float32(self.logit_scale) + np.float32(self.logit_bias)

    def zero_shot(
        self, classes: Sequence[str | Sequence[str]], templates: str | Sequence[str] = "a photo of a {}"
    ) -> ZeroShotClassifier:
        """A classifier from the names of classes, as in `askew eval`: prompts averaged per class.

        Args:
            classes: a name for each class, or several names of one class, of which the first is shown.
            templates: one or more, each with `{}` once, where the name goes. Or the name of a data set whose templates
                askew stores, for example "imagenet" (SLIP's 7) or "imagenet-80" (OpenAI's 80).

        Raises:
            UserError: no class, an empty name, a single string in place of several, or a malformed template.
        """
        names, weights = class_weights(self._encoders, classes, templates)
        return ZeroShotClassifier(self, names, _finite(weights))

    def _empty(self) -> np.ndarray:
        return np.zeros((0, self.embedding_dim), dtype=np.float32)


def load(
    path_or_name: str | os.PathLike[str],
    device: str | torch.device = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
    weights: Literal["student", "teacher", "best"] = "student",
    max_megapixels: float = PixelLimit().megapixels,
) -> Model:
    """Load a model, as `askew eval` does.

    Args:
        path_or_name: a run directory; a folder with open_clip_config.json, such as RUN/model; or open_clip's NAME or
            NAME/TAG. A NAME alone has random weights.
        device: "cpu", "cuda", "cuda:1" or "mps"; "auto" takes CUDA, then MPS, then the CPU.
        precision: of the matrix products. Embeddings are float32 either way.
        weights: of a run: its student, its momentum teacher, or the best student (`evaluation.best`). Of a run that is
            not finished, those of its last checkpoint, which a warning names.
        max_megapixels: an encoded image with more millions of pixels cannot be used. This is a limit of the process,
            and Pillow's too.

    Raises:
        UserError: there is no such model, device, precision or weights, or the model cannot be loaded.
    """
    _check_choice("precision", precision, PRECISIONS)
    _check_choice("weights", weights, WEIGHTS)
    place = _device(device)
    PixelLimit(max_megapixels, "askew.load(..., max_megapixels={})").apply()
    encoders = load_model(os.fspath(path_or_name), place, weights, BATCH, precision, _warn)
    return Model(encoders)


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=4)  # in the line that calls `load`


def _device(device: str | torch.device) -> torch.device:
    if device == "auto":
        return choose_device("auto")
    try:
        asked = torch.device(device)
    except RuntimeError as error:
        raise UserError(f"device={printable(str(device))} is not known; use auto, cpu, cuda, cuda:1 or mps") from error
    found = choose_device(asked.type, "device")
    if asked.index is None:
        return found
    if asked.type == "cuda" and asked.index >= torch.cuda.device_count():
        raise UserError(f"device={asked} is not available on this machine; it has {torch.cuda.device_count()} of them")
    return asked


def _check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UserError(f"{name} {value!r} is not known; use {' or '.join(known)}")


def _check_positive(name: str, value: Any) -> None:
    if not isinstance(value, int) or value < 1:
        raise UserError(f"{name}={value!r}: give a whole number of at least 1")


def _finite(embedding: np.ndarray) -> np.ndarray:
    if not np.isfinite(embedding).all():
        raise UserError("the model's embeddings are not finite; its weights are damaged")
    return embedding
