"""Every reading that MCD's config can select: the whole objective and its gradients against plain loops."""

import typing

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from askew.methods.mcd import MCD, Term
from askew.nn.momentum import alpha_at
from askew.nn.similarity import SIMILARITY
from askew.objectives.distillation import NEGATIVE, NOISY
from askew.objectives.fading import FADING, contrast_at_chance
from askew.objectives.log_ratio import RHO
from helpers import micro_method
from reference import equations

NAMES = ("text", "image", "aug", "teacher_image", "teacher_aug")
STUDENT = (*NAMES[:3], "text_short")
MATCH_IDS = np.array([7, 7, 2, 5, 4])
TAU, OFFSET, PROGRESS = (0.2, 0.3, 0.5), (0.4, -0.2, 0.1), 0.6
READINGS = {  # every value of every field with readings, and some combinations
    "default": {},
    "aug_own_against_other": {"negative": "aug_own_against_other"},
    "own_against_aug_other, absolute": {"negative": "own_against_aug_other", "rho": "absolute"},
    "own_against_own, huber": {"noisy": "own_against_own", "rho": "huber"},
    "teacher_ranks, text stopped": {"noisy": "teacher_ranks", "text_gradient": "stopped"},
    "shared similarity": {"similarity": "shared"},
    "two_sets": {"fading": "two_sets"},
    "whole_contrast, alpha from a half": {"fading": "whole_contrast", "alpha_start": 0.5},
    "unfaded, alpha constant": {"fading": "unfaded", "alpha_start": 1.0},
    "only positive": {"terms": ("positive",)},
    "short contrast": {"contrast_text": "short"},
    "of texts": {"terms": ("positive", "text_positive", "text_negative")},
    "of texts, absolute": {"terms": ("text_negative",), "negative": "own_against_aug_other", "rho": "absolute"},
    "of texts, stopped": {
        "terms": ("text_positive", "text_negative", "noisy"),
        "negative": "aug_own_against_other",
        "text_gradient": "stopped",
        "contrast_text": "short",
    },
    "soft alignment": {"terms": ("soft_alignment",)},
    "soft alignment and noisy, text stopped": {"terms": ("noisy", "soft_alignment"), "text_gradient": "stopped"},
}


def vectors(seed=0):
    """Five of each kind in four dimensions, the teacher's near the student's."""
    rng = np.random.default_rng(seed)
    raw = {name: rng.normal(size=(5, 4)) for name in NAMES[:3]}
    raw |= {f"teacher_{name}": raw[name] + 0.5 * rng.normal(size=(5, 4)) for name in ("image", "aug")}
    return raw | {"text_short": raw["text"] + rng.normal(size=(5, 4))}


def tensors(raw):
    return {name: torch.tensor(value) for name, value in raw.items()}


def named(config, unit):
    """Embeddings by the names that `embed` gives them: `text` is what is contrasted."""
    swapped = {"text": unit["text_short"], "text_whole": unit["text"]} if config.contrast_text == "short" else {}
    return {"match_id": torch.tensor(MATCH_IDS), **{name: value.float() for name, value in {**unit, **swapped}.items()}}


def literal(raw, config, at):
    """The total. The teacher's texts are frozen as they are in `at`, and the student's where their gradient stops."""
    unit = {name: equations.normalise(value) for name, value in raw.items()}
    frozen = unit | {name: equations.normalise(at[name]) for name in ("text", "text_short")}
    match = MATCH_IDS[:, None] == MATCH_IDS[None, :]
    shared, contrasted = config.similarity == "shared", {"short": "text_short"}.get(config.contrast_text, "text")
    members = [(m, d, z) for d, name in (("image", "image"), ("text", contrasted), ("image", "aug"))
               for m, z in zip(MATCH_IDS, unit[name], strict=True)]  # fmt: skip
    tau, offset = ((TAU[1],) * 3, (0, 0, 0)) if shared else (TAU, OFFSET)
    logits, is_aug = equations.domain_logits(members, tau, offset), np.arange(15) >= 10
    a0 = config.alpha_start
    alpha = 1 - (1 - a0) * (1 + np.cos(np.pi * PROGRESS)) / 2
    contrast = equations.fading(config.fading, logits, np.tile(match, (3, 3)), is_aug, is_aug, alpha)

    seen = frozen if config.text_gradient == "stopped" else unit
    distances = equations.Distances(*(seen[name] for name in NAMES))
    teachers = equations.Distances(*(frozen[name] for name in NAMES))
    distances.teacher_d, distances.teacher_d_aug = teachers.teacher_d, teachers.teacher_d_aug
    # Of texts: the shortened captions with the same images, in the place of the captions with the augmented images
    images = [seen["image"]] * 2 + [seen["teacher_image"]] * 2
    of_texts = equations.Distances(seen["text"], *images)
    of_texts.teacher_d = teachers.teacher_d
    of_texts.d_aug = equations.Distances(seen["text_short"], *images).d
    of_texts.teacher_d_aug = equations.Distances(frozen["text_short"], *images).teacher_d
    names = {"positive": "positive", "negative": config.negative, "noisy": config.noisy}
    distill = 0.0
    for term in config.terms:
        if term == "soft_alignment":
            distill += equations.soft_alignments(seen, frozen, 1 / TAU[1])
        else:
            pairs = of_texts if term.startswith("text_") else distances
            distill += equations.reading(names[term.removeprefix("text_")], pairs, match, rho=config.rho)
    return contrast + alpha * distill


def built(fields):
    method = micro_method(MCD.Config(mlm_weight=0, **fields))
    scale = method.similarity.log_scale
    with torch.no_grad():
        scale.copy_(-torch.tensor(TAU if len(scale) == 3 else TAU[1:2]).log())
        if len(scale) == 3:
            method.similarity.offset.copy_(torch.tensor(OFFSET))
    return method


@pytest.mark.parametrize("fields", READINGS.values(), ids=READINGS)
def test_objective_and_its_gradients_equal_the_loops(fields):
    """Relative error below 1e-5 for the value and for the gradient of each of the student's embeddings."""
    raw, method = vectors(), built(fields)
    leaves = {name: torch.tensor(raw[name], requires_grad=True) for name in STUDENT}
    unit = {name: torch.nn.functional.normalize(leaf, dim=1) for name, leaf in {**tensors(raw), **leaves}.items()}
    local = named(method.config, unit)
    loss, terms = method.objective(local, local, PROGRESS)
    gradients = dict(zip(leaves, torch.autograd.grad(loss, [*leaves.values()], materialize_grads=True), strict=True))
    assert loss.item() == pytest.approx(literal(raw, method.config, raw), rel=1e-5)
    assert set(terms) == {"contrast", *method.config.terms, "alpha", "momentum"}
    for name in STUDENT:
        expected = equations.numeric_gradient(
            lambda x, name=name: literal({**raw, name: x}, method.config, raw), raw[name]
        )
        assert np.linalg.norm(gradients[name].numpy() - expected) <= 1e-5 * np.linalg.norm(expected)


def test_every_reading_is_another_loss():
    """Otherwise a name would select nothing."""
    losses = sorted(literal(vectors(), MCD.Config(mlm_weight=0, **fields), vectors()) for fields in
                    READINGS.values() if fields.get("text_gradient") != "stopped")  # fmt: skip
    assert np.diff(losses).min() > 1e-3


@pytest.mark.parametrize(
    ("field", "functions"), [("negative", NEGATIVE), ("noisy", NOISY), ("rho", RHO), ("fading", FADING)]
)
def test_the_config_names_every_reading(field, functions):
    named = typing.get_args(MCD.Config.model_fields[field].annotation)
    assert named == tuple(functions)
    assert named[0] == MCD.Config.model_fields[field].default


def test_similarities_and_terms_by_name():
    assert typing.get_args(MCD.Config.model_fields["similarity"].annotation) == tuple(SIMILARITY)
    assert typing.get_args(Term) == (*MCD.Config().terms, "soft_alignment", "text_positive", "text_negative")
    shared = micro_method(MCD.Config(similarity="shared", temperatures=(0.1, 0.2, 0.3)))
    assert shared.logit_scale.exp().item() == pytest.approx(5)


def test_short_captions_are_read_only_where_they_count():
    assert "text_short" not in micro_method(MCD.Config()).views
    for fields in ({"contrast_text": "short"}, {"terms": ("noisy", "text_negative")}):
        assert "text_short" in micro_method(MCD.Config(**fields)).views


@pytest.mark.parametrize("fields", READINGS.values(), ids=READINGS)
def test_captions_that_are_short_already_change_nothing(fields):
    """Where nothing is dropped, the contrast is that of the captions, and texts have nothing to distill."""
    method = built(fields)
    raw = {**vectors(), "text_short": vectors()["text"]}
    unit = {name: torch.nn.functional.normalize(value, dim=1) for name, value in tensors(raw).items()}
    local = named(method.config, unit)
    _, terms = method.objective(local, local, PROGRESS)
    plain = built({key: value for key, value in fields.items() if key not in ("contrast_text", "terms")})
    assert terms["contrast"].item() == plain.objective(local, local, PROGRESS)[1]["contrast"].item()
    if "text_positive" in terms:
        assert terms["text_positive"].item() == 0


@pytest.mark.parametrize("start", [0.0, 0.5, 1.0])
def test_alpha_goes_from_its_start_to_one(start):
    found = [alpha_at(progress, start) for progress in (0.0, 0.5, 1.0)]
    assert found == pytest.approx([start, (1 + start) / 2, 1.0])
    assert found[0] == start


def test_chance_is_that_of_the_reading_at_step_0():
    method = micro_method(MCD.Config(mlm_weight=0, fading="two_sets", alpha_start=0.5))
    assert method.loss_at_chance(6) == {"contrast": contrast_at_chance(FADING["two_sets"], 6, 0.5)}
    assert method.loss_at_chance(6)["contrast"] == pytest.approx((np.log(16) + np.log(11)) / 2)


@pytest.mark.parametrize(
    "fields", [{"terms": ()}, {"terms": ("own",)}, {"fading": "none"}, {"alpha_start": 1.5}, {"rho": "l1"}]
)
def test_config_rejects(fields):
    with pytest.raises(ValidationError):
        MCD.Config(**fields)
