import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from askew.data.operations import PARAMETERS
from askew.methods.chosen import patch_grid
from askew.nn.chosen_patches import BOX, FLIP, best_patches, class_row, scores_in_view
from askew.nn.towers import ImageTower, build_model
from helpers import micro_towers

GRID = (4, 4)


def tower(**vision):
    """A ViT of two layers on 4 x 4 patches, in eval mode."""
    torch.manual_seed(0)
    config = micro_towers().model_dump(include={"embed_dim", "vision_cfg", "text_cfg"})
    config["vision_cfg"] |= {"image_size": 32, "patch_size": 8, "layers": 2, **vision}
    return ImageTower(build_model(config).visual).eval()


def images(num=3):
    return torch.randn(num, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def full_attention(attention, tokens):
    """(B, L, L), mean over heads, by PyTorch."""
    return attention(tokens, tokens, tokens, need_weights=True, average_attn_weights=True)[1]


def test_all_patches_are_the_whole_image():
    vit, image = tower(), images()
    whole, chosen = vit(image), vit(image, torch.arange(16).expand(3, 16))
    torch.testing.assert_close(chosen.embedding, whole.embedding)
    torch.testing.assert_close(chosen.patches, whole.patches)


def test_a_patch_that_is_not_chosen_has_no_part():
    """Neither a value nor a gradient: pixels of patch 5 are rows 8 to 15, columns 8 to 15."""
    vit, image = tower(), images().requires_grad_()
    keep = torch.tensor([[0, 3, 6, 15]]).expand(3, 4)
    embedding = vit(image, keep).embedding
    embedding[:, 0].sum().backward()
    assert not image.grad[:, :, 8:16, 8:16].any()
    assert image.grad[:, :, :8, :8].abs().max() > 0
    changed = image.detach().clone()
    changed[:, :, 8:16, 8:16] = 9.0
    assert torch.equal(vit(changed, keep).embedding, embedding)


def test_each_image_has_its_own_patches_at_their_positions():
    """Row by row as alone, and the order in which they are named does not matter."""
    vit, image = tower(), images()
    keep = torch.tensor([[0, 1, 2], [4, 9, 15], [3, 7, 8]])
    together = vit(image, keep).embedding
    for row in range(3):
        alone = vit(image[row : row + 1], keep[row : row + 1].flip(1)).embedding
        torch.testing.assert_close(alone, together[row : row + 1])


def test_one_patch_is_enough():
    assert tower()(images(), torch.full((3, 1), 7)).embedding.isfinite().all()


def test_half_of_the_patches_cost_about_half():
    """9 of 17 tokens, and the convolution of all patches."""
    vit, counted = tower(), []
    for keep in (None, torch.arange(8).expand(3, 8)):
        with FlopCounterMode(display=False) as counter:
            vit(images(), keep)
        counted.append(counter.get_total_flops())
    assert 0.5 < counted[1] / counted[0] < 0.65


def test_the_class_row_is_that_of_the_whole_attention():
    block = tower().trunk.transformer.resblocks[0]
    torch.nn.init.normal_(block.attn.in_proj_bias)  # open_clip starts from 0
    tokens = torch.randn(3, 17, 32, generator=torch.Generator().manual_seed(2))
    row = class_row(block.attn, tokens)
    torch.testing.assert_close(row, full_attention(block.attn, tokens)[:, 0])
    torch.testing.assert_close(row.sum(dim=1), torch.ones(3))


def test_scores_are_the_mean_over_layers_and_the_pass_is_the_same():
    vit, image = tower(), images()
    encoded, scores = vit.with_scores(image)
    tokens, rows = vit.trunk._embeds(image), []
    for block in vit.trunk.transformer.resblocks:
        rows.append(full_attention(block.attn, block.ln_1(tokens))[:, 0, 1:])
        tokens = block(tokens)
    torch.testing.assert_close(scores, sum(rows) / 2)
    torch.testing.assert_close(encoded.embedding, vit(image).embedding)
    assert not scores.requires_grad


def test_the_best_blocks_by_hand():
    """Means of the blocks: 1, 2.5 / 0, 4. Half of four blocks: the two on the right."""
    scores = torch.tensor([[1.0, 1, 2, 2], [1, 1, 2, 4], [0, 0, 4, 4], [0, 0, 4, 4]]).view(1, 16)
    assert best_patches(scores, GRID, 0.5).tolist() == [[2, 3, 6, 7, 10, 11, 14, 15]]
    assert best_patches(scores, GRID, 0.25).tolist() == [[10, 11, 14, 15]]


def test_equal_scores_keep_the_lowest_numbers():
    assert best_patches(torch.zeros(2, 16), GRID, 0.5).tolist() == [list(range(8))] * 2


def recorded(x=0.0, y=0.0, w=1.0, h=1.0, flip=0.0):
    """Recorded parameters (1, 10) of a view."""
    parameters = torch.zeros(1, FLIP + 1)
    parameters[0, BOX], parameters[0, FLIP] = torch.tensor([x, y, w, h]), flip
    return parameters


def test_one_block_more_than_the_share():
    assert best_patches(torch.zeros(1, 16), GRID, 0.5, more=1).tolist() == [[*range(10), 12, 13]]


def test_the_columns_of_recorded_parameters_are_those_of_a_batch():
    assert PARAMETERS[BOX] == ("crop_x", "crop_y", "crop_w", "crop_h")
    assert PARAMETERS[FLIP] == "flip"


def test_scores_of_another_view_by_hand():
    """Two patches, 1 and 3: the right half has its patches at 5/8 and 7/8, of which the second is beyond a centre."""
    scores = torch.tensor([[1.0, 3.0]])
    whole, right, mirrored = recorded(), recorded(x=0.5, w=0.5), recorded(x=0.5, w=0.5, flip=1.0)
    assert scores_in_view(scores, (1, 2), whole, right).tolist() == [[2.5, 3.0]]
    assert scores_in_view(scores, (1, 2), whole, mirrored).tolist() == [[3.0, 2.5]]
    assert scores_in_view(scores, (1, 2), recorded(flip=1.0), right).tolist() == [[1.5, 1.0]]
    assert scores_in_view(scores, (2, 1), whole, recorded(y=0.5, h=0.5)).tolist() == [[2.5, 3.0]]
    assert scores_in_view(scores, (1, 2), recorded(w=0.1), recorded(x=0.6, w=0.4)).tolist() == [[3.0, 3.0]]


def test_scores_of_the_same_view_are_the_same():
    scores = torch.tensor(np.random.default_rng(0).random((1, 12)), dtype=torch.float32)
    view = recorded(0.2, 0.1, 0.5, 0.7, 1.0)
    torch.testing.assert_close(scores_in_view(scores, (3, 4), view, view), scores)


def test_single_patches_where_a_side_is_odd():
    scores = torch.arange(9.0)[None]
    assert best_patches(scores, (3, 3), 0.5).tolist() == [[5, 6, 7, 8]]
    assert best_patches(scores, (3, 3), 0.01).tolist() == [[8]]


@pytest.mark.parametrize(("side", "share", "num"), [(14, 0.5, 96), (14, 0.25, 48), (8, 0.5, 32), (7, 0.5, 24)])
def test_no_more_than_the_share_is_kept(side, share, num):
    scores = torch.tensor(np.random.default_rng(0).random((2, side * side)), dtype=torch.float32)
    kept = best_patches(scores, (side, side), share)
    assert kept.shape == (2, num)
    assert (kept.diff(dim=1) > 0).all()


@pytest.mark.parametrize(
    ("vision", "reason"),
    [
        ({"patch_dropout": 0.5}, "drops patches at random itself"),
        ({"pool_type": "avg"}, "does not pool at its class token"),
        ({"qk_norm": True}, "an attention of their own kind"),
    ],
)
def test_towers_that_cannot_are_refused_with_the_reason(vision, reason):
    assert patch_grid(tower().trunk, "method.aug_patches", "half") == GRID
    with pytest.raises(ValueError, match=f"method.aug_patches=half: .*{reason}"):
        patch_grid(tower(**vision).trunk, "method.aug_patches", "half")
