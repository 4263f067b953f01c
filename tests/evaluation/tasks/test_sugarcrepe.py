"""Preferences are strict, and averaged within subsets and, in two ways, within categories."""

import numpy as np
import pytest
from standins import Colours, Constant, Pictures, features_of

from askew.evaluation.datasets.base import Preference
from askew.evaluation.tasks.sugarcrepe import sugarcrepe

VECTORS = {"near": np.array([1.0, 0.0]), "far": np.array([0.0, 1.0]), "mid": np.array([0.6, 0.8])}
SUBSETS = {"replace_obj": 4, "replace_att": 1, "swap_obj": 2, "add_obj": 3}


def subset(name, positive, negative, image_of=None):
    image_of = np.zeros(len(positive), dtype=int) if image_of is None else np.array(image_of)
    return Preference(f"sugarcrepe/{name}", Pictures([b""] * 2), image_of, tuple(positive), tuple(negative))


def run(subsets, encoders, features):
    results = sugarcrepe(encoders, subsets, {s.name: features for s in subsets})
    return {result.task: result for result in results}


IMAGES = features_of(np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32))


def test_shares_and_categories_by_hand():
    subsets = [
        subset("replace_obj", ["near", "near", "far", "near"], ["far", "mid", "near", "near"]),  # a tie is wrong: 1/2
        subset("replace_att", ["mid"], ["far"]),  # 1
        subset("swap_obj", ["near", "near"], ["far", "far"], [0, 1]),  # right about image 0, wrong about image 1
        subset("add_obj", ["far"], ["near"]),  # 0
    ]
    found = run(subsets, Colours(VECTORS), IMAGES)
    accuracies = {task: r.values["accuracy"] for task, r in found.items() if "/" in task}
    assert accuracies == {
        "sugarcrepe/replace_obj": 0.5,
        "sugarcrepe/replace_att": 1.0,
        "sugarcrepe/swap_obj": 0.5,
        "sugarcrepe/add_obj": 0.0,
    }
    values = found["sugarcrepe"].values
    assert values["replace/macro"] == 0.75
    assert values["replace/items"] == pytest.approx(3 / 5)
    assert values["swap/macro"] == values["swap/items"] == 0.5
    assert values["add/macro"] == 0.0
    assert values["n"] == 8
    assert (found["sugarcrepe/swap_obj"].outcomes.clusters == [0, 1]).all()


def test_a_constant_encoder_scores_nothing():
    """CLIP_benchmark's argmax over [positive, negative] gives it 100 %."""
    subsets = [subset(name, [f"p{i}" for i in range(n)], [f"n{i}" for i in range(n)]) for name, n in SUBSETS.items()]
    embedding = np.tile(Constant.vector / np.linalg.norm(Constant.vector), (2, 1))
    found = run(subsets, Constant(), features_of(embedding))
    assert [r.values["accuracy"] for task, r in found.items() if "/" in task] == [0.0] * 4
    assert {v for k, v in found["sugarcrepe"].values.items() if "/" in k} == {0.0}


def test_an_unreadable_image_loses():
    readable = np.array([False, True])
    features = features_of(np.where(readable[:, None], IMAGES.embedding, 0), readable)
    found = run([subset("add_att", ["near", "far"], ["far", "near"], [0, 1])], Colours(VECTORS), features)
    assert found["sugarcrepe/add_att"].outcomes.right["accuracy"].tolist() == [False, True]
