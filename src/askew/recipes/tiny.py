"""Minutes on two CPU cores, on the embedded data: the default run, and CLIP on the same samples."""

from askew.config import Data, Evaluation, Loader, Recipe, Towers, Train
from askew.methods.clip import CLIP
from askew.methods.mcd import MCD

TOWERS = Towers(
    model="",
    embed_dim=256,
    vision_cfg={
        "image_size": 64,
        "timm_model_name": "convnext_atto",
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "linear",
    },
    text_cfg={"context_length": 32, "width": 192, "heads": 3, "layers": 3},
)
LOADER = Loader(batch_size=256, num_workers=1, blur_sigma=(0.1, 0.6))  # SLIP's blur at 224 px, scaled to 64 px
EPOCHS = 10
# Short runs: the teacher's half-life is about 2 % of the run (method.md 1.9): 2 ** (-1 / (0.02 T)), T about 220 steps
MOMENTUM = 0.85
TRAIN = Train(
    epochs=EPOCHS,
    learning_rate=1e-3,
    weight_decay=0.2,
    warmup_epochs=1,
    clip_gradient=1.0,
    log_every=5,
    checkpoint_minutes=2,
)


def tiny() -> Recipe:
    """MCD on the embedded drawings and photographs."""
    return Recipe(
        name="tiny",
        method=MCD.Config(momentum=MOMENTUM),
        towers=TOWERS,
        data=Data(source="embedded"),
        loader=LOADER,
        train=TRAIN,
        evaluation=Evaluation(suite="tiny"),
    )


def tiny_clip() -> Recipe:
    """CLIP on the same samples, towers and schedule."""
    return tiny().model_copy(update={"name": "tiny-clip", "method": CLIP.Config()})
