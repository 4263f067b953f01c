"""SLIP's SGD probe against a literal copy of its loop, on the same features, weights at the start and order."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from standins import Colours, Pictures, micro_model, pictures
from torchvision import transforms

from askew.data.views import resized_crop_box
from askew.errors import UserError
from askew.evaluation.datasets.base import Classification, Labelled
from askew.evaluation.loading import load_encoders
from askew.evaluation.tasks.sgd_probe import NAME, ProbePixels, SgdSettings, sgd_probe, train_linear

SHORT = SgdSettings(epochs=6, batch_size=16)


def literally(epochs, width, classes, settings, start):
    """main_linear.py's loop: SGD with momentum, no weight decay, the learning rate set once per epoch."""
    linear = torch.nn.Linear(width, classes)
    linear.load_state_dict(start)
    init_lr = 0.1 * int(settings.batch_size / 1) / 256
    optimizer = torch.optim.SGD(linear.parameters(), init_lr, momentum=0.9, weight_decay=0.0)
    criterion = torch.nn.CrossEntropyLoss()
    for epoch in range(settings.epochs):
        cur_lr = init_lr * 0.5 * (1.0 + math.cos(math.pi * epoch / settings.epochs))
        for param_group in optimizer.param_groups:
            param_group["lr"] = cur_lr
        for features, target in epochs[epoch]:
            loss = criterion(linear(features), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return linear


def test_the_classifier_is_that_of_slips_loop():
    made = torch.Generator().manual_seed(1)
    settings = SgdSettings(epochs=9, batch_size=16)
    epochs = [
        [(torch.randn(16, 7, generator=made), torch.randint(0, 5, (16,), generator=made)) for _ in range(4)]
        for _ in range(settings.epochs)
    ]
    start = train_linear([], 7, 5, settings)
    assert start.bias.abs().max() == 0
    assert 0.005 < start.weight.std() < 0.02  # N(0, 0.01)
    found, expected = train_linear(epochs, 7, 5, settings), literally(epochs, 7, 5, settings, start.state_dict())
    assert torch.equal(found.weight, expected.weight)
    assert torch.equal(found.bias, expected.bias)
    assert (found.weight - start.weight).abs().max() > 0.01


def test_the_settings_are_those_of_slip():
    settings = SgdSettings()
    assert (settings.epochs, settings.batch_size, settings.momentum) == (90, 128, 0.9)
    assert settings.rate(0) == 0.05
    assert settings.rate(45) == pytest.approx(0.025)
    assert settings.rate(89) == pytest.approx(0.05 * 0.5 * (1 + math.cos(math.pi * 89 / 90)))


@pytest.mark.parametrize("size", [(300, 260), (224, 500), (640, 480), (257, 256)])
def test_a_test_image_is_that_of_torchvision(size):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    expected = transforms.Compose(
        [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), transforms.Normalize(mean, std)]
    )(image)
    torch.testing.assert_close(ProbePixels(224, mean, std).centred(image), expected, atol=1e-6, rtol=0)


def test_a_training_image_is_a_crop_of_torchvision():
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (90, 120, 3), dtype=np.uint8))
    pixels, mirrored = ProbePixels(32, (0, 0, 0), (1, 1, 1)), 0
    for index in range(40):
        drawn = np.random.default_rng([0, 1, 3, index])
        x, y, w, h = resized_crop_box(120, 90, drawn, (0.08, 1.0))
        crop = transforms.functional.resized_crop(image, y, x, h, w, [32, 32])
        flip = drawn.random() < 0.5
        expected = transforms.functional.to_tensor(transforms.functional.hflip(crop) if flip else crop)
        torch.testing.assert_close(pixels.cropped(image, 3, index), expected, atol=1e-6, rtol=0)
        mirrored += flip
    assert 10 < mirrored < 30
    assert not torch.equal(pixels.cropped(image, 3, 0), pixels.cropped(image, 4, 0))


def plain(colour):
    encoded = io.BytesIO()
    Image.new("RGB", (40, 40), colour).save(encoded, "PNG")
    return encoded.getvalue()


RED, BLUE = (200, 30, 30), (30, 30, 200)


def split(num, prefix):
    labels = np.arange(num) % 2
    shades = [tuple(part + 3 * (index % 5) for part in (RED, BLUE)[label]) for index, label in enumerate(labels)]
    return Labelled(Pictures([plain(shade) for shade in shades], prefix), labels)


def colours_set(**parts):
    known = {"test": split(20, "test"), "train": split(40, "train"), "validation": split(10, "val")}
    return Classification("colours", "top1", (("red",), ("blue",)), ("{}",), **{**known, **parts})


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    model = micro_model(tmp_path_factory.mktemp("model") / "m")
    return load_encoders(f"local-dir:{model}", torch.device("cpu"))


def test_colours_are_learned_from_the_features_of_a_model(encoders):
    seen = []
    result = sgd_probe(encoders, colours_set(), 2, lambda done, total: seen.append((done, total)), SHORT)
    assert result.task == "colours/linear_probe_sgd"
    assert result.values["top1"] == 1
    assert result.protocol["trained_on"] == 50
    assert result.protocol["unreadable_training_images"] == 0
    assert seen[-1] == (6 * 50 + 20, 6 * 50 + 20)
    assert seen == sorted(seen)
    again = sgd_probe(encoders, colours_set(), 1, settings=SHORT)
    assert again.values == result.values
    assert np.array_equal(again.outcomes.right["top1"], result.outcomes.right["top1"])


class Unreadable(Pictures):
    def __getitem__(self, index):
        if index in (0, 3):
            raise OSError(5, f"{self.keys[index]}: cannot be read")
        return super().__getitem__(index)


def test_unreadable_images(encoders):
    whole = colours_set()
    bad = {
        name: Labelled(Unreadable(getattr(whole, name).images.encoded, name), getattr(whole, name).labels)
        for name in ("test", "train")
    }
    result = sgd_probe(encoders, colours_set(**bad), settings=SHORT)
    assert result.values["top1"] == 18 / 20  # unreadable test images are wrong
    assert result.outcomes.right["top1"][[0, 3]].tolist() == [False, False]
    assert result.protocol["unreadable_training_images"] == 2
    assert result.protocol["trained_on"] == 48


def test_what_cannot_be_probed(encoders):
    with pytest.raises(UserError, match="colours: the set has no training split, which a probe needs"):
        sgd_probe(encoders, colours_set(train=None, validation=None))
    with pytest.raises(UserError, match=f"{NAME} needs a model with open_clip's preprocessing"):
        sgd_probe(Colours(), colours_set())

    class Nothing(Pictures):
        def __getitem__(self, index):
            raise OSError(5, "cannot be read")

    broken = Labelled(Nothing(pictures(4).encoded, "t"), np.array([0, 1, 0, 1]))
    with pytest.raises(UserError, match="none of the 4 test images can be read"):
        sgd_probe(encoders, colours_set(test=broken), settings=SHORT)
    with pytest.raises(UserError, match="none of the 4 training images can be read"):
        sgd_probe(encoders, colours_set(train=broken, validation=None), settings=SHORT)
