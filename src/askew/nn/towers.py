"""open_clip's towers, split into trunk and projection.

A tower is an open_clip trunk and the linear projection taken off it. One forward pass yields both the pooled features
(for probes and heads) and the joint embedding. Native ViT and timm image towers and the native text tower are
supported. Others are rejected by name.
"""

import copy
from typing import Any, NamedTuple

import open_clip
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, Int
from open_clip.model import CustomTextCLIP
from open_clip.timm_model import TimmModel
from open_clip.transformer import TextTransformer, VisionTransformer
from torch import Tensor, nn

from askew.nn.cpu.convolutions import use_fast_convolutions
from askew.nn.cpu.packed_text import can_pack, token_features

END_TOKEN = 49407  # open_clip's tokenizer always ends a text with it; towers pool there
DIRECTORY_CONFIG, DIRECTORY_WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"  # open_clip's names
VOCABULARY = 49408  # ids of open_clip's tokenizer
MASK_TOKEN = 49408  # appended after the tokenizer's own ids; dropped from a saved model


class Encoded(NamedTuple):
    """A tower's output. `embedding` has unit length. `tokens` are the requested token features, for texts only."""

    pooled: Float[Tensor, "B F"]
    embedding: Float[Tensor, "B D"]
    tokens: Float[Tensor, "R F"] | None


def unit(vectors: Float[Tensor, "B D"]) -> Float32[Tensor, "B D"]:
    """Rows scaled to unit length, in float32 even under autocast: in bfloat16 the length is off by up to 0.4 %."""
    return F.normalize(vectors.float(), dim=-1)


class Projection(nn.Module):
    """features @ weight: the map to the joint space without a bias, exactly as in open_clip's native towers."""

    def __init__(self, weight: nn.Parameter):
        super().__init__()
        self.weight = weight  # (F, D)

    def forward(self, pooled: Float[Tensor, "B F"]) -> Float[Tensor, "B D"]:
        """The embedding before normalisation."""
        return pooled @ self.weight


class ImageTower(nn.Module):
    """An open_clip image trunk (native ViT or timm) and its projection. Forward: (B, 3, H, W) -> Encoded."""

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

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> Encoded:
        """Pooled features (B, F) and unit-length float32 embeddings (B, D) of normalised images."""
        pooled = self.trunk(image)
        return Encoded(pooled, unit(self.projection(pooled)), None)


class TextTower(nn.Module):
    """open_clip's text transformer and its projection. Forward: token ids (B, L) -> Encoded.

    It pools at the first end token (`pool_type="eos"`). open_clip's default pools at the highest id, which would be an
    appended mask token. In training, a causal tower runs only up to the batch's longest caption, because no token sees
    the pads after the end, and on CPUs it skips pads altogether. A bidirectional tower, and any tower in eval mode,
    runs at the full context length.
    """

    def __init__(self, text: nn.Module):
        super().__init__()
        if not isinstance(text, TextTransformer):
            raise ValueError(f"text tower {type(text).__name__} is not supported; use open_clip's native text tower")
        if text.cls_emb is not None or text.pool_type not in ("argmax", "eos"):
            raise ValueError(
                f"a text tower with pool_type={text.pool_type!r}, embed_cls={text.cls_emb is not None} is not "
                "supported: askew pools at the end token (pool_type argmax or eos)"
            )
        if not isinstance(text.text_projection, nn.Parameter):
            raise ValueError("a text tower with a biased or missing projection is not supported; use proj_bias=false")
        self.projection = Projection(text.text_projection)
        text.text_projection = None
        text.output_tokens, text.pool_type, text.eos_id = True, "eos", END_TOKEN
        self.trunk = text

    @property
    def causal(self) -> bool:
        """Whether a token sees only itself and the tokens before it."""
        return self.trunk.attn_mask is not None

    @property
    def width(self) -> int:
        """F, the width of token features."""
        return self.trunk.width

    @property
    def vocab_size(self) -> int:
        """V, including the mask token if there is one."""
        return self.trunk.token_embedding.num_embeddings

    def forward(self, text: Int[Tensor, "B L"], wanted: Bool[Tensor, "B L"] | None = None) -> Encoded:
        """Pooled (B, F) and unit-length float32 embeddings (B, D), and token features (R, F) of the R wanted tokens.

        `wanted` may select tokens up to and including the end token. Their features are returned text by text.
        """
        end = (text == END_TOKEN).int().argmax(dim=1)
        wanted = torch.zeros_like(text, dtype=torch.bool) if wanted is None else wanted
        if self.training and self.causal:
            longest = int(end.max()) + 1
            text, wanted = text[:, :longest], wanted[:, :longest]
            if text.device.type == "cpu" and can_pack(self.trunk):
                at_end = F.one_hot(end, longest).bool()
                needed = wanted | at_end
                features = token_features(self.trunk, text, end + 1, needed)
                pooled, tokens = features[at_end[needed]], features[wanted[needed]]
                return Encoded(pooled, unit(self.projection(pooled)), tokens)
            mask = self.trunk.get_buffer("attn_mask")[:longest, :longest]
            pooled, tokens = torch.func.functional_call(self.trunk, {"attn_mask": mask}, (text,))
        else:
            pooled, tokens = self.trunk(text)
        return Encoded(pooled, unit(self.projection(pooled)), tokens[wanted])

    @torch.no_grad()
    def append_mask_token(self) -> None:
        """Add a row to the token embedding, id MASK_TOKEN: the mean of the others plus the usual initial noise."""
        old = self.trunk.token_embedding
        if old.num_embeddings != VOCABULARY:
            raise ValueError(
                f"masked language modelling needs open_clip's {VOCABULARY}-token vocabulary, but this text tower has "
                f"{old.num_embeddings} tokens; set method.mlm_weight=0"
            )
        new = nn.Embedding(old.num_embeddings + 1, old.embedding_dim)
        new.weight[:-1] = old.weight
        new.weight[-1] = old.weight.mean(dim=0) + 0.02 * torch.randn(old.embedding_dim)
        self.trunk.token_embedding, self.trunk.vocab_size = new, new.num_embeddings


class TwoTower(nn.Module):
    """The pair of towers that is trained, evaluated and exported.

    Args:
        config: an open_clip model configuration (`embed_dim`, `vision_cfg`, `text_cfg`, `quick_gelu`), kept for saving.
        model: the open_clip model built from it, whose towers are used.
    """

    def __init__(self, config: dict[str, Any], model: CustomTextCLIP):
        super().__init__()
        self.config = copy.deepcopy(config)
        self.pretrained_scale: float | None = None  # logarithm of the logit scale that came with pretrained weights
        self.pretrained_bias: float | None = None  # the bias of the logits, if the pretrained weights came with one
        self.image = ImageTower(model.visual)
        self.text = TextTower(model.text)
        patches = [p for n, p in self.image.named_parameters() if n.endswith(("positional_embedding", "pos_embed"))]
        self.longest = max(
            [self.text.trunk.num_pos, *(p.shape[-2] for p in patches)]
        )  # tokens that attend to one another


def build_model(config: dict[str, Any]) -> CustomTextCLIP:
    """The open_clip model of a configuration, in the layout with `.visual` and `.text`.

    Raises:
        ValueError: unknown or contradictory fields, quoting open_clip's own error.
    """
    fields = {k: v for k, v in copy.deepcopy(config).items() if k != "custom_text"}
    if "hf_model_name" in fields.get("text_cfg", {}):
        raise ValueError(
            f"text tower {fields['text_cfg']['hf_model_name']!r} is not supported; use the native text tower"
        )
    if "multimodal_cfg" in fields:
        raise ValueError("CoCa models are not supported; use a two-tower configuration")
    try:
        return CustomTextCLIP(**fields)
    except (TypeError, AssertionError, RuntimeError) as error:
        raise ValueError(f"open_clip cannot build these towers: {error}") from error


def plain_state(
    image: ImageTower, text: TextTower, logit_scale: Tensor, logit_bias: Tensor | None = None
) -> dict[str, Tensor]:
    """The state dict in open_clip's plain CLIP layout: keys renamed, mask row dropped, float32, contiguous, on the CPU.

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
    state |= dict(text.trunk.state_dict())
    state["token_embedding.weight"] = state["token_embedding.weight"][:VOCABULARY]
    state["text_projection"] = text.projection.weight
    state["logit_scale"] = logit_scale.reshape(())
    if logit_bias is not None:
        state["logit_bias"] = logit_bias.reshape(())
    return {k: v.detach().to("cpu", copy=True).contiguous() for k, v in state.items()}


def plain_config(config: dict[str, Any], logit_bias: Tensor | None = None) -> dict[str, Any]:
    """The open_clip configuration of an exported model. It pools by argmax: without a mask token, at the end token.

    A `logit_bias` is written to it. open_clip adds the bias to logits, and embeddings and cosines are unaffected.
    """
    config = copy.deepcopy(config) | ({} if logit_bias is None else {"init_logit_bias": logit_bias.item()})
    config.pop("custom_text", None)
    config["text_cfg"] |= {"pool_type": "argmax"}
    config["text_cfg"].pop("eos_id", None)
    config["vision_cfg"].pop("timm_model_pretrained", None)
    if "timm_model_name" in config["vision_cfg"]:
        config["vision_cfg"]["timm_model_pretrained"] = False
    return config


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
