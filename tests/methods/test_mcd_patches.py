"""MCD whose student sees a part of the augmented image's patches."""

import torch

from askew.methods import chosen
from askew.methods.base import with_targets
from askew.methods.mcd import MCD
from askew.training.contract.micro import run_step
from helpers import micro_batch, micro_method

HALF, QUARTER = MCD.Config(aug_patches="half"), MCD.Config(aug_patches="quarter", patch_scores="random")


def test_all_patches_kept_is_plain_mcd(monkeypatch):
    monkeypatch.setitem(chosen.SHARE, "half", 0.999999)  # below 1, so that the patches are chosen
    batch, (plain, part) = micro_batch(range(4)), [micro_method(config) for config in (MCD.Config(), HALF)]
    monkeypatch.setattr(chosen, "best_patches", lambda scores, grid, share: torch.arange(4).expand(len(scores), 4))
    (loss, _, gradients), (same, _, again) = run_step(plain, batch), run_step(part, batch)
    torch.testing.assert_close(same, loss)
    for name, gradient in gradients.items():
        torch.testing.assert_close(again[name], gradient, rtol=1e-3, atol=1e-5)


def test_the_teacher_sees_the_whole_view_and_the_student_what_it_attends_to():
    """Of 2 x 2 patches in one block, all are kept; so the grid is taken for one of single patches here."""
    method, batch = micro_method(HALF), micro_batch(range(4))
    method.patches.grid = (1, 4)
    targets = method.targets(batch)
    teacher = method.teacher.module
    _, scores = teacher.with_scores(batch["aug"])
    torch.testing.assert_close(targets["teacher_aug"], teacher(batch["aug"]).embedding)
    assert targets["keep"].tolist() == scores.topk(2).indices.sort().values.tolist()
    aug = method.embed(with_targets(batch, targets))["aug"]
    torch.testing.assert_close(aug, method.towers.image(batch["aug"], targets["keep"]).embedding)
    assert not torch.allclose(aug, method.towers.image(batch["aug"]).embedding, atol=1e-3)


def test_random_patches_come_from_the_batch_and_need_no_attention():
    method, batch = micro_method(QUARTER), micro_batch(range(4))
    assert "patch_scores" in method.views
    assert "patch_scores" not in micro_method(HALF).views
    method.patches.grid = (1, 4)
    assert method.targets(batch)["keep"].flatten().tolist() == batch["patch_scores"].argmax(dim=1).tolist()
