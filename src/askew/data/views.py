"""Views of a sample: what a method may ask of a batch. docs/views.md lists every key.

A view has two stages. The sample stage runs in a loader worker. It draws the numbers to record, decodes the image once
for all views, and crops, resizes and flips it to uint8. The batch stage (batch_stage.py) runs on the training device:
colour, blur and normalisation.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from askew.data.batch_stage import finish
from askew.data.eda import WordEdits
from askew.data.images import SHRINKS, Picture, PixelLimit, pixel_limit
from askew.data.operations import PARAMETERS, Bound, Operation, bind, draw
from askew.data.pixels import beside
from askew.data.short_text import ShortText
from askew.data.sources.base import stable_id
from askew.data.tokens import MaskedTokens, Tokens

FLIP = PARAMETERS.index("flip")
Random = np.random.Generator
Given = Mapping[str, Tensor] | None


def resized_crop_box(
    width: int, height: int, rng: Random, scale: tuple[float, float], ratio: tuple[float, float] = (3 / 4, 4 / 3)
) -> tuple[int, int, int, int]:
    """x, y, w, h of RandomResizedCrop, by torchvision's rules: ten tries, then the largest central crop allowed.

    `scale` is the range of the crop's share of the area, `ratio` that of its width over its height.
    """
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
    """What was drawn for one image view of one sample. The box is x, y, w, h in pixels of the whole image."""

    box: tuple[int, int, int, int]
    flip: bool
    parameters: Tensor  # (P,)


@dataclass(frozen=True)
class ImageView:
    """One random view of an image: RandomResizedCrop, flip, and the other operations of operations.py; all recorded.

    Attributes:
        key: the batch key; the recorded numbers go to `{key}_params`.
        size: pixels per side.
        scale: range of the crop's share of the area.
        flip, jitter_probability, grayscale, blur: probabilities.
        jitter: largest changes of brightness, contrast and saturation (factors) and of hue (turns).
        blur_sigma: range of the blur's standard deviation, in pixels.
        custom: operations that follow the built-in ones.
    """

    key: str
    size: int
    scale: tuple[float, float]
    flip: float = 0.0
    jitter_probability: float = 0.0
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    grayscale: float = 0.0
    blur: float = 0.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    custom: tuple[Operation, ...] = ()

    @cached_property
    def operations(self) -> tuple[Bound, ...]:
        """Every operation, with this view's probability and strength, in the order of the recorded numbers."""
        return bind(self, self.custom)

    def draw(self, width: int, height: int, rng: Random) -> Drawn:
        """The view's P recorded numbers for an image of that size."""
        x, y, w, h = resized_crop_box(width, height, rng, self.scale)
        recorded = draw(self.operations, (x / width, y / height, w / width, h / height), rng)
        parameters = torch.from_numpy(np.array(recorded, dtype=np.float32))
        return Drawn((x, y, w, h), recorded[FLIP] != 0, parameters)

    def enlarged(self, drawn: Drawn) -> float:
        """Pixels of the crop per pixel of the view, along the side where there are fewer."""
        return min(drawn.box[2:]) / self.size

    def cut(self, pixels: Tensor, drawn: Drawn, shrink: int = 1) -> dict[str, Tensor]:
        """The crop of pixels (4, H, W) decoded at 1/shrink of their size, resized and flipped: (3, S, S); and `params`.

        Bilinear with antialiasing, by torch: within 1 of 255 of Pillow, in a third of the time. For a shrunk image, the
        box is rounded to whole pixels of that image, which moves it by at most half a pixel of the view.
        """
        x, y, w, h = drawn.box
        left, top, right, bottom = (round(side / shrink) for side in (x, y, x + w, y + h))
        # The resize wants the values of a pixel side by side in memory, the batch stage wants whole channels
        crop = pixels[None, :, top:bottom, left:right].contiguous(memory_format=torch.channels_last)
        resized = F.interpolate(crop, (self.size, self.size), mode="bilinear", antialias=True)
        view = resized[0, :3].numpy()[:, :, :: -1 if drawn.flip else 1]
        return {self.key: torch.from_numpy(np.ascontiguousarray(view)), f"{self.key}_params": drawn.parameters}

    def finish(self, batch: dict[str, Tensor], normalise: "Normalise", given: Given = None) -> None:
        """uint8 (B, 3, S, S) to normalised float32, in the batch and on its device.

        Channels last is the layout that convolutions read fastest; to a ViT it makes no difference.

        Args:
            given: where the recorded numbers are read (`Views.finish`).
        """
        recorded = (batch if given is None else given)[f"{self.key}_params"]
        batch[self.key] = finish(batch[self.key], recorded, self.operations, normalise)


@dataclass(frozen=True)
class Normalise:
    """(image - mean) / std per channel, with the mean and std of the model's preprocessing."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, image: Tensor) -> Tensor:
        """Normalise (B, 3, H, W) in [0, 1], in place."""
        mean, std = (beside(image, torch.tensor(v))[:, None, None] for v in (self.mean, self.std))
        return image.sub_(mean).div_(std)


@dataclass(frozen=True)
class Views:
    """The views that a method reads: of one sample in the sample stage, of one batch in the batch stage."""

    wanted: tuple[str, ...]  # the keys that the method reads
    images: tuple[ImageView, ...]
    tokens: Tokens
    masked: MaskedTokens
    normalise: Normalise
    tags: float  # probability that one to four random tags follow the caption
    tags_alone: float = 0.0  # probability that, if so, they replace it
    edits: WordEdits = field(default_factory=WordEdits)
    short: ShortText | None = None  # makes `text_short`
    shorten: bool = False  # every caption is shortened, so that `text` is `text_short`
    scaled_decode: bool = True  # decode JPEGs no larger than the wanted crops need
    caption_ids: bool = False  # add `caption_id`, equal for equal captions
    num_patches: int = 0  # of the image tower, for `patch_scores`
    limit: PixelLimit = field(default_factory=pixel_limit)  # goes along to workers that are not forked

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self.limit.apply()

    def scales(self, picture: Picture) -> bool:
        """Whether some crops allow this image to be decoded at a smaller size. It must not be cached whole then."""
        sizes = [view.size for view in self.images if view.key in self.wanted]
        least = 2 * max(sizes, default=math.inf)
        return self.scaled_decode and picture.scalable and min(picture.width, picture.height) >= least

    def sample(self, picture: Picture, captions: tuple[str, ...], tags: tuple[str, ...], seed: list[int]) -> dict:
        """The sample stage of every wanted view.

        Each view draws from its own random stream, made of `seed` and its name, so that none depends on the others.
        """
        wanted = [view for view in self.images if view.key in self.wanted]
        drawn = [view.draw(picture.width, picture.height, stream(seed, view.key)) for view in wanted]
        shrink = 1
        if self.scales(picture):  # the largest at which no crop has fewer pixels than its view
            least = min(view.enlarged(one) for view, one in zip(wanted, drawn, strict=True))
            shrink = next((s for s in SHRINKS if s <= least), 1)
        pixels = picture.pixels(shrink)
        made: dict[str, Tensor] = {}
        for view, one in zip(wanted, drawn, strict=True):
            made |= view.cut(pixels, one, shrink)
        if "patch_scores" in self.wanted:
            made["patch_scores"] = torch.from_numpy(stream(seed, "patch_scores").random(self.num_patches, np.float32))
        if {"text", "text_short", "masked_text", "text_aug"} & set(self.wanted):
            caption = self._caption(captions, tags, stream(seed, "text"))
            if self.caption_ids:  # of the caption without tags
                made["caption_id"] = torch.tensor(caption_id(_drawn(captions, stream(seed, "text"))))
            made["text"] = self._tokens(caption, stream(seed, "text_short"), self.shorten)
            if "text_short" in self.wanted:
                made["text_short"] = self._tokens(caption, stream(seed, "text_short"), shorten=True)
            if "masked_text" in self.wanted:
                made |= self.masked.sample(made["text"], stream(seed, "masked_text"))
            if "text_aug" in self.wanted:
                edited = self.edits(caption, stream(seed, "text_aug"))
                made["text_aug"] = self._tokens(edited, stream(seed, "text_aug_short"), self.shorten)
        return made

    def finish(self, batch: dict[str, Tensor], given: Given = None) -> dict[str, Tensor]:
        """The batch stage of every wanted view, in the batch and on its device.

        Args:
            given: the batch as the loader gave it, on the CPU. The recorded numbers are read there, so that nothing
                waits for the device of the batch.
        """
        for view in self.images:
            if view.key in self.wanted:
                view.finish(batch, self.normalise, given)
        return batch

    def _tokens(self, caption: str, rng: Random, shorten: bool) -> Tensor:
        whole = self.tokens.sample(caption)
        if not shorten:
            return whole
        assert self.short is not None, "shortened captions are wanted, and nothing says how"
        return self.short(caption, whole, rng)

    def _caption(self, captions: tuple[str, ...], tags: tuple[str, ...], rng: Random) -> str:
        caption = _drawn(captions, rng)
        mix, count = rng.random() < self.tags, int(rng.integers(1, 5))
        if not (mix and tags):
            return caption
        chosen = [tags[i] for i in rng.permutation(len(tags))[:count]]
        return ", ".join(chosen if rng.random() < self.tags_alone else [caption, *chosen])


def _drawn(captions: tuple[str, ...], rng: Random) -> str:
    """One of the captions: the first thing that the text's stream draws."""
    return captions[int(rng.integers(len(captions)))]


def caption_id(caption: str) -> int:
    """A 63-bit integer, equal for captions that differ in nothing but white space."""
    return stable_id(" ".join(caption.split()))


def stream(seed: list[int], name: str) -> Random:
    """A random generator for one view: it gives the same numbers regardless of which other views are wanted.

    The key of a counter-based generator is a hash. NumPy's usual seeding takes twice as long, four times per sample.
    """
    key = hashlib.blake2b(repr((seed, name)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
