"""`Model.zero_shot` is evaluation's zero-shot classification."""

import numpy as np
import pytest
from standins import micro_model, png

import askew
from askew.evaluation.datasets.classes import open_class_folders
from askew.evaluation.datasets.prompts import prompts
from askew.evaluation.features import Extractor
from askew.evaluation.tasks.zero_shot import classifier, zero_shot

CLASSES = ["red", "blue", "green", "gray", "black", "white"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return askew.load(micro_model(tmp_path_factory.mktemp("model"), seed=4), device="cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six folders of four images."""
    root = tmp_path_factory.mktemp("classes")
    for number, name in enumerate(CLASSES):
        (root / name).mkdir()
        for index in range(4):
            (root / name / f"{index}.png").write_bytes(png(10 * number + index))
    return root


def test_it_finds_what_an_evaluation_finds(model, folder):
    data = open_class_folders(folder, "a drawing of a {}")
    features = Extractor(model._encoders).embed(data.test.images)
    expected = zero_shot(model._encoders, data, features)
    paths = [folder / path for path in data.test.images.keys]
    classify = model.zero_shot([names[0] for names in data.classes], "a drawing of a {}")
    found = classify(paths)
    right = found.labels == data.test.labels
    assert np.array_equal(right, expected.outcomes.right["top1"])
    assert 0 < right.mean() < 1
    assert right.mean() == pytest.approx(expected.values["top1"])
    weights = classifier(model._encoders, data.classes, data.templates)
    assert np.array_equal(found.labels, (features.embedding @ weights.T).argmax(axis=1))
    assert len(set(found.labels.tolist())) > 1
    assert found.names == [data.classes[label][0] for label in found.labels]


def test_prompts_are_averaged_as_in_an_evaluation(model):
    names = [["red", "crimson"], "blue", ("green",)]
    expected = (("red", "crimson"), ("blue",), ("green",))
    for given, templates in [("imagenet", prompts("imagenet").templates), (["a {}", "one {}."], ("a {}", "one {}."))]:
        classify = model.zero_shot(names, templates=given)
        assert classify.classes == ("red", "blue", "green")
        assert np.array_equal(classify.weights, classifier(model._encoders, expected, templates))
    default = model.zero_shot(names).weights
    assert np.array_equal(default, classifier(model._encoders, expected, ("a photo of a {}",)))
    assert np.abs(default - classify.weights).max() > 1e-3


def test_probabilities_are_the_softmax_of_the_logits(model):
    images = [png(seed) for seed in range(5)]
    found = model.zero_shot(CLASSES, "{}")(iter(images), batch_size=2, num_workers=2)
    logits = model.logits(images, CLASSES).astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert found.probabilities.dtype == np.float32
    assert np.abs(found.probabilities - expected).max() < 1e-5
    assert np.array_equal(found.labels, logits.argmax(axis=1))


def test_of_no_images_there_are_no_predictions(model):
    found = model.zero_shot(CLASSES)([])
    assert found.probabilities.shape == (0, 6)
    assert found.labels.shape == (0,)
    assert found.names == []
