"""The model that is exported, taken apart into a configuration and weights that open_clip understands."""

import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from askew.errors import UserError, printable
from askew.evaluation.model import Encoders
from askew.export.target import SourceModel
from askew.runs.evaluate import load_model


def open_model(name: str, weights: str, warn: Callable[[str], None]) -> SourceModel:
    """A run's model, or any other that `askew eval` takes, in float32 on the CPU.

    Raises:
        UserError: as `load_model`; or the model is transformers' own.
    """
    encoders = load_model(name, torch.device("cpu"), weights, batch_size=32, warn=warn)
    settings: dict[str, Any] = json.loads(encoders.configuration)
    if "transformers" in settings:
        raise UserError(f"{printable(name)} is a directory of transformers; askew exports runs and models of open_clip")
    model_cfg = dict(settings.get("model_cfg", settings))
    vision_cfg = dict(model_cfg["vision_cfg"])
    if "timm_model_name" in vision_cfg:
        vision_cfg |= {"timm_model_pretrained": False}  # its weights come with it
    preprocess_cfg = dict(encoders.model.visual.preprocess_cfg)
    return SourceModel(encoders, model_cfg | {"vision_cfg": vision_cfg}, preprocess_cfg, _state(encoders, model_cfg))


def _state(encoders: Encoders, model_cfg: dict[str, Any]) -> dict[str, Tensor]:
    """Evaluation always builds a text tower of its own; open_clip does so only for some configurations."""
    separate = model_cfg.get("custom_text") or "hf_model_name" in model_cfg["text_cfg"]
    names = {name: name if separate else name.removeprefix("text.") for name in encoders.state}
    return {names[name]: tensor.detach().cpu().contiguous() for name, tensor in encoders.state.items()}
