"""`askew export --to transformers`: the Auto classes and pipelines give askew's numbers from JPEG and strings."""

import json

import numpy as np
import pytest
import torch
from exported import TRICKY, differences, micro_run_recipe, photographs, run_snippet, written
from PIL import Image
from standins import micro_model

import askew
from askew.config import TowerSettings
from askew.errors import UserError
from askew.evaluation.loading import load_encoders
from askew.export import target
from askew.export.command import ExportRequest, export
from askew.export.tokenizer import tokenizer_of
from askew.report.console import Console
from micro_runs import askew_here, train

pytest.importorskip("transformers")


def jpegs(run):
    return sorted((run.parent / "data").glob("*.jpg"))


@pytest.fixture(scope="module")
def made(photo_run, tmp_path_factory):
    """The exported folder of the run with native towers, and what was printed."""
    return written(photo_run, tmp_path_factory.mktemp("transformers") / "out", "--to", "transformers")


def test_a_clip_model_gives_the_same_embeddings_of_100_real_samples(made):
    out, printed = made
    assert "the first 100 pairs" in printed
    assert max(differences(printed)) < 1e-5
    assert json.loads((out / "config.json").read_text())["architectures"] == ["CLIPModel"]
    assert {path.name for path in out.iterdir()} >= {"README.md", "model.safetensors", "tokenizer.json"}


def test_the_pixels_are_the_same_to_the_last_digits(made, photo_run):
    """Shapes from wide to tall, enlarged and shrunk; CLIPImageProcessor does not, which is why it is not used."""
    from transformers import AutoProcessor, CLIPImageProcessor

    processor = AutoProcessor.from_pretrained(made[0]).image_processor
    preprocess = load_encoders(f"local-dir:{photo_run / 'model'}", torch.device("cpu")).preprocess
    images = [Image.open(path).convert("RGB") for path in jpegs(photo_run)]
    ours = torch.stack([preprocess(image) for image in images])
    theirs = processor(images, return_tensors="pt")["pixel_values"]
    assert torch.equal(ours, theirs)
    size = ours.shape[-1]
    config = json.loads((made[0] / "config.json").read_text())["pretrained_cfg"]
    usual = CLIPImageProcessor(
        size={"shortest_edge": size}, crop_size=size, image_mean=config["mean"], image_std=config["std"]
    )
    other = usual(images, return_tensors="pt")["pixel_values"]
    assert (ours - other).abs().max() > 0.05


def test_the_tokenizer_gives_open_clips_ids(made, photo_run):
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(made[0])
    ours = load_encoders(f"local-dir:{photo_run / 'model'}", torch.device("cpu")).tokenize
    captions = [line.partition(",")[2] for line in (photo_run.parent / "data" / "pairs.csv").read_text().splitlines()]
    texts = [*captions, *(text for text in TRICKY if text != "schÃ¶n")]
    assert theirs.model_max_length == ours.context_length == 16
    ids = theirs(texts, padding="max_length", truncation=True, return_tensors="pt")["input_ids"]
    expected = ours(texts)
    assert [text for text, a, b in zip(texts, ids, expected, strict=True) if not torch.equal(a, b)] == []
    assert not torch.equal(theirs("schÃ¶n", padding="max_length", return_tensors="pt")["input_ids"], ours(["schÃ¶n"]))
    assert "`cafÃ©`" in (made[0] / "README.md").read_text(encoding="utf-8"), "what differs is on the card"


def test_pads_and_the_attention_mask_change_nothing(made):
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(made[0]).eval(), AutoTokenizer.from_pretrained(made[0])
    texts = ["a red bicycle", "two dogs and a cat on a chair"]
    with torch.inference_mode():
        whole = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
        short = tokenizer(texts, padding=True, return_tensors="pt")
        found = [
            model.get_text_features(**whole).pooler_output,
            model.get_text_features(input_ids=whole["input_ids"]).pooler_output,
            model.get_text_features(**short).pooler_output,
        ]
    assert short["input_ids"].shape[1] < whole["input_ids"].shape[1]
    assert max((one - found[0]).abs().max() for one in found) < 1e-5


def test_the_snippet_and_askew_give_the_same(made, photo_run):
    """The card's code, the run itself, and the exported directory read by askew.load."""
    photo = jpegs(photo_run)[3]
    found = run_snippet(made[0], photo)
    run, back = askew.load(photo_run, device="cpu"), askew.load(made[0], device="cpu")
    for name, ours, again in (
        ("image_embedding", run.encode_images([photo]), back.encode_images([photo])),
        ("text_embedding", run.encode_texts(["a red bicycle"]), back.encode_texts(["a red bicycle"])),
    ):
        assert np.abs(found[name].numpy() - ours).max() < 1e-5
        assert np.abs(again - ours).max() < 1e-5
    assert back.logit_scale == pytest.approx(run.logit_scale)


def test_zero_shot_and_feature_pipelines_work(made, photo_run):
    from transformers import pipeline

    photo, labels = jpegs(photo_run)[0], ["a red bicycle", "two dogs", "battery"]
    classify = pipeline("zero-shot-image-classification", model=str(made[0]), device="cpu")
    scores = {one["label"]: one["score"] for one in classify(str(photo), labels, hypothesis_template="{}")}
    expected = askew.load(photo_run, device="cpu").zero_shot(labels, "{}")([photo]).probabilities[0]
    assert [scores[label] for label in labels] == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.fixture(scope="module")
def timm_run(photo_run, tmp_path_factory):
    """A run with a timm image tower, as the recipes for CPUs have."""
    towers = TowerSettings(
        model="",
        embed_dim=16,
        vision_cfg={"image_size": 32, "timm_model_name": "convnext_atto", "timm_pool": "avg", "timm_proj": "linear"},
        text_cfg={"context_length": 16, "width": 32, "heads": 2, "layers": 1},
    )
    recipe = micro_run_recipe(photo_run.parent / "data" / "pairs.csv", "clip", max_steps=1)
    return train(recipe.model_copy(update={"towers": towers}), tmp_path_factory.mktemp("timm") / "run")


def test_a_timm_tower_is_a_dual_encoder_with_the_same_embeddings(timm_run, photo_run, tmp_path):
    out = tmp_path / "out"
    done = askew_here("export", timm_run, "--to", "transformers", "--out", out, "--samples", "20")
    assert done.returncode == 0, done.stderr
    assert max(differences(done.stderr)) < 1e-5
    assert json.loads((out / "config.json").read_text())["architectures"] == ["VisionTextDualEncoderModel"]
    photo = jpegs(photo_run)[5]
    found, run = run_snippet(out, photo), askew.load(timm_run, device="cpu")
    assert np.abs(found["image_embedding"].numpy() - run.encode_images([photo])).max() < 1e-5
    assert np.abs(askew.load(out, device="cpu").encode_images([photo]) - run.encode_images([photo])).max() < 1e-5


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"vision_cfg": {"attentional_pool": True, "attn_pooler_heads": 2}}, "its ViT pools by attention"),
        ({"vision_cfg": {"pool_type": "avg"}}, "pool_type='avg'"),
        ({"vision_cfg": {"ls_init_value": 0.1}}, "such as a layer scale"),
        ({"text_cfg": {"no_causal_mask": True}}, "not open_clip's causal one"),
        ({"init_logit_bias": -10.0}, "adds a bias to the logits"),
    ],
)
def test_what_no_class_expresses_is_refused(tmp_path, changes, why):
    model = micro_model(tmp_path / "model", **changes)
    with pytest.raises(UserError, match=rf"^--to transformers: .*{why}.*use --to open_clip or --to onnx$"):
        export(ExportRequest(f"local-dir:{model}", "transformers", tmp_path / "out", samples=1), Console(quiet=True))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_tokenizer_that_cleans_otherwise_is_refused(tmp_path):
    model = micro_model(tmp_path / "model", text_cfg={"tokenizer_kwargs": {"clean": "canonicalize"}})
    with pytest.raises(UserError, match=r"^--to transformers: .*not open_clip's usual one.*use --to open_clip$"):
        export(ExportRequest(f"local-dir:{model}", "transformers", tmp_path / "out", samples=1), Console(quiet=True))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("quick", [True, False])
def test_both_activations_and_the_squash_resize(tmp_path, quick):
    model = micro_model(tmp_path / "model", quick_gelu=quick, vision_cfg={"patch_dropout": 0.5})
    config = json.loads((model / "open_clip_config.json").read_text())
    config["preprocess_cfg"] = {"resize_mode": "squash", "interpolation": "bilinear"}
    (model / "open_clip_config.json").write_text(json.dumps(config))
    data = photographs(tmp_path / "data", 6)
    asked = ExportRequest(f"local-dir:{model}", "transformers", tmp_path / "out", samples=6, data=str(data))
    export(asked, Console(quiet=True))  # it fails where the numbers differ
    made = json.loads((tmp_path / "out" / "config.json").read_text())
    assert {made[half]["hidden_act"] for half in ("text_config", "vision_config")} == {
        "quick_gelu" if quick else "gelu"
    }


def test_a_missing_extra_is_one_line(photo_run, tmp_path, monkeypatch):
    monkeypatch.setattr(target, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"transformers, timm, tokenizers is not installed; pip install 'askew\[export\]'"
    ):
        export(ExportRequest(str(photo_run), "transformers", tmp_path / "out", samples=1), Console(quiet=True))
    assert list(tmp_path.iterdir()) == []


def test_another_kind_of_tokenizer_is_refused():
    with pytest.raises(UserError, match="tokenizer is not open_clip's usual one"):
        tokenizer_of(lambda texts: texts, 16)


def test_a_directory_of_transformers_is_not_exported_again(made, tmp_path):
    with pytest.raises(UserError, match="is a directory of transformers; askew exports runs and models of open_clip"):
        export(ExportRequest(str(made[0]), "open_clip", tmp_path / "out", samples=1), Console(quiet=True))
    assert list(tmp_path.iterdir()) == []
