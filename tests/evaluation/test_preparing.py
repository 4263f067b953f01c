"""The preprocessing in two parts gives the bits that it gives as a whole."""

import numpy as np
import pytest
import torch
from open_clip.transform import AugmentationCfg, image_transform
from PIL import Image
from standins import Colours, Pictures, png

from askew.evaluation.datasets.base import SomeImages
from askew.evaluation.datasets.cifar import Pixels
from askew.evaluation.features import Extractor
from askew.evaluation.preparing import Parted, Whole, preparation_of, prepared
from askew.evaluation.preprocess import Trimmed

SIZES = [(32, 32), (40, 40), (33, 50), (50, 33), (31, 32), (32, 31), (7, 90), (300, 200), (1, 1), (32, 33)]


class Drawn:
    """Images of random pixels; those of an odd index can give their pixels at once."""

    def __init__(self, sizes):
        rng = np.random.default_rng(0)
        self.arrays = [rng.integers(0, 256, size=(h, w, 3), dtype=np.uint8) for w, h in sizes]
        self.keys = [str(index) for index in range(len(sizes))]
        self.opened = []

    def __len__(self):
        return len(self.arrays)

    def read(self, index):
        return self.arrays[index].tobytes()

    def __getitem__(self, index):
        self.opened.append(index)
        return Image.fromarray(self.arrays[index])


class Stored(Drawn):
    def pixels(self, index):
        return self.arrays[index].copy()


def transform(mode, size=32, **options):
    return Trimmed(image_transform(size, is_train=False, resize_mode=mode, **options))


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [32, (32, 24), 224])
@pytest.mark.parametrize("kind", [Drawn, Stored])
def test_both_parts_are_the_whole_to_the_last_bit(mode, size, kind):
    whole = transform(mode, size, interpolation="bicubic", mean=(0.48, 0.45, 0.4), std=(0.27, 0.26, 0.28))
    preparation = preparation_of(whole)
    assert isinstance(preparation, Parted)
    images = kind(SIZES)
    made = [preparation.one(images, index) for index in range(len(images))]
    assert {one.dtype for one in made} == {torch.uint8}
    batch = preparation.batch(made)
    assert batch.is_contiguous()
    expected = torch.stack([whole(Image.fromarray(array)) for array in images.arrays])
    assert torch.equal(batch, expected)


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_pixels_in_the_models_size_need_no_pillow(mode):
    images = Stored(SIZES)
    preparation = preparation_of(transform(mode))
    for index in range(len(images)):
        preparation.one(images, index)
    untouched = [index for index, size in enumerate(SIZES) if size == (32, 32)]
    assert set(range(len(images))) - set(images.opened) == (set(untouched) if mode != "longest" else set())


def test_any_other_preprocessing_stays_whole():
    assert isinstance(preparation_of(Colours().preprocess), Whole)
    assert isinstance(preparation_of(Trimmed(Colours().preprocess)), Whole)
    augmented = image_transform(32, is_train=True, aug_cfg=AugmentationCfg(scale=(0.5, 1.0)))
    assert isinstance(preparation_of(augmented), Whole)
    batch = preparation_of(Colours().preprocess)
    images = Pictures([png(0), png(1)])
    made = batch.batch([batch.one(images, 0), batch.one(images, 1)])
    assert torch.equal(made, torch.stack([Colours().preprocess(images[0]), Colours().preprocess(images[1])]))


def test_what_is_wrong_with_an_image_names_it():
    images = Pictures([png(0), b"no image"])
    (good, no_words), (nothing, words) = prepared(images, range(2), preparation_of(transform("shortest")))
    assert good is not None
    assert (no_words, nothing) == ("", None)
    assert words.startswith("p/1.png: ")


def test_stored_pixels_are_those_of_the_image():
    rows = np.random.default_rng(0).integers(0, 256, size=(5, 3072), dtype=np.uint8)
    images = Pixels(rows, [str(n) for n in range(5)])
    assert all(np.array_equal(np.asarray(images[n]), images.pixels(n)) for n in range(5))


@pytest.mark.parametrize(("size", "batch"), [(1, 4), (70, 4), (70, 64), (70, 256)])
def test_a_pass_gives_every_image_its_own_row(size, batch):
    """Threads take several images at a time; the last part of a batch is shorter."""
    model = Colours()
    model.batch_size = batch
    images = Pictures([png(seed) for seed in range(size)])
    seen = []
    features = Extractor(model, workers=3, tick=lambda done, total: seen.append((done, total))).embed(images)
    expected = np.stack([model.preprocess(images[n]).numpy() for n in range(size)])
    assert np.allclose(features.pooled, expected)
    assert seen[-1] == (size, size)
    assert [done for done, _ in seen] == [min(size, batch * (n + 1)) for n in range(-(-size // batch))]


def test_some_images_of_a_collection_give_its_pixels():
    images = Stored([(32, 32)] * 6)
    some = SomeImages(images, [4, 1])
    preparation = preparation_of(transform("shortest"))
    assert np.array_equal(preparation.one(some, 0).numpy(), images.arrays[4])
    assert np.array_equal(preparation.one(some, 1).numpy(), images.arrays[1])
    assert not images.opened
    assert not hasattr(SomeImages(Drawn([(32, 32)]), [0]), "pixels")
