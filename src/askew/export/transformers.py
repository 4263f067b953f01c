"""The format `transformers`: a directory for AutoModel, AutoProcessor and AutoTokenizer.

A native ViT with a native text tower is a CLIPModel. A timm image tower with a linear projection is the image half of a
VisionTextDualEncoderModel. What neither class can express is refused, with the reason.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.timm_model import TimmModel
from open_clip.transformer import QuickGELU, ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn

from askew.data.hugging_face import quiet
from askew.errors import UserError
from askew.evaluation.layers import may_trim
from askew.export.parity import opened
from askew.export.target import ExportedModel, SourceModel, in_batches, require_extra
from askew.export.tokenizer import LEFT_OUT, tokenizer_of
from askew.nn.transformers_layout import SHARED, image_names, text_names, to_transformers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Pair = tuple[int, int]
PROJECTION = "visual.head.proj.weight"  # of a timm tower; evaluation has taken the layer itself off
CROPS = {"shortest": "center", "squash": "squash"}  # timm's names of open_clip's ways to resize
SNIPPET = """\
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor

folder = "."  # the folder of this file
model = AutoModel.from_pretrained(folder).eval()
processor = AutoProcessor.from_pretrained(folder)
images = [Image.open("photo.jpg").convert("RGB")]
pixels = processor.image_processor(images, return_tensors="pt")
tokens = processor.tokenizer(["a red bicycle"], padding="max_length", truncation=True, return_tensors="pt")
with torch.inference_mode():
    image_embedding = model.get_image_features(**pixels).pooler_output
    text_embedding = model.get_text_features(**tokens).pooler_output
image_embedding = torch.nn.functional.normalize(image_embedding, dim=-1)
text_embedding = torch.nn.functional.normalize(text_embedding, dim=-1)
"""
PROCESSOR_NOTE = (
    "Images are resized, cropped and normalized by `TimmWrapperImageProcessor`, which needs timm and torchvision and "
    "works with Pillow as open_clip does: the pixels are the same. `CLIPImageProcessor` rounds the place of the crop "
    "down where open_clip rounds to the nearest, and resizes otherwise; it is not used. Convert images to RGB first; "
    "pipelines do."
)


def write_transformers(source: SourceModel, folder: Path) -> ExportedModel:
    """Write config.json, model.safetensors, the tokenizer and the processor, and load them by the Auto classes.

    Raises:
        UserError: no class of transformers can express the model, or transformers is not installed.
    """
    require_extra("transformers", "timm", "tokenizers")
    import transformers

    text = source.encoders.model.text
    check_text(text)
    if source.encoders.model.logit_bias is not None:
        raise refused("it adds a bias to the logits (logit_bias), which the classes for these towers do not have")
    tokenizer = tokenizer_of(source.encoders.tokenize, text.context_length)
    visual = source.encoders.model.visual
    if isinstance(visual, VisionTransformer):
        model, processor = _clip(source, visual), "CLIPProcessor"
    elif isinstance(visual, TimmModel):
        model, processor = _dual_encoder(source, visual), "VisionTextDualEncoderProcessor"
    else:
        raise refused(f"its image tower is a {type(visual).__name__}")
    with quiet():
        model.save_pretrained(str(folder), max_shard_size="1000GB")
        tokenizer.save_pretrained(str(folder))
        _save_processor(source, folder, processor)
        return _read_back(folder, isinstance(visual, VisionTransformer), transformers.__version__)


def refused(why: str) -> UserError:
    """The one line of a model that transformers has no class for."""
    return UserError(f"--to transformers: no class of transformers can express this model: {why}; use --to open_clip "
                     "or --to onnx")  # fmt: skip


def check_text(text: Any) -> None:
    """Raise UserError unless CLIPTextModel computes the same."""
    if not may_trim(text):
        raise refused("its text tower is not open_clip's causal one that pools at the end token")
    if not isinstance(text.text_projection, nn.Parameter):
        raise refused("its text tower's projection is missing or has a bias")
    check_blocks(text.transformer, "text")


def check_image(visual: Any) -> None:
    """Raise UserError unless CLIPVisionModel computes the same."""
    if visual.attn_pool is not None:
        raise refused("its ViT pools by attention")
    if visual.pool_type != "tok" or not isinstance(visual.ln_pre, nn.LayerNorm):
        raise refused(f"its ViT has pool_type={visual.pool_type!r} and ln_pre {type(visual.ln_pre).__name__}, and only "
                      "pooling at the class token with a first LayerNorm is known")  # fmt: skip
    grid, patch = cast(Pair, visual.grid_size), cast(Pair, visual.patch_size)
    if grid[0] != grid[1] or patch[0] != patch[1]:
        raise refused("its ViT takes images or patches that are not square")
    check_blocks(visual.transformer, "image")


def check_blocks(transformer: Any, which: str) -> None:
    """Raise UserError for blocks with parts that CLIP's do not have."""
    for block in transformer.resblocks:
        plain = type(block) is ResidualAttentionBlock and isinstance(block.ls_1, nn.Identity)
        if not plain:
            raise refused(f"the blocks of its {which} tower have parts that CLIP's do not have, such as a layer scale")


def _half(transformer: Any, norm: nn.LayerNorm, which: str) -> dict[str, Any]:
    """What CLIPTextConfig and CLIPVisionConfig have in common."""
    block = transformer.resblocks[0]
    return {
        "hidden_size": transformer.width,
        "intermediate_size": block.mlp.c_fc.out_features,
        "num_hidden_layers": len(transformer.resblocks),
        "num_attention_heads": block.attn.num_heads,
        "hidden_act": _activation(block.mlp.gelu, which),
        "layer_norm_eps": norm.eps,
    }


def _activation(module: nn.Module, which: str) -> str:
    if isinstance(module, QuickGELU):
        return "quick_gelu"
    if isinstance(module, nn.GELU):
        return {"none": "gelu", "tanh": "gelu_pytorch_tanh"}[module.approximate]
    raise refused(f"the activation of its {which} tower is {type(module).__name__}")


def _text_config(source: SourceModel) -> dict[str, Any]:
    text, tokenize = source.encoders.model.text, source.encoders.tokenize
    return _half(text.transformer, text.ln_final, "text") | {
        "vocab_size": text.token_embedding.num_embeddings,
        "max_position_embeddings": text.context_length,
        "projection_dim": source.model_cfg["embed_dim"],
        "bos_token_id": tokenize.sot_token_id,  # type: ignore[attr-defined]
        "eos_token_id": tokenize.eot_token_id,  # type: ignore[attr-defined]
        "pad_token_id": 0,
    }


def _common(source: SourceModel) -> dict[str, Any]:
    """Fields of both model configurations. The image processor reads its settings from them, too."""
    scale = source.encoders.model.logit_scale.item()
    return {"projection_dim": source.model_cfg["embed_dim"], "logit_scale_init_value": scale}


def _plain(source: SourceModel) -> dict[str, Tensor]:
    """The weights in open_clip's plain layout, also where its configuration asks for another."""
    return {name.removeprefix("text."): tensor for name, tensor in source.state.items()}


def _clip(source: SourceModel, visual: Any) -> "PreTrainedModel":
    from transformers import CLIPConfig, CLIPModel

    check_image(visual)
    vision_config = _half(visual.transformer, cast(nn.LayerNorm, visual.ln_post), "image") | {
        "image_size": cast(Pair, visual.image_size)[0],
        "patch_size": cast(Pair, visual.patch_size)[0],
        "projection_dim": source.model_cfg["embed_dim"],
    }
    config = CLIPConfig(text_config=_text_config(source), vision_config=vision_config, **_common(source))
    text = source.encoders.model.text
    names = SHARED | text_names(len(text.transformer.resblocks)) | image_names(len(visual.transformer.resblocks))
    plain = _plain(source)
    _check_all_used(set(plain) - set(names))
    return _filled(CLIPModel(config), to_transformers(plain, names))


def _dual_encoder(source: SourceModel, visual: TimmModel) -> "PreTrainedModel":
    from transformers import CLIPTextConfig, TimmWrapperConfig, VisionTextDualEncoderConfig, VisionTextDualEncoderModel

    if {name for name in source.state if name.startswith("visual.head.")} != {PROJECTION} or hasattr(
        visual.head, "pool"
    ):
        raise refused("its timm image tower ends in something else than a linear projection without a bias")
    settings = source.model_cfg["vision_cfg"]
    pool = settings.get("timm_pool", "avg")
    vision_config: dict[str, Any] = {
        "architecture": settings["timm_model_name"],
        "model_args": {"global_pool": pool} if pool else {},
        "hidden_size": source.state[PROJECTION].shape[1],  # which the dual encoder asks for
    }
    config = VisionTextDualEncoderConfig(
        vision_config=TimmWrapperConfig(**vision_config).to_dict(),
        text_config=CLIPTextConfig(**_text_config(source)).to_dict(),
        **_common(source),
    )
    trunk = {name: f"vision_model.timm_model.{name.removeprefix('visual.trunk.')}"
             for name in source.state if name.startswith("visual.trunk.")}  # fmt: skip
    names = SHARED | text_names(len(source.encoders.model.text.transformer.resblocks)) | trunk
    names |= {PROJECTION: "visual_projection.weight"}
    plain = _plain(source)
    _check_all_used(set(plain) - set(names))
    return _filled(VisionTextDualEncoderModel(config), to_transformers(plain, names))


def _check_all_used(left: set[str]) -> None:
    if left:
        raise refused(f"it has weights that CLIP has not, such as {min(left)}")


def _filled(model: "PreTrainedModel", state: dict[str, Tensor]) -> "PreTrainedModel":
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise refused(" ".join(str(error).split())[:300]) from error
    return model.eval()


def _save_processor(source: SourceModel, folder: Path, processor: str) -> None:
    """TimmWrapperImageProcessor reads config.json, also where preprocessor_config.json names it."""
    given = source.preprocess_cfg
    if given["resize_mode"] not in CROPS or given.get("mode", "RGB") != "RGB":
        raise refused(f"its preprocessing resizes by {given['resize_mode']!r}, and only shortest and squash are known")
    size = given["size"]
    height, width = (size, size) if isinstance(size, int) else size
    settings = {
        "image_processor_type": "TimmWrapperImageProcessor",
        "pretrained_cfg": {
            "input_size": [3, height, width],
            "interpolation": given["interpolation"],
            "crop_pct": 1.0,
            "crop_mode": CROPS[given["resize_mode"]],
            "mean": list(given["mean"]),
            "std": list(given["std"]),
        },
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": processor}, indent=2))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | settings, indent=2), encoding="utf-8")


def _read_back(folder: Path, native: bool, version: str) -> ExportedModel:
    from transformers import AutoModel, AutoProcessor

    model: Any = AutoModel.from_pretrained(str(folder)).eval()
    processor = AutoProcessor.from_pretrained(str(folder))

    def encode_images(encoded: list[bytes]) -> np.ndarray:
        pixels = processor.image_processor([opened(data) for data in encoded], return_tensors="pt")
        with torch.inference_mode():
            return F.normalize(model.get_image_features(**pixels).pooler_output, dim=-1).numpy()

    def encode_texts(texts: list[str]) -> np.ndarray:
        tokens = processor.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
        with torch.inference_mode():
            return F.normalize(model.get_text_features(**tokens).pooler_output, dim=-1).numpy()

    pipelines = (
        '`pipeline("zero-shot-image-classification", model=FOLDER)` works. It does not cut long labels; give it '
        '`tokenizer_kwargs={"truncation": True}`.'
        if native
        else '`pipeline("zero-shot-image-classification")` does not know this class; give it the loaded parts: '
        "`model=model, tokenizer=processor.tokenizer, image_processor=processor.image_processor`."
    )
    return ExportedModel(
        images=lambda encoded: in_batches(encode_images, encoded),
        texts=lambda texts: in_batches(encode_texts, texts),
        library="transformers",
        versions={"transformers": version},
        snippet=SNIPPET,
        notes=(f"The class is `{type(model).__name__}`.", PROCESSOR_NOTE, LEFT_OUT, pipelines),
    )
