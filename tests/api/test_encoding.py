"""Images and texts through `askew.Model`: the numbers of `askew embed` and `askew eval`, in order, of every kind."""

import io
import threading
from functools import partial

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from standins import micro_model

import askew
from askew.api import encoding
from askew.api.encoding import HeldMemory
from askew.data.images import decode, decoded
from askew.evaluation.datasets.folder import ImageFiles
from askew.evaluation.features import Extractor
from askew.evaluation.loading import load_encoders
from helpers import write_pairs
from micro_runs import askew_here

SIZES = [(40, 40), (32, 32), (50, 33), (33, 70), (31, 32), (200, 90), (1, 1), (64, 48)]
TEXTS = ["a red square", "two dogs", "a red square", "blue", "a green field with one very small horse"]


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A micro model, and 9 pairs."""
    folder = tmp_path_factory.mktemp("encoding")
    micro_model(folder / "model")
    write_pairs(folder / "data", 9)
    return folder


@pytest.fixture(scope="module")
def model(here):
    return askew.load(here / "model", device="cpu")


@pytest.fixture(scope="module")
def encoders(here):
    return load_encoders(str(here / "model"), torch.device("cpu"))


@pytest.fixture(scope="module")
def paths(here):
    return sorted((here / "data").glob("*.png"))


def noise(num, sizes=SIZES):
    """Arrays (H, W, 3) of several sizes."""
    rng = np.random.default_rng(0)
    shapes = [sizes[index % len(sizes)] for index in range(num)]
    return [rng.integers(0, 256, size=(height, width, 3), dtype=np.uint8) for width, height in shapes]


def test_embeddings_are_those_of_askew_embed(here, model, paths):
    command = ["embed", "model", "--data", "data/pairs.csv", "--cache", "cache", "--out", "pairs.npy"]
    done = askew_here(*command, cwd=here)
    assert done.returncode == 0, done.stderr
    rows = (here / "data" / "pairs.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert np.array_equal(model.encode_images(paths), np.load(here / "pairs.npy"))
    assert np.array_equal(
        model.encode_texts([row.partition(",")[2] for row in rows]), np.load(here / "pairs-texts.npy")
    )


@pytest.mark.parametrize("batch_size", [256, 4])
def test_embeddings_are_those_of_an_evaluation(here, model, encoders, paths, batch_size, monkeypatch):
    monkeypatch.setattr(encoders, "batch_size", batch_size)
    expected = Extractor(encoders).embed(ImageFiles(here / "data", [path.name for path in paths])).embedding
    assert np.array_equal(model.encode_images(paths, batch_size), expected)
    assert np.array_equal(model.encode_texts(TEXTS, batch_size), encoders.text(TEXTS))


def test_embeddings_are_open_clips(here, model):
    """Its own preprocessing, tokens and forward passes, on images of many shapes."""
    theirs, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{here / 'model'}")
    tokenize = open_clip.get_tokenizer(f"local-dir:{here / 'model'}")
    theirs.eval()
    images = [Image.fromarray(array) for array in noise(16)]
    with torch.inference_mode():
        image = theirs.encode_image(torch.stack([preprocess(one) for one in images]), normalize=True).numpy()
        text = theirs.encode_text(tokenize(TEXTS), normalize=True).numpy()
    assert np.abs(model.encode_images(images) - image).max() < 1e-5
    assert np.abs(model.encode_texts(TEXTS) - text).max() < 1e-5
    assert np.abs(model.similarity(images, TEXTS) - image @ text.T).max() < 1e-5


def test_every_kind_of_image_gives_the_same_embeddings(model, paths):
    arrays = [np.asarray(Image.open(path)) for path in paths]
    tensors = [torch.tensor(array).permute(2, 0, 1) for array in arrays]
    expected = model.encode_images(paths)
    kinds = {
        "str": [str(path) for path in paths],
        "bytes": [path.read_bytes() for path in paths],
        "pillow, not loaded yet": [Image.open(path) for path in paths],
        "array": arrays,
        "one array of all": np.stack(arrays),
        "array of columns": [np.asfortranarray(array) for array in arrays],
        "tensor": tensors,
        "one tensor of all": torch.stack(tensors),
        "floats": [tensor / 255 for tensor in tensors],
        "doubles": [tensor.double() / 255 for tensor in tensors],
        "half floats": [(tensor / 255).half() for tensor in tensors],
        "a generator": (path for path in paths),
        "a mixture": [str(paths[0]), paths[1], Image.open(paths[2]), arrays[3], tensors[4], *paths[5:]],
    }
    for kind, images in kinds.items():
        assert np.array_equal(model.encode_images(images), expected), kind
    assert np.ptp(expected, axis=0).max() > 0.01  # the images differ


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "CMYK", "I;16"])
def test_pillow_images_of_every_mode_follow_the_rules_of_files(model, mode):
    """Transparent pixels show white, 16 bits become 8."""
    image = Image.fromarray(noise(1)[0])
    if mode == "I;16":
        image = Image.fromarray((np.arange(1600, dtype=np.uint16) * 40).reshape(40, 40))
    elif mode in ("RGBA", "LA"):
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    image = image.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "TIFF" if mode == "CMYK" else "PNG")
    assert np.array_equal(model.encode_images([image]), model.encode_images([buffer.getvalue()]))


def test_embeddings_are_unit_length_in_both_precisions(here, model, paths):
    rough = askew.load(here / "model", device="cpu", precision="bf16")
    assert rough.protocol["precision"] == "bf16"
    for made in (model.encode_images(paths), rough.encode_images(paths), rough.encode_texts(TEXTS)):
        assert made.dtype == np.float32
        assert np.abs(np.linalg.norm(made, axis=1) - 1).max() < 1e-6
    difference = np.abs(rough.encode_images(paths) - model.encode_images(paths)).max()
    assert 0 < difference < 0.03


def test_order_is_kept_by_any_number_of_workers(model):
    """Images that take longer come first in each batch."""
    images = noise(40, [(900, 700), (40, 40), (5, 5)])
    one = model.encode_images(images, batch_size=7, num_workers=1)
    assert np.array_equal(model.encode_images(iter(images), batch_size=7, num_workers=8), one)
    assert np.abs(model.encode_images(images[:5] + images[5::-1]) - one[[*range(5), *range(5, -1, -1)]]).max() < 1e-6


def test_a_generator_may_reuse_its_memory(model):
    arrays = noise(9, [(40, 40)])
    buffer, shown, tensor = np.empty_like(arrays[0]), Image.new("RGB", (40, 40)), torch.empty(3, 40, 40)

    def as_array():
        for array in arrays:
            buffer[:] = array
            yield buffer

    def as_image():
        for array in arrays:
            shown.paste(Image.fromarray(array))
            yield shown

    def as_tensor():
        for array in arrays:
            tensor.copy_(torch.tensor(array).permute(2, 0, 1) / 255)
            yield tensor

    for images in (as_array(), as_image(), as_tensor()):
        assert np.array_equal(model.encode_images(images), model.encode_images(arrays))


def test_no_more_than_three_batches_are_taken_ahead(model, monkeypatch):
    taken, ahead = 0, []
    features = model._encoders.features

    def watched(pixels):
        ahead.append(taken)
        return features(pixels)

    def images():
        nonlocal taken
        for array in noise(20, [(40, 40)]):
            taken += 1
            yield array

    monkeypatch.setattr(model._encoders, "features", watched)
    model.encode_images(images(), batch_size=2)
    assert ahead == [6, 8, 10, 12, 14, 16, 18, 20, 20, 20]


def test_memory_that_waits_is_bounded(model, monkeypatch):
    """With room for one image, the next waits until it is decoded; an image that is larger than all room passes."""
    images = noise(12, [(40, 40), (90, 90)])
    expected = model.encode_images(images)
    most, add = [], HeldMemory.add

    def watched(self, nbytes):
        add(self, nbytes)
        most.append(self.held)

    monkeypatch.setattr(encoding, "HeldMemory", partial(HeldMemory, 40 * 40 * 4))
    monkeypatch.setattr(HeldMemory, "add", watched)
    assert np.array_equal(model.encode_images(images, num_workers=4), expected)
    assert max(most) == 90 * 90 * 4


def test_of_nothing_there_is_nothing(model):
    assert model.embedding_dim == 16
    for empty in (model.encode_images([]), model.encode_images(iter(())), model.encode_texts([])):
        assert empty.shape == (0, 16)
        assert empty.dtype == np.float32
    assert model.similarity([], TEXTS).shape == (0, 5)
    assert model.similarity(noise(2), []).shape == (2, 0)


class Gone(OSError):
    """What a user's generator raises: also an OSError, which a bad image would be, is the user's own."""


@pytest.mark.parametrize("at", [0, 5, 17])
def test_what_a_generator_raises_passes_through(model, at):
    raised, threads = Gone("the camera is gone"), threading.active_count()

    def images():
        yield from noise(at)
        raise raised

    with pytest.raises(Gone) as caught:
        model.encode_images(images(), batch_size=2, num_workers=3)
    assert caught.value is raised
    assert threading.active_count() == threads


def test_what_a_generator_of_texts_raises_passes_through(model):
    def texts():
        yield "a"
        raise Gone

    with pytest.raises(Gone):
        model.encode_texts(texts())


def test_logits_are_the_models_own(tmp_path):
    """With a scale and a bias, as SigLIP has them; those of open_clip's model."""
    micro_model(tmp_path, init_logit_bias=-7.5, init_logit_scale=1.5)
    model = askew.load(tmp_path, device="cpu")
    assert model.logit_scale == pytest.approx(np.exp(1.5))
    assert model.logit_bias == -7.5
    theirs, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tmp_path}")
    images = [Image.fromarray(array) for array in noise(4)]
    with torch.inference_mode():
        pixels = torch.stack([preprocess(image) for image in images])
        expected, _ = theirs.eval().get_logits(pixels, open_clip.get_tokenizer(f"local-dir:{tmp_path}")(TEXTS))
    assert np.abs(model.logits(images, TEXTS) - expected.numpy()).max() < 1e-4


def test_a_model_without_bias_has_none(model):
    images = noise(3)
    assert model.logit_bias == 0
    assert np.array_equal(model.logits(images, TEXTS), model.similarity(images, TEXTS) * np.float32(model.logit_scale))


def test_texts_that_are_cut_are_reported(model):
    with pytest.warns(UserWarning, match=r"1 of 2 texts are longer than the model's context, and their ends") as found:
        cut = model.encode_texts(["word " * 50, "a"])
    assert found[0].filename == __file__
    whole = model.encode_texts(["word " * 14])  # 16 tokens, with the first and the last one
    assert np.abs(cut[0] - whole[0]).max() < 1e-6


def test_decoded_images_share_no_memory(paths):
    """What `taken` relies on: a decoded image of the right mode is copied, too."""
    image = decode(paths[0].read_bytes())
    copied = decoded(image)
    image.paste((0, 0, 0), (0, 0, *image.size))
    assert copied.getbbox() is not None
