"""`askew export --to onnx`: the graphs against PyTorch, and the folder used without askew and PyTorch."""

import json
import re
import subprocess
import sys
from dataclasses import asdict
from itertools import product

import numpy as np
import onnxruntime
import pytest
import torch
from exported import TRICKY, differences, written
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from standins import micro_model
from torch import nn

import askew
from askew.errors import UserError
from askew.export.onnx import image_settings, image_size, write_graph, write_graphs
from askew.export.onnx_reader import pixels_of
from askew.export.source import open_model
from micro_runs import askew_here

SIGLIP = {  # a timm tower pooled by attention, and a text tower in which every token sees every other
    "embed_dim": 64,
    "init_logit_bias": -10,
    "vision_cfg": {"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "map", "timm_proj": "none"},
    "text_cfg": {"no_causal_mask": True, "pool_type": "last", "width": 32, "heads": 2, "layers": 1},
}
ALONE = """
import json, runpy, sys
sys.modules.update(askew=None, torch=None)  # cannot be imported
from pathlib import Path
from PIL import Image
sys.argv = ["example.py", "photo.jpg", *json.loads(sys.argv[1])]
model = runpy.run_path("example.py", run_name="__main__")["OnnxModel"](Path("."))
image = model.encode_images([Image.open("photo.jpg")])
Path("found.json").write_text(json.dumps([image.tolist(), model.encode_texts(sys.argv[2:]).tolist()]))
"""


@pytest.fixture(scope="module")
def made(photo_run, tmp_path_factory):
    """The exported folder, and what was printed."""
    return written(photo_run, tmp_path_factory.mktemp("onnx") / "out", "--to", "onnx", "--int8")


def test_onnx_gives_the_same_embeddings_of_100_real_samples(made):
    out, printed = made
    assert "the first 100 pairs of the run's data" in printed
    assert max(differences(printed)) < 1e-6
    graphs = {"image.onnx", "text.onnx", "image_int8.onnx", "text_int8.onnx"}
    others = {"README.md", "preprocessing.json", "tokenizer.json", "example.py"}
    assert {path.name for path in out.iterdir()} == graphs | others
    assert printed.count("\n") < 12, "the exporter's own progress is not shown"


@pytest.mark.parametrize("batch", [1, 3, 17])
def test_the_batch_size_is_free(made, photo_run, batch):
    check(made[0], open_model(str(photo_run), "student", pytest.fail), batch)


def check(folder, source, batch):
    """Both graphs against the model that askew evaluates, from tensors."""
    rows, columns = image_size(source.preprocess_cfg)
    pixels = torch.randn(batch, 3, rows, columns, generator=torch.Generator().manual_seed(batch))
    texts = [f"{number} red bicycles" for number in range(batch)]
    image, text = (onnxruntime.InferenceSession(folder / f"{kind}.onnx") for kind in ("image", "text"))
    assert [node.shape[0] for node in (*image.get_inputs(), *text.get_inputs())] == ["batch", "batch"]
    [found] = image.run(["image_embedding"], {"pixels": pixels.numpy()})
    assert np.abs(found - source.encoders.features(pixels)[1]).max() < 1e-5
    [found] = text.run(["text_embedding"], {"tokens": source.encoders.tokenize(texts).numpy()})
    assert np.abs(found - source.encoders.text(texts)).max() < 1e-5


def test_a_model_like_siglip(tmp_path):
    model = micro_model(tmp_path / "model", **SIGLIP)
    source = open_model(str(model), "student", pytest.fail)
    write_graphs(source, tmp_path)
    for batch in (1, 3):
        check(tmp_path, source, batch)


def test_the_folder_is_used_without_askew_and_pytorch(made, photo_run, tmp_path):
    """From a JPEG and strings, in a process of its own."""
    out, photo = made[0], photo_run.parent / "data" / "001.jpg"
    for file in (*out.iterdir(), photo):
        (tmp_path / ("photo.jpg" if file == photo else file.name)).symlink_to(file)
    texts = ["a red bicycle", *TRICKY]
    clean = [text for text in texts if "Ã" not in text]  # what ftfy guesses is left out, and the card says so
    done = subprocess.run(
        [sys.executable, "-c", ALONE, json.dumps(clean)], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    image, text = json.loads((tmp_path / "found.json").read_text())
    ours = askew.load(photo_run, device="cpu")
    with pytest.warns(UserWarning, match="longer than the model's context"):
        expected = ours.encode_texts(clean)
    assert np.abs(np.array(text) - expected).max() < 1e-5
    expected_image = ours.encode_images([photo])
    assert np.abs(np.array(image) - expected_image).max() < 1e-5
    assert done.stdout.startswith(f"{(expected_image @ expected.T)[0, 0]:.4f}  a red bicycle")


MODES = product(("shortest", "longest", "squash"), (24, (24, 24), (20, 28)), ("bicubic", "bilinear"))


@pytest.mark.parametrize(("how", "size", "interpolation"), list(MODES))
def test_pixels_are_those_of_open_clip_to_the_last_bit(how, size, interpolation):
    config = PreprocessCfg(size=size, resize_mode=how, interpolation=interpolation, fill_color=7)
    theirs = image_transform_v2(config, is_train=False)
    generator = np.random.default_rng(3)
    for rows, columns in ((24, 24), (31, 53), (53, 31), (9, 40), (61, 20), (100, 101), (7, 7)):
        image = Image.fromarray(generator.integers(0, 256, (rows, columns, 3), dtype=np.uint8))
        assert np.array_equal(pixels_of(image, image_settings(asdict(config))), theirs(image).numpy()), (rows, columns)


def test_preprocessing_is_described(made):
    found = json.loads((made[0] / "preprocessing.json").read_text())
    assert found["image"]["resize"] == "shortest"
    assert found["image"]["interpolation"] == "bicubic"
    assert found["image"]["channels"] == "RGB"
    text = found["text"]
    assert (text["context_length"], text["start_id"], text["end_id"], text["pad_id"]) == (16, 49406, 49407, 0)
    assert "lower case" in text["cleaning"]
    assert found["graphs"]["opset"] == 18


def test_int8_is_measured_on_the_same_samples(made):
    out, printed = made
    lines = [line.split(None, 1)[1] for line in printed.splitlines() if line.startswith("int8 ")]
    assert len(lines) == 3
    card = (out / "README.md").read_text(encoding="utf-8")
    assert all(line in card for line in lines)
    largest, mean = map(float, re.findall(r"by at most (\S+), on average (\S+)", printed)[0])
    assert 0 < mean < largest < 0.2
    small, large = ((out / f"{kind}.onnx").stat().st_size for kind in ("text_int8", "text"))
    assert small < 0.35 * large


def test_int8_is_no_default_and_only_for_onnx(photo_run, tmp_path):
    done = askew_here("export", photo_run, "--to", "open_clip", "--int8", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "--int8 belongs to --to onnx" in done.stderr


def test_a_tower_that_no_graph_can_express_is_one_line(tmp_path):
    class Undecided(nn.Module):
        def forward(self, pixels):
            return pixels.mean(dim=(2, 3)) if pixels.sum() > 0 else pixels.amax(dim=(2, 3))

    with pytest.raises(
        UserError, match=r"^--to onnx: torch.onnx cannot express the image tower Undecided \(.*\); use"
    ) as found:
        write_graph(Undecided(), torch.zeros(2, 3, 4, 4), "pixels", tmp_path / "image.onnx")
    assert "\n" not in str(found.value)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_names_the_extra(photo_run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    done = askew_here("export", photo_run, "--to", "onnx", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "onnxruntime is not installed; pip install 'askew[export]'" in done.stderr
    assert list(tmp_path.iterdir()) == []
