"""A step in micro-batches: which parts are encoded when, what towers draw at random, and whole runs.

That its value and gradient are those of the whole is a check of the contract (`micro_batches_equal_the_whole`), made
for every method in tests/methods/test_contract.py, and over two ranks in test_two_ranks.py.
"""

import shutil

import pytest
import torch

from askew.data.operations import IDENTITY
from askew.methods.mcd import MCD
from askew.methods.slip import SLIP
from askew.recipes.settings import override
from askew.training.contract.comparing import difference
from askew.training.contract.objective import micro_batches_equal_the_whole
from askew.training.feature_cache import FeatureCache
from askew.training.step import Step
from askew.training.towers import build_towers
from helpers import micro_batch, micro_method, micro_towers, rows, write_pairs
from micro_runs import metrics_of, micro_recipe, state_of, train, trainer_of

PROGRESS = 0.4
MICRO = ["loader.micro_batch_size=3"]  # of batches of 8: the last of three micro-batches has two samples


def with_dropout():
    """MCD on a ViT that drops half of its patches while it trains."""
    settings = micro_towers()
    settings = settings.model_copy(update={"vision_cfg": {**settings.vision_cfg, "patch_dropout": 0.5}})
    return MCD.Config().build(build_towers(settings, seed=0, mask_token=True), IDENTITY).train()


def gradients_of(method):
    return {name: p.grad.clone() for name, p in method.named_parameters() if p.grad is not None}


def test_the_teacher_encodes_once_and_the_student_twice(monkeypatch):
    method, calls = micro_method(MCD.Config()), []
    originals = {name: getattr(method, name) for name in ("targets", "embed", "objective")}
    for name, original in originals.items():

        def recorded(given, *rest, name=name, original=original):
            calls.append((name, len(given["match_id"]), torch.is_grad_enabled()))
            return original(given, *rest)

        monkeypatch.setattr(method, name, recorded)
    FeatureCache(Step(method, "fp32"), 4).backward(micro_batch(range(6)), PROGRESS)
    first = [("targets", 4, False), ("targets", 2, False), ("embed", 4, False), ("embed", 2, False)]
    assert calls == [*first, ("objective", 6, True), ("embed", 4, True), ("embed", 2, True)]


def test_both_passes_drop_the_same_patches():
    """The gradient is that of micro-batches which were encoded with these seeds, and kept, and compared as a whole."""
    batch, method = micro_batch(range(6)), with_dropout()
    torch.manual_seed(5)
    loss, _, _ = FeatureCache(Step(method, "fp32"), 4).backward(batch, PROGRESS)
    found = gradients_of(method)

    method, parts = with_dropout(), []
    step = Step(method, "fp32")
    for start in (0, 4):
        torch.manual_seed(5 + start)
        parts.append(step.encode(rows(batch, slice(start, start + 4))))
    kept, _, _ = step.compare({key: torch.cat([part[key] for part in parts]) for key in parts[0]}, PROGRESS)
    kept.backward()
    assert loss.item() == pytest.approx(kept.item(), rel=1e-6)
    assert difference(found, gradients_of(method)) < 1e-6

    torch.manual_seed(6)
    other, _, _ = FeatureCache(Step(with_dropout(), "fp32"), 4).backward(batch, PROGRESS)
    assert abs(other.item() - loss.item()) > 1e-3


def test_the_check_of_the_contract_sees_a_method_that_compares_in_embed():
    """Centring a micro-batch is not a step in parts of a batch that is centred as a whole."""

    class Centred(MCD):
        def embed(self, batch):
            embedded = super().embed(batch)
            return {**embedded, "image": embedded["image"] - embedded["image"].mean(dim=0)}

    method = micro_method(MCD.Config())
    method.__class__ = Centred
    with pytest.raises(AssertionError, match=r"in micro-batches of 1, .* as a whole"):
        micro_batches_equal_the_whole(method)


def test_without_gradient_the_loss_is_that_of_the_whole():
    step, batch = Step(micro_method(MCD.Config()), "fp32"), micro_batch(range(6))
    loss, terms, gathered = FeatureCache(step, 4)(batch, PROGRESS)
    whole, whole_terms, whole_gathered = step(batch, PROGRESS)
    assert loss.item() == pytest.approx(whole.item(), rel=1e-6)
    assert not loss.requires_grad
    assert terms.keys() == whole_terms.keys()
    assert gathered.keys() == whole_gathered.keys()


def test_a_run_in_micro_batches_is_the_run(table, tmp_path):
    """Losses, weights and the held-out loss, of MCD with its teacher and masked language modelling."""
    write_pairs(tmp_path / "other", num=10, seed=1)
    held_out = [f"evaluation.held_out={tmp_path}/other/pairs.csv", "evaluation.held_out_every=3", "train.eps=1e-4"]
    recipe = override(micro_recipe(table, "mcd"), held_out)
    whole, micro = tmp_path / "whole", tmp_path / "micro"
    train(recipe, whole)
    train(override(recipe, MICRO), micro)
    for found, expected in zip(metrics_of(micro), metrics_of(whole), strict=True):
        assert found.keys() == expected.keys()
        for name in {"loss", "mlm", "held_out/loss"} & expected.keys():
            assert found[name] == pytest.approx(expected[name], rel=1e-4), (found["step"], name)
    gaps = [
        ((value - state_of(whole)[name]).norm() / state_of(whole)[name].norm()).item()
        for name, value in state_of(micro).items()
        if value.is_floating_point() and value.norm() > 0
    ]
    assert 0 < max(gaps) < 1e-3


def test_a_stopped_run_in_micro_batches_resumes_exactly(table, tmp_path):
    """As if it had been killed between steps 4 and 8. The size of its micro-batches may be changed then."""
    recipe = override(micro_recipe(table, "mcd", checkpoint_steps=4, keep_checkpoints=3), MICRO)
    straight = tmp_path / "straight"
    train(recipe, straight)
    for name, settings in {"same": [], "other": ["loader.micro_batch_size=0"]}.items():
        stopped = tmp_path / name
        shutil.copytree(straight, stopped)
        shutil.rmtree(stopped / "model")
        for late in (8, 9):
            shutil.rmtree(stopped / "checkpoints" / f"step-{late:09d}")
        train(override(recipe, settings), stopped, resume=True)
        same = all(torch.equal(value, state_of(straight)[key]) for key, value in state_of(stopped).items())
        assert same == (name == "same")


def test_a_micro_batch_that_is_as_large_as_the_batch_changes_nothing(table):
    for size, expected in ((0, False), (3, True), (8, False), (100, False)):
        trainer = trainer_of(override(micro_recipe(table, "clip"), [f"loader.micro_batch_size={size}"]))
        assert isinstance(getattr(trainer.backward, "__self__", None), FeatureCache) == expected


def test_large_batches_are_compared_in_chunks_without_being_asked(monkeypatch):
    """Not those of a method whose heads see all samples, unless a size is set."""
    monkeypatch.setattr("askew.training.step.MOST_PAIRS", 12)
    for config, size, expected in ((MCD.Config(), 0, [2, 2, 2]), (MCD.Config(), 4, [4, 2]), (SLIP.Config(), 0, [6])):
        method, sizes = micro_method(config), []

        def recorded(local, gathered, progress, sizes=sizes, original=method.objective):
            sizes.append(len(local["match_id"]))
            return original(local, gathered, progress)

        monkeypatch.setattr(method, "objective", recorded)
        loss, _, _ = Step(method, "fp32", size)(micro_batch(range(6)), PROGRESS)
        loss.backward()
        assert sizes == expected
