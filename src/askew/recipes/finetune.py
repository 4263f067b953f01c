"""Fine-tuning: from pretrained weights, on custom pairs, and for retrieval as the paper's Table 2 reports it."""

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


def finetune() -> Recipe:
    """CLIP from pretrained weights at a low learning rate, evaluated before and after."""
    return Recipe(
        name="finetune",
        # The objective that the weights were trained with: MCD's image-image pairs start far above chance (dev/LOG.md)
        method=CLIP.Config(),
        towers=TowerSettings(model="ViT-B-32", pretrained="laion2b_s34b_b79k"),
        data=DataSettings(source="embedded"),
        views=ViewSettings(image_scale=(0.8, 1.0)),
        loader=LoaderSettings(batch_size=128, num_workers=1),
        train=TrainSettings(
            epochs=3,
            learning_rate=1e-5,
            min_learning_rate=0.0,
            warmup_learning_rate=0.0,
            warmup_epochs=0.3,
            weight_decay=0.1,
            grad_clip_norm=1.0,
        ),
        evaluation=EvaluationSettings(suite="tiny", before=True),
    )


def finetune_retrieval() -> Recipe:
    """CLIP on every caption of every image, as `askew finetune-retrieval` trains it; name the weights and the data."""
    return Recipe(
        name="finetune-retrieval",
        # The paper gives no settings of its fine-tuning. docs/deviations.md has the reasons for these, which are the
        # same for weights of any method. Captions of one image are positives of one another: CLIP takes them from the
        # negatives.
        method=CLIP.Config(),
        data=DataSettings(source="", captions="each"),
        views=ViewSettings(image_scale=(0.5, 1.0), image_flip=0.5),
        loader=LoaderSettings(batch_size=512),
        train=TrainSettings(
            epochs=10,  # 5 on COCO
            learning_rate=1e-5,  # chosen on validation images among 1e-5, 3e-5 and 5e-5
            min_learning_rate=0.0,
            warmup_learning_rate=0.0,
            warmup_epochs=1,
            weight_decay=0.1,
        ),
    )
