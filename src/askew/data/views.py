"""Views of a sample: what a method may ask of a batch. docs/views.md lists every key.

A view has two stages. The sample stage runs in a loader worker: geometry on the once-decoded image, to uint8, and the
parameters that were drawn. The batch stage runs on the training device: colour, blur and normalisation.
"""

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image
from torch import Tensor

from askew.data import augment
from askew.nn.towers import END_TOKEN, MASK_TOKEN
from askew.objectives.masked_language import NOT_MASKED

START_TOKEN = END_TOKEN - 1
FIRST_SPECIAL = START_TOKEN  # ids from here on are special: never masked, never drawn as a random token
Random = np.random.Generator


def resized_crop_box(
    width: int, height: int, rng: Random, scale: tuple[float, float], ratio: tuple[float, float] = (3 / 4, 4 / 3)
) -> tuple[int, int, int, int]:
    """x, y, w, h of RandomResizedCrop, by torchvision's rules: ten tries, then the largest central crop allowed."""
    area = width * height
    for _ in range(10):
        target = area * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1)), w, h
    w, h = width, height
    if width / height < ratio[0]:
        h = round(width / ratio[0])
    elif width / height > ratio[1]:
        w = round(height * ratio[1])
    return (width - w) // 2, (height - h) // 2, w, h


def to_uint8(image: Image.Image) -> Tensor:
    """(3, H, W) uint8."""
    return torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy())


@dataclass(frozen=True)
class ImageView:
    """One random view of an image: RandomResizedCrop, flip, colour jitter, grey, blur; each recorded.

    Attributes:
        key: the batch key; parameters go to `{key}_params`.
        size: pixels a side.
        scale: range of the crop's share of the area.
        flip, jitter_probability, grey, blur: probabilities.
        jitter: greatest deviations of brightness, contrast, saturation (factors) and hue (turns).
        blur_sigma: range in pixels.
    """

    key: str
    size: int
    scale: tuple[float, float]
    flip: float = 0.0
    jitter_probability: float = 0.0
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    grey: float = 0.0
    blur: float = 0.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)

    def sample(self, image: Image.Image, rng: Random) -> dict[str, Tensor]:
        """The cropped uint8 image (3, S, S) and its P = 11 parameters; draws the same numbers whatever it needs."""
        x, y, w, h = resized_crop_box(image.width, image.height, rng, self.scale)
        flip, jitter, grey, blur = rng.random(4) < (self.flip, self.jitter_probability, self.grey, self.blur)
        deviations = rng.uniform(-1, 1, size=4) * jitter * (np.array(self.jitter) > 0)
        sigma = rng.uniform(*self.blur_sigma) * blur
        crop = image.resize((self.size, self.size), Image.Resampling.BILINEAR, box=(x, y, x + w, y + h))
        if flip:
            crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        box = (x / image.width, y / image.height, w / image.width, h / image.height)
        parameters = torch.tensor([*box, *deviations, sigma / 2, flip, grey], dtype=torch.float32)
        return {self.key: to_uint8(crop), f"{self.key}_params": parameters}

    def finish(self, batch: dict[str, Tensor], normalise: "Normalise") -> None:
        """uint8 (B, 3, S, S) to normalised float32, in the batch and on its device."""
        image = batch[self.key].float().div_(255.0)
        image = augment.apply(image, batch[f"{self.key}_params"], self.jitter)
        # Channels last is what convolutions read fastest; to a ViT it is all the same
        batch[self.key] = normalise(image).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Normalise:
    """(image - mean) / std by channel; the numbers of the model's preprocessing."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to normalised."""
        mean, std = (image.new_tensor(v)[:, None, None] for v in (self.mean, self.std))
        return (image - mean) / std


@dataclass(frozen=True)
class Tokens:
    """Token ids of a caption, by open_clip's tokenizer; a caption too long keeps its end token."""

    context_length: int
    key: str = "text"

    @cached_property
    def _tokenizer(self) -> SimpleTokenizer:
        return SimpleTokenizer(context_length=self.context_length)

    @cached_property
    def _tokenize(self):
        return lru_cache(maxsize=8_192)(lambda caption: self._tokenizer(caption)[0])

    def sample(self, caption: str) -> Tensor:
        """(L,) int64: start, words, end, then zeros."""
        return self._tokenize(caption)

    def cuts(self, caption: str) -> bool:
        """Whether a caption has more tokens than the context and loses its end."""
        return bool(self._tokenizer(caption, context_length=self.context_length + 1)[0, -1])

    def __getstate__(self) -> dict:
        return {"context_length": self.context_length, "key": self.key}  # the tokenizer is made anew in a worker

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)


@dataclass(frozen=True)
class MaskedTokens:
    """BERT's masking of a tokenised caption (Sec. 4.4): 15 % of the words; 80 % of them [MASK], 10 % random, 10 % kept.

    Start, end and padding are never masked and never drawn.
    """

    probability: float = 0.15

    def sample(self, text: Tensor, rng: Random) -> dict[str, Tensor]:
        """`masked_text` (L,) and `mlm_labels` (L,), the original id where masked and -100 elsewhere."""
        ids = text.numpy()
        length = int((ids == END_TOKEN).argmax())
        word = np.zeros(len(ids), dtype=bool)
        word[1:length] = True
        chosen = word & (rng.random(len(ids)) < self.probability)
        fate, drawn = rng.random(len(ids)), rng.integers(0, FIRST_SPECIAL, size=len(ids))
        masked = np.where(chosen & (fate < 0.8), MASK_TOKEN, np.where(chosen & (fate >= 0.9), drawn, ids))
        labels = np.where(chosen, ids, NOT_MASKED)
        return {"masked_text": torch.from_numpy(masked), "mlm_labels": torch.from_numpy(labels)}


@dataclass(frozen=True)
class Views:
    """The views that one method reads, out of one sample and for one batch."""

    wanted: tuple[str, ...]
    images: tuple[ImageView, ...]
    tokens: Tokens
    masked: MaskedTokens
    normalise: Normalise
    tags: float  # probability that one to four random tags follow the caption

    def sample(self, image: Image.Image, captions: tuple[str, ...], tags: tuple[str, ...], seed: list[int]) -> dict:
        """The sample stage of every wanted view. Each draws from its own stream of `seed`: none depends on another."""
        made: dict[str, Tensor] = {}
        for view in self.images:
            if view.key in self.wanted:
                made |= view.sample(image, stream(seed, view.key))
        if {"text", "masked_text"} & set(self.wanted):
            text = self.tokens.sample(self._caption(captions, tags, stream(seed, "text")))
            made["text"] = text
            if "masked_text" in self.wanted:
                made |= self.masked.sample(text, stream(seed, "masked_text"))
        return made

    def finish(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The batch stage, on the batch's device."""
        for view in self.images:
            if view.key in self.wanted:
                view.finish(batch, self.normalise)
        return batch

    def _caption(self, captions: tuple[str, ...], tags: tuple[str, ...], rng: Random) -> str:
        caption = captions[int(rng.integers(len(captions)))]
        mix, count = rng.random() < self.tags, int(rng.integers(1, 5))
        if not (mix and tags):
            return caption
        chosen = rng.permutation(len(tags))[:count]
        return ", ".join([caption, *(tags[i] for i in chosen)])


def stream(seed: list[int], name: str) -> Random:
    """A generator of its own for each view: the same numbers whichever other views a method asks for.

    A hash is the key of a counter-based generator: NumPy's usual seeding takes twice as long, four times a sample.
    """
    key = hashlib.blake2b(repr((seed, name)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
