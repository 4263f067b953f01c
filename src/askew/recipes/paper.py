"""What the paper's recipes share, and where each of their settings comes from.

The paper states the towers, epochs, learning rate, weight decay and, for YFCC15M, the batch; it builds on SLIP's code.
The rest is SLIP's, DeCLIP's for its own terms, or ours where neither has it. `askew recipes NAME` prints the source
beside each setting.
"""

from askew.config import (
    DataSettings,
    EvaluationSettings,
    LoaderSettings,
    Recipe,
    TowerSettings,
    TrainSettings,
    ViewSettings,
)
from askew.data.sources.base import HOW_FETCHED
from askew.methods.base import MethodConfig
from askew.recipes.settings import leaves

# Smallest crop of the augmented views: MoCo-v2's in DeCLIP; in the others SimCLR's, as in SLIP
SMALLEST_CROP = {"declip": 0.2}


def of_paper(
    name: str, method: MethodConfig, towers: str, epochs: float, learning_rate: float, weight_decay: float
) -> Recipe:
    """A run of the paper: what differs between data sets, and what all runs share."""
    return Recipe(
        name=name,
        method=method,
        towers=TowerSettings(model=towers),
        data=DataSettings(source=""),
        views=ViewSettings(tags=0.0, aug_scale=(SMALLEST_CROP.get(method.name, 0.08), 1.0)),
        loader=LoaderSettings(batch_size=4096, num_workers=8),
        train=TrainSettings(
            epochs=epochs,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            checkpoint_minutes=30,
            log_every=50,
        ),
        evaluation=EvaluationSettings(suite="none"),
    )


def with_slips_towers(recipe: Recipe) -> Recipe:
    """The same run with the towers of SLIP's code: timm's ViT, and a text tower with QuickGELU."""
    patch = {"ViT-B-16": 16, "ViT-B-32": 32}[recipe.towers.model]
    towers = TowerSettings(
        model="",
        embed_dim=512,
        quick_gelu=True,  # only in the text tower: timm's ViT has GELU
        vision_cfg={
            "image_size": 224,
            "timm_model_name": f"vit_base_patch{patch}_224",
            "timm_model_pretrained": False,
            "timm_pool": "",  # the class token after the last norm
            "timm_proj": "linear",
        },
        text_cfg={"context_length": 77, "width": 512, "heads": 8, "layers": 12},
    )
    return recipe.model_copy(update={"name": f"{recipe.name}-timm", "towers": towers})


def sources(recipe: Recipe) -> dict[str, str]:
    """Where each setting of a paper recipe comes from, by dotted key. KeyError for one that the tables lack."""
    data = "CC3M" if "cc3m" in recipe.name else "YFCC15M"
    table = SHARED | OF_METHOD[recipe.method.name] | OF_DATA[data]
    if recipe.name.endswith("-timm"):
        table |= SLIPS_TOWERS
    keys = leaves(recipe.model_dump(mode="json"))
    return {key: table[key] if key in table else table[key.partition(".")[0]] for key in keys}


# A section's name explains those of its settings that have no line of their own.
SHARED = {
    "name": "method, data, image tower",
    "method.name": "the method's paper",
    "method.temperature": "start, learned; SLIP's code, logit_scale",
    "method.words_weight": "ours: off; SuperCLIP's term belongs to no method here",
    "method.words_targets": "ours: for method.words_weight alone",
    "towers.embed_dim": "D of the named towers, 512; SLIP's code",
    "towers.quick_gelu": "off, as in open_clip's ViT-B; SLIP's text tower has it: recipes NAME-timm",
    "towers.vision_cfg": "as in open_clip",
    "towers.text_cfg": "as in open_clip: 12 layers, width 512, 8 heads, 77 tokens, as SLIP's code",
    "towers.text_sha256": "ours: written by runs with a text tower of Hugging Face",
    "towers.token_std": "SLIP's code",
    "towers.pretrained": "SLIP's code: from random weights",
    "towers.lock": "MCD Sec. 4 and SLIP's code: both towers are trained",
    "towers.unlock_image_blocks": "MCD Sec. 4 and SLIP's code: both towers are trained",
    "towers.unlock_text_blocks": "MCD Sec. 4 and SLIP's code: both towers are trained",
    "towers.mean": "SLIP's code, ImageNet",
    "towers.std": "SLIP's code, ImageNet",
    "towers.interpolation": "for evaluation; open_clip's default (SLIP's code: bilinear)",
    "data": "set by --data SOURCE",
    **{f"data.{name}": "ours; affects where data are read from, and speed" for name in HOW_FETCHED},
    "data.captions": "SLIP's code: one caption is drawn",
    "data.equal_captions": "SLIP's code: captions are not compared",
    "loader.num_workers": "ours; affects speed only",
    "loader.cache_mb": "ours; affects speed only",
    "loader.stall_minutes": "ours",
    "views.scaled_decode": "ours; affects speed only (docs/deviations.md)",
    "views.tags": "MCD and SLIP add no tags to captions",
    "views.tags_alone": "MCD and SLIP add no tags to captions",
    "views.image_scale": "SLIP's code, the view for CLIP",
    "views.image_flip": "SLIP's code: the view for CLIP is not mirrored",
    "views.aug_scale": "SLIP's code, the views for SimCLR",
    "views.jitter": "SLIP's code",
    "views.jitter_probability": "SLIP's code",
    "views.grayscale": "SLIP's code",
    "views.blur": "SLIP's code",
    "views.blur_sigma": "SLIP's code",
    "views.flip": "SLIP's code",
    "views.mask_probability": "MCD Sec. 4.4",
    "views.operations": "MCD names no other operation",
    "views.text": "MCD and SLIP shorten no captions",
    "views.short_strategy": "CLIPF's code, for views.text=short alone",
    "views.short_tokens": "CLIPF's README: 8 tokens with start and end",
    "views.short_fit": "ours: CLIPF's code is `released`, docs/deviations.md",
    "views.short_share_full": "ours: CLIPF tunes on whole captions at the end",
    "views.short_threshold": "CLIPF's README, on CC12M",
    "views.short_unseen": "CLIPF's code",
    "views.word_counts": "set by you, for views.text=short alone",
    "views.word_counts_sha256": "ours: written by runs with views.word_counts",
    "train.max_steps": "ours: only epochs count",
    "train.optimizer": "SLIP's code",
    "train.min_learning_rate": "SLIP's code",
    "train.warmup_learning_rate": "SLIP's code",
    "train.warmup_epochs": "SLIP's code",
    "train.betas": "SLIP's code",
    "train.muon_momentum": "ours: PyTorch's, for train.optimizer=muon alone",
    "train.eps": "SLIP's code",
    "train.grad_clip_norm": "SLIP's code: no clipping",
    "train.minutes": "ours: no limit",
    "train.settled": "ours: written by runs with train.minutes",
    "train.extended": "ours: written by --extend-to",
    "train.precision": "SLIP's code uses automatic mixed precision in fp16",
    "loader.micro_batch_size": "ours; affects memory and speed only",
    "train.loss_chunk_size": "ours; affects memory only",
    "train.parallel": "ours; affects memory and speed only",
    "train.activation_checkpointing": "ours; affects memory and speed only",
    "train.compile": "ours; affects speed only",
    "train.count_flops": "ours: not counted",
    "train.device": "set by you",
    "train.seed": "SLIP's code",
    "train.log_every": "ours",
    "train.track": "ours: no trackers",
    "train.checkpoint_steps": "ours",
    "train.checkpoint_minutes": "ours",
    "train.keep_checkpoints": "ours",
    "train.checkpoint_async": "ours; affects speed only",
    "evaluation": "ours: `askew eval` tests the last weights (SLIP's code keeps the best on ImageNet)",
}

OF_DATA = {
    "CC3M": {
        "towers.model": "MCD Sec. 5.1: ViT-B/16 on CC3M",
        "loader.batch_size": "not stated for CC3M; SLIP's author: 4096 for CC3M too (SLIP issue 9)",
        "train.epochs": "MCD Sec. 5.1: 40 on CC3M",
        "train.learning_rate": "MCD Sec. 5.1: 5e-4 on CC3M",
        "train.weight_decay": "MCD Sec. 5.1: 0.5 on CC3M",
    },
    "YFCC15M": {
        "towers.model": "MCD Sec. 5.1: ViT-B/32 on YFCC15M",
        "loader.batch_size": "MCD Sec. 5.1: 4096 on YFCC15M",
        "train.epochs": "MCD Sec. 5.1: 32 on YFCC15M",
        "train.learning_rate": "MCD Sec. 5.1: 1e-3 on YFCC15M",
        "train.weight_decay": "MCD Sec. 5.1: 0.2 on YFCC15M",
    },
}

NORMALISER = {
    "method.normaliser": "MCD Eq. (5) and UniCLIP: the batch",
    "method.normaliser_eps": "ours: for method.normaliser=global alone",
    "method.gamma_min": "FastCLIP's code on CC3M, for method.normaliser=global alone",
    "method.gamma_decay": "ours: for method.normaliser=global alone",
}
OF_METHOD = {
    "clip": {"method.contrasted": "CLIP's paper and SLIP's code: originals only"},
    "slip": {
        "method.simclr_temperature": "SLIP's code, --ssl-temp",
        "method.simclr_weight": "SLIP's code, --ssl-scale",
        "method.head": "SLIP's code, at F = 768",
    },
    "declip": {
        "views.aug_scale": "DeCLIP's code, the MoCo-v2 views",
        "views.mask_probability": "DeCLIP's code",
        "method.temperature": "start, learned; DeCLIP's code, logit_scale",
        "method.contrast_weight": "DeCLIP's YFCC15M ViT config",
        "method.nns_weight": "DeCLIP's YFCC15M ViT config",
        "method.simsiam_weight": "DeCLIP's YFCC15M ViT config",
        "method.mlm_weight": "DeCLIP's YFCC15M ViT config",
        "method.contrast_text": "DeCLIP's code contrasts the masked caption",
        "method.queue_size": "DeCLIP's code",
        "method.projector": "DeCLIP's code, at D = 512",
        "method.predictor": "DeCLIP's code, at D = 512",
    },
    "mcd": {
        "method.temperatures": "ours: MCD builds on UniCLIP's similarity by domain, values not found",
        "method.momentum": "not printed in MCD Sec. 4.4; DINO's and A-CLIP's code",
        "method.momentum_end": "MCD Sec. 4.4: a cosine to 1",
        "method.mlm_weight": "not printed in MCD Eq. (13); DeCLIP's weight",
        "method.terms": "MCD Eq. (10): all three",
        "method.similarity": "ours: by domains, as in UniCLIP, which row (a) of Table 5 is part of",
        "method.rho": "the loss that MCD cites (Kim et al. 2019) is squared; docs/deviations.md",
        "method.negative": "ours: a reading of MCD Eq. (8), docs/deviations.md",
        "method.noisy": "ours: a reading of MCD Eq. (9), docs/deviations.md",
        "method.contrast_text": "MCD shortens no captions",
        "method.text_gradient": "ours: MCD trains the text encoder by all of Eq. (13)",
        "method.fading": "ours: a reading of MCD Sec. 4.4, docs/deviations.md",
        "method.alpha_start": "ours: MCD Sec. 4.4 prints no start; docs/deviations.md",
        "method.aug_patches": "MCD Sec. 4: the student sees the whole augmented image",
        "method.patch_scores": "ours: for method.aug_patches alone",
        **NORMALISER,
    },
    "uniclip": {
        "method.temperatures": "ours: start values of UniCLIP's similarity by domain were not found",
        "method.pair_weights": "ours: UniCLIP's w_D were not found; docs/deviations.md",
        "method.augmentation_encoding": "UniCLIP's paper, its abstract",
        "method.mlm_weight": "ours: off; UniCLIP's abstract names no such term",
        **NORMALISER,
    },
}

SLIPS_TOWERS = {
    "towers.model": "SLIP's code; its towers are given in full below",
    "towers.quick_gelu": "SLIP's code, of the text tower; timm's ViT has GELU",
    "towers.vision_cfg": "SLIP's code: timm's ViT, class token (/32 is ours: SLIP's code has only /16)",
    "towers.text_cfg": "SLIP's code",
}
