"""Features are taken before the projection, and embeddings stay those of open_clip."""

import json

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip.model import CLIP, CustomTextCLIP
from standins import MICRO, micro_model

from askew.errors import UserError
from askew.evaluation.layers import may_trim, take_off_projection
from askew.evaluation.loading import check_activation, check_tokenizer, load_encoders
from askew.evaluation.model import Encoders

TIMM = {"timm_model_name": "test_vit", "timm_model_pretrained": False, "timm_pool": "avg", "image_size": 160}
TOWERS = {
    "native ViT": (MICRO["vision_cfg"], 32, "visual.proj"),
    "native ResNet": ({"image_size": 64, "layers": [1, 1, 1, 1], "width": 8}, 256, "visual.attnpool.c_proj"),
    "timm, linear": ({**TIMM, "timm_proj": "linear"}, 64, "visual.head.proj"),
    "timm, mlp": ({**TIMM, "timm_proj": "mlp"}, 64, "visual.head.mlp"),
    "timm, own classifier": ({**TIMM, "timm_proj": ""}, 64, "visual.trunk.head"),
    "timm, no projection": ({**TIMM, "timm_proj": "none"}, 64, "no projection"),
}


@pytest.mark.parametrize("tower", TOWERS)
def test_embeddings_are_open_clips_and_features_come_before_them(tower):
    vision, width, layer = TOWERS[tower]
    torch.manual_seed(0)
    text = {**MICRO["text_cfg"]}
    model = CustomTextCLIP(64 if "no proj" in tower else 16, vision, text).eval()
    pixels = torch.randn(3, 3, *model.visual.image_size if isinstance(model.visual.image_size, tuple) else (64, 64))
    with torch.no_grad():
        expected = model.encode_image(pixels, normalize=True).numpy()
    encoders = Encoders(model, lambda image: image, list, torch.device("cpu"), {})
    pooled, embedding = encoders.features(pixels)
    np.testing.assert_allclose(embedding, expected, rtol=1e-5, atol=2e-6)
    assert pooled is not None
    assert pooled.shape == (3, width)
    assert layer in encoders.layer
    if "no proj" not in tower:
        assert not np.allclose(np.linalg.norm(pooled, axis=1), 1)


def test_the_plain_layout_is_supported_bit_for_bit():
    torch.manual_seed(0)
    model = CLIP(**MICRO).eval()
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = model.encode_image(pixels, normalize=True).numpy()
    encoders = Encoders(model, lambda image: image, list, torch.device("cpu"), {})
    assert (encoders.features(pixels)[1] == expected).all()


def test_a_tower_of_an_unknown_kind_is_left_alone():
    class Other(torch.nn.Module):
        visual = torch.nn.Linear(4, 3)

        def encode_image(self, pixels, normalize):
            return F.normalize(self.visual(pixels), dim=-1)

    model = Other()
    assert take_off_projection(model.visual) is None
    encoders = Encoders(model, lambda image: image, list, torch.device("cpu"), {})
    pooled, embedding = encoders.features(torch.ones(2, 4))
    assert pooled is None
    assert encoders.layer == ""
    assert embedding.shape == (2, 3)


def test_short_texts_run_short_and_have_open_clips_embeddings(tmp_path):
    folder = micro_model(tmp_path / "model")
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")
    texts = ["a dog", "a very long text about a dog and a cat and a bird and a fish and more", "", "a dog", "two owls"]
    with torch.no_grad():
        expected = model.eval().encode_text(tokens(texts), normalize=True).numpy()
    encoders = load_encoders(f"local-dir:{folder}", torch.device("cpu"), batch_size=2)
    assert may_trim(encoders.model.text)
    found = encoders.text(texts)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert (found[0] == found[3]).all()  # equal texts are encoded once


def test_a_bidirectional_text_tower_always_runs_at_full_length(tmp_path):
    folder = micro_model(tmp_path / "model", text_cfg={"no_causal_mask": True})
    # Only the layout with a separate text tower supports this
    config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    model = CustomTextCLIP(**config).eval()
    assert not may_trim(model.text)
    tokens = open_clip.SimpleTokenizer(context_length=16)
    with torch.no_grad():
        expected = model.encode_text(tokens(["a dog", "a cat on a mat"]), normalize=True).numpy()
    encoders = Encoders(model, lambda image: image, tokens, torch.device("cpu"), {})
    np.testing.assert_allclose(encoders.text(["a dog", "a cat on a mat"]), expected, atol=1e-6)


def test_the_fingerprint_knows_weights_activation_preprocessing_and_precision(tmp_path):
    def fingerprint(folder, **options):
        return load_encoders(f"local-dir:{folder}", torch.device("cpu"), **options).fingerprint()

    same = fingerprint(micro_model(tmp_path / "a"))
    assert fingerprint(micro_model(tmp_path / "again")) == same
    other = micro_model(tmp_path / "smaller")
    saved = json.loads((other / "open_clip_config.json").read_text())
    saved["preprocess_cfg"] = {"mean": [0.5, 0.5, 0.5]}
    (other / "open_clip_config.json").write_text(json.dumps(saved))
    prints = {
        same,
        fingerprint(micro_model(tmp_path / "b", seed=1)),
        fingerprint(micro_model(tmp_path / "c", quick_gelu=True)),
        fingerprint(tmp_path / "a", precision="bf16"),
        fingerprint(other),
    }
    assert len(prints) == 5


def test_the_weights_of_a_run_are_only_recorded(tmp_path):
    folder = micro_model(tmp_path / "model")
    student, teacher = (
        load_encoders(f"local-dir:{folder}", torch.device("cpu"), weights=weights) for weights in ("student", "teacher")
    )
    assert (student.protocol["weights"], teacher.protocol["weights"]) == ("student", "teacher")
    assert student.protocol | {"weights": "teacher"} == teacher.protocol
    assert student.fingerprint() == teacher.fingerprint()


@pytest.mark.parametrize("name", ["nowhere", "local-dir:nowhere", "local-dir:ViT-B-32", "ViT-B32/openai"])
def test_a_model_that_does_not_exist_is_one_line(name):
    with pytest.raises(UserError, match=rf"^{name}: neither a run directory, nor a folder with open_clip_config.json"):
        load_encoders(name, torch.device("cpu"))


def test_the_fingerprint_knows_the_projection_too():
    """It is taken off the model, and two models may differ only in it."""
    found = set()
    for change in (0.0, 0.1):
        torch.manual_seed(0)
        model = CLIP(**MICRO).eval()
        with torch.no_grad():
            model.visual.proj[0, 0] += change
        found.add(Encoders(model, str, list, torch.device("cpu"), {}).fingerprint())
    assert len(found) == 2


def test_weights_under_another_activation_are_refused_before_the_download():
    with pytest.raises(UserError, match=r"trained with QuickGELU, .*ViT-B-32 computes GELU; use ViT-B-32-quickgelu/"):
        check_activation("ViT-B-32", "openai")
    with pytest.raises(UserError, match=r"use ViT-B-32-quickgelu/openai"):
        load_encoders("ViT-B-32/openai", torch.device("cpu"))
    check_activation("ViT-B-32-quickgelu", "openai")
    check_activation("ViT-B-32", "laion2b_s34b_b79k")
    check_activation("ViT-B-32", "")


def test_a_tokenizer_that_cannot_be_the_models_is_refused(tmp_path):
    model = CustomTextCLIP(**MICRO)
    check_tokenizer("m", model, open_clip.SimpleTokenizer(context_length=16))
    with pytest.raises(UserError, match="makes 12 tokens and the text tower takes 16"):
        check_tokenizer("m", model, open_clip.SimpleTokenizer(context_length=12))
    extra = open_clip.SimpleTokenizer(context_length=16, additional_special_tokens=["<more>"])
    with pytest.raises(UserError, match=r"49,409 ids and the text tower's weights 49,408"):
        check_tokenizer("m", model, extra)

    def other_end(texts):
        return torch.tensor([[9, 5, 3, 2] + [0] * 12] * len(texts))

    with pytest.raises(UserError, match="pools at the highest id"):
        check_tokenizer("m", model, other_end)
