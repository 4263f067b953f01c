"""Classifiers from prompts, both accuracies and class orders, against loops."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score
from standins import Colours, Constant, Pictures, features_of, pictures

from askew.evaluation.datasets.base import Classification, Labelled
from askew.evaluation.tasks import zero_shot as module
from askew.evaluation.tasks.zero_shot import classifier, zero_shot

CLASSES = (("cat", "kitten"), ("dog",), ("owl", "bird of night", "strix"), ("boat",), ("cup",), ("kite",), ("shoe",))
TEMPLATES = ("a photo of a {}.", "{}")


class Words:
    """A model that draws a text's vector at random, seeded by the text."""

    def __init__(self):
        self.calls = 0

    def text(self, texts):
        self.calls += 1
        made = np.stack([np.random.default_rng(list(text.encode())).normal(size=5) for text in texts])
        return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def data(labels, **changes):
    fields = {
        "name": "set",
        "metric": "mean_per_class",
        "classes": CLASSES,
        "templates": TEMPLATES,
        "test": Labelled(Pictures([b""] * len(labels)), np.array(labels)),
    }
    return Classification(**(fields | changes))


def literal(classes, templates):
    """The classifier, class by class and prompt by prompt."""
    rows = []
    for names in classes:
        prompts = [template.format(name) for name in names for template in templates]
        mean = sum(Words().text([prompt])[0].astype(float) for prompt in prompts) / len(prompts)
        rows.append(mean / np.sqrt((mean**2).sum()))
    return np.stack(rows)


@pytest.mark.parametrize("at_a_time", [1, 5, 4096])
def test_a_classifier_is_the_loop_over_classes_names_and_templates(monkeypatch, at_a_time):
    monkeypatch.setattr(module, "PROMPTS", at_a_time)
    encoders = Words()
    np.testing.assert_allclose(classifier(encoders, CLASSES, TEMPLATES), literal(CLASSES, TEMPLATES), atol=1e-6)
    assert encoders.calls == {1: 7, 5: 5, 4096: 1}[at_a_time]  # batches over classes, not one forward pass per class


def test_accuracies_are_a_loops_and_scikit_learns():
    rng = np.random.default_rng(0)
    embedding, labels = rng.normal(size=(50, 5)).astype(np.float32), rng.integers(0, 6, 50)
    result = zero_shot(Words(), data(labels), features_of(embedding))
    scores = embedding @ literal(CLASSES, TEMPLATES).T
    right = scores.argmax(axis=1) == labels
    assert next(iter(result.values)) == "mean_per_class"
    assert result.values["top1"] == right.mean()
    assert result.values["mean_per_class"] == pytest.approx(balanced_accuracy_score(labels, scores.argmax(axis=1)))
    best = np.argsort(-scores, axis=1)[:, :5]
    assert result.values["top5"] == np.mean([label in row for label, row in zip(labels, best, strict=True)])
    assert (result.outcomes.right["top1"] == right).all()
    assert result.values["n"] == 50
    assert result.protocol["classes_without_test_images"] == 1
    assert result.protocol["templates"] == list(TEMPLATES)
    assert next(iter(zero_shot(Words(), data(labels, metric="top1"), features_of(embedding)).values)) == "top1"


def test_blocks_of_images_change_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    embedding, labels = rng.normal(size=(23, 5)).astype(np.float32), rng.integers(0, 7, 23)
    whole = zero_shot(Words(), data(labels), features_of(embedding))
    monkeypatch.setattr(module, "SCORED_AT_ONCE", 4)
    assert zero_shot(Words(), data(labels), features_of(embedding)).values == whole.values


def test_another_class_order_is_reported_beside_the_right_one():
    """Images of class c have the vector of the name of class order[c], or of their own name."""
    weights = classifier(Words(), CLASSES, TEMPLATES)
    order = (0, 2, 3, 1, 4, 5, 6)  # a cycle: not its own inverse
    labels = np.array([0, 1, 1, 2, 3])
    values = zero_shot(Words(), data(labels, class_orders=(("slip", order),)), features_of(weights[labels])).values
    assert values["top1"] == 1.0
    assert values["slip/mean_per_class"] == pytest.approx(1 / 4)  # only class 0 keeps its name
    slipped = weights[np.array(order)[labels]]
    values = zero_shot(Words(), data(labels, class_orders=(("slip", order),)), features_of(slipped)).values
    assert values["slip/mean_per_class"] == 1.0
    assert values["mean_per_class"] == pytest.approx(1 / 4)


def test_an_unreadable_image_is_wrong_not_gone():
    weights = classifier(Words(), CLASSES, TEMPLATES)
    labels = np.array([0, 1, 2, 3])
    readable = np.array([True, True, False, True])
    values = zero_shot(Words(), data(labels), features_of(weights[labels], readable)).values
    assert values["top1"] == values["mean_per_class"] == 0.75
    assert values["n"] == 4


def test_a_constant_encoder_is_right_only_about_the_first_class():
    labels = np.array([0, 0, 1, 2])
    embedding = np.tile(Constant.vector / np.linalg.norm(Constant.vector), (4, 1))
    values = zero_shot(Constant(), data(labels), features_of(embedding)).values
    assert values["top1"] == 0.5
    assert values["mean_per_class"] == pytest.approx(1 / 3)


def test_a_picture_in_two_classes_is_counted_and_warned_of():
    texts = {"a": np.eye(2)[0], "b": np.eye(2)[1]}
    data = Classification("set", "top1", (("a",), ("b",)), ("{}",), Labelled(pictures(5), np.array([0, 0, 1, 1, 1])))
    made = replace(features_of(np.eye(2, dtype=np.float32)[[0, 0, 0, 1, 1]]), pictures=("x", "z", "x", "y", "y"))
    said: list[str] = []
    protocol = zero_shot(Colours(texts), data, made, said.append).protocol
    assert protocol["images_with_equal_bytes"] == 4
    assert said == protocol["warnings"]
    assert said == ["set: 2 of 5 images are, byte for byte, also in another class; remove them from all but one"]
    assert zero_shot(Colours(texts), data, replace(made, pictures=("",) * 5)).protocol["warnings"] == []
