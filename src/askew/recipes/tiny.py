"""A few minutes on two CPU cores, on the embedded data: the default run, and CLIP on the same data."""

from askew.config import (
    DataSettings,
    EvaluationSettings,
    LoaderSettings,
    Recipe,
    TowerSettings,
    TrainSettings,
    ViewSettings,
)
from askew.methods.clip import CLIP
from askew.methods.mcd import MCD

# Chosen by measurement (benchmarks/towers.py, dev/LOG.md): what two cores can train in a few minutes
TOWERS = TowerSettings(
    model="",
    embed_dim=256,
    vision_cfg={
        "image_size": 40,
        "timm_model_name": "convnext_atto",
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "linear",
    },
    text_cfg={"context_length": 32, "width": 256, "heads": 4, "layers": 1},
    token_std=0.003,  # so a word that no caption taught carries little meaning, instead of a random one
)
VIEWS = ViewSettings(
    image_scale=(0.7, 1.0),  # gentler than SLIP's crops, whose smallest, 0.08, may leave 18 of a drawing's 64 px
    aug_scale=(0.4, 1.0),
    blur_sigma=(0.1, 0.6),  # SLIP's at 224 px reaches 2.0
    tags=0.8,  # unseen concepts share more keywords than names with the trained ones
    tags_alone=0.3,  # so now and then a keyword begins the caption, as a name does
    mask_probability=0.05,  # a third of 0.15: the vocabulary's logits of masked words are a fifth of a step
)
LOADER = LoaderSettings(
    batch_size=128,
    num_workers=1,
    cache_mb=256,  # all of the embedded data, decoded
)
EPOCHS = 8  # 320 steps on every machine: under four minutes on two cores with AVX512, under six with AVX2
# A short run: the teacher's half-life is about 2 % of it, 2 ** (-1 / (0.02 T)) with T = 320 steps
MOMENTUM = 0.897
TRAIN = TrainSettings(
    epochs=EPOCHS,
    learning_rate=1e-3,
    weight_decay=0.2,
    warmup_epochs=1,
    grad_clip_norm=1.0,
    log_every=10,
    checkpoint_minutes=4,
)


def tiny() -> Recipe:
    """MCD on the embedded drawings and photographs."""
    return Recipe(
        name="tiny",
        method=MCD.Config(momentum=MOMENTUM),
        towers=TOWERS,
        data=DataSettings(source="embedded"),
        views=VIEWS,
        loader=LOADER,
        train=TRAIN,
        evaluation=EvaluationSettings(suite="tiny"),
    )


def tiny_clip() -> Recipe:
    """CLIP on the same samples, towers and schedule."""
    return tiny().model_copy(update={"name": "tiny-clip", "method": CLIP.Config()})
