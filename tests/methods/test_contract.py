"""What the loop relies on in every method: askew.training.contract, and what holds for askew's own methods besides."""

import numpy as np
import pytest
import torch
from torch import nn

from askew.evaluation.metrics import ranks, recall_at_k
from askew.methods.clip import CLIP
from askew.training import contract
from askew.training.contract import CHECKS, check_method, objective, reading, state
from askew.training.contract.micro import DISTINCT, PROGRESS, REPEATED, encoded, run_step
from askew.training.step import Step
from helpers import METHOD_NAMES, METHODS, micro_batch, micro_method


@pytest.fixture(params=METHODS, ids=METHOD_NAMES)
def method(request):
    return micro_method(request.param)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_method_keeps_the_contract(method, check):
    check(method)


def test_the_step_computes_targets_without_gradient(method, monkeypatch):
    asked, targets = [], method.targets

    def recorded(batch):
        asked.append(torch.is_grad_enabled())
        return targets(batch)

    monkeypatch.setattr(method, "targets", recorded)
    Step(method, "fp32")(micro_batch(REPEATED), PROGRESS)
    assert asked == [False]


def test_one_match_id_leaves_nothing_to_contrast(method):
    _, terms, _ = run_step(method, micro_batch([3, 3, 3, 3]))
    # A sigmoid judges a match on its own too: it pulls the four pairs together. A queue has other negatives
    assert (terms["contrast"].item() == 0.0) == (method.config.name not in ("siglip", "albef"))


def test_the_level_at_chance_and_the_logged_terms_have_a_contrast(method):
    assert "contrast" in method.loss_at_chance(len(DISTINCT))
    assert "contrast" in run_step(method, micro_batch(REPEATED))[1]


# The checks themselves, and methods that break the contract


def test_check_method_runs_every_check_on_a_new_method_and_leaves_the_generator_alone(monkeypatch):
    seen, before = [], torch.get_rng_state()
    monkeypatch.setattr(contract, "CHECKS", (seen.append, seen.append))
    check_method(CLIP.Config())
    assert [type(method) for method in seen] == [CLIP, CLIP]
    assert seen[0] is not seen[1]
    assert torch.equal(torch.get_rng_state(), before)


class ReadsMore(CLIP):
    def embed(self, batch):
        assert batch["aug"] is not None
        return super().embed(batch)


class ReadsTheUnknown(CLIP):
    def embed(self, batch):
        return super().embed({**batch, "image": batch["picture"]})


class MixesSamples(CLIP):
    def embed(self, batch):
        embedded = super().embed(batch)
        return {**embedded, "mean": embedded["image"].mean(dim=0).expand_as(embedded["image"])}


class HalfPrecision(CLIP):
    def embed(self, batch):
        return {name: value.half() for name, value in super().embed(batch).items()}


class OtherNames(CLIP):
    def embed(self, batch):
        embedded = super().embed(batch)
        return {"picture": embedded["image"], "text": embedded["text"]}

    def objective(self, local, gathered, progress):
        return super().objective(*({**samples, "image": samples["picture"]} for samples in (local, gathered)), progress)


class Unused(CLIP):
    def __init__(self, config, towers):
        super().__init__(config, towers)
        self.unused = nn.Linear(2, 2)


class FrozenText(CLIP):
    def __init__(self, config, towers):
        super().__init__(config, towers)
        self.towers.text.trunk.token_embedding.requires_grad_(False)


class CountsForwards(CLIP):
    def __init__(self, config, towers):
        super().__init__(config, towers)
        self.register_buffer("count", torch.zeros(1))

    def embed(self, batch):
        self.count += 1
        return super().embed(batch)


class DrawsNumbers(CLIP):
    def embed(self, batch):
        torch.rand(1)
        return super().embed(batch)


class NeverClamps(CLIP):
    def after_step(self, gathered, progress):
        pass


class DecaysWeights(CLIP):
    def after_step(self, gathered, progress):
        super().after_step(gathered, progress)
        with torch.no_grad():
            for parameter in self.towers.parameters():
                parameter.mul_(0.9)


class PairsByPosition(CLIP):
    def objective(self, local, gathered, progress):
        numbered = [{**s, "match_id": torch.arange(len(s["match_id"]))} for s in (local, gathered)]
        return super().objective(*numbered, progress)


class SumsRows(CLIP):
    def objective(self, local, gathered, progress):
        loss, _ = super().objective(local, gathered, progress)
        return loss * len(local["text"]), {"contrast": loss * len(local["text"])}


class OnTheDefaultDevice(CLIP):
    def objective(self, local, gathered, progress):
        loss, terms = super().objective(local, gathered, progress)
        return loss, {**terms, "progress": torch.tensor(progress)}


class OtherChance(CLIP):
    def loss_at_chance(self, num_samples):
        return {"contrast": 1.0}


class NamesNoTerm(CLIP):
    def loss_at_chance(self, num_samples):
        return {"contrastive": 1.0}


class LearnsNothing(CLIP):
    def objective(self, local, gathered, progress):
        loss, terms = super().objective(local, gathered, progress)
        return -loss, terms


BROKEN = {
    ReadsMore: (reading.reads_its_declared_views, "views are .*'image', 'text'.*, but a step reads .*'aug'"),
    ReadsTheUnknown: (
        reading.reads_its_declared_views,
        "no batch has the key 'picture'; the keys are id, match_id, im",
    ),
    MixesSamples: (reading.encodes_sample_by_sample, "mean depends on the other samples"),
    HalfPrecision: (reading.only_embeddings_have_gradient, "image is torch.float16, not float32"),
    OtherNames: (reading.only_embeddings_have_gradient, "embed returns no 'image'"),
    Unused: (reading.every_trainable_parameter_gets_a_gradient, "unused.weight gets no gradient"),
    FrozenText: (
        reading.only_teachers_are_frozen,
        "towers.text.* is frozen, but does not belong to a Momentum teacher",
    ),
    CountsForwards: (state.a_step_changes_nothing, "a step changes count; move such changes to after_step"),
    DrawsNumbers: (state.a_step_changes_nothing, "a step draws from PyTorch's global generator"),
    NeverClamps: (state.after_step_limits_the_scale, "logit_scale is 9.0 after a step from 9.0, not 4.6"),
    DecaysWeights: (state.after_step_keeps_trained_parameters, "towers.image.*, which is trained by gradient"),
    PairsByPosition: (objective.equal_match_ids_are_positives, "match ids .* give the same loss"),
    SumsRows: (objective.equal_ranks_average_to_the_whole, "the mean of the ranks' losses differs"),
    OnTheDefaultDevice: (objective.new_tensors_are_on_the_embeddings_device, "progress is on the default device"),
    OtherChance: (objective.starts_at_chance, "contrast is 1.79.* at chance, not 1.0"),
    NamesNoTerm: (objective.starts_at_chance, "loss_at_chance names 'contrastive', but the terms are contrast"),
    LearnsNothing: (objective.overfits_one_batch, "R@1 is .* after 40 steps on one batch"),
}


def config_of(method_class):
    class Config(CLIP.Config):
        def build(self, towers, identity):
            return method_class(self, towers)

    return Config()


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_a_broken_contract_is_reported(broken):
    check, message = BROKEN[broken]
    assert check in CHECKS
    with pytest.raises(AssertionError, match=message):
        check(micro_method(config_of(broken)))


def test_the_report_names_the_method_and_the_check():
    with pytest.raises(AssertionError, match=r"fails encodes_sample_by_sample: mean depends on"):
        check_method(config_of(MixesSamples))


def test_recall_in_the_contract_is_that_of_evaluation():
    method, batch = micro_method(CLIP.Config()), micro_batch(DISTINCT)
    method.eval()
    found = encoded(method, batch)
    scores, own = (found["text"] @ found["image"].T).numpy(), [np.array([row]) for row in range(len(DISTINCT))]
    expected = [recall_at_k(ranks(matrix, own), 1) for matrix in (scores, scores.T)]
    assert objective.recalls(method, batch) == pytest.approx(expected)
    assert method.training
