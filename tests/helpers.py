"""What several test files share: micro towers and methods, pairs on disk, batches made without a loader."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from askew import config
from askew.build import build_towers
from askew.data.augment import NUM_PARAMETERS
from askew.data.eda import WordEdits
from askew.data.views import MaskedTokens, Tokens
from askew.methods.base import Batch, Method, MethodConfig
from askew.methods.clip import CLIP
from askew.methods.declip import DeCLIP
from askew.methods.mcd import MCD
from askew.methods.siglip import SigLIP
from askew.methods.slip import SLIP
from askew.methods.uniclip import UniCLIP
from askew.nn.heads import AugmentationHead
from askew.nn.momentum import Momentum
from askew.objectives.masked_language import NOT_MASKED

# At these sizes threads cost far more than they give, above all where other processes want the same cores.
torch.set_num_threads(1)

METHODS = [
    CLIP.Config(),
    MCD.Config(),
    MCD.Config(  # between this and the next every other reading
        mlm_weight=0,
        similarity="shared",
        rho="huber",
        negative="aug_own_against_other",
        noisy="teacher_ranks",
        fading="two_sets",
    ),
    MCD.Config(
        mlm_weight=0,
        momentum=0.5,  # of a teacher that stays at random weights there would be nothing to learn
        terms=("negative", "noisy", "soft_alignment"),
        rho="absolute",
        negative="own_against_aug_other",
        noisy="own_against_own",
        text_gradient="stopped",
        fading="unfaded",
    ),
    UniCLIP.Config(),
    SLIP.Config(),
    DeCLIP.Config(queue_size=50),
    SigLIP.Config(),
]
METHOD_NAMES = [
    "clip",
    "mcd",
    "mcd-readings",
    "mcd-other-readings",
    "uniclip",
    "slip",
    "declip",
    "siglip",
]

WORDS = ("red", "green", "blue", "old", "tiny", "round", "paper", "kite", "boat", "lamp", "tree", "cup", "owl", "shoe")


def micro_towers(**text_cfg) -> config.Towers:
    """The smallest native towers: a one-layer ViT of 2 x 2 patches and a one-layer causal text tower."""
    return config.Towers(
        model="",
        embed_dim=16,
        vision_cfg={"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16},
        text_cfg={"context_length": 16, "width": 32, "heads": 2, "layers": 1, **text_cfg},
    )


def micro_method(method: MethodConfig) -> Method:
    """A method on micro towers, always with the same weights; a teacher is moved off its student, a head off zero."""
    built = method.build(build_towers(micro_towers(), seed=0, mask_token=method.needs_mask_token)).train()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for moved in (module for module in built.modules() if isinstance(module, Momentum | AugmentationHead)):
            for parameter in moved.parameters():
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return built


def micro_batch(groups: Sequence[int], seed: int = 0, unmasked: Sequence[int] = ()) -> Batch:
    """Every key of a batch for the micro towers: random images, captions of 1 to 6 words, all different.

    `unmasked` are rows without a masked token; every other row has at least one.
    """
    rng, num = np.random.default_rng(seed), len(groups)
    tokens, masked = Tokens(context_length=16), MaskedTokens(probability=0.4)
    texts, views, edited = [], [], []
    for row in range(num):
        caption = " ".join([f"{row}", *rng.choice(WORDS, size=rng.integers(0, 6))])
        text = tokens.sample(caption)
        edited.append(tokens.sample(WordEdits(0.5)(caption, np.random.default_rng([seed, row]))))
        view = masked.sample(text, rng)
        while row not in unmasked and (view["mlm_labels"] == NOT_MASKED).all():
            view = masked.sample(text, rng)
        if row in unmasked:
            view = {"masked_text": text, "mlm_labels": torch.full_like(text, NOT_MASKED)}
        texts.append(text)
        views.append(view)
    image, aug, aug2 = (torch.tensor(rng.normal(size=(num, 3, 32, 32)), dtype=torch.float32) for _ in range(3))
    params = torch.tensor(rng.uniform(size=(2, num, NUM_PARAMETERS)), dtype=torch.float32)
    return {
        "id": torch.arange(num),
        "group": torch.tensor(groups),
        "image": image,
        "aug": aug,
        "aug2": aug2,
        "image_params": params[0],
        "aug_params": params[1],
        "text": torch.stack(texts),
        "text_aug": torch.stack(edited),
        **{key: torch.stack([view[key] for view in views]) for key in ("masked_text", "mlm_labels")},
    }


def rows(tensors: Batch, index) -> Batch:
    """The samples at `index`, of every tensor."""
    return {key: value[index] for key, value in tensors.items()}


def write_pairs(folder: Path, num: int, size: int = 40, seed: int = 0) -> Path:
    """`num` different coloured PNG files of `size` pixels and pairs.csv with their captions; returns the csv path."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    with (folder / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "caption"])
        for index in range(num):
            blocks = rng.integers(0, 256, size=(4, 4, 3), dtype=np.uint8)
            Image.fromarray(blocks).resize((size, size), Image.Resampling.NEAREST).save(folder / f"{index:04d}.png")
            words = " ".join(rng.choice(WORDS, size=3))
            writer.writerow([f"{index:04d}.png", f"{words} number {index}"])
    return folder / "pairs.csv"
