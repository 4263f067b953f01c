"""A model as evaluation sees it: two encoders and their preprocessing, of any open_clip model."""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from open_clip.hf_model import HFTextEncoder
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from askew.data.files import home_path, sha256_of
from askew.data.hugging_face import found_beside, hashed, quiet, refuse_without_transformers
from askew.errors import UserError, printable
from askew.evaluation.layers import Project, encode_trimmed, may_trim, take_off_projection
from askew.evaluation.preprocess import Trimmed
from askew.nn.towers import DIRECTORY_CONFIG, DIRECTORY_WEIGHTS

OverBatches = Callable[[Sequence[int], Callable[[int], np.ndarray]], list[np.ndarray]]


def one_after_the_other(starts: Sequence[int], encode: Callable[[int], np.ndarray]) -> list[np.ndarray]:
    """Every batch on this rank."""
    return [encode(start) for start in starts]


@dataclass
class Encoders:
    """`image` and `text` map batches to unit-length float32 embeddings (n, D). Evaluation needs nothing else.

    The model is changed: its image tower loses the projection, which is applied here, so that one forward pass yields
    both pooled features and embeddings. Texts are encoded in order of length, and a causal text tower runs only as far
    as the longest text of a batch needs. The numbers are those of `encode_text` up to rounding (1e-6), in a fraction of
    the time.

    Attributes:
        layer: where pooled features come from; "" if the kind of the image tower is not known, so that it gives none.
        configuration: the model's configuration as text, a part of the key of cached features.
        over_batches: encodes texts batch by batch, given where each batch starts; see sharing.py.
    """

    model: Any  # open_clip's models share methods, not a type
    preprocess: Callable[[Image.Image], torch.Tensor]
    tokenize: Callable[[list[str]], torch.Tensor]
    device: torch.device
    protocol: dict[str, str]
    batch_size: int = 256
    precision: str = "fp32"
    configuration: str = ""
    layer: str = field(default="", init=False)
    over_batches: OverBatches = field(default_factory=lambda: one_after_the_other, init=False)
    _project: Project | None = field(default=None, init=False)
    _state: dict[str, Tensor] = field(default_factory=dict, init=False)  # all of it, with the projection

    def __post_init__(self) -> None:
        self._state = dict(getattr(self.model, "state_dict", dict)())  # a wrapped pair of encoders may have none
        taken = take_off_projection(getattr(self.model, "visual", None))
        if taken is not None:
            self.layer, self._project = taken

    def features(self, pixels: Tensor) -> tuple[np.ndarray | None, np.ndarray]:
        """Features before the projection (n, F), or None, and embeddings (n, D) of preprocessed images (n, 3, H, W).

        The embeddings are those of open_clip's `encode_image(normalize=True)`, normalised in float32 even under bf16.
        """
        with torch.inference_mode(), self._autocast():
            if self._project is None:
                embedding = self.model.encode_image(pixels.to(self.device), normalize=True)
                return None, embedding.float().cpu().numpy()
            made = self.model.visual(pixels.to(self.device))
            pooled = made[0] if isinstance(made, tuple) else made
            embedding = F.normalize(self._project(pooled).float(), dim=-1)
        return pooled.float().cpu().numpy(), embedding.cpu().numpy()

    def image(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Embeddings (n, D) of PIL images, in order."""
        parts = []
        for start in range(0, len(images), self.batch_size):
            pixels = torch.stack([self.preprocess(image) for image in images[start : start + self.batch_size]])
            parts.append(self.features(pixels)[1])
        return np.concatenate(parts)

    def text(self, texts: Sequence[str], batch_size: int = 0) -> np.ndarray:
        """Embeddings (n, D) of texts, in order. Each text is encoded once, so equal texts have equal embeddings.

        Args:
            batch_size: texts that are encoded at once; 0 is the batch size of images.
        """
        size = batch_size or self.batch_size
        order = sorted(set(texts), key=lambda text: (len(text), text))
        trim = may_trim(getattr(self.model, "text", None))

        def encode(start: int) -> np.ndarray:
            tokens = self.tokenize(order[start : start + size]).to(self.device)
            with torch.inference_mode(), self._autocast():
                if trim:
                    embedding = encode_trimmed(self.model.text, tokens)
                else:
                    embedding = self.model.encode_text(tokens, normalize=True)
                return embedding.float().cpu().numpy()

        parts = self.over_batches(range(0, len(order), size), encode)
        row_of = {text: row for row, text in enumerate(order)}
        return np.concatenate(parts)[[row_of[text] for text in texts]]

    def cut(self, texts: Sequence[str]) -> int:
        """How many texts have more tokens than the context holds: their ends are not encoded."""
        length = getattr(self.tokenize, "context_length", None)
        if not texts or not isinstance(length, int):
            return 0
        inner = getattr(self.tokenize, "tokenizer", None)  # of Hugging Face: a byte may become several tokens
        long = [text for text in dict.fromkeys(texts) if inner or len(text.encode("utf-8", "replace")) >= length - 1]
        pad = inner.pad_token_id if inner else getattr(getattr(self.model, "text", None), "pad_id", 0)
        cut = set[str]()
        for start in range(0, len(long), 1024):
            tokens = self.tokenize(long[start : start + 1024], context_length=length + 1)  # type: ignore[call-arg]
            cut |= {long[start + row] for row in (tokens[:, -1] != pad).nonzero()[:, 0].tolist()}
        return sum(text in cut for text in texts)

    def fingerprint(self) -> str:
        """sha256 of all that decides a feature: weights, configuration, preprocessing, precision, device, versions."""
        parts = [state_sha256(self._state), self.configuration, repr(self.model), repr(self.preprocess)]
        parts += [self.protocol.get("weights_sha256", ""), self.precision, self.layer, self.device.type]
        parts += [torch.__version__, open_clip.__version__]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _autocast(self):
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


def state_sha256(state: dict[str, Tensor]) -> str:
    """sha256 of the names, shapes, types and values of tensors."""
    made = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        made.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        made.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return made.hexdigest()


def load_encoders(
    name: str, device: torch.device, batch_size: int = 256, precision: str = "fp32", weights: str = "student"
) -> Encoders:
    """Load the encoders of `local-dir:FOLDER`, or of open_clip's `NAME` or `NAME/TAG`.

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
    else:
        identifier, _, tag = name.partition("/")
        pretrained = tag or None
        if name.startswith("local-dir:") or open_clip.get_model_config(identifier) is None:
            raise UserError(
                f"{printable(name)}: neither a run directory, nor a folder with open_clip_config.json, "
                "nor a model name of open_clip (NAME or NAME/TAG)"
            )
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
        made: tuple[Any, Any, Any] = open_clip.create_model_and_transforms(
            identifier, pretrained=pretrained, device=device, force_custom_text=True, **beside
        )
        return made[0], made[2], open_clip.get_tokenizer(identifier)


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
    config: Any = text.config
    rows, pad = transformer.get_input_embeddings().num_embeddings, config.pad_token_id
    largest = max(tokenizer.get_vocab().values())
    if largest >= rows or tokenizer.pad_token_id != pad:
        raise UserError(
            f"{printable(name)}: the tokenizer has ids up to {largest:,} and pads with {tokenizer.pad_token_id}; the "
            f"text tower has {rows:,} rows and expects {pad}; put the tokenizer that the weights were trained with "
            "beside them"
        )
