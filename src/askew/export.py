"""The model directory: an ordinary open_clip model that works with no code of ours."""

import json
import shutil
from pathlib import Path

from safetensors.torch import save_file

from askew.checkpoint import sync
from askew.config import Towers
from askew.methods.base import Method
from askew.nn.towers import DIRECTORY_CONFIG, DIRECTORY_WEIGHTS, plain_config, plain_state


def save_models(method: Method, towers: Towers, run: Path) -> list[Path]:
    """Write `run/model` (the student), and `run/teacher` where the method has one; returns the folders.

    `open_clip.create_model_and_transforms("local-dir:RUN/model")` loads them.
    """
    folders = []
    for name, image in method.released().items():
        folder, temporary = run / name, run / f"{name}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        preprocess = {
            "size": towers.vision_cfg.get("image_size", 224),
            "mode": "RGB",
            "mean": list(towers.mean),
            "std": list(towers.std),
            "interpolation": towers.interpolation,
            "resize_mode": "shortest",
        }
        contents = {"model_cfg": plain_config(method.towers.config, method.logit_bias), "preprocess_cfg": preprocess}
        (temporary / DIRECTORY_CONFIG).write_text(json.dumps(contents, indent=2), encoding="utf-8")
        state = plain_state(method.towers, image, method.logit_scale, method.logit_bias)
        save_file(state, temporary / DIRECTORY_WEIGHTS, metadata={"format": "pt"})
        for file in temporary.iterdir():
            sync(file)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
        folders.append(folder)
    return folders
