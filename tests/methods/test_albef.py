"""ALBEF beyond the official numbers in test_oracles.py: repeated match ids, older copies in the queue, the teacher."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from askew.data.operations import IDENTITY
from askew.methods.albef import ALBEF
from askew.nn.queue import NO_ID
from askew.training.step import Step
from askew.training.towers import build_towers
from helpers import micro_batch, micro_method, micro_towers
from reference import equations

MATCH_IDS = np.array([7, 7, 2, 5, 5, 5])
PAST_IDS = np.array([2, 8, 5, NO_ID, 9])
NAMES = ("image", "text", "teacher_image", "teacher_text")


def build(**fields):
    """With five pairs in the queue, of which two are older copies of samples in the batch."""
    method = micro_method(ALBEF.Config(temperature=0.2, queue_size=5, **fields))
    method.queue.ids.copy_(torch.tensor(PAST_IDS)[:, None].expand(-1, 2))
    return method


def vectors(seed=0):
    rng = np.random.default_rng(seed)
    return {name: equations.normalise(rng.normal(size=(6, 16))) for name in NAMES}


def samples(arrays, match_ids=MATCH_IDS):
    ids = torch.tensor(match_ids)
    tensors = {name: torch.tensor(array).float() for name, array in arrays.items()}
    return {"match_id": ids, "ids": torch.stack([ids, ids], dim=1), **tensors}


def reference(arrays, method, match_ids, rows, share):
    """Both directions, each a loop over rows and their positives."""
    match = match_ids[rows, None] == match_ids[None, :]
    older = match_ids[rows, None] == PAST_IDS[None, :]
    positive = np.concatenate([match, np.zeros_like(older)], axis=1)
    negative = np.concatenate([~match, ~older], axis=1)
    losses = []
    for own, other in (("image", "text"), ("text", "image")):
        candidates = np.concatenate([arrays[f"teacher_{other}"], method.queue.get_buffer(other).double().numpy()])
        student, teacher = (arrays[name][rows] @ candidates.T / 0.2 for name in (own, f"teacher_{own}"))
        losses.append(equations.soft_target_nce(student, teacher, positive, negative, share))
    return sum(losses) / 2


@pytest.mark.parametrize("match_ids", [np.array([2, 1, 5, 3, 4, 6]), MATCH_IDS], ids=["distinct", "repeated"])
@pytest.mark.parametrize("rows", [slice(0, 6), slice(1, 4)], ids=["whole", "a rank"])
@pytest.mark.parametrize("alpha", [0.0, 0.4])
def test_contrast_equals_reference(match_ids, rows, alpha):
    method, arrays = build(alpha=alpha), vectors()
    gathered = samples(arrays, match_ids)
    local = {name: value[rows] for name, value in gathered.items()}
    loss, terms = method.objective(local, gathered, 0.5)
    assert loss.item() == pytest.approx(reference(arrays, method, match_ids, rows, alpha), rel=1e-5)
    assert terms.keys() == {"contrast"}
    assert terms["contrast"].item() == loss.item()


def test_the_gradient_is_that_of_reference_and_stops_at_the_targets():
    method, arrays = build(alpha=0.4), vectors()
    gathered = samples(arrays)
    leaves = {name: gathered[name].requires_grad_() for name in ("image", "text")}
    method.objective(gathered, gathered, 0.5)[0].backward()
    for name, leaf in leaves.items():
        expected = equations.numeric_gradient(
            lambda x, name=name: reference({**arrays, name: x}, method, MATCH_IDS, slice(0, 6), 0.4), arrays[name]
        )
        np.testing.assert_allclose(leaf.grad, expected, atol=1e-5)
    # A scale of the student's rows is one of its logits, and not of the teacher's
    scaled = sum((leaf.grad * leaf.detach()).sum() for leaf in leaves.values())
    assert method.temperature.log_scale.grad.item() == pytest.approx(scaled.item(), rel=1e-5)


def test_alpha_rises_along_a_line_and_then_stays():
    method = build(alpha=0.4, alpha_ramp=0.1)
    assert [method.alpha_at(progress) for progress in (0.0, 0.05, 0.1, 0.9)] == pytest.approx([0.0, 0.2, 0.4, 0.4])
    assert build(alpha=0.4, alpha_ramp=0.0).alpha_at(0.0) == 0.4
    assert ALBEF.Config().alpha_ramp == pytest.approx(1 / 30)
    start, later = (method.objective(samples(vectors()), samples(vectors()), k)[0].item() for k in (0.0, 0.1))
    arrays = vectors()
    assert start == pytest.approx(reference(arrays, method, MATCH_IDS, slice(0, 6), 0.0), rel=1e-5)
    assert later == pytest.approx(reference(arrays, method, MATCH_IDS, slice(0, 6), 0.4), rel=1e-5)


# The queue


def test_older_copies_of_a_sample_are_no_negatives():
    """Nor are older samples with its caption: without them the loss is that of a queue of random vectors alone."""
    method, gathered = build(), samples(vectors(), np.arange(6))
    alone = method.objective(gathered, gathered, 0.5)[0].item()
    for ids in ([0, NO_ID], [NO_ID, 0]):
        method.queue.ids[:] = torch.tensor(ids)
        first = {name: value[:1] for name, value in gathered.items()}
        found = method.objective(first, first, 0.5)[0].item()
        assert found == 0.0  # a sample, itself, and five copies of it
        assert method.objective(gathered, gathered, 0.5)[0].item() < alone


def test_the_order_of_the_queue_does_not_matter():
    method, gathered = build(), samples(vectors())
    expected = method.objective(gathered, gathered, 0.5)[0].item()
    for entries in method.queue.buffers():
        if len(entries) == 5:
            entries.copy_(entries[[3, 0, 4, 1, 2]])
    assert method.objective(gathered, gathered, 0.5)[0].item() == pytest.approx(expected, rel=1e-6)


def test_after_a_step_the_teacher_has_followed_both_towers_and_the_queue_has_the_pairs():
    """The pairs as the teacher embedded them before it moved. The student stays, and the scale is clamped."""
    method, batch = build(momentum=0.6), micro_batch([7, 7, 2])
    local = {"match_id": batch["match_id"], **method.targets(batch), **method.embed(batch)}
    before = {name: parameter.detach().clone() for name, parameter in method.named_parameters()}
    with torch.no_grad():
        method.temperature.log_scale.fill_(9.0)
    method.after_step(local, 0.4)
    moved = 0
    for name, parameter in method.named_parameters():
        if name.startswith("teacher"):
            kind, _, rest = name.removeprefix("teacher_").partition(".module.")
            student = before[f"towers.{kind}.{rest}"]
            torch.testing.assert_close(parameter, 0.6 * before[name] + 0.4 * student)
            moved += not torch.equal(parameter, before[name])
        elif name != "temperature.log_scale":
            assert torch.equal(parameter, before[name])
    assert moved == sum(1 for _ in method.towers.parameters())
    assert method.logit_scale.item() == pytest.approx(math.log(100))
    assert torch.equal(method.queue.image[:3], local["teacher_image"])
    assert torch.equal(method.queue.text[:3], local["teacher_text"])
    assert method.queue.ids[:3].tolist() == [[7, 7], [7, 7], [2, 2]]
    assert method.queue.ids[3:, 0].tolist() == PAST_IDS[3:].tolist()


def test_with_equal_captions_the_queue_keeps_the_ids_that_outlive_a_batch():
    """The first two samples are of one caption. Their common match id would be another one in the next batch."""
    method, batch = build(), micro_batch([3, 1, 2])
    batch["caption_id"] = torch.tensor([10, 10, 20])
    _, _, gathered = Step(method, "fp32")(batch, 0.4)
    assert gathered["match_id"].tolist() == [1, 1, 2]
    method.after_step(gathered, 0.5)
    assert method.queue.ids[:3].tolist() == [[3, 10], [1, 10], [2, 20]]


# From the batch to the embeddings, and the model that is saved


def test_student_and_teacher_see_the_same_image_and_text():
    method, batch = build(), micro_batch([0, 1, 2, 3])
    found = method.embed(batch) | method.targets(batch)
    image, text = method.teacher_image.module, method.teacher_text.module
    towers = {"image": method.towers.image, "text": method.towers.text, "teacher_image": image, "teacher_text": text}
    for name, tower in towers.items():
        torch.testing.assert_close(found[name], tower(batch[name.removeprefix("teacher_")]).embedding)
        assert found[name].requires_grad == (not name.startswith("teacher"))
    assert not torch.allclose(found["text"], found["teacher_text"], atol=1e-2)
    assert found["ids"].tolist() == [[n, n] for n in range(4)]


def test_at_the_start_the_teacher_is_the_student():
    towers = build_towers(micro_towers(), seed=0, mask_token=False)
    method, batch = ALBEF.Config(queue_size=5).build(towers, IDENTITY).eval(), micro_batch([0, 1, 2])
    found = method.embed(batch) | method.targets(batch)
    for name in ("image", "text"):
        torch.testing.assert_close(found[name], found[f"teacher_{name}"])


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_masked_language_is_off_by_default_and_an_addition(weight):
    method, batch = build(mlm_weight=weight), micro_batch([0, 1, 2, 3])
    loss, terms, _ = Step(method, "fp32")(batch, 0.4)
    assert ALBEF.Config().mlm_weight == 0
    assert method.config.needs_mask_token == (weight > 0)
    assert method.views == ("image", "text", *(("masked_text", "mlm_labels") if weight else ()))
    assert terms.keys() == method.loss_at_chance(4).keys() == {"contrast", *(["mlm"] if weight else [])}
    expected = terms["contrast"] + (weight * terms["mlm"] if weight else 0.0)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_queue_counts_at_chance():
    assert ALBEF.Config().queue_size == 65_536
    assert build().loss_at_chance(6)["contrast"] == pytest.approx(math.log(11))


def test_exports_student_and_teacher_with_both_towers():
    method = build()
    teacher = method.teacher_image.module, method.teacher_text.module
    assert method.export_towers() == {"model": (method.towers.image, method.towers.text), "teacher": teacher}
    assert method.logit_scale.exp().item() == pytest.approx(1 / 0.2)
    assert method.logit_bias is None


@pytest.mark.parametrize(
    "fields",
    [{"queue_size": 0}, {"momentum": 1.1}, {"alpha": -0.1}, {"alpha_ramp": 2}, {"temperature": 0}, {"beta": 1}],
)
def test_config_rejects(fields):
    with pytest.raises(ValidationError):
        ALBEF.Config(**fields)
