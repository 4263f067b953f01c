"""The model directory: an ordinary open_clip model that works without askew."""

import json
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from askew import distributed
from askew.config import TowerSettings
from askew.data.files import replacing_directory
from askew.methods.base import Method
from askew.nn.plain import plain_config, plain_state
from askew.nn.shards import is_shard
from askew.nn.towers import DIRECTORY_CONFIG, DIRECTORY_WEIGHTS

STUDENT = "model"
Weights = dict[str, dict[str, Tensor]]  # of each model, by its name


def weights_of(method: Method, only: str = "") -> Weights:
    """The weights that `save_models` writes, on the CPU. Every rank enters where towers are sharded over ranks."""
    return {
        name: plain_state(image, text, method.logit_scale, method.logit_bias)
        for name, (image, text) in method.export_towers().items()
        if not only or name == only
    }


def weights_on_main(method: Method) -> Weights:
    """The same on rank 0, and nothing on the others. Every rank enters."""
    if not distributed.is_main() and not any(map(is_shard, method.parameters())):
        return {}
    weights = weights_of(method)
    return weights if distributed.is_main() else {}


def save_models(
    method: Method, towers: TowerSettings, run: Path, only: str = "", weights: Weights | None = None
) -> list[Path]:
    """Write `run/model` (the student), and `run/teacher` where the method has one; returns the folders.

    The student comes last, so that a run that has it has all of them.

    `open_clip.create_model_and_transforms("local-dir:RUN/model")` loads them. A model with a text tower of Hugging
    Face has the configuration and the tokenizer of that beside its weights; docs/languages.md says how it is loaded.

    Args:
        only: the one to write, by its name; "" writes all.
        weights: what `weights_of` gave, where one rank alone writes; None asks for it here.
    """
    folders = []
    found = weights_of(method, only) if weights is None else weights
    for name, state in sorted(found.items(), key=lambda one: one[0] == STUDENT):
        preprocess = {
            "size": towers.vision_cfg.get("image_size", 224),
            "mode": "RGB",
            "mean": list(towers.mean),
            "std": list(towers.std),
            "interpolation": towers.interpolation,
            "resize_mode": "shortest",
        }
        contents = {"model_cfg": plain_config(method.towers.config, method.logit_bias), "preprocess_cfg": preprocess}
        with replacing_directory(run / name) as temporary:
            (temporary / DIRECTORY_CONFIG).write_text(json.dumps(contents, indent=2), encoding="utf-8")
            for file, content in method.towers.files.items():
                (temporary / file).write_bytes(content)
            save_file(state, temporary / DIRECTORY_WEIGHTS, metadata={"format": "pt"})
        folders.append(run / name)
    return folders
