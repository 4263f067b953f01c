"""Views: functions of the image and of recorded numbers, which are drawn with the right probabilities."""

import io
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms.functional as tv
from PIL import Image, ImageFilter
from torchvision.transforms import ColorJitter, RandomResizedCrop

from askew.data import batch_stage, pixels
from askew.data.batch_stage import finish
from askew.data.images import Picture
from askew.data.tokens import FIRST_SPECIAL
from askew.data.views import (
    Drawn,
    ImageView,
    MaskedTokens,
    Normalise,
    Tokens,
    Views,
    resized_crop_box,
    stream,
)
from askew.nn.towers import END_TOKEN, MASK_TOKEN
from askew.objectives.masked_language import NOT_MASKED

JITTER = (0.4, 0.4, 0.4, 0.1)
STRONG = ImageView("aug", 24, (0.08, 1.0), 0.5, 0.8, JITTER, 0.2, 0.5, (0.1, 2.0))
AGAIN = replace(STRONG, key="aug2")
ORIGINAL = ImageView("image", 24, (0.5, 1.0))
PLAIN = Normalise((0.0,) * 3, (1.0,) * 3)
WANTED = ("image", "aug", "aug2", "text", "text_aug", "masked_text", "mlm_labels")


def rng(seed=0):
    return np.random.default_rng(seed)


def picture(width=40, height=30, seed=0):
    return Image.fromarray(rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def opened(image):
    """A Picture of an image's exact pixels."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return Picture(buffer.getvalue())


def sample(view, image, generator):
    """One view's sample stage."""
    drawn = view.draw(image.width, image.height, generator)
    return view.cut(opened(image).pixels(), drawn)


def batch_of(num=6, seed=0):
    return torch.rand(num, 3, 20, 20, generator=torch.Generator().manual_seed(seed))


def views(wanted=WANTED, tags=0.5):
    return Views(wanted, (ORIGINAL, STRONG, AGAIN), Tokens(16), MaskedTokens(), PLAIN, tags)


# Crops


def test_a_crop_obeys_its_scale_and_ratio():
    generator = rng()
    shares = []
    for _ in range(400):
        x, y, w, h = resized_crop_box(200, 160, generator, (0.2, 0.7))
        assert 0 <= x <= 200 - w
        assert 0 <= y <= 160 - h
        assert 0.19 < w * h / (200 * 160) < 0.71
        assert 0.74 < w / h < 1.35
        shares.append(w * h / (200 * 160))
    assert min(shares) < 0.25
    assert max(shares) > 0.65


@pytest.mark.parametrize(("size", "box"), [((1000, 10), (493, 0, 13, 10)), ((10, 1000), (0, 493, 10, 13))])
def test_an_extreme_shape_falls_back_to_the_largest_central_crop(size, box):
    assert resized_crop_box(*size, rng(), (0.9, 1.0)) == box


def test_a_view_is_the_same_with_any_others():
    seed = [1, 2, 3, 4]
    everything = views().sample(opened(picture()), ("a red kite",), ("toy", "sky"), seed)
    for wanted in (("image",), ("aug",), ("text",), ("aug", "text"), ("masked_text", "mlm_labels")):
        alone = views(wanted).sample(opened(picture()), ("a red kite",), ("toy", "sky"), seed)
        assert set(wanted) <= set(alone)
        for key, value in alone.items():
            assert torch.equal(value, everything[key]), key


def test_the_parameters_of_an_untouched_image_give_the_plain_image():
    whole = ImageView("image", 24, (1.0, 1.0))
    square = picture(30, 30)
    made = sample(whole, square, rng())
    assert made["image_params"].tolist() == [0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0]
    expected = np.asarray(square.resize((24, 24), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    assert made["image"].dtype == torch.uint8
    assert np.abs(made["image"].numpy().astype(int) - expected).max() <= 1
    batch = {key: value[None] for key, value in made.items()}
    whole.finish(batch, PLAIN)
    assert torch.equal(batch["image"][0], made["image"].float() / 255)


def test_a_flip_mirrors_the_crop():
    always = ImageView("aug", 24, (1.0, 1.0), flip=1.0)
    never = ImageView("aug", 24, (1.0, 1.0), flip=0.0)
    one, other = sample(always, picture(30, 30), rng()), sample(never, picture(30, 30), rng())
    assert torch.equal(one["aug"], other["aug"].flip(2))
    assert one["aug_params"][9] == 1
    assert other["aug_params"][9] == 0


def test_recorded_parameters_are_in_range_and_as_frequent_as_they_should_be():
    drawn = torch.stack([STRONG.draw(40, 30, rng(i)).parameters for i in range(2000)])
    box, jitter, blur, flip, grayscale = drawn[:, :4], drawn[:, 4:8], drawn[:, 8], drawn[:, 9], drawn[:, 10]
    assert ((box >= 0) & (box <= 1)).all()
    assert (box[:, :2] + box[:, 2:] <= 1 + 1e-6).all()
    assert (jitter.abs() <= 1).all()
    assert ((blur >= 0) & (blur <= 1)).all()
    # Five standard deviations of a share of 2,000 draws are at most 0.056
    for happened, odds in ((flip == 1, 0.5), (grayscale == 1, 0.2), (blur > 0, 0.5), (jitter[:, 0] != 0, 0.8)):
        assert happened.float().mean().item() == pytest.approx(odds, abs=0.056)
    assert (blur[blur > 0] >= 0.05).all()
    assert jitter[jitter[:, 0] != 0].mean(dim=0).abs().max() < 0.08


def test_the_original_view_is_only_cropped():
    drawn = torch.stack([ORIGINAL.draw(40, 30, rng(i)).parameters for i in range(100)])
    assert (drawn[:, 4:] == 0).all()
    assert (drawn[:, 2] * drawn[:, 3] > 0.48).all()


# Draws, against torchvision's


def farthest(one, other):
    """The largest distance between two empirical distributions (Kolmogorov and Smirnov)."""
    one, other = np.sort(one), np.sort(other)
    places = np.concatenate([one, other])
    return np.abs(
        np.searchsorted(one, places, "right") / len(one) - np.searchsorted(other, places, "right") / len(other)
    ).max()


def test_parameters_are_distributed_as_torchvisions():
    """3,000 against 3,000 draws. By chance, the distance exceeds 0.05 once in a thousand times (1.95 sqrt(2 / n))."""
    num, (width, height) = 3000, (500, 375)
    blank = torch.zeros(3, height, width)
    torch.manual_seed(0)
    boxes = np.array([RandomResizedCrop.get_params(blank, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(num)])
    top, left, h, w = boxes.T
    colour = ColorJitter(*JITTER)
    ranges = (colour.brightness, colour.contrast, colour.saturation, colour.hue)
    factors = np.array([ColorJitter.get_params(*ranges)[1:] for _ in range(num)])
    always = ImageView("aug", 24, (0.08, 1.0), 0.5, 1.0, JITTER, 0.2, 1.0, (0.1, 2.0))
    drawn = [always.draw(width, height, rng(i)) for i in range(num)]
    x, y, ours_w, ours_h = np.array([one.box for one in drawn]).T
    ours = torch.stack([one.parameters for one in drawn]).numpy()
    pairs = [(x, left), (y, top), (ours_w, w), (ours_h, h), (ours_w * ours_h, w * h), (ours_w / ours_h, w / h)]
    pairs += [(1 + JITTER[i] * ours[:, 4 + i], factors[:, i]) for i in range(3)]
    pairs += [(JITTER[3] * ours[:, 7], factors[:, 3]), (2 * ours[:, 8], np.linspace(0.1, 2, num))]
    assert max(farthest(one, other) for one, other in pairs) < 0.05
    assert farthest(x, left + 0.1 * width) > 0.05  # so it would notice a difference


# Operations, against torchvision: on Pillow's images, as SLIP runs it (uint8 after every step), and in float32


def photograph(num=4, size=48):
    """(B, 3, H, W) float32 of whole 255ths: colours that change smoothly, and some noise."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(num, 3, 5, 5, generator=generator)
    image = F.interpolate(coarse, (size, size), mode="bicubic") + 0.1 * torch.rand(
        num, 3, size, size, generator=generator
    )
    return (image.clamp(0, 1) * 255).round() / 255


def by_pillow(operation, image, factors):
    """torchvision's function of (PIL image, factor) on each image, as float32 (B, 3, H, W)."""
    made = [operation(tv.to_pil_image(one), factor) for one, factor in zip(image, factors, strict=True)]
    return torch.stack([tv.to_tensor(one) for one in made])


FACTORS = [0.0, 0.6, 1.0, 1.4]
OPERATIONS = {  # ours, torchvision's, factors; largest and mean difference to torchvision on Pillow's images, of 255
    "brightness": (pixels.brightness_, tv.adjust_brightness, FACTORS, 1, 0.5),
    "contrast": (pixels.contrast_, tv.adjust_contrast, FACTORS, 1.5, 0.5),
    "saturation": (pixels.saturation_, tv.adjust_saturation, FACTORS, 1.5, 0.5),
    "hue": (pixels.hue_, tv.adjust_hue, [-0.1, -0.04, 0.02, 0.1], 14, 2),  # Pillow's HSV has 256 hues
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_colour_is_torchvisions_on_pillows_images(name):
    operation, reference, factors, greatest, mean = OPERATIONS[name]
    image = photograph()
    difference = 255 * (operation(image.clone(), torch.tensor(factors)) - by_pillow(reference, image, factors)).abs()
    assert difference.max() <= greatest
    assert difference.mean() <= mean
    assert (operation(image.clone(), torch.tensor(factors)) - image).abs().max() > 0.05


@pytest.mark.parametrize("name", OPERATIONS)
def test_colour_is_torchvisions_in_float(name):
    operation, reference, factors, _, _ = OPERATIONS[name]
    for image in (photograph(), batch_of(4)):
        expected = torch.stack([reference(one, factor) for one, factor in zip(image, factors, strict=True)])
        torch.testing.assert_close(operation(image.clone(), torch.tensor(factors)), expected, rtol=0, atol=2e-5)


def test_hue_turns_all_the_way_round():
    shifts = torch.linspace(-0.5, 0.5, 41)
    image = batch_of(1).expand(41, -1, -1, -1)
    turned = pixels.hue_(image.clone(), shifts)
    expected = torch.stack([tv.adjust_hue(one, shift.item()) for one, shift in zip(image, shifts, strict=True)])
    torch.testing.assert_close(turned, expected, rtol=0, atol=2e-5)
    torch.testing.assert_close(pixels.hue_(turned, -shifts), image, rtol=0, atol=2e-6)
    third = pixels.hue_(image[:1].clone(), torch.tensor([1 / 3]))
    torch.testing.assert_close(third, image[:1, [2, 0, 1]], rtol=0, atol=2e-6)
    gray = batch_of(1)[:, :1].expand(-1, 3, -1, -1)
    torch.testing.assert_close(pixels.hue_(gray.clone(), torch.tensor([0.3])), gray, rtol=0, atol=2e-6)


def test_grayscale_is_torchvisions():
    torch.testing.assert_close(pixels.luminance(batch_of()), tv.rgb_to_grayscale(batch_of()), rtol=0, atol=1e-6)
    image = photograph()
    gray = pixels.saturation_(image.clone(), torch.zeros(4))
    expected = by_pillow(lambda one, _: tv.rgb_to_grayscale(one, 3), image, [0] * 4)
    torch.testing.assert_close(gray, expected, rtol=0, atol=1 / 255)


@pytest.mark.parametrize("box", [(5, 3, 150, 120), (0, 0, 180, 131), (17, 40, 10, 9), (60, 0, 3, 131), (9, 9, 1, 1)])
@pytest.mark.parametrize("flip", [False, True])
def test_a_crop_is_torchvisions_on_pillows_images(box, flip):
    """Within 1 of 255: both resize in fixed point and round differently. Shrinking, enlarging and single pixels."""
    image, (x, y, w, h) = picture(180, 131), box
    expected = tv.resized_crop(image, y, x, h, w, [24, 24], tv.InterpolationMode.BILINEAR)
    expected = np.asarray(tv.hflip(expected) if flip else expected).transpose(2, 0, 1).astype(int)
    made = ORIGINAL.cut(opened(image).pixels(), Drawn(box, flip, torch.zeros(11)))["image"].numpy()
    assert np.abs(made - expected).max() <= 1


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0, 2.0])
def test_blur_is_a_gaussian_away_from_the_border_and_keeps_flat_colour(sigma):
    image = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    expected = tv.gaussian_blur(image, kernel_size=[31, 31], sigma=sigma)
    inner = (..., slice(16, 32), slice(16, 32))
    blurred = pixels.blur_(image.clone(), torch.tensor([sigma]))
    torch.testing.assert_close(blurred[inner], expected[inner], rtol=0, atol=1e-3)  # without the weights beyond 3 sigma
    flat = torch.full((1, 3, 9, 9), 0.3)
    torch.testing.assert_close(pixels.blur_(flat.clone(), torch.tensor([sigma])), flat)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_blur_is_close_to_pillows(sigma):
    """Pillow's blur, which SLIP uses, approximates by boxes: away from the border within 2.5 of 255, on average 0.7."""
    image = photograph(2, 64)
    expected = by_pillow(lambda one, radius: one.filter(ImageFilter.GaussianBlur(radius)), image, [sigma] * 2)
    difference = 255 * (pixels.blur_(image.clone(), torch.full((2,), sigma)) - expected).abs()[..., 8:-8, 8:-8]
    assert difference.max() < 2.5
    assert difference.mean() < 0.7


def finished(num=24, seed=0):
    """A uint8 batch, the parameters of a strong view, and what the batch stage makes of them."""
    image = (batch_of(num) * 255).byte()
    parameters = torch.stack([STRONG.draw(40, 30, rng(seed + i)).parameters for i in range(num)])
    return image, parameters, finish(image, parameters, STRONG.operations, PLAIN)


def test_a_view_does_not_depend_on_its_neighbours():
    image, parameters, whole = finished()
    for row in range(24):
        alone = finish(image[row : row + 1], parameters[row : row + 1], STRONG.operations, PLAIN)
        torch.testing.assert_close(alone[0], whole[row], rtol=0, atol=1e-6)
    assert ((whole >= -1e-6) & (whole <= 1 + 1e-6)).all()


def test_what_is_done_to_pixels_is_read_from_the_cpu_alone():
    """Tensors on `meta` have no values, so this fails where the images' device would be waited for."""
    image, parameters, whole = finished()
    made = finish(image.to("meta"), parameters, STRONG.operations, Normalise((0.5,) * 3, (0.2,) * 3))
    assert made.shape == whole.shape
    assert made.is_meta
    with pytest.raises((NotImplementedError, RuntimeError)):
        finish(image.to("meta"), parameters.to("meta"), STRONG.operations, PLAIN)


@pytest.mark.parametrize("samples", [1, 2, 5, 24, 100])
def test_a_batch_is_the_same_in_pieces_of_any_size(monkeypatch, samples):
    image, parameters, whole = finished()
    monkeypatch.setattr(batch_stage, "CHUNK", samples * 3 * 20 * 20)
    before = image.clone()
    made = finish(image, parameters, STRONG.operations, PLAIN)
    torch.testing.assert_close(made, whole, rtol=0, atol=1e-6)
    assert made.dtype == torch.float32
    assert made.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(image, before)


def test_operations_are_applied_in_order_where_they_were_drawn():
    """The whole batch stage against its steps one by one, on the samples that they were drawn for."""
    image, parameters, whole = finished()
    for column in (4, 8, 10):
        assert 0 < (parameters[:, column] != 0).sum() < 24
    for row, (start, made) in enumerate(zip(image.float() / 255, whole, strict=True)):
        values, p = start[None].clone(), parameters[row : row + 1]
        if p[0, 4] != 0:
            values = pixels.brightness_(values, 1 + 0.4 * p[:, 4])
            values = pixels.contrast_(values, 1 + 0.4 * p[:, 5])
            values = pixels.saturation_(values, 1 + 0.4 * p[:, 6])
            values = pixels.hue_(values, 0.1 * p[:, 7])
        if p[0, 10] != 0:
            values = pixels.luminance(values).expand(-1, 3, -1, -1).clone()
        if p[0, 8] != 0:
            values = pixels.blur_(values, 2 * p[:, 8])
        torch.testing.assert_close(made[None], values, rtol=0, atol=2e-6)


def test_normalise_is_by_channel():
    image = torch.full((2, 3, 4, 4), 0.5)
    normal = Normalise((0.1, 0.2, 0.5), (0.5, 0.1, 1.0))(image)
    torch.testing.assert_close(normal[0, :, 0, 0], torch.tensor([0.8, 3.0, 0.0]))


# Texts


def test_a_long_caption_keeps_its_end():
    ids = Tokens(8).sample("one two three four five six seven eight nine ten")
    assert ids.shape == (8,)
    assert ids[0] == END_TOKEN - 1
    assert ids[-1] == END_TOKEN
    short = Tokens(8).sample("one")
    assert short.tolist()[2:] == [END_TOKEN, 0, 0, 0, 0, 0]


def test_masking_has_berts_probabilities_and_touches_only_words():
    text = Tokens(16).sample("a red kite over the old round paper boat")
    masked, labels = (
        torch.stack([MaskedTokens().sample(text, rng(i))[key] for i in range(4000)])
        for key in ("masked_text", "mlm_labels")
    )
    end = int((text == END_TOKEN).int().argmax())
    chosen = labels != NOT_MASKED
    assert not chosen[:, 0].any()
    assert not chosen[:, end:].any()
    assert torch.equal(masked[~chosen], text.expand_as(masked)[~chosen])
    assert torch.equal(labels[chosen], text.expand_as(labels)[chosen])
    shares = [chosen[:, 1:end].float().mean().item()]
    new, old = masked[chosen], labels[chosen]
    shares += [(new == MASK_TOKEN).float().mean().item(), (new == old).float().mean().item()]
    assert shares == pytest.approx([0.15, 0.8, 0.1], abs=0.02)
    drawn = new[(new != MASK_TOKEN) & (new != old)]
    assert len(drawn) / len(new) == pytest.approx(0.1, abs=0.02)
    assert (drawn < FIRST_SPECIAL).all()
    assert len(drawn.unique()) > 0.95 * len(drawn)


def test_tags_follow_the_caption_with_the_right_probabilities():
    tags = ("sky", "toy", "wind", "summer", "string", "park")
    captions = [views()._caption(("kite",), tags, rng(i)).split(", ") for i in range(2000)]
    assert all(words[0] == "kite" for words in captions)
    counts = np.bincount([len(words) - 1 for words in captions], minlength=5)
    assert counts / 2000 == pytest.approx([0.5, 0.125, 0.125, 0.125, 0.125], abs=0.056)
    assert all(len(set(words)) == len(words) for words in captions)
    assert {len(views(tags=1.0)._caption(("kite",), tags[:2], rng(i)).split(", ")) for i in range(50)} == {2, 3}
    assert {views(tags=1.0)._caption(("kite",), (), rng(i)) for i in range(9)} == {"kite"}
    alone = replace(views(tags=1.0), tags_alone=0.25)
    texts = [alone._caption(("kite",), tags, rng(i)).split(", ") for i in range(2000)]
    assert np.mean(["kite" not in text for text in texts]) == pytest.approx(0.25, abs=0.03)
    for text, beside in zip(
        texts, (views(tags=1.0)._caption(("kite",), tags, rng(i)) for i in range(50)), strict=False
    ):
        assert beside.split(", ") in (text, ["kite", *text])  # the same tags, whether or not the caption is there
    assert alone._caption(("kite",), (), rng(0)) == "kite"
    assert {views(tags=0.0)._caption(("kite", "paper kite"), tags, rng(i)) for i in range(50)} == {"kite", "paper kite"}


def test_the_two_augmented_views_are_independent_and_alike():
    made = views().sample(opened(picture()), ("a kite",), (), [5])
    assert not torch.equal(made["aug"], made["aug2"])
    crops = [views(("aug", "aug2")).sample(opened(picture()), ("a kite",), (), [n]) for n in range(300)]
    shares = [[made[f"{key}_params"][2:4].prod().item() for made in crops] for key in ("aug", "aug2")]
    assert np.mean(shares[0]) == pytest.approx(np.mean(shares[1]), abs=0.05)
    assert abs(np.corrcoef(*shares)[0, 1]) < 0.2


def test_the_edited_text_is_an_edit_of_the_text():
    """An edit of the caption that was drawn, with its tags."""
    captions = ("a small red kite in the wind", "an old paper boat on a lake")
    for seed in range(30):
        made = views().sample(opened(picture()), captions, ("summer", "toy"), [seed])
        text, edited = (set(made[key][made[key] > 0].tolist()) for key in ("text", "text_aug"))
        assert len(text & edited) >= 0.6 * len(text)
        assert (made["text_aug"] == END_TOKEN).sum() == 1
    alone = views(("text_aug",)).sample(opened(picture()), captions, ("summer", "toy"), [29])
    assert torch.equal(alone["text_aug"], made["text_aug"])


def test_patch_scores_are_uniform_and_each_samples_own():
    some = replace(views(("patch_scores",)), num_patches=500)
    first, second = (some.sample(opened(picture()), ("a kite",), (), [seed])["patch_scores"] for seed in (1, 2))
    assert first.shape == (500,)
    assert 0 <= first.min() < 0.02
    assert 0.98 < first.max() < 1
    assert first.mean().item() == pytest.approx(0.5, abs=0.05)
    assert not torch.equal(first, second)
    again = some.sample(opened(picture()), ("a kite",), (), [1])["patch_scores"]
    assert torch.equal(first, again)


def test_views_travel_to_another_process():
    copy = pickle.loads(pickle.dumps(views()))
    one, other = (v.sample(opened(picture()), ("a kite",), (), [5]) for v in (copy, views()))
    assert all(torch.equal(one[key], other[key]) for key in other)


def test_streams_of_different_names_differ():
    assert stream([1], "image").random() != stream([1], "aug").random()
    assert stream([1], "image").random() == stream([1], "image").random()
