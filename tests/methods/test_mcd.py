"""MCD's objective on given embeddings against its equations, composed from plain loops."""

import itertools
import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from askew.methods.mcd import MCD
from askew.nn.momentum import Momentum
from askew.objectives.masked_language import NOT_MASKED, cross_entropy_per_sample
from helpers import METHOD_NAMES, METHODS, micro_batch, micro_method, rows
from reference import equations

NAMES = ("text", "image", "aug", "teacher_image", "teacher_aug")
DISTINCT, MATCH_IDS = np.arange(5), np.array([7, 7, 2, 5, 5])
NUM_STEPS = 10
BETA = 0.2
NOISY = {
    "own_against_other": equations.eq9_own_against_other,
    "own_against_own": equations.eq9_own_against_own,
}
ONE_TAU = (0.2, 0.2, 0.2)
MCDS = {name: config for name, config in zip(METHOD_NAMES, METHODS, strict=True) if config.name == "mcd"}


def vectors(seed=0):
    """Five of each kind in four dimensions, not yet of unit length."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(5, 4)) for name in NAMES}


def masked_words(seed=0):
    """Logits (5, 3, 7) and labels (5, 3): 2, 0, 1, 3 and 1 masked positions."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 7, size=(5, 3))
    for sample, num_masked in enumerate((2, 0, 1, 3, 1)):
        labels[sample, num_masked:] = NOT_MASKED
    return rng.normal(size=(5, 3, 7)), labels


def embedded(raw, match_ids, mlm=True):
    """What `targets` and `embed` return for raw vectors, some of which may be leaves with gradient."""
    unit = {name: torch.nn.functional.normalize(torch.as_tensor(raw[name]).float(), dim=1) for name in NAMES}
    unit |= {name: unit[name].detach() for name in ("teacher_image", "teacher_aug")}
    if mlm:
        logits, labels = map(torch.tensor, masked_words())
        sample = torch.arange(5).repeat_interleave(3)
        unit["mlm_sum"], unit["mlm_count"] = cross_entropy_per_sample(logits.flatten(0, 1), labels.flatten(), sample, 5)
    return {"match_id": torch.tensor(match_ids), **unit}


def contrast(unit, match_ids, tau, offset):
    """Eq. (5) with tau and offset per pair of domains: the terms of originals, and those with an augmented image."""
    kinds = ["image"] * 5 + ["text"] * 5 + ["aug"] * 5
    members = np.concatenate([unit["image"], unit["text"], unit["aug"]])
    num_texts = {("image", "image"): 0, ("image", "text"): 1, ("text", "text"): 2}
    logits = np.zeros((15, 15))
    for i, j in itertools.product(range(15), repeat=2):
        pair = num_texts[tuple(sorted("image" if kinds[k] == "aug" else kinds[k] for k in (i, j)))]
        logits[i, j] = (members[i] @ members[j] - offset[pair]) / tau[pair]
    positive = np.tile(match_ids, 3)[:, None] == np.tile(match_ids, 3)[None, :]
    with_aug = np.array([[1.0 * ("aug" in (a, b)) for b in kinds] for a in kinds])
    return tuple(equations.mp_nce(logits, positive, ~positive, weight) for weight in (1 - with_aug, with_aug))


def literal(raw, match_ids, step, noisy, mlm, tau=ONE_TAU, offset=(0, 0, 0), frozen_text=None):
    """The total, and every term by its logged name. The teacher's text is frozen at `frozen_text`."""
    unit = {name: equations.normalise(raw[name]) for name in NAMES}
    match = match_ids[:, None] == match_ids[None, :]
    distances = equations.Distances(*(unit[name] for name in NAMES))
    if frozen_text is not None:
        frozen = equations.Distances(equations.normalise(frozen_text), *(unit[name] for name in NAMES[1:]))
        distances.teacher_d, distances.teacher_d_aug = frozen.teacher_d, frozen.teacher_d_aug
    original, augmented = contrast(unit, match_ids, tau, offset)
    alpha = equations.eq13_alpha(step, NUM_STEPS)
    distill = equations.eq10_distill(distances, match, NOISY[noisy])
    terms = {
        "contrast": original + (1 - alpha) * augmented,
        "positive": equations.eq7_positive(distances, match),
        "negative": equations.eq8_negative(distances, match),
        "noisy": NOISY[noisy](distances, match),
        "alpha": alpha,
        "momentum": equations.eq12_momentum(step, NUM_STEPS, MCD.Config().momentum),
    }
    if mlm:
        terms["mlm"] = equations.eq11_masked_language(*masked_words())
    total = equations.eq13_total(original, augmented, distill, terms.get("mlm", 0.0), alpha, BETA)
    return total, terms


@pytest.fixture(scope="module")
def build():
    """One method per configuration, because the objective changes nothing."""
    made = {}

    def build(noisy="own_against_other", mlm=True, tau=ONE_TAU, offset=(0.0, 0.0, 0.0)):
        key = (noisy, mlm)
        if key not in made:
            made[key] = micro_method(MCD.Config(noisy=noisy, mlm_weight=BETA if mlm else 0))
        with torch.no_grad():
            made[key].similarity.log_scale.copy_(-torch.tensor(tau).log())
            made[key].similarity.offset.copy_(torch.tensor(offset))
        return made[key]

    return build


def compare(found, expected):
    loss, terms = found
    total, literal_terms = expected
    assert loss.dtype == torch.float32
    assert loss.shape == ()
    assert loss.item() == pytest.approx(total, rel=1e-4)
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(literal_terms, rel=1e-4)


# The reference


@pytest.mark.parametrize("mlm", [True, False], ids=["mlm", "no-mlm"])
@pytest.mark.parametrize("noisy", NOISY)
@pytest.mark.parametrize("step", [0, 3, 9])
def test_total_is_equation_13(build, step, noisy, mlm):
    """Distinct samples and one temperature: Eqs. (5), (7) to (11) and (13) as printed."""
    raw = vectors()
    local = embedded(raw, DISTINCT, mlm)
    expected = literal(raw, DISTINCT, step, noisy, mlm)
    unit = [equations.normalise(raw[name]) for name in ("image", "text", "aug")]
    original, augmented = equations.eq5_mp_nce(*unit, tau=ONE_TAU[0])
    assert expected[1]["contrast"] == pytest.approx(original + (1 - expected[1]["alpha"]) * augmented)
    compare(build(noisy, mlm).objective(local, local, step / NUM_STEPS), expected)


@pytest.mark.parametrize("noisy", NOISY)
@pytest.mark.parametrize("step", [0, 6])
def test_repeated_match_ids_and_domain_temperatures_equal_reference(build, step, noisy):
    raw, tau, offset = vectors(1), (0.1, 0.3, 0.5), (0.4, -0.2, 0.1)
    local = embedded(raw, MATCH_IDS)
    method = build(noisy, tau=tau, offset=offset)
    compare(
        method.objective(local, local, step / NUM_STEPS),
        literal(raw, MATCH_IDS, step, noisy, True, tau=tau, offset=offset),
    )


@pytest.mark.parametrize("noisy", NOISY)
@pytest.mark.parametrize("moved", ["text", "image", "aug"])
def test_gradient_equals_differences_of_reference(build, moved, noisy):
    """The gradient of the whole loss. The teacher's distances to the text stay where they are."""
    raw = vectors()
    leaf = torch.tensor(raw[moved], requires_grad=True)
    local = embedded({**raw, moved: leaf}, MATCH_IDS)
    build(noisy).objective(local, local, 0.6)[0].backward()
    expected = equations.numeric_gradient(
        lambda x: literal({**raw, moved: x}, MATCH_IDS, 6, noisy, True, frozen_text=raw["text"])[0], raw[moved]
    )
    np.testing.assert_allclose(leaf.grad, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("noisy", NOISY)
@pytest.mark.parametrize("term", ["positive", "negative", "noisy"])
def test_gradient_into_the_text_flows_through_student_distances_only(build, term, noisy):
    raw = vectors()
    leaf = torch.tensor(raw["text"], requires_grad=True)
    local = embedded({**raw, "text": leaf}, MATCH_IDS)
    build(noisy).objective(local, local, 0.6)[1][term].backward()

    def gradient(frozen_text):
        return equations.numeric_gradient(
            lambda x: literal({**raw, "text": x}, MATCH_IDS, 6, noisy, True, frozen_text=frozen_text)[1][term],
            raw["text"],
        )

    expected, both_sides = gradient(raw["text"]), gradient(None)
    np.testing.assert_allclose(leaf.grad, expected, atol=1e-4 * np.abs(expected).max())
    assert np.abs(expected - both_sides).max() > 0.1 * np.abs(expected).max()


# Student and teacher


@pytest.mark.parametrize("noisy", NOISY)
def test_a_teacher_equal_to_the_student_has_nothing_to_distill(build, noisy):
    raw = vectors()
    same = {**raw, "teacher_image": raw["image"], "teacher_aug": raw["aug"]}
    local = embedded(same, MATCH_IDS)
    loss, terms = build(noisy).objective(local, local, 0.6)
    assert [terms[name].item() for name in ("positive", "negative", "noisy")] == [0.0, 0.0, 0.0]
    assert loss.item() == pytest.approx((terms["contrast"] + BETA * terms["mlm"]).item())


@pytest.mark.parametrize("noisy", NOISY)
def test_a_perturbed_teacher_has(build, noisy):
    raw = vectors()
    noise = np.random.default_rng(9).normal(size=(5, 4))
    near = {**raw, "teacher_image": raw["image"] + 0.05 * noise, "teacher_aug": raw["aug"]}
    local = embedded(near, MATCH_IDS)
    terms = build(noisy).objective(local, local, 0.6)[1]
    assert all(1e-6 < terms[name].item() < 0.1 for name in ("positive", "negative", "noisy"))


def test_the_two_readings_of_the_noisy_term_differ(build):
    local = embedded(vectors(), DISTINCT)
    one, two = (build(noisy).objective(local, local, 0.6)[1]["noisy"].item() for noisy in NOISY)
    assert one != pytest.approx(two, rel=1e-2)


# Schedule


def test_nothing_is_distilled_at_the_start(build):
    """Regardless of the teacher, loss and gradient are those of the contrast and of masked language."""
    gradients = []
    for seed in (1, 2):
        leaves = {name: torch.tensor(vectors()[name], requires_grad=True) for name in ("text", "image", "aug")}
        local = embedded({**vectors(seed), **leaves}, MATCH_IDS)
        loss, terms = build().objective(local, local, 0.0)
        loss.backward()
        assert terms["positive"] > 0.01
        assert loss.item() == pytest.approx((terms["contrast"] + BETA * terms["mlm"]).item())
        gradients.append([leaf.grad for leaf in leaves.values()])
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-7)


def test_no_augmented_view_is_contrasted_at_the_end(build):
    """As a positive. It stays among the negatives, in the denominators."""
    raw = vectors()
    original, augmented = contrast(
        {name: equations.normalise(raw[name]) for name in NAMES}, MATCH_IDS, ONE_TAU, (0, 0, 0)
    )
    local = embedded(raw, MATCH_IDS)
    assert augmented > 0.1
    assert build().objective(local, local, 1.0)[1]["contrast"].item() == pytest.approx(original, rel=1e-4)
    start = build().objective(local, local, 0.0)[1]["contrast"].item()
    assert start == pytest.approx(original + augmented, rel=1e-4)
    other = embedded({**raw, "aug": vectors(5)["aug"]}, MATCH_IDS)
    assert build().objective(other, other, 1.0)[1]["contrast"].item() != pytest.approx(original, rel=1e-3)


def test_the_teacher_follows_the_students_image_tower():
    """Eq. (12) after step k with the momentum at (k + 1) / T. The student stays, and scales are clamped."""
    method = micro_method(MCD.Config(momentum=0.6, mlm_weight=0))
    student = [parameter.detach().clone() for parameter in method.towers.image.parameters()]
    before = [parameter.clone() for parameter in method.teacher.parameters()]
    with torch.no_grad():
        method.similarity.log_scale.fill_(9.0)
    method.after_step({}, 4 / NUM_STEPS)
    momentum = equations.eq12_momentum(4, NUM_STEPS, 0.6)
    teacher = list(method.teacher.parameters())
    for found, old, new in zip(teacher, before, student, strict=True):
        torch.testing.assert_close(found, equations.eq12_update(old, new, momentum))
        assert not torch.allclose(found, old)
    assert all(torch.equal(p, old) for p, old in zip(method.towers.image.parameters(), student, strict=True))
    assert method.logit_scale.item() == pytest.approx(math.log(100))


# From the batch to the embeddings


@pytest.fixture(scope="module")
def method():
    return micro_method(MCD.Config())


def test_both_views_of_an_image_go_through_student_and_teacher(method):
    batch = micro_batch([0, 1, 2, 3])
    found = method.embed(batch) | method.targets(batch)
    teacher = method.teacher.module
    for name, tower, view in (
        ("image", method.towers.image, "image"),
        ("aug", method.towers.image, "aug"),
        ("teacher_image", teacher, "image"),
        ("teacher_aug", teacher, "aug"),
    ):
        torch.testing.assert_close(found[name], tower(batch[view]).embedding, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["text"], method.towers.text(batch["text"]).embedding)
    assert not torch.allclose(found["image"], found["teacher_image"], atol=1e-2)
    assert not found["teacher_image"].requires_grad
    assert not found["teacher_aug"].requires_grad


def test_masked_words_are_predicted_from_the_masked_text(method):
    """The mean over the batch is Eq. (11) on the logits of all positions, and each sample counts its own."""
    batch = micro_batch([0, 1, 2, 3], unmasked=[1])
    found = method.embed(batch)
    with torch.no_grad():
        everywhere = torch.ones_like(batch["mlm_labels"], dtype=torch.bool)
        tokens = method.towers.eval().text(batch["masked_text"], everywhere).tokens
        logits = method.token_head(tokens).unflatten(0, everywhere.shape).numpy()
    labels = batch["mlm_labels"].numpy()
    assert found["mlm_count"].tolist() == (labels != NOT_MASKED).sum(axis=1).tolist()
    assert found["mlm_count"][1] == 0
    assert found["mlm_count"].max() > 1
    expected = equations.eq11_masked_language(logits, labels)
    assert (found["mlm_sum"].sum() / found["mlm_count"].sum()).item() == pytest.approx(expected, rel=1e-4)
    own = equations.eq11_masked_language(logits[:1], labels[:1])
    assert (found["mlm_sum"][0] / found["mlm_count"][0]).item() == pytest.approx(own, rel=1e-4)


def test_a_batch_without_a_masked_token_is_not_an_error(method):
    batch = micro_batch([0, 1], unmasked=[0, 1])
    local = {"match_id": batch["match_id"], **method.targets(batch), **method.embed(batch)}
    loss, terms = method.objective(local, local, 0.3)
    method.zero_grad()
    loss.backward()
    assert terms["mlm"].item() == 0.0
    assert loss.isfinite()
    assert torch.equal(method.token_head.weight.grad, torch.zeros_like(method.token_head.weight))


def test_the_mask_reaches_masked_language_only(method):
    batch = micro_batch([0, 1, 2])
    other = {**batch, **rows({k: micro_batch([0, 1, 2], seed=5)[k] for k in ("masked_text", "mlm_labels")}, slice(3))}
    one, two = method.embed(batch), method.embed(other)
    assert torch.equal(one["text"], two["text"])
    assert not torch.equal(one["mlm_sum"], two["mlm_sum"])


# Export and configuration


@pytest.mark.parametrize("config", MCDS.values(), ids=MCDS)
def test_reads_masked_text_only_if_it_counts(config):
    method = micro_method(config)
    mlm = config.mlm_weight > 0
    assert config.needs_mask_token == mlm
    others = ("image", "aug", "text", *(["text_short"] if config.contrast_text == "short" else []))
    row = ("row",) if config.normaliser == "global" else ()
    assert method.views == (*others, *(("masked_text", "mlm_labels") if mlm else ()), *row)
    assert (method.token_head is not None) == mlm


def test_exports_student_and_teacher_with_the_image_text_scale():
    method = micro_method(MCD.Config(temperatures=(0.1, 0.2, 0.3), mlm_weight=0))
    image, text = method.towers.image, method.towers.text
    assert method.export_towers() == {"model": (image, text), "teacher": (method.teacher.module, text)}
    assert isinstance(method.teacher, Momentum)
    assert method.logit_scale.shape == (1,)
    assert method.logit_scale.exp().item() == pytest.approx(1 / 0.2)


@pytest.mark.parametrize(
    "fields", [{"momentum": 1.1}, {"momentum": -0.1}, {"mlm_weight": -1}, {"noisy": "other"}, {"beta": 0.2}]
)
def test_config_rejects(fields):
    with pytest.raises(ValidationError):
        MCD.Config(**fields)
