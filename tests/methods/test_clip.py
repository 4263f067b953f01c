import numpy as np
import pytest
import torch
from open_clip.loss import ClipLoss
from pydantic import ValidationError

from askew.methods.clip import CLIP
from helpers import micro_batch, micro_method
from reference import equations

MATCH_IDS = np.array([7, 7, 2, 5, 5, 5])


@pytest.fixture
def method():
    return micro_method(CLIP.Config(temperature=0.2))


def embeddings(match_ids, num=6):
    rng = np.random.default_rng(0)
    arrays = {name: equations.normalise(rng.normal(size=(num, 4))) for name in ("text", "image")}
    tensors = {name: torch.tensor(array, dtype=torch.float32).requires_grad_() for name, array in arrays.items()}
    return arrays, {"match_id": torch.tensor(match_ids), **tensors}


def test_is_open_clip_loss(method):
    """With distinct match ids: the value, the gradients of both embeddings and of the scale, and Eq. (3) as printed."""
    arrays, local = embeddings(np.arange(6))
    loss, terms = method.objective(local, local, 0.3)
    loss.backward()
    same = {name: local[name].detach().clone().requires_grad_() for name in ("text", "image")}
    log_scale = method.logit_scale.detach().clone().requires_grad_()
    expected = ClipLoss()(same["image"], same["text"], log_scale.exp())
    expected.backward()
    torch.testing.assert_close(loss, expected)
    for name in ("text", "image"):
        torch.testing.assert_close(local[name].grad, same[name].grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(method.temperature.log_scale.grad, log_scale.grad, rtol=1e-4, atol=1e-6)
    assert log_scale.grad.abs() > 1e-2
    similarity = equations.eq1_similarity(arrays["text"], arrays["image"])
    assert loss.item() == pytest.approx(equations.eq3_clip(similarity, tau=0.2), rel=1e-5)
    assert terms["contrast"].item() == loss.item()


def test_both_directions_are_in_it(method):
    _, local = embeddings(np.arange(6))
    swapped = {**local, "text": local["image"], "image": local["text"]}
    torch.testing.assert_close(method.objective(local, local, 0.0)[0], method.objective(swapped, swapped, 0.0)[0])


def test_repeated_match_ids_equal_reference(method):
    """Several captions of an image, or a sample drawn twice: each match on its own against the non-matches."""
    arrays, local = embeddings(MATCH_IDS)
    match = MATCH_IDS[:, None] == MATCH_IDS[None, :]
    logits = equations.eq1_similarity(arrays["text"], arrays["image"]) / 0.2
    expected = (equations.info_nce(logits, match) + equations.info_nce(logits.T, match)) / 2
    assert method.objective(local, local, 0.0)[0].item() == pytest.approx(expected, rel=1e-5)


def test_a_rank_compares_local_with_gathered_samples(method):
    arrays, gathered = embeddings(MATCH_IDS)
    local = {name: value[1:4] for name, value in gathered.items()}
    match = MATCH_IDS[1:4, None] == MATCH_IDS[None, :]
    logits = equations.eq1_similarity(arrays["text"], arrays["image"]) / 0.2
    expected = (equations.info_nce(logits[1:4], match) + equations.info_nce(logits.T[1:4], match)) / 2
    assert method.objective(local, gathered, 0.0)[0].item() == pytest.approx(expected, rel=1e-5)


def test_progress_does_not_matter(method):
    _, local = embeddings(MATCH_IDS)
    assert method.objective(local, local, 0.0)[0].item() == method.objective(local, local, 0.9)[0].item()


def test_embeds_with_the_towers(method):
    batch = micro_batch([0, 1, 2])
    embedded = method.embed(batch)
    assert method.targets(batch) == {}
    assert torch.equal(embedded["image"], method.towers.image(batch["image"]).embedding)
    assert torch.equal(embedded["text"], method.towers.text(batch["text"]).embedding)


def test_augmented_images_join_or_replace_the_originals():
    """Eq. (3) on originals, Eq. (4) on augmented images, or the mean of both. Only those views are read."""
    batch, values = micro_batch([0, 1, 2]), {}
    for contrasted in (("image",), ("aug",), ("image", "aug")):
        method = micro_method(CLIP.Config(contrasted=contrasted))
        assert method.views == (*contrasted, "text")
        found = {"match_id": batch["match_id"], **method.embed({key: batch[key] for key in method.views})}
        assert found.keys() == {"match_id", "text", *contrasted}
        values[contrasted] = method.objective(found, found, 0.0)[0].item()
        for view in contrasted:
            similarity = equations.eq1_similarity(found["text"].tolist(), found[view].tolist())
            expected = equations.eq3_clip(similarity, tau=0.07)
            assert values.get((view,), expected) == pytest.approx(expected, rel=1e-4)
    assert values["image", "aug"] == pytest.approx((values["image",] + values["aug",]) / 2, rel=1e-5)
    assert values["image",] != pytest.approx(values["aug",], rel=1e-3)


def test_exports_the_student_with_its_scale(method):
    assert method.export_towers() == {"model": (method.towers.image, method.towers.text)}
    assert method.logit_scale.exp().item() == pytest.approx(1 / 0.2)
    assert not CLIP.Config().needs_mask_token


@pytest.mark.parametrize("fields", [{"temperature": 0.0}, {"temprature": 0.1}, {"contrasted": ()}])
def test_config_rejects(fields):
    with pytest.raises(ValidationError):
        CLIP.Config(**fields)
