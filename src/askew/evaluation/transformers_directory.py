"""Models in the directories of Hugging Face transformers: CLIP, SigLIP, and dual encoders with CLIP's text tower.

CLIP's weights are put into open_clip's native towers, so that everything works as with other models. SigLIP and dual
encoders run as transformers built them. Tokenizer and image processor are always the directory's own, as transformers
loads them, so the tokens and the pixels are the same.
"""

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from open_clip.model import CustomTextCLIP
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from askew.data.files import sha256_of
from askew.errors import UserError, printable
from askew.evaluation.loading import TRANSFORMERS_CONFIG
from askew.evaluation.model import Encoders, state_sha256
from askew.nn.transformers_layout import SHARED, from_transformers, image_names, text_names, their_names

CONFIG, WEIGHTS, INDEX = TRANSFORMERS_CONFIG, "model.safetensors", "model.safetensors.index.json"
AS_BUILT = ("siglip", "vision-text-dual-encoder")  # models that run in transformers' own classes
HIGHEST = 2  # with this eos_token_id, transformers pools at the highest id
LOCAL = {"local_files_only": True, "trust_remote_code": False}
GELU = {"gelu": {}, "gelu_pytorch_tanh": {"approximate": "tanh"}}


class HubImages:
    """A directory's image processor as a function of one RGB image."""

    def __init__(self, processor: Any):
        self.processor = processor

    def __repr__(self) -> str:
        return f"{type(self.processor).__name__} {self.processor.to_json_string()}"

    def __call__(self, image: Image.Image) -> Tensor:
        """(3, H, W), normalized."""
        return self.processor(images=image, return_tensors="pt")["pixel_values"][0]


class HubTokens:
    """A directory's tokenizer as a function of texts that gives (n, context_length) ids.

    Attributes:
        pad: the id after a text's end. A causal tower never sees it; other towers need the tokenizer's own.
        absent: in its place where more ids are asked for than the tower takes, to see which texts have so many.
    """

    absent = -1

    def __init__(self, tokenizer: Any, context_length: int, pad: int):
        self.tokenizer, self.context_length, self.pad = tokenizer, context_length, pad

    def __call__(self, texts: list[str], context_length: int | None = None) -> Tensor:
        """The ids, cut to the context with the end token last."""
        length = context_length or self.context_length
        made = self.tokenizer(texts, truncation=True, max_length=length)["input_ids"]
        pad = self.pad if length == self.context_length else self.absent
        return torch.tensor([ids + [pad] * (length - len(ids)) for ids in made])


class HubModel(nn.Module):
    """A dual encoder of transformers with open_clip's two methods."""

    def __init__(self, inner: Any):
        super().__init__()
        self.inner = inner

    @property
    def logit_scale(self) -> Tensor:
        """The logarithm of the factor of cosines."""
        return self.inner.logit_scale

    @property
    def logit_bias(self) -> Tensor | None:
        """What is added to the logits, as SigLIP does."""
        return getattr(self.inner, "logit_bias", None)

    def encode_image(self, pixels: Tensor, normalize: bool = False) -> Tensor:
        """Embeddings (n, D)."""
        found = self.inner.get_image_features(pixel_values=pixels).pooler_output
        return F.normalize(found, dim=-1) if normalize else found

    def encode_text(self, tokens: Tensor, normalize: bool = False) -> Tensor:
        """Embeddings (n, D)."""
        found = self.inner.get_text_features(input_ids=tokens).pooler_output
        return F.normalize(found, dim=-1) if normalize else found


def load_directory(
    name: str, folder: Path, device: torch.device, batch_size: int, precision: str, weights: str
) -> Encoders:
    """The encoders of a directory; arguments as `load_encoders`.

    Raises:
        UserError: transformers is not installed, another kind of model, or files that are missing or do not fit.
    """
    shown = printable(name, 400)
    kind = _kind(shown, folder)
    try:
        import transformers
    except ImportError as error:
        raise UserError(
            f"{shown}: a directory of transformers, which is not installed; pip install 'askew[export]'"
        ) from error
    try:
        config = transformers.AutoConfig.from_pretrained(folder, **LOCAL)
        images = HubImages(transformers.AutoImageProcessor.from_pretrained(folder, **LOCAL))
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **LOCAL)
        _check_tokenizer(shown, tokenizer, config.text_config)
        state, fingerprint = _weights(shown, folder)
        model = (_clip if kind == "clip" else _as_built)(shown, config, state)
        resolution = tuple(images(Image.new("RGB", (64, 64))).shape[1:])
    except UserError:
        raise
    except (OSError, ValueError, RuntimeError, LookupError, TypeError, SafetensorError) as error:
        raise UserError(f"{shown}: cannot be loaded ({' '.join(str(error).split())[:300]})") from error
    pad = tokenizer.pad_token_id or 0 if kind == "siglip" else 0
    tokens = HubTokens(tokenizer, config.text_config.max_position_embeddings, pad)
    protocol = {
        "model": shown,
        "weights": weights,
        "weights_sha256": fingerprint,
        "activation": _activations(config),
        "precision": precision,
        "resolution": str(resolution),
        "preprocessing": " ".join(repr(images).split()),
        "tokenizer": type(tokenizer).__name__,
        "open_clip": open_clip.__version__,
        "transformers": transformers.__version__,
        "torch": torch.__version__,
    }
    configuration = json.dumps({"transformers": config.to_dict()}, sort_keys=True, default=str)
    encoders = Encoders(model.to(device).eval(), images, tokens, device, protocol, batch_size, precision, configuration)
    protocol["features"] = encoders.layer or "none: the kind of the image tower is not known"
    return encoders


def _kind(shown: str, folder: Path) -> str:
    """The kind of model that a directory holds, which is one that is known here."""
    try:
        kind = json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("model_type")
    except (ValueError, AttributeError) as error:
        raise UserError(f"{shown}: {CONFIG} is not a JSON object ({printable(str(error))})") from error
    if kind not in ("clip", *AS_BUILT):
        raise UserError(
            f"{shown}: {CONFIG} has model_type {printable(repr(kind))}; of transformers, askew loads "
            f"{', '.join(('clip', *AS_BUILT))}"
        )
    return kind


def _weights(shown: str, folder: Path) -> tuple[dict[str, Tensor], str]:
    """All tensors in float32, and the sha256 of their one file, or of what several hold."""
    if (folder / WEIGHTS).is_file():
        state, fingerprint = load_file(folder / WEIGHTS), sha256_of(folder / WEIGHTS)
    elif (folder / INDEX).is_file():
        shards = sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
        state = {name: tensor for shard in shards for name, tensor in load_file(folder / shard).items()}
        fingerprint = state_sha256(state)
    else:
        raise UserError(
            f"{shown}: there is no {WEIGHTS}; askew never unpickles, so save the model as safetensors with "
            "transformers' save_pretrained"
        )
    return {name: tensor.float() for name, tensor in state.items() if not name.endswith("position_ids")}, fingerprint


def _clip(shown: str, config: Any, state: dict[str, Tensor]) -> CustomTextCLIP:
    """open_clip's native towers with these weights."""
    names = (
        SHARED | text_names(config.text_config.num_hidden_layers) | image_names(config.vision_config.num_hidden_layers)
    )
    odd = their_names(names) ^ set(state)
    if odd:
        raise UserError(f"{shown}: its weights are not those of CLIP: {min(odd)} is missing or unknown")
    model = CustomTextCLIP(**clip_settings(shown, config))
    plain = from_transformers(state, names)
    model.load_state_dict({n if n.startswith(("visual.", "logit_")) else f"text.{n}": t for n, t in plain.items()})
    return model


def clip_settings(shown: str, config: Any) -> dict[str, Any]:
    """The open_clip configuration of a CLIPConfig.

    Raises:
        UserError: open_clip has no such towers.
    """
    text, vision = config.text_config, config.vision_config
    quick = {half.hidden_act == "quick_gelu" for half in (text, vision)}
    known = all(half.hidden_act in ("quick_gelu", *GELU) for half in (text, vision))
    if len(quick) > 1 or not known or vision.num_channels != 3:
        raise UserError(
            f"{shown}: open_clip has no towers with the activations {text.hidden_act} (text) and {vision.hidden_act} "
            f"(image) and {vision.num_channels} channels"
        )
    pool = (
        {"pool_type": "argmax"} if text.eos_token_id == HIGHEST else {"pool_type": "eos", "eos_id": text.eos_token_id}
    )
    return {
        "embed_dim": config.projection_dim,
        "quick_gelu": quick == {True},
        "vision_cfg": {
            **_half(vision),
            "head_width": vision.hidden_size // vision.num_attention_heads,
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
        },
        "text_cfg": {
            **_half(text),
            **pool,
            "heads": text.num_attention_heads,
            "context_length": text.max_position_embeddings,
            "vocab_size": text.vocab_size,
        },
    }


def _half(half: Any) -> dict[str, Any]:
    return {
        "layers": half.num_hidden_layers,
        "width": half.hidden_size,
        "mlp_ratio": half.intermediate_size / half.hidden_size,
        "norm_kwargs": {"eps": half.layer_norm_eps},
        "act_kwargs": GELU.get(half.hidden_act, {}),
    }


def _as_built(shown: str, config: Any, state: dict[str, Tensor]) -> HubModel:
    from transformers import AutoModel

    text_kind = config.text_config.model_type
    if config.model_type == "vision-text-dual-encoder" and text_kind != "clip_text_model":
        raise UserError(f"{shown}: a dual encoder with the text tower {text_kind}; askew loads those with CLIP's")
    model: Any = AutoModel.from_config(config)
    model.load_state_dict(state)
    return HubModel(model)


def _check_tokenizer(shown: str, tokenizer: Any, text_config: Any) -> None:
    """Raise UserError for ids that the text tower does not have, or that it would not pool at."""
    if len(tokenizer) > text_config.vocab_size:
        raise UserError(
            f"{shown}: the tokenizer has {len(tokenizer):,} ids and the text tower's weights "
            f"{text_config.vocab_size:,}; put the tokenizer that the weights were trained with into the directory"
        )
    if text_config.model_type == "siglip_text_model" and "attention_mask" in tokenizer.model_input_names:
        raise UserError(
            f"{shown}: the tokenizer gives an attention mask, and SigLIP reads its pads; "
            'set "model_input_names": ["input_ids"] in tokenizer_config.json, as SigLIP has it'
        )
    if text_config.model_type == "siglip_text_model" or text_config.eos_token_id == HIGHEST:
        return
    if tokenizer("a photo")["input_ids"][-1] != text_config.eos_token_id:
        raise UserError(
            f"{shown}: the text tower pools at id {text_config.eos_token_id}, and the tokenizer ends a text with "
            "another; put the tokenizer that the weights were trained with into the directory"
        )


def _activations(config: Any) -> str:
    found = {getattr(half, "hidden_act", "") for half in (config.text_config, config.vision_config)} - {""}
    return ", ".join(sorted(found))
