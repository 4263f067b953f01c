"""Directories of transformers: `askew.load` gives what transformers itself computes, from bytes and strings."""

import io
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image

import askew
from askew.errors import UserError

transformers = pytest.importorskip("transformers")

TEXTS = ["a red bicycle", "Two dogs!", "café &amp; bar", "word " * 40, ""]
TEXT = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
        "max_position_embeddings": 16, "vocab_size": 49408, "bos_token_id": 49406}  # fmt: skip
VISION = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 3,
          "image_size": 32, "patch_size": 8}  # fmt: skip


def jpegs(num=3):
    """Photographs of odd shapes."""
    found = []
    for seed in range(num):
        blocks = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(blocks).resize((41 + 17 * seed, 63 - 9 * seed), Image.Resampling.BICUBIC).save(buffer, "JPEG")
        found.append(buffer.getvalue())
    return found


def clip_directory(folder, act="quick_gelu", eos=49407, eps=1e-5, dtype=torch.float32, **saving):
    """A CLIPModel with random weights and the tokenizer and processor that OpenAI's have."""
    torch.manual_seed(0)
    config = transformers.CLIPConfig(
        text_config={**TEXT, "hidden_act": act, "eos_token_id": eos, "layer_norm_eps": eps},
        vision_config={**VISION, "hidden_act": act, "layer_norm_eps": eps},
        projection_dim=24,
    )
    model = transformers.CLIPModel(config)
    with torch.no_grad():  # so that biases and norms count
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    model.to(dtype).save_pretrained(folder, **saving)
    ours = SimpleTokenizer()
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    transformers.CLIPTokenizer(
        vocab={names.get(token, token): number for token, number in ours.encoder.items()},
        merges=sorted(ours.bpe_ranks, key=ours.bpe_ranks.__getitem__),
        model_max_length=16,
    ).save_pretrained(folder)
    transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32).save_pretrained(folder)
    return folder


def theirs(folder):
    """Unit-length embeddings of the images and the texts by transformers alone."""
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    processor = transformers.AutoProcessor.from_pretrained(folder)
    opened = [Image.open(io.BytesIO(data)).convert("RGB") for data in jpegs()]
    pixels = processor.image_processor(images=opened, return_tensors="pt")
    size = model.config.text_config.max_position_embeddings
    tokens = processor.tokenizer(TEXTS, padding="max_length", truncation=True, max_length=size, return_tensors="pt")
    with torch.inference_mode():
        image = model.get_image_features(**pixels).pooler_output
        text = model.get_text_features(**{k: v for k, v in tokens.items() if k != "token_type_ids"}).pooler_output
    return F.normalize(image, dim=-1).numpy(), F.normalize(text, dim=-1).numpy()


def largest(folder):
    model = askew.load(folder, device="cpu")
    image, text = theirs(folder)
    return max(np.abs(model.encode_images(jpegs()) - image).max(), np.abs(model.encode_texts(TEXTS) - text).max())


@pytest.mark.filterwarnings("ignore:.* of .* texts are longer")
@pytest.mark.parametrize(("act", "eos"), [("quick_gelu", 2), ("gelu", 49407), ("gelu_pytorch_tanh", 49407)])
def test_clip_gives_what_transformers_computes(tmp_path, act, eos):
    folder = clip_directory(tmp_path / "clip", act, eos, eps=1e-4 if act == "gelu" else 1e-5)
    assert largest(folder) < 1e-5


def test_protocol_features_and_texts_that_are_cut(tmp_path):
    folder = clip_directory(tmp_path / "clip", max_shard_size="200KB", dtype=torch.float16)
    assert not (folder / "model.safetensors").exists(), "the weights are in several files"
    model = askew.load(folder, device="cpu")
    assert len(model.protocol["weights_sha256"]) == 64
    assert model.protocol["resolution"] == "(32, 32)"
    assert model.protocol["activation"] == "quick_gelu"
    assert "CLIPImageProcessor" in model.protocol["preprocessing"]
    assert model.protocol["features"] == "before the projection (visual.proj)"
    with pytest.warns(UserWarning, match="1 of 5 texts are longer"):
        text = model.encode_texts(TEXTS)
    assert np.abs(text - theirs(folder)[1]).max() < 1e-5
    assert model.logit_scale == pytest.approx(np.exp(2.6592), rel=0.2)


def test_siglip_runs_as_transformers_built_it(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = {word: number for number, word in enumerate(["<unk>", "</s>", "<pad>", "a", "red", "bicycle", "dogs"])}
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    torch.manual_seed(0)
    text = {**TEXT, "vocab_size": 7, "eos_token_id": 1, "bos_token_id": 1, "pad_token_id": 2, "projection_size": 32}
    config = transformers.SiglipConfig(text_config=text, vision_config={**VISION, "hidden_size": 32,
                                                                         "num_attention_heads": 2})  # fmt: skip
    folder = tmp_path / "siglip"
    transformers.SiglipModel(config).save_pretrained(folder)
    settings = {"unk_token": "<unk>", "eos_token": "</s>", "pad_token": "<pad>", "model_max_length": 16}
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, model_input_names=["input_ids"], **settings
    )
    tokenizer.save_pretrained(folder)
    transformers.SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    model = askew.load(folder, device="cpu")
    image, text = theirs(folder)
    assert np.abs(model.encode_images(jpegs()) - image).max() < 1e-5
    assert np.abs(model._encoders.text(TEXTS) - text).max() < 1e-5
    bias = transformers.AutoModel.from_pretrained(folder).logit_bias
    assert model.logit_bias == pytest.approx(bias.item())
    transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **settings).save_pretrained(folder)
    with pytest.raises(UserError, match="the tokenizer gives an attention mask, and SigLIP reads its pads"):
        askew.load(folder, device="cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "model.safetensors").unlink(), "there is no model.safetensors; askew never unpickles"),
        (lambda f: (f / "config.json").write_text("{"), "config.json is not a JSON object"),
        (lambda f: (f / "config.json").write_text('{"model_type": "bert"}'), "config.json has model_type 'bert'"),
        (lambda f: (f / "model.safetensors").write_bytes(b"no"), "cannot be loaded"),
        (lambda f: changed(f, vocab_size=49000), "the tokenizer has 49,408 ids"),
        (lambda f: changed(f, eos_token_id=7), "the text tower pools at id 7"),
        (lambda f: changed(f, hidden_act="relu"), "open_clip has no towers with the activations relu"),
        (lambda f: changed(f, num_hidden_layers=3), "its weights are not those of CLIP: text_model.encoder.layers.2"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(base, tmp_path, change, message):
    import shutil

    folder = shutil.copytree(base, tmp_path / "clip")
    change(folder)
    with pytest.raises(UserError, match=message) as error:
        askew.load(folder, device="cpu")
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A directory to damage."""
    return clip_directory(tmp_path_factory.mktemp("base") / "clip")


def changed(folder, **fields):
    """Another value in the configuration of the text tower."""
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] |= fields
    (folder / "config.json").write_text(json.dumps(config))


def test_a_folder_that_is_neither_says_what_it_holds(tmp_path):
    (tmp_path / "weights.bin").write_bytes(b"")
    with pytest.raises(UserError, match=r"nor a folder with open_clip_config.json.*; the folder holds weights.bin"):
        askew.load(tmp_path, device="cpu")


def test_without_transformers_one_line_says_what_to_install(base, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        UserError, match=r"a directory of transformers, which is not installed; pip install 'askew\[export\]'"
    ):
        askew.load(base, device="cpu")
