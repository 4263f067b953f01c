"""Text towers of Hugging Face in a recipe: `towers.text_cfg.hf_model_name` and what belongs to it, as in open_clip."""

from dataclasses import dataclass
from typing import Any, cast

import torch
from open_clip.hf_model import HFTextEncoder
from open_clip.model import CustomTextCLIP

from askew.config import TowerSettings
from askew.data.files import home_path
from askew.data.hugging_face import (
    POOLERS,
    HuggingFaceTokenizer,
    TextFiles,
    folder_of,
    hashed,
    quiet,
    refuse_without_transformers,
    why_unfit,
)
from askew.data.tokens import tokenizer_of
from askew.errors import UserError, printable
from askew.nn.hugging_face import HuggingFaceTower
from askew.nn.towers import build_model

DEFAULTS = {  # open_clip's
    "context_length": 77,
    "hf_pooler_type": "mean_pooler",
    "hf_proj_type": "mlp",
    "hf_model_pretrained": True,
}
NAMES = ("hf_model_name", "hf_tokenizer_name")
NOT_SUPPORTED = ("tokenizer_kwargs", "tokenizer_mode")


@dataclass(frozen=True)
class HuggingFaceText:
    """The encoder and the tokenizer that a recipe with resolved towers names."""

    files: TextFiles
    tokenizer: HuggingFaceTokenizer
    context_length: int
    text_cfg: dict[str, Any]

    @property
    def folder(self) -> str:
        """Of the tokenizer, which is its name in the views."""
        return str(self.files.tokenizer)

    @property
    def mask(self) -> int:
        """The id of the mask token: the tokenizer's, or else that of an appended row."""
        return self.files.config["vocab_size"] if self.tokenizer.mask is None else self.tokenizer.mask

    def build(self, config: dict[str, Any], with_weights: bool) -> CustomTextCLIP:
        """The open_clip model of a configuration, in float32.

        Raises:
            UserError: the weights of the encoder are wanted, and cannot be had.
            ValueError: as `build_model`.
        """
        name = self.text_cfg["hf_model_name"]
        # The folder of a hub model has no weights; transformers downloads them by the name
        source = name if with_weights and not home_path(name).is_dir() else str(self.files.encoder)
        text_cfg = {**config["text_cfg"], "hf_model_name": source, "hf_model_pretrained": with_weights}
        try:
            with quiet():
                return build_model({**config, "text_cfg": text_cfg}).float()
        except (OSError, KeyError) as error:
            raise UserError(
                f"towers.text_cfg.hf_model_name: {printable(name, 400)} has no weights that transformers can read "
                f"({type(error).__name__}); set towers.text_cfg.hf_model_pretrained=false to start from random ones"
            ) from error

    def tower(self, model: CustomTextCLIP) -> HuggingFaceTower:
        """The text tower of that model."""
        return HuggingFaceTower(cast(HFTextEncoder, model.text), self.context_length, self.tokenizer.special)

    @torch.no_grad()
    def scale_tokens(self, model: CustomTextCLIP, std: float) -> None:
        """Give random token embeddings another standard deviation than the encoder's own (mT5 keeps its own)."""
        own = self.files.config.get("initializer_range")
        if own:
            cast(Any, model.text).transformer.get_input_embeddings().weight.mul_(std / own)


def text_of(towers: TowerSettings) -> HuggingFaceText | None:
    """The Hugging Face text tower of resolved towers; None if theirs is the native one.

    Raises:
        UserError: transformers is not installed, or files are missing, not supported, or do not fit together; or they
            are not those that the run began with.
    """
    text_cfg = towers.text_cfg
    if not text_cfg.get("hf_model_name"):
        return None
    refuse_without_transformers(str(text_cfg["hf_model_name"]))
    _refuse_fields(text_cfg)
    files = TextFiles(*(folder_of(text_cfg[name]) for name in NAMES))
    config, length = files.config, text_cfg["context_length"]
    tokenizer = cast(HuggingFaceTokenizer, tokenizer_of(str(files.tokenizer)))
    if tokenizer.sha256 != hashed(files.tokenizer):  # it was trained again since this process made it
        tokenizer_of.cache_clear()
        tokenizer = cast(HuggingFaceTokenizer, tokenizer_of(str(files.tokenizer)))
    reason = why_unfit(tokenizer, config, length)
    if reason:
        raise UserError(f"towers.text_cfg: {reason}")
    if towers.text_sha256 not in ("", files.sha256()):
        raise UserError(
            f"towers.text_cfg: the tokenizer or configuration in {printable(str(files.tokenizer), 400)} is not the one "
            "that the run began with (its sha256 is another); put its files back, or start a new run"
        )
    return HuggingFaceText(files, tokenizer, length, text_cfg)


def _refuse_fields(text_cfg: dict[str, Any]) -> None:
    """Raises UserError for fields that open_clip has and that cannot be had here."""
    for key in NOT_SUPPORTED:
        if text_cfg.get(key):
            raise UserError(f"towers.text_cfg.{key} is not supported; leave it out, or use another tokenizer")
    pooler, length = text_cfg["hf_pooler_type"], text_cfg["context_length"]
    if pooler not in POOLERS:
        reason = ", which open_clip cannot compute" if pooler == "max_pooler" else ""
        raise UserError(
            f"towers.text_cfg.hf_pooler_type={printable(str(pooler))}{reason}: use one of {', '.join(POOLERS)}"
        )
    if not isinstance(length, int) or length < 3:
        raise UserError(
            f"towers.text_cfg.context_length={printable(str(length))}: give the number of tokens, 3 or more"
        )


def explicit_text(text_cfg: dict[str, Any]) -> dict[str, Any]:
    """The fields of a text tower, all of those that count: native ones mean nothing to one of Hugging Face."""
    if not text_cfg.get("hf_model_name"):
        return text_cfg
    names = {name: str(text_cfg.get(name) or text_cfg["hf_model_name"]) for name in NAMES}
    local = {name: str(home_path(value).resolve()) for name, value in names.items() if home_path(value).is_dir()}
    kept = {key: text_cfg[key] for key in (*DEFAULTS, *NOT_SUPPORTED) if key in text_cfg}
    return {**names, **local, **DEFAULTS, **kept}


def without_weights(towers: TowerSettings) -> TowerSettings:
    """The same towers with random weights: those of a checkpoint will be loaded over them."""
    text_cfg = towers.text_cfg
    if text_cfg.get("hf_model_name"):
        text_cfg = {**text_cfg, "hf_model_pretrained": False}
    return towers.model_copy(update={"pretrained": "", "text_cfg": text_cfg})
