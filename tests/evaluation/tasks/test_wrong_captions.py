"""A tenth of the captions is exchanged, the same for every model, and found by distance and by noise."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from standins import Colours, Pictures, features_of

from askew.errors import UserError
from askew.evaluation.datasets.base import Captioned
from askew.evaluation.tasks.wrong_captions import draws_of_images, exchanged, roc_area, wrong_captions


def unit(generator, *shape):
    made = generator.normal(size=shape)
    return (made / np.linalg.norm(made, axis=-1, keepdims=True)).astype(np.float32)


def problem(num=40, noise=0.0, seed=0):
    """Two captions per image, shuffled; `noise` is how far a caption's vector is from its image's."""
    generator = np.random.default_rng(seed)
    image_of = generator.permutation(np.repeat(np.arange(num), 2))
    image = unit(generator, num, 6)
    text = image[image_of] + noise * unit(generator, 2 * num, 6)
    texts = {f"caption {i}": vector for i, vector in enumerate(text / np.linalg.norm(text, axis=1, keepdims=True))}
    return Captioned("dev", Pictures([b""] * num), tuple(texts), image_of), Colours(texts), image


def test_a_model_that_knows_every_pair_finds_all_exchanged_captions():
    data, encoders, image = problem()
    result = wrong_captions(encoders, data, features_of(image))
    assert result.task == "dev/wrong_captions"
    assert (result.values["wrong"], result.values["n"]) == (8, 80)
    for name in ("distance", "noise"):
        assert [result.values[f"auroc_{name}{end}"] for end in ("", "_low", "_high")] == [1.0, 1.0, 1.0]


def test_the_area_of_distances_is_that_of_scikit_learn():
    data, encoders, image = problem(noise=2.5)
    values = wrong_captions(encoders, data, features_of(image)).values
    order = np.argsort(data.image_of, kind="stable")
    owners = data.image_of[order]
    origin = exchanged(owners, 0.1, 2023)
    text = encoders.text([data.captions[i] for i in order[origin]])
    distance = np.linalg.norm(text - image[owners], axis=1)
    assert values["auroc_distance"] == pytest.approx(roc_auc_score(origin != np.arange(80), distance), abs=1e-12)
    assert values["auroc_distance_low"] < values["auroc_distance"] < values["auroc_distance_high"]
    assert values["auroc_noise"] != values["auroc_distance"]


def test_a_constant_model_guesses():
    data, _, image = problem()
    encoders = Colours(dict.fromkeys(data.captions, image[0]))
    values = wrong_captions(encoders, data, features_of(np.tile(image[:1], (40, 1)))).values
    assert values["auroc_distance"] == values["auroc_noise"] == 0.5


def test_captions_of_unreadable_images_are_left_out():
    data, encoders, image = problem()
    readable = np.arange(40) != 7
    values = wrong_captions(encoders, data, features_of(np.where(readable[:, None], image, 0), readable)).values
    assert (values["wrong"], values["n"], values["auroc_distance"]) == (8, 78, 1.0)


def test_every_chosen_caption_leaves_its_image():
    owners = np.repeat(np.arange(30), 5)
    origin = exchanged(owners, 0.1, 2023)
    moved = origin != np.arange(150)
    assert moved.sum() == 15
    assert (owners[origin[moved]] != owners[moved]).all()
    assert sorted(origin) == list(range(150))
    assert (origin == exchanged(owners, 0.1, 2023)).all()


def test_an_area_by_hand_with_ties_and_weights():
    """Wrong 3 and 1, right 1 and 2: 3 beats both, 1 ties with one and loses: (1 + 1 + 0.5 + 0) / 4."""
    values, wrong = np.array([3, 1, 1, 2]), np.array([True, True, False, False])
    assert roc_area(values, wrong, np.ones(4)) == 2.5 / 4
    assert roc_area(values, wrong, np.array([1, 0, 1, 1])) == 1.0
    weights = np.array([1, 3, 2, 1])
    assert roc_area(values, wrong, weights) == pytest.approx(roc_auc_score(wrong, values, sample_weight=weights))


def test_images_are_drawn_with_all_their_captions():
    image_of = np.array([0, 1, 1, 2, 1])
    for drawn in draws_of_images(image_of)[:20]:
        assert drawn[1] == drawn[2] == drawn[4]
        assert drawn[0] + drawn[1] + drawn[3] == 3


@pytest.mark.parametrize("num", [1, 4])
def test_too_few_captions_are_refused(num):
    data, encoders, image = problem(num)
    with pytest.raises(UserError, match=r"dev: .* cannot be exchanged .*needs 15 captions or more, on several images"):
        wrong_captions(encoders, data, features_of(image))
