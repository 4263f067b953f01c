"""Towers from a recipe: their full configuration, and their weights, random or pretrained."""

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.model import CustomTextCLIP
from open_clip.timm_model import TimmModel
from torch import nn

from askew import config
from askew.data.files import home_path
from askew.data.hugging_face import found_beside
from askew.errors import UserError, printable
from askew.nn.locking import lock
from askew.nn.towers import (
    DIRECTORY_CONFIG,
    DIRECTORY_WEIGHTS,
    VOCABULARY,
    TwoTower,
    build_model,
    model_config,
)
from askew.training.text import explicit_text, text_of

OPEN_CLIP_TOKEN_STD = 0.02  # of open_clip's own random token embeddings
SIZES = {"vision_cfg": "image_size", "text_cfg": "context_length"}  # may differ from those of pretrained weights


def resolve(towers: config.TowerSettings) -> config.TowerSettings:
    """The same towers with every field explicit, so that the recorded recipe is complete.

    Fine-tuning keeps what the weights were trained with: a pretrained open_clip directory brings its configuration and
    preprocessing, and an open_clip tag its activation and normalisation.

    Raises:
        UserError: an unknown name, or pretrained weights that cannot be found.
    """
    fields, path = towers.model_dump(), home_path(towers.pretrained).resolve()
    if not towers.pretrained:
        pass
    elif (path / DIRECTORY_CONFIG).is_file():
        shape, preprocessing = _read_directory(path)
        _refuse_other_shape(towers, shape)
        for side, size in SIZES.items():
            shape[side] = {**shape[side], **{k: v for k, v in fields[side].items() if k == size}}
        fields |= {"model": "", "pretrained": str(path), **shape, **_preprocessing(towers, preprocessing)}
    elif path.is_file():
        fields["pretrained"] = str(path)
        if (path.parent / DIRECTORY_CONFIG).is_file():
            fields |= _preprocessing(towers, _read_directory(path.parent)[1])
        elif (towers.mean, towers.std) == (config.IMAGENET_MEAN, config.IMAGENET_STD):
            fields |= {"mean": OPENAI_DATASET_MEAN, "std": OPENAI_DATASET_STD}
    else:
        tag = open_clip.get_pretrained_cfg(towers.model, towers.pretrained)
        if not tag:
            tags = open_clip.list_pretrained_tags_by_model(towers.model)
            raise UserError(
                f"towers.pretrained={printable(towers.pretrained)!r} is neither a file, nor a folder "
                f"with open_clip_config.json, nor a tag of {towers.model or 'the model'}, "
                f"which has {', '.join(tags) or 'none'}"
            )
        fields |= _preprocessing(towers, tag) | ({"quick_gelu": True} if tag.get("quick_gelu") else {})
    if fields["model"]:
        try:
            named = _explicit(model_config(fields["model"]))
        except ValueError as error:
            raise UserError(str(error)) from error
        fields["embed_dim"] = fields["embed_dim"] or named["embed_dim"]
        fields["quick_gelu"] = fields["quick_gelu"] or named["quick_gelu"]
        for side in ("vision_cfg", "text_cfg"):
            fields[side] = {**named[side], **fields[side]}
    if not fields["embed_dim"]:
        raise UserError("towers.embed_dim is 0 and towers.model names no configuration; set one of them")
    fields["text_cfg"] = explicit_text(fields["text_cfg"])
    resolved = config.TowerSettings(**fields)
    of_hugging_face = text_of(resolved)
    return resolved.model_copy(update={"text_sha256": of_hugging_face.files.sha256() if of_hugging_face else ""})


def _read_directory(directory: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The model configuration of an open_clip directory, and its preprocessing."""
    file = directory / DIRECTORY_CONFIG
    try:
        saved = json.loads(file.read_text(encoding="utf-8"))
        shape = _explicit(saved["model_cfg"])
        shape["text_cfg"] = found_beside(directory, shape["text_cfg"])
        return shape, dict(saved.get("preprocess_cfg") or {})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"towers.pretrained: {file} is not an open_clip configuration ({type(error).__name__}: {error})"
        ) from error


def _refuse_other_shape(asked: config.TowerSettings, trained: dict[str, Any]) -> None:
    """The shape of a model comes with its directory. Another one is refused, not ignored; SIZES may differ."""
    wishes = {("embed_dim", ""): (asked.embed_dim, trained["embed_dim"])} if asked.embed_dim else {}
    for side in ("vision_cfg", "text_cfg"):
        fields = getattr(asked, side).items()
        wishes |= {(side, f".{k}"): (v, trained[side].get(k)) for k, v in fields if k != SIZES[side]}
    for (field, key), (wish, found) in wishes.items():
        if wish != found:
            raise UserError(
                f"towers.{field}{key}={printable(str(wish))} does not fit the pretrained model, which has "
                f"{printable(str(found))}; leave it out"
            )


def changed_sizes(towers: config.TowerSettings) -> list[str]:
    """Which sizes of resolved towers differ from those that their pretrained weights were trained with, in words.

    Empty if that is not known: for a file of weights without a configuration, or a folder that is gone.
    """
    path = Path(towers.pretrained)
    if not towers.pretrained:
        return []
    if (path / DIRECTORY_CONFIG).is_file():
        trained = _read_directory(path)[0]
    elif (path.parent / DIRECTORY_CONFIG).is_file() and path.is_file():
        trained = _read_directory(path.parent)[0]
    elif towers.model and not path.exists():
        trained = model_config(towers.model)
    else:
        return []
    changed = []
    of_sizes = [("vision_cfg", "images of {} px instead of {}"), ("text_cfg", "captions of {} tokens, not {}")]
    for side, words in of_sizes[:1] if towers.text_cfg.get("hf_model_name") else of_sizes:  # all positions are kept
        default = 224 if side == "vision_cfg" else 77
        before, now = (sizes[side].get(SIZES[side], default) for sizes in (trained, towers.model_dump()))
        if before != now:
            changed.append(words.format(now, before))
    return changed


def _refuse_sizes_that_do_not_fit(model: CustomTextCLIP) -> None:
    """A timm ViT takes one size of images; a native one takes images of one patch or more.

    Raises:
        UserError: the configured size is another.
    """
    visual: Any = model.visual
    size = visual.image_size[0]
    if isinstance(visual, TimmModel):
        embed: Any = getattr(visual.trunk, "patch_embed", None)
        if getattr(embed, "strict_img_size", False) and embed.img_size[0] != size:
            raise UserError(
                f"towers.vision_cfg.image_size={size}: this timm {type(visual.trunk).__name__} takes images of "
                f"{embed.img_size[0]} px only; set that size, or use a native ViT or a convolutional tower"
            )
    elif 0 in getattr(visual, "grid_size", (1,)):
        raise UserError(f"towers.vision_cfg.image_size={size} is smaller than a patch, {visual.patch_size[0]} px")


def _preprocessing(asked: config.TowerSettings, trained: dict[str, Any]) -> dict[str, Any]:
    """The preprocessing that pretrained weights were trained with. Another one is refused, not ignored."""
    found = {}
    for key in ("mean", "std", "interpolation"):
        if trained.get(key):
            value = trained[key] if isinstance(trained[key], str) else tuple(trained[key])
            if getattr(asked, key) not in (value, config.TowerSettings.model_fields[key].default):
                raise UserError(
                    f"towers.{key}={getattr(asked, key)} does not fit the pretrained weights, "
                    f"which were trained with {value}; leave towers.{key} out"
                )
            found[key] = value
    return found


def _explicit(model_cfg: dict[str, Any]) -> dict[str, Any]:
    known = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "custom_text", "init_logit_scale", "init_logit_bias"}
    other = set(model_cfg) - known
    if other:
        raise UserError(
            f"towers: this kind of model is not supported (its configuration has {', '.join(sorted(other))})"
        )
    return {k: model_cfg.get(k, False) for k in ("embed_dim", "quick_gelu", "vision_cfg", "text_cfg")}


def open_clip_config(towers: config.TowerSettings) -> dict[str, Any]:
    """The open_clip model configuration of resolved towers."""
    fields = towers.model_dump()
    return {k: fields[k] for k in ("embed_dim", "quick_gelu", "vision_cfg", "text_cfg")}


def build_towers(towers: config.TowerSettings, seed: int, mask_token: bool) -> TwoTower:
    """Towers of a resolved configuration, random from `seed` or with pretrained weights.

    Raises:
        UserError: open_clip cannot build the configuration, or the weights do not fit it.
    """
    torch.manual_seed(seed)
    named, of_hugging_face = open_clip_config(towers), text_of(towers)
    vocabulary = named["text_cfg"].get("vocab_size", VOCABULARY)
    if of_hugging_face is None and (vocabulary != VOCABULARY or named["text_cfg"].get("hf_tokenizer_name")):
        raise UserError(
            f"towers: a native text tower with its own tokenizer (vocabulary {vocabulary}) is not supported; it has "
            f"open_clip's {VOCABULARY}-token vocabulary. A text tower of Hugging Face (hf_model_name) brings its own"
        )
    with_text_weights = not towers.pretrained and bool(named["text_cfg"].get("hf_model_pretrained"))
    try:
        model = of_hugging_face.build(named, with_text_weights) if of_hugging_face else build_model(named)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"towers: {error}") from error
    _refuse_sizes_that_do_not_fit(model)
    if towers.pretrained:
        _load_pretrained(model, towers)
    elif of_hugging_face is None:
        with torch.no_grad():
            model.text.get_parameter("token_embedding.weight").mul_(towers.token_std / OPEN_CLIP_TOKEN_STD)
    elif not with_text_weights:
        of_hugging_face.scale_tokens(model, towers.token_std)
    try:
        pair = TwoTower(named, model, of_hugging_face and of_hugging_face.tower(model))
        if of_hugging_face is not None:
            pair.files = of_hugging_face.files.contents()
        if mask_token and (of_hugging_face is None or of_hugging_face.tokenizer.mask is None):
            pair.text.append_mask_token()
        if towers.lock in ("image", "both"):
            lock(pair.image, towers.unlock_image_blocks)
        if towers.lock in ("text", "both"):
            lock(pair.text, towers.unlock_text_blocks)
    except ValueError as error:
        raise UserError(f"towers: {error}") from error
    if towers.pretrained:
        pair.pretrained_scale = model.logit_scale.item()
        bias = model.get_parameter("logit_bias").item()
        pair.pretrained_bias = bias or None  # open_clip has 0 for weights without a bias
    return pair


def _load_pretrained(model: CustomTextCLIP, towers: config.TowerSettings) -> None:
    """Weights in place. Position embeddings of another image size or context length are interpolated by open_clip."""
    model.logit_bias = nn.Parameter(torch.zeros(()))  # in case the weights have one
    path = Path(towers.pretrained)
    if path.is_dir():
        path = path / DIRECTORY_WEIGHTS
        if not path.is_file():
            raise UserError(f"towers.pretrained: {path.parent} has no {path.name}; name the file of weights instead")
    elif not path.is_file():
        tag = open_clip.get_pretrained_cfg(towers.model, towers.pretrained)
        try:
            path = Path(open_clip.download_pretrained(tag))
        except Exception as error:  # the hub's client raises many kinds
            raise UserError(
                f"towers.pretrained={printable(towers.pretrained)}: the weights could not be downloaded "
                f"({type(error).__name__}); check the network, or give a local file or folder"
            ) from error
    try:
        open_clip.load_checkpoint(model, str(path), strict=True)
    except Exception as error:  # readers of weights raise many kinds
        raise UserError(f"towers.pretrained: {printable(str(path), 400)} {_why(error)}") from error


def _why(error: Exception) -> str:
    """Why weights cannot be loaded: how they first differ from the towers, or that the file holds none."""
    text = " ".join(str(error).split())
    problems = text.partition("Error(s) in loading state_dict for CustomTextCLIP: ")[2]
    if not problems and not isinstance(error, AssertionError):  # open_clip asserts that widths fit
        return f"is not a file of weights (safetensors, or a PyTorch state dict): {type(error).__name__}"
    first = (
        (problems or text)
        .split(". ")[0]
        .replace("copying a param with shape ", "")
        .replace("from checkpoint, ", "here, ")
    )
    return f"does not fit the towers of the recipe: {printable(first, 300)}"
