"""Towers in open_clip's plain layout: what a saved model consists of."""

import copy
from pathlib import Path
from typing import Any

from torch import Tensor

from askew.nn.shards import whole
from askew.nn.towers import ImageTower, Projection, TextTower

BESIDE = "."  # the name of a Hugging Face text tower whose files lie beside the weights


def plain_state(
    image: ImageTower, text: TextTower, logit_scale: Tensor, logit_bias: Tensor | None = None
) -> dict[str, Tensor]:
    """The state dict in open_clip's plain CLIP layout: keys renamed, mask row dropped, float32, contiguous, on the CPU.

    With a Hugging Face text tower, it is open_clip's layout with a separate text tower. Where towers are sharded over
    ranks, every rank enters.

    Args:
        image, text: the towers to export, of the student or of a momentum teacher.
        logit_scale: (1,), the logarithm of the image-text scale.
        logit_bias: (1,), the bias of image-text logits, if the method has one.
    """
    state = {f"visual.{k}": v for k, v in image.trunk.state_dict().items()}
    if isinstance(image.projection, Projection):
        state["visual.proj"] = image.projection.weight
    else:
        state |= {f"visual.head.{k}": v for k, v in image.projection.state_dict().items()}
    state |= text.plain_state()
    state["logit_scale"] = logit_scale.reshape(())
    if logit_bias is not None:
        state["logit_bias"] = logit_bias.reshape(())
    return {k: whole(v.detach()).to("cpu", copy=True).contiguous() for k, v in state.items()}


def plain_config(config: dict[str, Any], logit_bias: Tensor | None = None) -> dict[str, Any]:
    """The open_clip configuration of an exported model. It pools by argmax: without a mask token, at the end token.

    A `logit_bias` is written to it. open_clip adds the bias to logits, and embeddings and cosines are unaffected.
    """
    config = copy.deepcopy(config) | ({} if logit_bias is None else {"init_logit_bias": logit_bias.item()})
    config.pop("custom_text", None)
    if name := config["text_cfg"].get("hf_model_name"):
        # The configuration and the tokenizer are files beside the weights. Of a folder of this machine, only that is
        # kept: open_clip looks for "." in the working directory
        names = dict.fromkeys(("hf_model_name", "hf_tokenizer_name"), BESIDE if Path(name).is_absolute() else name)
        config["text_cfg"] |= {**names, "hf_model_pretrained": False}
    else:
        config["text_cfg"] |= {"pool_type": "argmax"}
        config["text_cfg"].pop("eos_id", None)
    config["vision_cfg"].pop("timm_model_pretrained", None)
    if "timm_model_name" in config["vision_cfg"]:
        config["vision_cfg"]["timm_model_pretrained"] = False
    return config
