"""A-CLIP: which patches the student sees, what its terms compare, and its teacher."""

import pytest
import torch

from askew.methods.aclip import ACLIP, KEEP
from askew.methods.base import with_targets
from askew.nn.chosen_patches import BOX, FLIP
from askew.recipes import find
from askew.training.build import build_method
from askew.training.contract.micro import encoded
from helpers import micro_batch, micro_method


def whole_views(batch):
    """The same batch, with views that are recorded as the whole image; aug2 is mirrored."""
    params = torch.zeros_like(batch["image_params"])
    params[:, BOX] = torch.tensor([0.0, 0.0, 1.0, 1.0])
    mirrored = params.clone()
    mirrored[:, FLIP] = 1.0
    return {**batch, "image_params": params, "aug_params": params, "aug2_params": mirrored}


def test_the_student_sees_what_the_teacher_attends_to_in_the_whole_image():
    """Of 2 x 2 patches in one block, all are kept; so the grid is taken for one of four single patches here."""
    method, batch = micro_method(ACLIP.Config()), whole_views(micro_batch(range(4)))
    method.grid = (1, 4)
    targets, teacher = method.targets(batch), method.teacher.module
    _, scores = teacher.with_scores(batch["image"])
    torch.testing.assert_close(targets["teacher"], teacher(batch["image"]).pooled)
    best = scores.topk(3).indices  # half of the blocks, and one more
    assert targets["keep"].tolist() == best.sort().values.tolist()
    assert targets["keep2"].tolist() == (3 - best).sort().values.tolist()
    embedded = method.embed(with_targets(batch, targets))
    for view, image in (("aug", "image"), ("aug2", "image2")):
        alone = method.towers.image(batch[view], targets[KEEP[view]])
        torch.testing.assert_close(embedded[image], alone.embedding)
        torch.testing.assert_close(embedded[view], alone.pooled)
        assert not torch.allclose(embedded[image], method.towers.image(batch[view]).embedding, atol=1e-3)


def test_all_patches_need_no_attention_and_any_tower_has_them():
    method, batch = micro_method(ACLIP.Config(patches="all")), micro_batch(range(4))
    assert set(method.views) == {"image", "aug", "aug2", "text"}
    assert set(micro_method(ACLIP.Config()).views) - set(method.views) == {"image_params", "aug_params", "aug2_params"}
    assert method.targets(batch).keys() == {"teacher"}
    embedded = method.embed(with_targets(batch, method.targets(batch)))
    torch.testing.assert_close(embedded["image2"], method.towers.image(batch["aug2"]).embedding)


@pytest.mark.parametrize("views", ["both", "first_twice"])
def test_what_simclr_compares(views):
    """As released, a second view that is the first one's opposite changes nothing: it is not looked at."""
    method = micro_method(ACLIP.Config(simclr_views=views))
    local = encoded(method, micro_batch(range(5)))
    method.head.forward = lambda here, everywhere: (here, everywhere)  # without the statistics of both views
    found = [method.objective(same, same, 0.0)[1]["simclr"] for same in (local, {**local, "aug2": -local["aug2"]})]
    assert (found[0] == found[1]) == (views == "first_twice")


def test_a_prediction_of_the_teachers_direction_has_no_byol_loss_and_an_opposite_one_four():
    method = micro_method(ACLIP.Config())
    local = encoded(method, micro_batch(range(5)))
    method.teacher_projector.forward = lambda here, everywhere: (3 * here, everywhere)
    for sign, expected in ((2.0, 0.0), (-2.0, 4.0)):
        twice = torch.cat([sign * local["teacher"]] * 2)
        method.predictor.forward = lambda here, everywhere, twice=twice: (twice, twice)
        assert method.objective(local, local, 0.0)[1]["byol"].item() == pytest.approx(expected, abs=1e-5)


def test_the_teacher_follows_tower_and_projector():
    method = micro_method(ACLIP.Config(momentum=0.75))
    gathered = encoded(method, micro_batch(range(4)))
    pairs = [
        (method.teacher.module.projection.weight, method.towers.image.projection.weight),
        (method.teacher_projector.module.linear[0].weight, method.projector.linear[0].weight),
    ]
    expected = [0.75 * teacher + 0.25 * student for teacher, student in pairs]
    method.after_step(gathered, 0.0)
    for (teacher, _), value in zip(pairs, expected, strict=True):
        torch.testing.assert_close(teacher, value.detach())
    assert method.export_towers()["teacher"] == (method.teacher.module, method.towers.text)


def test_towers_without_patches_are_refused_with_a_remedy():
    recipe = find("photos-aclip").model_copy(update={"towers": find("photos").towers})
    with pytest.raises(ValueError, match=r"method\.patches=half: .*not a native ViT.*method\.patches=all"):
        build_method(recipe)


def test_the_recipe_shows_five_of_nine_blocks():
    method = build_method(find("photos-aclip"))
    assert method.grid == (6, 6)
    batch = {view: torch.zeros(2, 3, 48, 48) for view in ("image", *KEEP)}
    batch |= {f"{view}_params": torch.ones(2, FLIP + 1) for view in batch}
    targets = method.targets(batch)
    assert targets["keep"].shape == targets["keep2"].shape == (2, 20)
