"""Views of a sample: what a method may ask of a batch. docs/views.md lists every key.

A view has two stages. The sample stage runs in a loader worker: geometry on the once-decoded image, to uint8, and the
parameters that were drawn. The batch stage runs on the training device: colour, blur and normalisation.
"""

import hashlib
import math
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from askew.data import augment
from askew.data.eda import WordEdits
from askew.data.images import SHRINKS, Picture
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


@dataclass(frozen=True)
class Drawn:
    """What was drawn for one image view of one sample; the box is x, y, w, h in pixels of the whole image."""

    box: tuple[int, int, int, int]
    flip: bool
    parameters: Tensor  # (P,)


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

    def draw(self, width: int, height: int, rng: Random) -> Drawn:
        """The view's P = 11 parameters for an image of that size; draws the same numbers whatever it needs."""
        x, y, w, h = resized_crop_box(width, height, rng, self.scale)
        odds = (self.flip, self.jitter_probability, self.grey, self.blur)
        flip, jitter, grey, blur = (share < chance for share, chance in zip(rng.random(4).tolist(), odds, strict=True))
        drawn = zip(rng.uniform(-1, 1, size=4).tolist(), self.jitter, strict=True)
        deviations = [value if jitter and greatest > 0 else 0.0 for value, greatest in drawn]
        sigma = rng.uniform(*self.blur_sigma) if blur else 0.0
        box = (x / width, y / height, w / width, h / height)
        parameters = np.array([*box, *deviations, sigma / 2, flip, grey], dtype=np.float32)
        return Drawn((x, y, w, h), flip, torch.from_numpy(parameters))

    def enlarged(self, drawn: Drawn) -> float:
        """Pixels of the crop for each pixel of the view, along the side where they are fewer."""
        return min(drawn.box[2:]) / self.size

    def cut(self, pixels: Tensor, drawn: Drawn, shrink: int = 1) -> dict[str, Tensor]:
        """The crop of pixels (4, H, W) decoded at 1/shrink of their size, resized, flipped: (3, S, S); and parameters.

        Bilinear with antialias, by torch, which rounds to at most 1 of 255 off Pillow in a third of the time. The
        box of a shrunk image is rounded to whole pixels of it, at most half a pixel of the view.
        """
        x, y, w, h = drawn.box
        left, top, right, bottom = (round(side / shrink) for side in (x, y, x + w, y + h))
        # Pixel by pixel in memory is what the resize works on, channel by channel what the batch stage does
        crop = pixels[None, :, top:bottom, left:right].contiguous(memory_format=torch.channels_last)
        resized = F.interpolate(crop, (self.size, self.size), mode="bilinear", antialias=True)
        view = resized[0, :3].numpy()[:, :, :: -1 if drawn.flip else 1]
        return {self.key: torch.from_numpy(np.ascontiguousarray(view)), f"{self.key}_params": drawn.parameters}

    def finish(self, batch: dict[str, Tensor], normalise: "Normalise") -> None:
        """uint8 (B, 3, S, S) to normalised float32, in the batch and on its device.

        Channels last is what convolutions read fastest; to a ViT it is all the same.
        """
        batch[self.key] = augment.finish(batch[self.key], batch[f"{self.key}_params"], self.jitter, normalise)


@dataclass(frozen=True)
class Normalise:
    """(image - mean) / std by channel; the numbers of the model's preprocessing."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to normalised, in place."""
        mean, std = (image.new_tensor(v)[:, None, None] for v in (self.mean, self.std))
        return image.sub_(mean).div_(std)


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
    tags_alone: float = 0.0  # probability that they then stand in its place
    edits: WordEdits = field(default_factory=WordEdits)
    scaled_decode: bool = True  # JPEGs are decoded no larger than the wanted crops need

    def scales(self, picture: Picture) -> bool:
        """Whether some crops let this image be decoded at a smaller size: it must not be kept whole then."""
        sizes = [view.size for view in self.images if view.key in self.wanted]
        least = 2 * max(sizes, default=math.inf)
        return self.scaled_decode and picture.scalable and min(picture.width, picture.height) >= least

    def sample(self, picture: Picture, captions: tuple[str, ...], tags: tuple[str, ...], seed: list[int]) -> dict:
        """The sample stage of every wanted view. Each draws from its own stream of `seed`: none depends on another."""
        wanted = [view for view in self.images if view.key in self.wanted]
        drawn = [view.draw(picture.width, picture.height, stream(seed, view.key)) for view in wanted]
        shrink = 1
        if self.scales(picture):  # the greatest at which no crop has fewer pixels than its view
            least = min(view.enlarged(one) for view, one in zip(wanted, drawn, strict=True))
            shrink = next((s for s in SHRINKS if s <= least), 1)
        pixels = picture.pixels(shrink)
        made: dict[str, Tensor] = {}
        for view, one in zip(wanted, drawn, strict=True):
            made |= view.cut(pixels, one, shrink)
        if {"text", "masked_text", "text_aug"} & set(self.wanted):
            caption = self._caption(captions, tags, stream(seed, "text"))
            made["text"] = self.tokens.sample(caption)
            if "masked_text" in self.wanted:
                made |= self.masked.sample(made["text"], stream(seed, "masked_text"))
            if "text_aug" in self.wanted:
                made["text_aug"] = self.tokens.sample(self.edits(caption, stream(seed, "text_aug")))
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
        chosen = [tags[i] for i in rng.permutation(len(tags))[:count]]
        return ", ".join(chosen if rng.random() < self.tags_alone else [caption, *chosen])


def stream(seed: list[int], name: str) -> Random:
    """A generator of its own for each view: the same numbers whichever other views a method asks for.

    A hash is the key of a counter-based generator: NumPy's usual seeding takes twice as long, four times a sample.
    """
    key = hashlib.blake2b(repr((seed, name)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
