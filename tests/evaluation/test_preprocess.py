"""Long images cost no more memory than others, and the numbers are open_clip's to the last bit."""

import resource
import subprocess
import sys

import numpy as np
import pytest
import torch
from open_clip.transform import image_transform
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

import forked
from askew.errors import Unusable
from askew.evaluation import preprocess
from askew.evaluation.preprocess import Trimmed, resized_part

TRANSFORMS = {
    f"{size} {interpolation}": image_transform(size, False, interpolation=interpolation)
    for size in (17, 32, 224, (24, 40), (40, 24))
    for interpolation in ("bicubic", "bilinear")
}
SIZES = [(1, 1), (1, 2), (2, 1), (3, 400), (400, 3), (31, 33), (224, 225), (225, 224), (223, 1001), (1001, 223)]
SIZES += [(450, 457), (457, 450), (301, 2999), (2999, 301), (97, 5000), (5000, 97), (640, 480), (480, 641)]


def noise(width, height, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_trimmed_preprocessing_is_open_clips_to_the_last_bit(name, monkeypatch):
    """Every image is trimmed here, long or not, so that the whole can be computed too."""
    monkeypatch.setattr(preprocess, "WHOLE", 0)
    inner, trimmed = TRANSFORMS[name], []
    monkeypatch.setattr(preprocess, "resized_part", lambda *given: trimmed.append(1) or resized_part(*given))
    rng = np.random.default_rng(1)
    sizes = SIZES + [tuple(int(side) for side in np.exp(rng.uniform(0, 6.5, 2)) + 1) for _ in range(40)]
    for seed, (width, height) in enumerate(sizes):
        image = noise(width, height, seed)
        assert torch.equal(Trimmed(inner)(image), inner(image)), (width, height)
    assert len(trimmed) > 20


@pytest.mark.parametrize("name", TRANSFORMS)
def test_other_images_go_through_open_clips_own_code(name, monkeypatch):
    monkeypatch.setattr(preprocess, "resized_part", lambda *given: pytest.fail("trimmed"))
    for width, height in SIZES[4:]:
        image = noise(width, height)
        assert torch.equal(Trimmed(TRANSFORMS[name])(image), TRANSFORMS[name](image))


def test_the_features_of_a_cache_stay_valid():
    inner = image_transform(224, False)
    assert repr(Trimmed(inner)) == repr(inner)


def test_a_preprocessing_of_ones_own_is_left_alone():
    assert Trimmed(lambda image: torch.tensor(image.size))(noise(3, 4)).tolist() == [3, 4]
    odd = Compose([Resize(8, max_size=9), CenterCrop(8)])
    assert Trimmed(odd)(noise(5, 40)).size == odd(noise(5, 40)).size


@pytest.mark.parametrize("size", [(1, 64_000_000), (64_000_000, 1), (3, 20_000_000), (20_000_000, 3)])
def test_the_longest_image_of_the_limit_shows_its_centre(size):
    found = Trimmed(image_transform(224, False, mean=(0, 0, 0), std=(1, 1, 1)))(Image.new("RGB", size, (51, 102, 255)))
    assert found.shape == (3, 224, 224)
    np.testing.assert_allclose(found[:, 0, 0], [0.2, 0.4, 1.0])
    assert (found == found[:, :1, :1]).all()


@pytest.mark.parametrize("mode", ["longest", "squash"])
def test_models_that_do_not_crop_refuse_what_would_need_gigabytes_or_vanish(mode):
    transform = image_transform(224, False, resize_mode=mode)
    for width, height in [(60, 90), (90, 60), (50, 3_000), (3_000, 50), (80, 80_000 if mode == "squash" else 9_000)]:
        assert torch.equal(Trimmed(transform)(noise(width, height)), transform(noise(width, height)))
    with pytest.raises(Unusable, match=r"1x2000000 pixels are too long and thin: .*; crop") as error:
        Trimmed(transform)(Image.new("RGB", (1, 2_000_000)))
    assert error.value.cause == "too thin"


MEASURED = """
import resource, sys
from PIL import Image
from open_clip.transform import image_transform
from askew.evaluation.preprocess import Trimmed
preprocess, image = Trimmed(image_transform(224, False)), Image.new("RGB", (1, 20_000))
preprocess(Image.new("RGB", (300, 300)))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
preprocess(image)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units")
def test_a_png_of_161_bytes_takes_no_gigabytes():
    """1 x 20,000 pixels become 224 x 4,480,000: 4 GB in open_clip's preprocessing."""
    assert resource.RUSAGE_SELF == 0
    done = subprocess.run([forked.python(), "-c", MEASURED], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 20_000  # kB


def test_interpolations_are_those_that_torchvision_names():
    for mode in (InterpolationMode.BICUBIC, InterpolationMode.BILINEAR):
        transform = Compose([Resize(224, interpolation=mode), CenterCrop((224, 224))])
        assert Trimmed(transform)(Image.new("RGB", (1, 9_000_000))).size == (224, 224)
