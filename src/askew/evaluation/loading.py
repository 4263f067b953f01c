"""Loading the encoders of a model by name: an open_clip or transformers directory, or a name of open_clip."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.hf_model import HFTextEncoder
from safetensors import SafetensorError
from torch import Tensor

from askew.data.files import home_path, sha256_of
from askew.data.hugging_face import found_beside, hashed, quiet, refuse_without_transformers
from askew.errors import UserError, printable
from askew.evaluation.model import Encoders, state_sha256
from askew.evaluation.preprocess import Trimmed
from askew.nn.towers import DIRECTORY_CONFIG, DIRECTORY_WEIGHTS

TRANSFORMERS_CONFIG = "config.json"  # of a directory of Hugging Face transformers


def load_encoders(
    name: str, device: torch.device, batch_size: int = 256, precision: str = "fp32", weights: str = "student"
) -> Encoders:
    """Load the encoders of a folder of open_clip or transformers (`local-dir:FOLDER`), or of open_clip's `NAME/TAG`.

    Args:
        weights: recorded in the protocol: which weights of a run these are. It does not change what is loaded.

    Raises:
        UserError: nothing has that name, it cannot be loaded, or its activation or tokenizer does not fit its weights.
    """
    folder = home_path(name.removeprefix("local-dir:"))
    pretrained = None
    config_file = folder / DIRECTORY_CONFIG
    if config_file.is_file():
        identifier = f"local-dir:{folder}"
    elif (folder / TRANSFORMERS_CONFIG).is_file():
        from askew.evaluation.transformers_directory import load_directory  # which makes Encoders

        return load_directory(name, folder, device, batch_size, precision, weights)
    else:
        identifier, _, tag = name.partition("/")
        pretrained = tag or None
        if name.startswith("local-dir:") or open_clip.get_model_config(identifier) is None:
            raise _nothing(name, folder)
        check_activation(identifier, tag)
    try:
        fingerprint = sha256_of(folder / DIRECTORY_WEIGHTS) if config_file.is_file() else ""
        model, preprocess, tokenize = _made(identifier, folder, pretrained, device)
        configuration = config_file.read_text(encoding="utf-8") if config_file.is_file() else _named(identifier)
    except UserError:
        raise
    except (RuntimeError, OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{printable(name)}: cannot be loaded ({' '.join(str(error).split())[:300]})") from error
    check_tokenizer(name, model, tokenize)
    settings = json.loads(configuration)
    if config_file.is_file() and isinstance(getattr(model, "text", None), HFTextEncoder):
        configuration += hashed(folder)  # so that features of other tokens are not taken for these
    quick = settings.get("model_cfg", settings).get("quick_gelu", False)
    protocol = {
        "model": printable(name, 400),
        "weights": weights,
        "weights_sha256": fingerprint or state_sha256(model.state_dict()),
        "activation": "QuickGELU" if quick else "GELU",
        "precision": precision,
        "resolution": str(model.visual.image_size),
        "preprocessing": " ".join(repr(preprocess).split()),
        "open_clip": open_clip.__version__,
        "torch": torch.__version__,
    }
    encoders = Encoders(
        model.eval(), Trimmed(preprocess), tokenize, device, protocol, batch_size, precision, configuration
    )
    protocol["features"] = encoders.layer or "none: the kind of the image tower is not known"
    return encoders


def _nothing(name: str, folder: Path) -> UserError:
    """No model has that name; of a folder, what it holds instead."""
    held = sorted(path.name for path in folder.iterdir())[:5] if folder.is_dir() else []
    return UserError(
        f"{printable(name)}: neither a run directory, nor a folder with open_clip_config.json or transformers' "
        "config.json, nor a model name of open_clip (NAME or NAME/TAG)"
        + (f"; the folder holds {printable(', '.join(held), 200)}" if held else "")
    )


def _made(identifier: str, folder: Path, pretrained: str | None, device: torch.device) -> tuple[Any, Any, Any]:
    """Model, preprocessing and tokenizer. Those of Hugging Face are taken from a model's folder where they lie there.

    The layout is that with a separate text tower: the same numbers, and the tower can be run without the rest.
    """
    text_cfg = (open_clip.get_model_config(identifier) or {}).get("text_cfg", {})
    beside: dict[str, Any] = {}
    of_hugging_face = bool(text_cfg.get("hf_model_name"))
    if of_hugging_face:
        refuse_without_transformers(text_cfg["hf_model_name"])
        if identifier.startswith("local-dir:"):
            beside = {"text_cfg": {**found_beside(folder, text_cfg), "hf_model_pretrained": False}}
    with quiet() if of_hugging_face else nullcontext():
        model, _, preprocess = open_clip.create_model_and_transforms(
            identifier, pretrained=pretrained, device=device, force_custom_text=True, **beside
        )
        return model, preprocess, open_clip.get_tokenizer(identifier)


def _named(identifier: str) -> str:
    return json.dumps(open_clip.get_model_config(identifier), sort_keys=True)


def check_activation(identifier: str, tag: str) -> None:
    """Refuse weights under a configuration with another activation. open_clip only warns, and the numbers are worse.

    Raises:
        UserError: open_clip's tag has QuickGELU and the configuration GELU, or the other way round.
    """
    known = open_clip.get_pretrained_cfg(identifier, tag) if tag else {}
    if not known:
        return
    config = open_clip.get_model_config(identifier) or {}
    trained, built = bool(known.get("quick_gelu")), bool(config.get("quick_gelu"))
    if trained != built:
        names = {True: "QuickGELU", False: "GELU"}
        other = f"{identifier}-quickgelu" if trained else identifier.removesuffix("-quickgelu")
        raise UserError(
            f"{identifier}/{printable(tag)}: these weights were trained with {names[trained]}, and the configuration "
            f"{identifier} computes {names[built]}; use {other}/{printable(tag)}"
        )


def check_tokenizer(name: str, model: Any, tokenize: Callable[[list[str]], Tensor]) -> None:
    """Refuse a tokenizer that cannot be the one that the text tower was trained with.

    Raises:
        UserError: the embedding has no row for some ids; the context lengths differ; or the tower pools at the highest
            id, and the end token is not the highest.
    """
    text = getattr(model, "text", None)
    inner = getattr(tokenize, "tokenizer", None)
    if isinstance(text, HFTextEncoder) and inner is not None:
        _check_hugging_face(name, text, inner)
    embedding = getattr(text, "token_embedding", None)
    if embedding is None:
        return
    rows = embedding.num_embeddings
    size = getattr(tokenize, "vocab_size", rows)
    if size > rows:
        raise UserError(
            f"{printable(name)}: the tokenizer has {size:,} ids and the text tower's weights {rows:,}; "
            "name the tokenizer that the weights were trained with in open_clip_config.json (text_cfg)"
        )
    tokens = tokenize(["a photo", "a photo of a dog."])
    if tokens.shape[1] != model.context_length:
        raise UserError(
            f"{printable(name)}: the tokenizer makes {tokens.shape[1]} tokens and the text tower takes "
            f"{model.context_length}; give both the same context_length in open_clip_config.json (text_cfg)"
        )
    last = (tokens != getattr(text, "pad_id", 0)).int().cumsum(dim=1).argmax(dim=1)
    if getattr(text, "pool_type", "") == "argmax" and not torch.equal(tokens.argmax(dim=1), last):
        raise UserError(
            f"{printable(name)}: the text tower pools at the highest id, and this tokenizer's end token is not that; "
            "name the tokenizer that the weights were trained with in open_clip_config.json (text_cfg)"
        )


def _check_hugging_face(name: str, text: HFTextEncoder, tokenizer: Any) -> None:
    """`check_tokenizer` for a text tower of Hugging Face, which knows padding by its id."""
    transformer: Any = text.transformer
    rows, pad = transformer.get_input_embeddings().num_embeddings, transformer.config.pad_token_id
    largest = max(tokenizer.get_vocab().values())
    if largest >= rows or tokenizer.pad_token_id != pad:
        raise UserError(
            f"{printable(name)}: the tokenizer has ids up to {largest:,} and pads with {tokenizer.pad_token_id}; the "
            f"text tower has {rows:,} rows and expects {pad}; put the tokenizer that the weights were trained with "
            "beside them"
        )
