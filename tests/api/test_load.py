"""`askew.load`: what it takes, and what it says about what it cannot take."""

import pickle
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from standins import micro_model, png

import askew
from askew.data.images import PixelLimit
from askew.evaluation.loading import load_encoders
from micro_runs import askew_here, micro_recipe, table_of_25, train

TEXTS = ["a red square", "two dogs"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of MCD, whose teacher is not its student."""
    folder = tmp_path_factory.mktemp("load")
    return train(micro_recipe(table_of_25(folder / "data"), epochs=1), folder / "run")


@pytest.fixture
def limit():
    """The limit of pixels, which belongs to the process, is put back."""
    yield
    PixelLimit().apply()


def test_a_run_has_a_student_and_a_teacher(run):
    found = {}
    for weights, folder in (("student", "model"), ("teacher", "teacher")):
        model = askew.load(run, device="cpu", weights=weights)
        assert model.protocol["weights"] == weights
        found[weights] = model.encode_images([png(0), png(1)])
        expected = load_encoders(str(run / folder), torch.device("cpu"))
        assert np.array_equal(model.encode_texts(TEXTS), expected.text(TEXTS))
        assert np.array_equal(found[weights], askew.load(run / folder, "cpu").encode_images([png(0), png(1)]))
    assert np.abs(found["student"] - found["teacher"]).max() > 1e-4


def test_names_are_those_of_askew_eval(run, monkeypatch):
    """A string or a path; with `local-dir:`; `~`."""
    monkeypatch.setenv("HOME", str(run.parent))
    expected = askew.load(run, "cpu").encode_texts(TEXTS)
    for name in (str(run), f"local-dir:{run / 'model'}", "~/run", "~/run/model"):
        assert np.array_equal(askew.load(name, "cpu").encode_texts(TEXTS), expected), name
    assert repr(askew.load("~/run", "cpu")) == "askew.load('~/run', weights='student')"


def test_an_unfinished_run_is_loaded_with_a_warning(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "model")
    with pytest.warns(UserWarning, match="these are the weights of its last checkpoint, student at step 3") as found:
        model = askew.load(tmp_path / "run", "cpu")
    assert found[0].filename == __file__
    assert np.array_equal(model.encode_texts(TEXTS), askew.load(run, "cpu").encode_texts(TEXTS))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"device": "gpu"}, "device=gpu is not known; use auto, cpu, cuda, cuda:1 or mps"),
        ({"device": "xpu"}, "device=xpu is not available on this machine; it has "),
        ({"precision": "fp16"}, "precision 'fp16' is not known; use fp32 or bf16"),
        ({"weights": "momentum"}, "weights 'momentum' is not known; use student or teacher or best"),
        ({"weights": "best"}, "the run has no best/ folder; it keeps one where evaluation.best names a measure"),
    ],
)
def test_wrong_arguments_are_one_line(run, arguments, words):
    with pytest.raises(askew.UserError) as caught:
        askew.load(run, **{"device": "cpu", **arguments})
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without CUDA")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", torch.device("cuda")])
def test_a_device_that_is_not_there_is_one_line(run, device):
    with pytest.raises(askew.UserError, match="device=cuda is not available on this machine; it has cpu"):
        askew.load(run, device)


@pytest.mark.parametrize("name", ["runs/nowhere", "local-dir:nowhere", "ViT-B-33", "a\x1bb"])
def test_a_model_that_is_not_there_has_the_line_of_the_command_line(name, tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_text("image,caption\na.png,a\n", encoding="utf-8")
    (tmp_path / "a.png").write_bytes(png(0))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(askew.UserError) as caught:
        askew.load(name, "cpu")
    done = askew_here("embed", name, "--data", "a.csv", "--out", "a.npy", "--cache", "cache")
    assert done.returncode == 2
    assert str(caught.value) in done.stderr


def test_damaged_weights_are_named(tmp_path):
    folder = micro_model(tmp_path / "model")
    (folder / "open_clip_model.safetensors").write_bytes(b"nothing")
    with pytest.raises(askew.UserError, match="model: cannot be loaded"):
        askew.load(folder, "cpu")


def test_weights_that_are_not_finite_are_reported(tmp_path):
    model = askew.load(micro_model(tmp_path / "model"), "cpu")
    model._encoders.model.text.token_embedding.weight.data.fill_(torch.nan)
    with pytest.raises(askew.UserError, match="the model's embeddings are not finite; its weights are damaged"):
        model.encode_texts(TEXTS)
    model.encode_images([png(0)])


def test_the_limit_of_pixels_is_an_argument(run, tmp_path, limit):
    Image.new("RGB", (1500, 1000)).save(tmp_path / "large.png")
    model = askew.load(run, "cpu", max_megapixels=1)
    with pytest.raises(askew.ImageError, match=r"raise it with askew\.load\(\.\.\., max_megapixels=2\)"):
        model.encode_images([tmp_path / "large.png"])
    assert askew.load(run, "cpu", max_megapixels=2).encode_images([tmp_path / "large.png"]).shape == (1, 16)


def test_errors_travel_between_processes():
    error = askew.ImageError("images[3]: empty image", 3)
    copied = pickle.loads(pickle.dumps(error))
    assert (str(copied), copied.index) == ("images[3]: empty image", 3)
