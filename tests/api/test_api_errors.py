"""What is wrong with images, texts and classes is one line, of a typed exception that says where it is."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from standins import micro_model, png

import askew

GOOD = np.zeros((8, 8, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    folder = tmp_path_factory.mktemp("errors")
    (folder / "text.png").write_bytes(b"no image")
    (folder / "empty.png").write_bytes(b"")
    (folder / "short.png").write_bytes(png(0)[:60])
    (folder / "pointer.png").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    (folder / "good.png").write_bytes(png(1))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return askew.load(micro_model(tmp_path_factory.mktemp("model")), device="cpu")


def one_line(error: pytest.ExceptionInfo) -> str:
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere.png", "No such file or directory"),
        ("text.png", "cannot identify the image: no known format"),
        ("empty.png", "empty image"),
        ("short.png", "truncated"),
        ("pointer.png", "it is a Git LFS pointer, not the file; fetch the file with git lfs pull"),
        (".", "it is a folder"),
        ("a\0b", "embedded null byte"),
    ],
)
@pytest.mark.parametrize("kind", [str, Path])
def test_a_file_that_cannot_be_used_is_named(model, here, name, words, kind):
    path = kind(f"{here}/{name}")
    with pytest.raises(askew.ImageError) as caught:
        model.encode_images([here / "good.png", GOOD, path, here / "good.png"], batch_size=2)
    assert caught.value.index == 2
    line = one_line(caught)
    assert line.startswith("images[2] (")
    assert str(here) in line
    assert words in line


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (b"", "empty image"),
        (b"no image", "cannot identify the image: no known format"),
        (Image.new("RGB", (0, 5)), "0x5 pixels are no image"),
        (np.zeros((0, 4, 3), np.uint8), "4x0 pixels are no image"),
        (torch.zeros(3, 4, 0), "0x4 pixels are no image"),
        (Image.new("F", (8, 8), 3.0), "leave the range from black to white"),
        (np.zeros((8, 8, 3), np.float32), "an array (8, 8, 3) of float32 is no image; give (H, W, 3) of uint8"),
        (np.zeros((8, 8), np.uint8), "an array (8, 8) of uint8 is no image"),
        (np.zeros((3, 8, 8), np.uint8), "an array (3, 8, 8) of uint8 is no image"),
        (np.zeros((8, 8, 4), np.uint8), "an array (8, 8, 4) of uint8 is no image"),
        (torch.zeros(8, 8, 3), "a tensor (8, 8, 3) of float32 is no image; give (3, H, W), of uint8 or of floats"),
        (torch.zeros(1, 3, 8, 8), "a tensor (1, 3, 8, 8) of float32 is no image"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), "a tensor (3, 8, 8) of int64 is no image"),
        (torch.full((3, 8, 8), 200.0), "a tensor of floats from 200 to 200, and pixels are in [0, 1]"),
        (torch.full((3, 8, 8), -0.1), "give them before they are normalized"),
        (torch.full((3, 8, 8), torch.nan), "floats from nan to nan"),
        (None, "a value of type NoneType is no image; give a path, bytes, a Pillow image, an array"),
        (7, "a value of type int is no image"),
    ],
)
def test_an_image_that_cannot_be_used_has_its_index(model, image, words):
    with pytest.raises(askew.ImageError) as caught:
        model.encode_images(image if place == 3 else GOOD for place in range(9))
    assert caught.value.index == 3
    assert isinstance(caught.value, askew.UserError)
    line = one_line(caught)
    assert line.startswith("images[3]: ")
    assert words in line


@pytest.mark.parametrize(
    "image", ["a.png", Path("a.png"), b"bytes", Image.new("RGB", (8, 8)), GOOD, torch.zeros(3, 8, 8)]
)
def test_a_single_image_is_an_error(model, image):
    """Of a string or of bytes, the parts would be images; for all others, the same is said."""
    for call in (model.encode_images, model.zero_shot(["a", "b"]), lambda images: model.similarity(images, ["a"])):
        with pytest.raises(askew.UserError, match=r"images: a single \w+; put it into a list"):
            call(image)


@pytest.mark.parametrize("images", [None, 3, torch.tensor(1.0)])
def test_what_is_no_collection_is_an_error(model, images):
    with pytest.raises(askew.UserError, match=r"images: a value of type \w+ cannot be iterated over; give a list"):
        model.encode_images(images)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ("a dog", "texts: a single str; put it into a list"),
        (b"a dog", "texts: a single bytes"),
        (["a", b"b"], "texts[1]: a value of type bytes is no text; give strings"),
        (["a", None], "texts[1]: a value of type NoneType is no text"),
        (5, "texts: a value of type int cannot be iterated over"),
    ],
)
def test_wrong_texts(model, texts, words):
    with pytest.raises(askew.UserError) as caught:
        model.encode_texts(texts)
    assert words in one_line(caught)


def test_any_string_is_a_text(model):
    """Also an empty one, and one with half of a surrogate pair, which is encoded as `?`."""
    made = model.encode_texts(["", "a \ud800 b", "a ? b"])
    assert np.isfinite(made).all()
    assert np.array_equal(made[1], made[2])


@pytest.mark.parametrize("value", [0, -1, 2.5, "8", None])
def test_sizes_are_whole_numbers_from_one(model, value):
    for call in (model.encode_images, model.encode_texts):
        with pytest.raises(askew.UserError, match=r"batch_size=.*: give a whole number of at least 1"):
            call([], batch_size=value)
    if value is not None:
        with pytest.raises(askew.UserError, match=r"num_workers=.*: give a whole number of at least 1"):
            model.encode_images([], num_workers=value)


@pytest.mark.parametrize(
    ("classes", "templates", "words"),
    [
        ("cat", "a {}", "classes: a single str; put it into a list"),
        ([], "a {}", "classes: there are none; name at least one"),
        (["cat", " "], "a {}", "classes[1]: a class without a name; leave it out"),
        (["cat", ()], "a {}", "classes[1]: a class without a name; leave it out"),
        (["cat", ["dog", 3]], "a {}", "classes[1][1]: a value of type int is no text"),
        (["cat", 3], "a {}", "classes[1]: a value of type int cannot be iterated over"),
        (["cat"], "a photo", "'a photo' is neither a template, with {} where the name goes, nor one of the data sets"),
        (["cat"], "a {c}", "templates: 'a {c}' is not a template; write {} once"),
        (["cat"], ["a {}", "b"], "templates[1]: 'b' is not a template"),
        (["cat"], [], "templates: there are none"),
    ],
)
def test_wrong_classes_and_templates(model, classes, templates, words):
    with pytest.raises(askew.UserError) as caught:
        model.zero_shot(classes, templates)
    assert words in one_line(caught)
