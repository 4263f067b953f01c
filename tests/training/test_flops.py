"""Floating-point operations of a step: CLIP's against a count by hand, and nothing that a run has is touched."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from askew.config import TowerSettings
from askew.nn.cpu import packed_text
from askew.nn.heads import BUCKET
from askew.training.flops import flops_per_sample
from askew.training.towers import resolve
from micro_runs import micro_recipe, trainer_of

BATCH, PATCHES, WIDTH, JOINT = 8, 4, 32, 16  # 32 pixels in patches of 16


def recipe_of(table, method="clip", layers=1, **train):
    recipe = micro_recipe(table, method, **train)
    towers = TowerSettings(
        model="",
        embed_dim=JOINT,
        vision_cfg={"image_size": 32, "layers": layers, "width": WIDTH, "patch_size": 16, "head_width": 16},
        text_cfg={"context_length": 16, "width": 32, "heads": 2, "layers": 1},
    )
    return recipe.model_copy(update={"towers": resolve(towers)})


def image_block(tokens):
    """Forward: queries, keys, values and output (4 WW), an MLP of 4 W (8 WW), scores and mixtures (LLW each)."""
    return 2 * 12 * tokens * WIDTH**2 + 2 * 2 * tokens**2 * WIDTH


def with_spare(rows):
    """Rounded up to a multiple of BUCKET."""
    return -(-rows // BUCKET) * BUCKET


def text_block(lengths):
    """The one block of packed captions: keys and values of every token; all else of the end token alone."""
    longest, texts = max(lengths), len(lengths)
    attention = 2 * 2 * texts * longest * WIDTH  # each end token with the slots of its text
    return 2 * (2 * with_spare(sum(lengths)) + (1 + 1 + 8) * with_spare(texts)) * WIDTH**2 + attention


def test_clip_counted_by_hand(table):
    """Backward is twice forward, except for the patches: pixels need no gradient."""
    recipe = recipe_of(table)
    texts = trainer_of(recipe).loader.batch(0)["text"]
    lengths = (texts != 0).sum(dim=1).tolist()
    patches = 2 * PATCHES * (3 * 16 * 16) * WIDTH
    image = image_block(PATCHES + 1) + 2 * WIDTH * JOINT  # with the projection
    text = text_block(lengths) + BATCH * 2 * WIDTH * JOINT
    similarities = 2 * (2 * BATCH * BATCH * JOINT)  # both directions
    expected = BATCH * (2 * patches + 3 * image) + 3 * (text + similarities)
    assert flops_per_sample(recipe) == expected / BATCH


def test_another_block_of_the_image_tower_adds_what_it_computes(table):
    """MCD trains on two views and has a teacher on both, which goes forward only: 2 x 3 + 2."""
    for method, times in (("clip", 3), ("mcd", 8)):
        more, less = (flops_per_sample(recipe_of(table, method, layers)) for layers in (2, 1))
        assert more - less == times * image_block(PATCHES + 1)


def test_a_run_is_not_touched(table):
    trainer = trainer_of(recipe_of(table, "mcd"))
    before = {name: value.clone() for name, value in trainer.method.state_dict().items()}
    state = torch.get_rng_state()
    flops_per_sample(recipe_of(table, "mcd"))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in trainer.method.state_dict().items())
    assert all(parameter.grad is None for parameter in trainer.method.parameters())


def test_the_counter_sees_what_the_loop_runs(table):
    """The same as counting around the loop's own step."""
    recipe = recipe_of(table, "slip")
    trainer = trainer_of(recipe)
    batch = trainer.loader.batch(0)
    batch.pop("bad_samples")
    batch = trainer.loader.views.finish(batch)
    with FlopCounterMode(display=False) as counter:
        trainer.backward(batch, 0.5)
    assert flops_per_sample(recipe) == counter.get_total_flops() / BATCH


def test_micro_batches_encode_twice(table, monkeypatch):
    """The forward pass counts twice: four passes in place of three, or more, as nothing passes back to the pixels."""
    monkeypatch.setattr(packed_text, "BUCKET", 1)  # spare rows weigh much in two samples
    recipe = recipe_of(table, "clip")
    micro = recipe.model_copy(update={"loader": recipe.loader.model_copy(update={"micro_batch_size": 2})})
    assert 4 / 3 < flops_per_sample(micro) / flops_per_sample(recipe) < 3 / 2
