"""The names and shapes of CLIP's weights in Hugging Face transformers, beside open_clip's plain layout."""

from torch import Tensor, cat

SHARED = {"logit_scale": "logit_scale"}
TEXT = {
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "text_projection": "text_projection.weight",
}
IMAGE = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "visual.proj": "visual_projection.weight",
}
TRANSPOSED = ("text_projection", "visual.proj")  # (F, D) here, and the (D, F) of a Linear there
BLOCK = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj", "mlp.c_fc": "mlp.fc1",
         "mlp.c_proj": "mlp.fc2"}  # fmt: skip
THREE = "qkv"  # one matrix here, three there


def text_names(layers: int) -> dict[str, str]:
    """transformers' name of every weight of a native text tower, by open_clip's. `{}` stands for q, k and v."""
    return TEXT | _blocks("transformer.resblocks", "text_model.encoder.layers", layers)


def image_names(layers: int) -> dict[str, str]:
    """The same of a native ViT."""
    return IMAGE | _blocks("visual.transformer.resblocks", "vision_model.encoder.layers", layers)


def _blocks(ours: str, theirs: str, layers: int) -> dict[str, str]:
    names = {}
    for layer in range(layers):
        for kind in ("weight", "bias"):
            names[f"{ours}.{layer}.attn.in_proj_{kind}"] = f"{theirs}.{layer}.self_attn.{{}}_proj.{kind}"
            for here, there in BLOCK.items():
                names[f"{ours}.{layer}.{here}.{kind}"] = f"{theirs}.{layer}.{there}.{kind}"
    return names


def their_names(names: dict[str, str]) -> set[str]:
    """All of transformers' names."""
    return {theirs.format(part) for theirs in names.values() for part in THREE}


def to_transformers(state: dict[str, Tensor], names: dict[str, str]) -> dict[str, Tensor]:
    """The weights that `names` lists, in transformers' layout, as copies."""
    made = {}
    for ours, theirs in names.items():
        if "{}" in theirs:
            made |= {theirs.format(part): one for part, one in zip(THREE, state[ours].chunk(3), strict=True)}
        else:
            made[theirs] = state[ours].T if ours in TRANSPOSED else state[ours]
    return {name: tensor.detach().clone().contiguous() for name, tensor in made.items()}


def from_transformers(state: dict[str, Tensor], names: dict[str, str]) -> dict[str, Tensor]:
    """The weights that `names` lists, in open_clip's layout, as copies."""
    made = {}
    for ours, theirs in names.items():
        if "{}" in theirs:
            made[ours] = cat([state[theirs.format(part)] for part in THREE])
        else:
            made[ours] = state[theirs].T if ours in TRANSPOSED else state[theirs]
    return {name: tensor.detach().clone().contiguous() for name, tensor in made.items()}
