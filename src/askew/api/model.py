"""`askew.load`, and the model that it returns."""

import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from askew.api.encoding import image_embeddings
from askew.api.inputs import ImageInput, each, each_text, given_embeddings
from askew.api.ranking import Ranked, best_candidates
from askew.api.warning import warn
from askew.api.zero_shot import ZeroShotClassifier, class_weights
from askew.data.images import PixelLimit
from askew.devices import choose_device
from askew.errors import UserError, printable
from askew.evaluation.model import Encoders
from askew.evaluation.reading_ahead import decoding_threads
from askew.runs.evaluate import load_model

PRECISIONS, WEIGHTS, QUERIES = ("fp32", "bf16"), ("student", "teacher", "best"), ("texts", "images")
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

    Examples:
        >>> model
        askew.load('runs/my-run', weights='student')
        >>> images = model.encode_images(["photos/1.jpg", "photos/2.jpg", "photos/3.jpg"])
        >>> images.shape == (3, model.embedding_dim)
        True
        >>> model.similarity(images, ["two dogs"]).shape
        (3, 1)
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

        Examples:
            >>> from PIL import Image
            >>> model.encode_images(Image.new("RGB", (64, 48), colour) for colour in ("red", "blue")).shape[0]
            2
        """
        check_positive("batch_size", batch_size)
        workers = decoding_threads() if num_workers is None else num_workers
        check_positive("num_workers", workers)
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

        Examples:
            >>> texts = model.encode_texts(["a dog", "a cat"])
            >>> texts.dtype.name, texts.shape == (2, model.embedding_dim)
            ('float32', True)
        """
        check_positive("batch_size", batch_size)
        given = each_text(texts)
        cut = self._encoders.cut(given)
        if cut:
            long = f"{cut:,} of {len(given):,} texts are longer than the model's context"
            warn(f"{long}, and their ends are not encoded")
        return _finite(self._encoders.text(given, batch_size)) if given else self._empty()

    def similarity(self, images: Iterable[ImageInput] | Tensor, texts: Iterable[str] | Tensor) -> np.ndarray:
        """Cosines (n, m) of n images and m texts, float32.

        Args:
            images: as for `encode_images`, or their embeddings (n, D), an array or tensor of floats.
            texts: as for `encode_texts`, or their embeddings (m, D).

        Raises:
            UserError: what encoding raises, or embeddings of another width or not of unit length.

        Examples:
            >>> model.similarity(["photos/1.jpg", "photos/2.jpg"], ["a dog", "a cat", "a kite"]).shape
            (2, 3)
        """
        image, text = self._both(images, texts)
        return image @ text.T

    def logits(self, images: Iterable[ImageInput] | Tensor, texts: Iterable[str] | Tensor) -> np.ndarray:
        """Cosines (n, m) times the model's scale plus its bias, as it was trained with. As `similarity` otherwise.

        Examples:
            >>> model.logits(["photos/1.jpg"], ["a dog", "a cat"]).shape
            (1, 2)
        """
        return self.similarity(images, texts) * np.float32(self.logit_scale) + np.float32(self.logit_bias)

    def rank(
        self,
        images: Iterable[ImageInput] | Tensor,
        texts: Iterable[str] | Tensor,
        k: int | None = 10,
        queries: Literal["texts", "images"] = "texts",
    ) -> Ranked:
        """For each text the k most similar images, or for each image the k most similar texts.

        Of equal cosines, the candidate that was given first is first. Only the best k are sorted, and memory does not
        grow with images times texts.

        Args:
            images: as for `encode_images`, or their embeddings (n, D), an array or tensor of floats.
            texts: as for `encode_texts`, or their embeddings (m, D).
            k: at least 1; None ranks all candidates.
            queries: "texts" finds images for texts, and "images" texts for images.

        Returns:
            Indices and cosines (m, min(k, n)) of texts, or (n, min(k, m)) of images.

        Raises:
            UserError: what `similarity` raises, or another k or kind of query.

        Examples:
            >>> images = model.encode_images(["photos/1.jpg", "photos/2.jpg", "photos/3.jpg"])
            >>> model.rank(images, ["a dog", "a kite"], k=2).indices.shape
            (2, 2)
            >>> model.rank(images, ["a dog", "a kite"], k=1, queries="images").scores.shape
            (3, 1)
        """
        check_choice("queries", queries, QUERIES)
        if k is not None:
            check_positive("k", k)
        image, text = self._both(images, texts)
        asked, candidates = (text, image) if queries == "texts" else (image, text)
        return best_candidates(asked, candidates, len(candidates) if k is None else k)

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

        Examples:
            >>> model.zero_shot(["dog", ["bicycle", "bike"]], "a drawing of a {}").classes
            ('dog', 'bicycle')
        """
        names, weights = class_weights(self._encoders, classes, templates)
        return ZeroShotClassifier(self, names, _finite(weights))

    def _both(
        self, images: Iterable[ImageInput] | Tensor, texts: Iterable[str] | Tensor
    ) -> tuple[np.ndarray, np.ndarray]:
        """The embeddings of both, encoded where they are not given."""
        text = given_embeddings(texts, self.embedding_dim, "texts")
        if text is None:  # before the images, since what is wrong with texts shows at once
            text = self.encode_texts(texts)  # type: ignore[arg-type]
        image = given_embeddings(images, self.embedding_dim, "images")
        return (self.encode_images(images) if image is None else image), text  # type: ignore[arg-type]

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

    Examples:
        >>> askew.load("runs/my-run", device="cpu").protocol["weights"]
        'student'
    """
    check_choice("precision", precision, PRECISIONS)
    check_choice("weights", weights, WEIGHTS)
    place = _device(device)
    PixelLimit(max_megapixels, "askew.load(..., max_megapixels={})").apply()
    return Model(load_model(os.fspath(path_or_name), place, weights, BATCH, precision, warn))


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


def check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    """Raise UserError for a value that the argument does not know."""
    if value not in known:
        raise UserError(f"{name} {value!r} is not known; use {' or '.join(known)}")


def check_positive(name: str, value: Any) -> None:
    """Raise UserError for what is no whole number of at least 1."""
    if not isinstance(value, int) or value < 1:
        raise UserError(f"{name}={value!r}: give a whole number of at least 1")


def _finite(embedding: np.ndarray) -> np.ndarray:
    if not np.isfinite(embedding).all():
        raise UserError("the model's embeddings are not finite; its weights are damaged")
    return embedding
