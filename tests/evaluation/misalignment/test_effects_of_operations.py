"""What operations do to distances: encoders that look at one thing each, numbers worked out by hand, a loop."""

import numpy as np
import pytest
import torch
from PIL import Image

from askew.data.operations import OPERATIONS, Operation
from askew.data.views import Normalise
from askew.evaluation.misalignment.operations import Operator, conditions, crop_box, mean_with_interval
from reference.misalignment import distance

SIDE = 8
NORMALISE = Normalise((0.4, 0.5, 0.6), (0.2, 0.3, 0.25))


def preprocess(image):
    left, top = ((length - min(image.size)) // 2 for length in image.size)
    square = image.crop((left, top, left + min(image.size), top + min(image.size))).resize((SIDE, SIDE))
    return NORMALISE(torch.from_numpy(np.asarray(square).copy()).permute(2, 0, 1).float() / 255)


def colours(pixels):
    """Mean colour as a direction: it does not see where anything is."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (NORMALISE.mean, NORMALISE.std))
    made = (pixels * std + mean).mean(dim=(2, 3)) + 1e-3
    return (made / made.norm(dim=1, keepdim=True)).numpy().astype(np.float32)


def sides(pixels):
    """Left half and right half, as a direction: it sees no colour."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (NORMALISE.mean, NORMALISE.std))
    seen = (pixels * std + mean).mean(dim=1) + 1e-3
    made = torch.stack([seen[:, :, : SIDE // 2].mean(dim=(1, 2)), seen[:, :, SIDE // 2 :].mean(dim=(1, 2))], dim=1)
    made = torch.cat([made, torch.zeros(len(made), 1)], dim=1)
    return (made / made.norm(dim=1, keepdim=True)).numpy().astype(np.float32)


def pictures(number=3):
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)) for _ in range(number)]


def captions(number=3):
    made = np.random.default_rng(1).normal(size=(number, 3))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def measured(images=None, text=None, wanted=None):
    images = images or pictures()
    keys = [str(number) for number in range(len(images))]
    wanted = wanted or conditions((), SIDE)
    operator = Operator(preprocess, NORMALISE, lambda pixels: (colours(pixels), sides(pixels)))
    return wanted, operator.misalignment(images, keys, captions() if text is None else text, wanted)


def test_every_operation_of_the_table_has_conditions():
    names = {condition.operation for condition in conditions((), SIDE)}
    table = {operation.name for operation in OPERATIONS if not operation.name.startswith("crop_")}
    assert names == table | {"crop"}
    for name in names:
        found = [condition for condition in conditions((), SIDE) if condition.operation == name]
        assert len(found) in (1, 5, 6)
        assert sum(condition.strongest for condition in found) == 1


def test_each_model_sees_what_it_can_see():
    wanted, found = measured()
    effect = {
        name: np.abs(found[:, [c.operation == name for c in wanted]]).max(axis=(1, 2)) for name in ("flip", "grayscale")
    }
    assert effect["flip"][0] == pytest.approx(0, abs=1e-4)
    assert effect["flip"][1] > 0.01
    assert effect["grayscale"][0] > 0.01
    assert effect["grayscale"][1] < 0.1


def test_a_flip_by_hand():
    """Dark on the left, light on the right, and a caption on the right: the flip moves the image to the other side."""
    pixels = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    pixels[:, SIDE // 2 :] = 255
    flip = [condition for condition in conditions((), SIDE) if condition.operation == "flip"]
    text = np.array([[0.6, 0.8, 0]], dtype=np.float32)
    _, found = measured([Image.fromarray(pixels)], text, flip)
    left, right = (
        sides(preprocess(Image.fromarray(pixels[:, ::-1])).unsqueeze(0))[0],
        sides(preprocess(Image.fromarray(pixels)).unsqueeze(0))[0],
    )
    assert found[1, 0, 0] == pytest.approx(np.log(distance(text[0], left) / distance(text[0], right)), abs=1e-3)
    assert found[1, 0, 0] > 0.2


def test_grayscale_is_the_table_s():
    image = pictures(1)[0]
    wanted = [condition for condition in conditions((), SIDE) if condition.operation == "grayscale"]
    _, found = measured([image], captions(1), wanted)
    gray = colours(
        torch.full((1, 3, 1, 1), 0.5)
        .sub_(torch.tensor(NORMALISE.mean)[:, None, None])
        .div_(torch.tensor(NORMALISE.std)[:, None, None])
    )
    own = colours(preprocess(image)[None])
    assert found[0, 0, 0] == pytest.approx(
        np.log(distance(captions(1)[0], gray[0]) / distance(captions(1)[0], own[0])), abs=1e-3
    )


def test_batches_change_nothing():
    images, text = pictures(), captions()
    wanted, whole = measured(images, text)
    operator = Operator(preprocess, NORMALISE, lambda pixels: (colours(pixels), sides(pixels)))
    for row in range(3):
        alone = operator.misalignment([images[row]], [str(row)], text[row : row + 1], wanted)
        np.testing.assert_allclose(alone[:, :, 0], whole[:, :, row], atol=1e-5)


@pytest.mark.parametrize("share", [0.9, 0.1, 1e-6])
def test_crops_are_squares_of_the_central_square(share):
    rng = np.random.default_rng(0)
    for _ in range(50):
        left, top, right, bottom = crop_box(30, 20, share, rng)
        assert right - left == bottom - top == max(1, round(20 * share**0.5))
        assert 5 <= left < right <= 25
        assert 0 <= top < bottom <= 20


@pytest.mark.parametrize(
    ("limits", "untouched", "numbers"),
    [
        ((0, 1), 0, [0.2, 0.4, 0.6, 0.8, 1]),
        ((-1, 1), 0, [-1, -0.5, 0.5, 1]),
        ((0, np.inf), 0, [1, 2]),
    ],
)
def test_custom_operations_have_their_range(limits, untouched, numbers):
    operation = Operation(
        "fade", "", limits, untouched, draw=lambda rng, strength: float(rng.integers(1, 3)),
        apply=lambda image, recorded, strength: image, origin="here:fade",
    )  # fmt: skip
    found = [condition for condition in conditions([operation], SIDE) if condition.operation == "fade"]
    assert [condition.strength for condition in found] == pytest.approx(numbers)
    assert sum(condition.strongest for condition in found) == 1


def test_the_interval_by_hand():
    """1, 2, 3: mean 2, standard error 1 / sqrt(3), t of 2 degrees of freedom 4.3027."""
    assert mean_with_interval(np.array([1.0, 2, 3])) == pytest.approx(
        (2, 2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-4
    )
    assert mean_with_interval(np.array([1.0])) == (1, -np.inf, np.inf)
