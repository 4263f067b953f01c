"""Runs of other papers whose code or command states its settings, and where each setting comes from.

They differ from the recipes of MCD's paper in towers, views and schedule. None of them has been run to its end here.
"""

from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

from askew.config import (
    DataSettings,
    EvaluationSettings,
    LoaderSettings,
    Recipe,
    TowerSettings,
    TrainSettings,
    ViewSettings,
)
from askew.methods.aclip import ACLIP
from askew.methods.base import MethodConfig
from askew.methods.clip import CLIP
from askew.methods.fastclip import FastCLIP
from askew.recipes.paper import OF_METHOD, SHARED
from askew.recipes.settings import leaves

CC12M, LAION400M, DATACOMP = 9_187_328, 315_658_316, 512_000_000  # samples of an epoch in the commands
OPEN_CLIPS_VIEWS = ViewSettings(tags=0.0, image_scale=(0.9, 1.0))


def aclip_yfcc15m_vitb16() -> Recipe:
    """A-CLIP on YFCC15M as its README trains it, but with patches chosen: ViT-B/16, 25 epochs."""
    views = ViewSettings(
        tags=0.0, image_scale=(1.0, 1.0), aug_scale=(0.5, 1.0), flip=0.0, jitter=(0.4, 0.4, 0.2, 0.1), blur=0.1
    )
    train = TrainSettings(epochs=25, learning_rate=5e-4, weight_decay=0.5)
    return _published("aclip-yfcc15m-vitb16", ACLIP.Config(), "ViT-B-16", 4096, views, train)


def fastclip_cc12m_vitb32() -> Recipe:
    """FastCLIP v3 on CC12M by the command of its README: ViT-B/32, 33 epochs."""
    method = FastCLIP.Config(temperature_rate=1e-4, rho=8.5, gamma="epoch", gamma_decay=16 / 33)
    train = TrainSettings(
        epochs=33,
        learning_rate=4e-4,
        min_learning_rate=0.0,
        warmup_learning_rate=0.0,
        warmup_epochs=round(10_000 * 2048 / CC12M, 4),
        weight_decay=0.1,
        eps=1e-6,
    )
    return _published("fastclip-cc12m-vitb32", method, "ViT-B-32", 2048, OPEN_CLIPS_VIEWS, train)


def fastclip_laion400m_vitb16() -> Recipe:
    """FastCLIP v3 on LAION400M by the command of its README: ViT-B/16, 30 epochs."""
    method = FastCLIP.Config(
        temperature_rate=5e-5, rho=16.0, eps=1e-6, gamma="epoch", gamma_min=0.8, gamma_decay=10 / 30
    )
    train = TrainSettings(
        epochs=30,
        learning_rate=2e-4,
        min_learning_rate=4e-5,
        warmup_learning_rate=0.0,
        warmup_epochs=round(13_200 * 5120 / LAION400M, 4),
        weight_decay=0.2,
        eps=1e-6,
    )
    return _published("fastclip-laion400m-vitb16", method, "ViT-B-16", 5120, OPEN_CLIPS_VIEWS, train)


def superclip_datacomp_vitb16() -> Recipe:
    """CLIP with SuperCLIP's term on 512 million samples of DataComp, by its code's configuration: ViT-B/16."""
    train = TrainSettings(
        epochs=1,
        learning_rate=1e-3,
        min_learning_rate=0.0,
        warmup_learning_rate=0.0,
        warmup_epochs=round(500 * 16_384 / DATACOMP, 4),
        weight_decay=0.2,
        eps=1e-6,
    )
    method = CLIP.Config(words_weight=1.0)
    return _published("superclip-datacomp-vitb16", method, "ViT-B-16", 16_384, OPEN_CLIPS_VIEWS, train)


def _published(
    name: str, method: MethodConfig, towers: str, batch: int, views: ViewSettings, train: TrainSettings
) -> Recipe:
    mean, std = OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
    by_slip = name.startswith("aclip")
    return Recipe(
        name=name,
        method=method,
        towers=TowerSettings(model=towers) if by_slip else TowerSettings(model=towers, mean=mean, std=std),
        data=DataSettings(source=""),
        views=views,
        loader=LoaderSettings(batch_size=batch, num_workers=8),
        train=train.model_copy(update={"checkpoint_minutes": 30, "log_every": 50}),
        evaluation=EvaluationSettings(suite="none"),
    )


def sources_of_published(recipe: Recipe) -> dict[str, str]:
    """Where each setting of such a recipe comes from, by dotted key. KeyError for one that the tables lack."""
    table = SHARED | OF_METHOD.get(recipe.method.name, {}) | OF_RECIPE[recipe.name.partition("-")[0]]
    keys = leaves(recipe.model_dump(mode="json"))
    return {key: table[key] if key in table else table[key.partition(".")[0]] for key in keys}


RUN = (
    *("towers.model", "loader.batch_size", "train.epochs", "train.learning_rate", "train.weight_decay"),
    *("train.min_learning_rate", "train.warmup_learning_rate", "train.warmup_epochs", "train.betas", "train.eps"),
)
OPEN_CLIPS = {
    "towers.mean": "open_clip's default, OpenAI's",
    "towers.std": "open_clip's default, OpenAI's",
    "views.image_scale": "open_clip's default",
}
OF_RECIPE = {
    "aclip": {
        **dict.fromkeys(RUN, "A-CLIP's README and code"),
        "method.momentum": "A-CLIP's code",
        "method.patches": "A-CLIP's paper; the command of its README shows all",
        "method.simclr_temperature": "A-CLIP's code",
        "method.simclr_weight": "A-CLIP's code",
        "method.simclr_views": "ours: A-CLIP's code has first_twice; docs/deviations.md",
        "method.byol_weight": "A-CLIP's code",
        "method.head": "A-CLIP's code, at F = 768",
        "method.projector": "A-CLIP's code, at F = 768",
        "method.predictor": "A-CLIP's code, at F = 768",
        "views.image_scale": "ours: the teacher's view; docs/deviations.md",
        **dict.fromkeys((f"views.{name}" for name in ("aug_scale", "jitter", "blur", "flip")), "A-CLIP's code"),
        "views.operations": "ours: A-CLIP's code also solarises",
    },
    "fastclip": {
        **dict.fromkeys(RUN, "FastCLIP's README and code"),
        "method.temperature_rate": "FastCLIP's README",
        "method.temperature_gradient": "FastCLIP's code; docs/deviations.md",
        "method.rho": "FastCLIP's README",
        "method.eps": "FastCLIP's README and code",
        "method.gamma": "FastCLIP's code",
        "method.gamma_min": "FastCLIP's README",
        "method.gamma_decay": "FastCLIP's README, its epochs as a share of the run",
        **OPEN_CLIPS,
    },
    "superclip": {
        **dict.fromkeys(RUN, "SuperCLIP's configuration and code"),
        "method.words_weight": "SuperCLIP's code",
        "method.words_targets": "ours: SuperCLIP's code is `released`, docs/deviations.md",
        **OPEN_CLIPS,
    },
}
PUBLISHED = {
    "aclip-yfcc15m-vitb16": aclip_yfcc15m_vitb16,
    "fastclip-cc12m-vitb32": fastclip_cc12m_vitb32,
    "fastclip-laion400m-vitb16": fastclip_laion400m_vitb16,
    "superclip-datacomp-vitb16": superclip_datacomp_vitb16,
}
