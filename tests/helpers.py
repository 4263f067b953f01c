"""What several test files share: every method, micro towers and batches, pairs on disk."""

import csv
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from askew.methods.aclip import ACLIP
from askew.methods.albef import ALBEF
from askew.methods.clip import CLIP
from askew.methods.declip import DeCLIP
from askew.methods.fastclip import FastCLIP
from askew.methods.mcd import MCD
from askew.methods.siglip import SigLIP
from askew.methods.slip import SLIP
from askew.methods.uniclip import UniCLIP
from askew.training.contract.micro import WORDS, micro_batch, micro_method, micro_towers, rows

__all__ = ["METHODS", "METHOD_NAMES", "WORDS", "micro_batch", "micro_method", "micro_towers", "rows", "write_pairs"]

# At these sizes threads cost far more than they gain, above all when other processes want the same cores.
torch.set_num_threads(1)

METHODS = [
    CLIP.Config(),
    CLIP.Config(words_weight=1.0),
    MCD.Config(),
    MCD.Config(  # this one and the next have every other reading between them
        mlm_weight=0,
        similarity="shared",
        rho="huber",
        negative="aug_own_against_other",
        noisy="teacher_ranks",
        fading="two_sets",
    ),
    MCD.Config(
        mlm_weight=0,
        momentum=0.5,  # there would be nothing to learn from a teacher that stays at random weights
        terms=("negative", "noisy", "soft_alignment"),
        rho="absolute",
        negative="own_against_aug_other",
        noisy="own_against_own",
        text_gradient="stopped",
        fading="unfaded",
    ),
    MCD.Config(mlm_weight=0, aug_patches="half"),
    MCD.Config(contrast_text="short", terms=("positive", "negative", "noisy", "text_positive", "text_negative")),
    MCD.Config(normaliser="global"),
    UniCLIP.Config(),
    UniCLIP.Config(normaliser="global", normaliser_eps="data", pair_weights="inverse_counts"),
    SLIP.Config(),
    DeCLIP.Config(queue_size=50),
    SigLIP.Config(),
    FastCLIP.Config(),
    FastCLIP.Config(temperature_rate=1e-3, temperature_gradient="exact", eps=0, gamma="epoch"),
    ALBEF.Config(queue_size=12, momentum=0.8, mlm_weight=0.2),  # there is nothing to learn from random weights
    ACLIP.Config(momentum=0.8),
]
METHOD_NAMES = [
    "clip",
    "clip-words",
    "mcd",
    "mcd-readings",
    "mcd-other-readings",
    "mcd-half",
    "mcd-short-text",
    "mcd-global",
    "uniclip",
    "uniclip-global",
    "slip",
    "declip",
    "siglip",
    "fastclip",
    "fastclip-readings",
    "albef",
    "aclip",
]


def write_pairs(folder: Path, num: int, size: int = 40, seed: int = 0) -> Path:
    """`num` different coloured PNG files of `size` pixels, and pairs.csv with their captions. Returns the csv path."""
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
