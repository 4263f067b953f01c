"""A method on the smallest towers, and batches made without a loader. A step takes milliseconds."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from askew.config import TowerSettings
from askew.data.eda import WordEdits
from askew.data.operations import IDENTITY
from askew.data.short_text import ShortText
from askew.data.views import MaskedTokens, Tokens
from askew.methods.base import Batch, Method, MethodConfig, Terms, with_targets
from askew.nn.heads import AugmentationHead
from askew.nn.momentum import Momentum
from askew.nn.row_state import RowState
from askew.objectives.masked_language import NOT_MASKED
from askew.training.parallel import backward_of
from askew.training.step import Step
from askew.training.towers import build_towers

WORDS = ("red", "green", "blue", "old", "tiny", "round", "paper", "kite", "boat", "lamp", "tree", "cup", "owl", "shoe")
SIZE, CONTEXT_LENGTH, NUM_PATCHES = 32, 16, 4  # pixels per side, tokens, patches of the ViT
DISTINCT, REPEATED = [0, 1, 2, 3, 4, 5], [7, 7, 2, 5, 5, 5]  # match ids
MOST_ROWS = 16  # samples that `row` tells apart
ALWAYS_READ = {"id", "match_id"}
PROGRESS = 0.4


def micro_towers(patch_size: int = 16, **text_cfg) -> TowerSettings:
    """The smallest native towers: a one-layer ViT with 2 x 2 patches and a one-layer causal text tower."""
    return TowerSettings(
        model="",
        embed_dim=16,
        vision_cfg={"image_size": SIZE, "layers": 1, "width": 32, "patch_size": patch_size, "head_width": 16},
        text_cfg={"context_length": CONTEXT_LENGTH, "width": 32, "heads": 2, "layers": 1, **text_cfg},
    )


def micro_method(config: MethodConfig, patch_size: int = 16) -> Method:
    """A method on micro towers in training mode, always with the same weights. It seeds PyTorch's generator.

    A teacher is moved away from its student, and an augmentation head away from zero, so that every parameter counts.
    State of each sample is as if all had been seen. Of 2 x 2 patches, which are one block, none can be left out.
    Patches of 8 pixels are 4 x 4.
    """
    towers = build_towers(micro_towers(patch_size), seed=0, mask_token=config.needs_mask_token)
    method = config.build(towers, IDENTITY).train()
    method.allocate(MOST_ROWS)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for moved in (module for module in method.modules() if isinstance(module, Momentum | AugmentationHead)):
            for parameter in moved.parameters():
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
        for state in (module for module in method.modules() if isinstance(module, RowState)):
            state.values.normal_(generator=generator)
    return method


def micro_batch(match_ids: Sequence[int], seed: int = 0, unmasked: Sequence[int] = ()) -> Batch:
    """A batch with all keys for the micro towers: random images, and different captions of 1 to 6 words.

    The rows in `unmasked` have no masked token. Every other row has at least one.
    """
    rng, num = np.random.default_rng(seed), len(match_ids)
    tokens, masked = Tokens(CONTEXT_LENGTH), MaskedTokens(probability=0.4)
    texts, views, edited, shortened = [], [], [], []
    shorten = ShortText(3, "random")
    for row in range(num):
        caption = " ".join([f"{row}", *rng.choice(WORDS, size=rng.integers(0, 6))])
        text = tokens.sample(caption)
        edited.append(tokens.sample(WordEdits(0.5)(caption, np.random.default_rng([seed, row]))))
        shortened.append(shorten(caption, text, np.random.default_rng([seed, row, 1])))
        view = masked.sample(text, rng)
        while row not in unmasked and (view["mlm_labels"] == NOT_MASKED).all():
            view = masked.sample(text, rng)
        if row in unmasked:
            view = {"masked_text": text, "mlm_labels": torch.full_like(text, NOT_MASKED)}
        texts.append(text)
        views.append(view)
    image, aug, aug2 = (torch.tensor(rng.normal(size=(num, 3, SIZE, SIZE)), dtype=torch.float32) for _ in range(3))
    params = torch.tensor(rng.uniform(size=(3, num, len(IDENTITY))), dtype=torch.float32)
    return {
        "id": torch.arange(num),
        "match_id": torch.tensor(match_ids),
        "image": image,
        "aug": aug,
        "aug2": aug2,
        "image_params": params[0],
        "aug_params": params[1],
        "aug2_params": params[2],
        "patch_scores": torch.tensor(rng.uniform(size=(num, NUM_PATCHES)), dtype=torch.float32),
        "text": torch.stack(texts),
        "text_aug": torch.stack(edited),
        "text_short": torch.stack(shortened),
        **{key: torch.stack([view[key] for view in views]) for key in ("masked_text", "mlm_labels")},
        "row": torch.arange(num),
    }


def rows(tensors: Batch, index: slice | Tensor) -> dict[str, Tensor]:
    """The samples at `index` of every tensor."""
    return {key: value[index] for key, value in tensors.items()}


def run_step(
    method: Method,
    batch: Batch,
    progress: float = PROGRESS,
    precision: str = "fp32",
    loss_chunk_size: int = 0,
    micro_batch_size: int = 0,
) -> tuple[Tensor, Terms, dict[str, Tensor]]:
    """Loss, terms and gradients by name of one step."""
    method.zero_grad(set_to_none=True)
    step = Step(method, precision, loss_chunk_size)
    loss, terms, _ = backward_of(step, batch["match_id"].device, micro_batch_size=micro_batch_size)(batch, progress)
    return loss, terms, {name: p.grad.clone() for name, p in method.named_parameters() if p.grad is not None}


@torch.no_grad()
def encoded(method: Method, batch: Batch) -> dict[str, Tensor]:
    """What the objective receives in one process."""
    targets = method.targets(batch)
    return {"match_id": batch["match_id"], **targets, **method.embed(with_targets(batch, targets))}
