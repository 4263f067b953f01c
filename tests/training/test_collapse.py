"""Signs of collapse in the loop: of which samples, on which lines, and without any effect on training."""

import math

import pytest
import torch

from askew.methods.base import RESERVED
from askew.objectives.geometry import alignment, effective_rank, modality_gap, uniformity
from askew.training import loop
from askew.training.collapse import MOST_ROWS, sample_of, signs_of
from micro_runs import METHODS, assert_same_state, metrics_of, micro_recipe, state_of, train, trainer_of

SIGNS = {"image_rank", "text_rank", "modality_gap", "image_uniformity", "text_uniformity", "alignment"}


def gathered(num=6, width=4, **changed):
    """What a step may gather."""
    generator = torch.Generator().manual_seed(0)
    image, text = (torch.nn.functional.normalize(torch.randn(num, width, generator=generator), dim=1) for _ in "it")
    return {"image": image, "text": text, "match_id": torch.arange(num), "aug_image": image, **changed}


def test_each_sign_is_its_measure():
    found = gathered(match_id=torch.tensor([3, 3, 0, 1, 2, 9]))
    image, text, ids = found["image"], found["text"], found["match_id"]
    assert signs_of(sample_of(found)) == {
        "image_rank": effective_rank(image).item(),
        "text_rank": effective_rank(text).item(),
        "modality_gap": modality_gap(image, text).item(),
        "image_uniformity": uniformity(image).item(),
        "text_uniformity": uniformity(text).item(),
        "alignment": alignment(image, text, ids[:, None] == ids[None, :]).item(),
    }
    assert set(RESERVED) >= SIGNS  # no term of a loss can be called so


def test_the_cost_is_bounded_and_what_is_kept_is_a_copy():
    found = gathered(MOST_ROWS + 50, width=3)
    sample = sample_of(found)
    assert sample.keys() == {"image", "text", "match_id"}
    assert all(len(value) == MOST_ROWS for value in sample.values())
    assert sample["image"].untyped_storage().nbytes() == 4 * 3 * MOST_ROWS  # not a view that keeps the rest alive
    first = {key: value[:MOST_ROWS] for key, value in found.items()}
    assert signs_of(sample) == signs_of(first)


def test_what_is_not_defined_is_left_out():
    assert signs_of(sample_of(gathered(num=1))).keys() == SIGNS - {"image_uniformity", "text_uniformity"}
    one = gathered()
    one["image"][2, 1] = math.nan
    assert signs_of(sample_of(one)).keys() == {"text_rank", "text_uniformity"}


def test_no_gradient_flows_and_half_precision_is_read_as_float32():
    found = gathered()
    image = found["image"].bfloat16().requires_grad_()
    assert signs_of(sample_of({**found, "image": image})) == signs_of({**found, "image": image.detach().float()})
    assert image.grad is None


@pytest.mark.parametrize("method", METHODS)
def test_every_method_logs_them(table, method):
    lines = []
    trainer_of(micro_recipe(table, method), progress=lines.append).run(until=1)
    assert len(lines) == 1
    for line in lines:
        assert line.keys() >= SIGNS
        assert 1 <= line["image_rank"] <= 8  # samples
        assert 0 <= line["modality_gap"] <= 2
        assert -8 <= line["text_uniformity"] <= 0
        assert 0 <= line["alignment"] <= 4


def test_training_is_the_same_without_them(table, tmp_path, monkeypatch):
    recipe = micro_recipe(table, "mcd", max_steps=3)
    states = [state_of(train(recipe, tmp_path / "with"))]
    assert metrics_of(tmp_path / "with")[0].keys() >= SIGNS
    monkeypatch.setattr(loop, "sample_of", lambda gathered: {})
    monkeypatch.setattr(loop, "signs_of", lambda sample: {})
    states.append(state_of(train(recipe, tmp_path / "without")))
    assert not metrics_of(tmp_path / "without")[0].keys() & SIGNS
    assert_same_state(*states)


def test_steps_that_log_nothing_compute_none(table, monkeypatch):
    computed = []
    monkeypatch.setattr(loop, "signs_of", lambda sample: computed.append(sample) or {})
    trainer_of(micro_recipe(table, "clip", log_every=4)).run(until=6)
    assert len(computed) == 3  # of steps 1, 4 and 6
