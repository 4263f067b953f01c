"""open_clip's towers, split into trunk and projection.

A tower is an open_clip trunk and the linear projection taken off it. One forward pass yields both the pooled features
(for probes and heads) and the joint embedding. Native ViT and timm image towers, native text towers
(text_towers.py) and those of Hugging Face (hugging_face.py) are supported. Others are rejected by name.
"""

import copy
from typing import Any

import open_clip
import torch
from jaxtyping import Float, Int
from open_clip.model import CustomTextCLIP
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from askew.nn.chosen_patches import on_chosen_patches, with_class_attention
from askew.nn.cpu.convolutions import use_fast_convolutions
from askew.nn.encoded import Encoded, Projection, unit
from askew.nn.text_towers import END_TOKEN, MASK_TOKEN, VOCABULARY, NativeTextTower, TextTower

__all__ = [
    "DIRECTORY_CONFIG", "DIRECTORY_WEIGHTS", "END_TOKEN", "MASK_TOKEN", "VOCABULARY", "Encoded", "ImageTower",
    "NativeTextTower", "Projection", "TextTower", "TwoTower", "build_model", "model_config", "unit",
]  # fmt: skip

DIRECTORY_CONFIG, DIRECTORY_WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"  # open_clip's names


class ImageTower(nn.Module):
    """An open_clip image trunk (native ViT or timm) and its projection. Forward: (B, 3, H, W) -> Encoded.

    The patches that a native ViT sees can be chosen: `keep`, `with_scores`, and nn/chosen_patches.py.
    """

    def __init__(self, visual: nn.Module):
        super().__init__()
        if isinstance(visual, VisionTransformer):
            if visual.proj is None:
                raise ValueError("the image tower has no projection; askew needs one to the joint space")
            if visual.pool_type == "none" or visual.output_tokens:
                raise ValueError(
                    f"an image tower with pool_type={visual.pool_type!r}, output_tokens={visual.output_tokens} is not "
                    "supported: askew needs one vector per image (pool_type tok or avg, output_tokens=false)"
                )
            self.projection: nn.Module = Projection(visual.proj)
            visual.proj = None
            at_class_token = visual.pool_type == "tok" and visual.attn_pool is None and not visual.final_ln_after_pool
            visual.output_tokens = at_class_token
        elif isinstance(visual, TimmModel):
            if hasattr(visual.head, "pool"):
                raise ValueError(
                    f"a timm image tower pooled by {type(visual.head.pool).__name__} is not supported: "
                    "its pooling and projection are one layer; use timm_pool=avg and timm_proj=linear"
                )
            if not len(visual.head) and visual.trunk.num_classes == 0:
                raise ValueError("the timm image tower has no projection to the joint space; use timm_proj=linear")
            self.projection, visual.head = visual.head, nn.Sequential()
            norms = sorted(
                {type(m).__name__ for m in visual.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
            )
            if norms:
                raise ValueError(
                    f"this timm image tower uses {', '.join(norms)}, so a sample's embedding would depend on its "
                    "batch and rank; use a tower with LayerNorm or GroupNorm (ViT, ConvNeXt, ResNetV2-GN)"
                )
        else:
            raise ValueError(
                f"image tower {type(visual).__name__} is not supported; use a native ViT or a timm tower of open_clip"
            )
        self.trunk = visual
        use_fast_convolutions(visual)

    @property
    def width(self) -> int:
        """F, the width of pooled features, which is the input width of the projection."""
        weight = next(p for p in self.projection.parameters() if p.ndim == 2)
        return weight.shape[0 if isinstance(self.projection, Projection) else 1]

    def forward(self, image: Float[Tensor, "B 3 H W"], keep: Int[Tensor, "B K"] | None = None) -> Encoded:
        """Pooled features (B, F) and unit-length float32 embeddings (B, D) of normalised images.

        With `keep`, a ViT sees the class token and these patches only. That pass is not compiled.
        """
        if image.device.type == "cuda" and isinstance(self.trunk, TimmModel):
            image = image.contiguous(memory_format=torch.channels_last)  # the layout of its convolutions on a GPU
        found = self.trunk(image) if keep is None else on_chosen_patches(self.trunk, image, keep)
        pooled, patches = found if isinstance(found, tuple) else (found, None)
        return Encoded(pooled, unit(self.projection(pooled)), patches=patches)

    def with_scores(self, image: Float[Tensor, "B 3 H W"]) -> tuple[Encoded, Float[Tensor, "B P"]]:
        """The same without gradient, and how much the class token of a ViT attends to each patch."""
        pooled, patches, scores = with_class_attention(self.trunk, image)
        return Encoded(pooled, unit(self.projection(pooled)), patches=patches), scores


class TwoTower(nn.Module):
    """The pair of towers that is trained, evaluated and exported.

    Args:
        config: an open_clip model configuration (`embed_dim`, `vision_cfg`, `text_cfg`, `quick_gelu`), kept for saving.
        model: the open_clip model built from it, whose towers are used.
        text: the text tower, if it is not the native one.

    Attributes:
        files: what a saved model has beside its weights: configuration and tokenizer of a Hugging Face text tower.
    """

    def __init__(self, config: dict[str, Any], model: CustomTextCLIP, text: TextTower | None = None):
        super().__init__()
        self.config = copy.deepcopy(config)
        self.pretrained_scale: float | None = None  # logarithm of the logit scale that came with pretrained weights
        self.pretrained_bias: float | None = None  # the bias of the logits, if the pretrained weights came with one
        self.image = ImageTower(model.visual)
        self.text: TextTower = NativeTextTower(model.text) if text is None else text
        self.files: dict[str, bytes] = {}
        patches = [p for n, p in self.image.named_parameters() if n.endswith(("positional_embedding", "pos_embed"))]
        self.longest = max(
            [self.text.num_positions, *(p.shape[-2] for p in patches)]
        )  # tokens that attend to one another


def build_model(config: dict[str, Any]) -> CustomTextCLIP:
    """The open_clip model of a configuration, in the layout with `.visual` and `.text`.

    Raises:
        ValueError: unknown or contradictory fields, quoting open_clip's own error.
    """
    fields = {k: v for k, v in copy.deepcopy(config).items() if k != "custom_text"}
    if "multimodal_cfg" in fields:
        raise ValueError("CoCa models are not supported; use a two-tower configuration")
    try:
        return CustomTextCLIP(**fields)
    except (TypeError, AssertionError, RuntimeError) as error:
        raise ValueError(f"open_clip cannot build these towers: {error}") from error


def model_config(name: str) -> dict[str, Any]:
    """A configuration by its open_clip name (`ViT-B-32`, ...).

    Raises:
        ValueError: the name is unknown. The message suggests the closest names.
    """
    import difflib

    config = open_clip.get_model_config(name)
    if config is None:
        near = difflib.get_close_matches(name, open_clip.list_models(), n=3)
        raise ValueError(
            f"towers.model: {name!r} is not known" + (f"; did you mean {', '.join(near)}?" if near else "")
        )
    return config
