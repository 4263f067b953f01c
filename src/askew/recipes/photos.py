"""Thousands of photographs with captions, on two CPU cores: the default for custom pairs, and one recipe per method.

The settings were chosen on photographs that are not trained on (Flickr8k's development images), by the mean of R@1, R@5
and R@10 both ways: dev/LOG.md has the trials. Towers, views, batches and samples are the same for every method, except
that A-CLIP needs a ViT, and a teacher that sees the whole image.
"""

from askew.config import (
    EvaluationSettings,
    LoaderSettings,
    Recipe,
    TowerSettings,
    TrainSettings,
    ViewSettings,
)
from askew.methods.aclip import ACLIP
from askew.methods.albef import ALBEF
from askew.methods.base import MethodConfig
from askew.methods.clip import CLIP
from askew.methods.declip import DeCLIP
from askew.methods.fastclip import FastCLIP
from askew.methods.mcd import MCD
from askew.methods.siglip import SigLIP
from askew.methods.slip import SLIP
from askew.methods.uniclip import UniCLIP

TOWERS = TowerSettings(
    model="",
    embed_dim=256,
    vision_cfg={
        "image_size": 48,  # at equal cost, more epochs of smaller images teach more
        "timm_model_name": "edgenext_xx_small",  # faster than the ConvNeXt of `tiny`, and no worse
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "linear",
    },
    text_cfg={"context_length": 32, "width": 256, "heads": 4, "layers": 1},
    token_std=0.02,
)
VIT = TOWERS.model_copy(
    update={"vision_cfg": {"image_size": 48, "patch_size": 8, "width": 192, "layers": 4, "head_width": 64}}
)
VIEWS = ViewSettings(image_scale=(0.4, 1.0), aug_scale=(0.4, 1.0), blur_sigma=(0.1, 0.6), mask_probability=0.05)
LOADER = LoaderSettings(batch_size=128, num_workers=1, cache_mb=256)
TRAIN = TrainSettings(
    epochs=16,
    learning_rate=5e-4,
    weight_decay=0.2,
    warmup_epochs=1,
    grad_clip_norm=1.0,
    log_every=10,
    checkpoint_minutes=4,
)
MOMENTUM = 0.966  # a half-life of about 2 % of 1,000 steps
QUEUE = 2048  # texts or pairs; a queue of 65,536 would hold every caption twice


def photos() -> Recipe:
    """MCD on thousands of photographs with captions: `--data pairs.csv`."""
    return _photos("photos", MCD.Config(momentum=MOMENTUM))


def photos_clip() -> Recipe:
    """CLIP on the samples, towers and schedule of `photos`."""
    return _photos("photos-clip", CLIP.Config())


def photos_clip_aug() -> Recipe:
    """CLIP that also contrasts augmented images, on the samples, towers and schedule of `photos`."""
    return _photos("photos-clip-aug", CLIP.Config(contrasted=("image", "aug")))


def photos_slip() -> Recipe:
    """SLIP on the samples, towers and schedule of `photos`."""
    return _photos("photos-slip", SLIP.Config())


def photos_declip() -> Recipe:
    """DeCLIP on the samples, towers and schedule of `photos`, with a queue in proportion to the data."""
    return _photos("photos-declip", DeCLIP.Config(queue_size=QUEUE))


def photos_uniclip() -> Recipe:
    """UniCLIP on the samples, towers and schedule of `photos`."""
    return _photos("photos-uniclip", UniCLIP.Config())


def photos_siglip() -> Recipe:
    """SigLIP on the samples, towers and schedule of `photos`."""
    return _photos("photos-siglip", SigLIP.Config())


def photos_fastclip() -> Recipe:
    """FastCLIP on the samples, towers and schedule of `photos`, at CLIP's settings: its own are not tuned."""
    return _photos("photos-fastclip", FastCLIP.Config())


def photos_albef() -> Recipe:
    """ALBEF's contrast on the samples, towers and schedule of `photos`. It has not been tuned.

    The queue is in proportion to the data, the teacher is as fast as that of `photos`, and alpha rises over one epoch.
    """
    method = ALBEF.Config(momentum=MOMENTUM, queue_size=QUEUE, alpha_ramp=1 / TRAIN.epochs)
    return _photos("photos-albef", method)


def photos_aclip() -> Recipe:
    """A-CLIP on the samples and schedule of `photos`, with a small ViT, whose patches can be chosen. It is not tuned.

    Its image tower costs several times as much as that of `photos`, so compare it with other methods on the same towers
    (docs/methods.md). The teacher, as fast as that of `photos`, sees the whole image.
    """
    recipe = _photos("photos-aclip", ACLIP.Config(momentum=MOMENTUM))
    views = VIEWS.model_copy(update={"image_scale": (1.0, 1.0)})
    return recipe.model_copy(update={"towers": VIT, "views": views})


def _photos(name: str, method: MethodConfig) -> Recipe:
    return Recipe(
        name=name,
        method=method,
        towers=TOWERS,
        views=VIEWS,
        loader=LOADER,
        train=TRAIN,
        evaluation=EvaluationSettings(),
    )
