"""A set with images missing is refused by the tasks that need them; with allow_missing, the numbers are of the rest."""

import json
from dataclasses import replace

import numpy as np
import pytest
import replicas
from standins import Colours, Pictures, embedded, png

from askew.errors import UserError
from askew.evaluation.datasets.base import Captioned, Classification, Labelled, Preference, TwoByTwo
from askew.evaluation.datasets.catalog import open_set
from askew.evaluation.datasets.prompts import prompts
from askew.evaluation.datasets.whole import present, require_whole, words_for_missing
from askew.evaluation.features import Extractor
from askew.evaluation.significance import differences
from askew.evaluation.suite import EvaluationOptions, image_sets, run_set
from askew.runs.tables import paper_tables

SIZE = 60
LOST = (0, 7, 19, 33, 34, 59)  # a tenth


class Partly(Pictures):
    """Pictures of which some are listed and not there."""

    def __init__(self, encoded, prefix, absent=()):
        super().__init__(encoded, prefix)
        self.absent = absent

    def read(self, index):
        assert index not in self.absent, "an absent image was asked for"
        return super().read(index)

    def __getitem__(self, index):
        assert index not in self.absent, "an absent image was asked for"
        return super().__getitem__(index)


def images(prefix, first, absent=(), size=SIZE):
    return Partly([png(seed) for seed in range(first, first + size)], prefix, absent)


class Words(Colours):
    """Texts get vectors that are drawn from their letters."""

    def text(self, texts):
        return np.stack([np.random.default_rng(list(map(ord, text))).normal(size=12) for text in texts]).astype("f4")

    def cut(self, texts):
        return 0


def classification(lost_test=(), lost_train=()):
    labels = np.arange(SIZE) % 3
    return Classification(
        "shapes", "mean_per_class", (("a",), ("b",), ("c",)), ("{}",),
        Labelled(images("test", 0, lost_test), labels), Labelled(images("train", 500, lost_train), labels),
    )  # fmt: skip


def captioned(lost=()):
    image_of = np.repeat(np.arange(SIZE), 2)
    return Captioned("pairs", images("p", 0, lost), tuple(f"caption {n}" for n in range(2 * SIZE)), image_of)


def preferences(lost=()):
    shared, image_of = images("p", 0, lost), np.arange(90) % SIZE
    return tuple(
        Preference(f"sugarcrepe/{name}", shared, image_of, tuple(f"{name} {n}" for n in range(90)),
                   tuple(f"no {name} {n}" for n in range(90)))
        for name in ("swap_obj", "swap_att")
    )  # fmt: skip


def two_by_two(lost=()):
    image_of = np.stack([np.arange(SIZE), (np.arange(SIZE) + 1) % SIZE], axis=1)
    captions = tuple((f"left {n}", f"right {n}") for n in range(SIZE))
    return TwoByTwo("both", images("p", 0, lost), image_of, captions, ("even", "odd") * (SIZE // 2))


def results(data, allow=True, **options):
    model = Words()
    chosen = EvaluationOptions(allow_missing=allow, probe="scikit-learn", **options)
    return {r.task: r for r in run_set(data[0].name if isinstance(data, tuple) else data.name, data, model,
                                       Extractor(model, workers=1), chosen, lambda line: None)}  # fmt: skip


KEPT = np.setdiff1d(np.arange(SIZE), LOST)


def by_hand(data):
    """The rest of a whole set, made without our code for it."""
    place = {int(image): row for row, image in enumerate(KEPT)}

    def rest(collection):
        made = Pictures([collection.encoded[i] for i in KEPT])
        made.keys = [collection.keys[i] for i in KEPT]
        return made

    if isinstance(data, Classification):
        return replace(data, test=Labelled(rest(data.test.images), data.test.labels[KEPT]))
    if isinstance(data, Captioned):
        pairs = [(text, place[i]) for text, i in zip(data.captions, data.image_of.tolist(), strict=True) if i in place]
        return replace(data, images=rest(data.images), captions=tuple(text for text, _ in pairs),
                       image_of=np.array([i for _, i in pairs]))  # fmt: skip
    if isinstance(data, TwoByTwo):
        kept = [n for n, sides in enumerate(data.image_of.tolist()) if all(image in place for image in sides)]
        moved = np.array([[place[image] for image in data.image_of[n].tolist()] for n in kept])
        return replace(data, images=rest(data.images), image_of=moved, captions=tuple(data.captions[n] for n in kept),
                       kinds=tuple(data.kinds[n] for n in kept))  # fmt: skip
    shared, made = rest(data[0].images), []
    for subset in data:
        kept = [n for n, image in enumerate(subset.image_of.tolist()) if image in place]
        texts = [tuple(side[n] for n in kept) for side in (subset.positive, subset.negative)]
        moved = np.array([place[int(subset.image_of[n])] for n in kept])
        made.append(replace(subset, images=shared, image_of=moved, positive=texts[0], negative=texts[1]))
    return tuple(made)


@pytest.mark.parametrize("make", [classification, captioned, preferences, two_by_two])
def test_numbers_are_those_of_a_set_that_has_only_the_rest(make):
    found, expected = results(make(LOST)), results(by_hand(make()), allow=False)
    assert found.keys() == expected.keys()
    for task, result in found.items():
        assert result.values == expected[task].values
        if task != "sugarcrepe":  # a mean over the others, which has no items of its own
            np.testing.assert_array_equal(result.outcomes.items, expected[task].outcomes.items)
        assert list(result.protocol["missing"].values()) == [{"found": 54, "listed": 60}]
        assert expected[task].protocol["missing"] == {}


@pytest.mark.parametrize("make", [classification, captioned, preferences, two_by_two])
def test_a_set_that_lacks_a_test_image_is_refused(make):
    with pytest.raises(
        UserError, match=r"6 of its 60 images are not there, the first is (test|p)/0.png.*--allow-missing"
    ):
        results(make(LOST), allow=False)


def test_zero_shot_needs_no_training_image():
    """The probe is refused for what it needs; zero-shot has been evaluated by then."""
    model = Words()
    made = run_set("shapes", classification((), LOST), model, Extractor(model), EvaluationOptions(), print)
    assert next(made).task == "shapes/zero_shot"
    with pytest.raises(UserError, match="shapes/train: 6 of its 60 images are not there"):
        next(made)
    allowed = results(classification((), LOST))
    assert allowed["shapes/zero_shot"].protocol["missing"] == {}
    assert allowed["shapes/linear_probe"].protocol["missing"] == {"train": {"found": 54, "listed": 60}}
    assert allowed["shapes/linear_probe"].protocol["trained_on"] == 54


def test_tables_say_how_much_is_there():
    result = results(classification(LOST))["shapes/zero_shot"]
    (table,) = paper_tables([replace(result, task="shapes/zero_shot")], "model")
    assert "54 of 60 images of test" in table.rows[0][-1]
    beside = paper_tables([replace(result, task="pets/zero_shot")], "model")[0]
    assert "pets/zero_shot: only 54 of 60 images of test" in beside.caption
    assert words_for_missing({"0": {"found": 1000, "listed": 2000}}) == ["1,000 of 2,000 images"]


def test_a_comparison_with_the_whole_set_is_refused():
    part, whole = (results(classification(lost))["shapes/zero_shot"].outcomes for lost in (LOST, ()))
    with pytest.raises(UserError, match="items"):
        differences("shapes/zero_shot", part, whole, ("part", "whole"))


def test_ranks_share_out_only_what_is_there():
    options = EvaluationOptions(("zero_shot", "linear_probe"), allow_missing=True)
    assert [len(part) for part in image_sets(classification(LOST, LOST), options)] == [54, 54]
    shared = image_sets(preferences(LOST), EvaluationOptions(("sugarcrepe",), allow_missing=True))
    assert [len(part) for part in shared] == [54]
    assert len(embedded(Words(), shared[0])) == 54


def test_readers_of_files_know_what_is_absent(tmp_path):
    """Pets, COCO and SugarCrepe from their files, without one image each."""
    replicas.pets(tmp_path)
    replicas.coco(tmp_path)
    replicas.sugarcrepe(tmp_path)
    (tmp_path / "oxford-iiit-pet/images/beagle_7.jpg").unlink()
    (tmp_path / "coco/val2014/COCO_val2014_000000391001.jpg").unlink()
    (tmp_path / "coco/val2017/000000000140.jpg").unlink()
    pets, coco, crepe = (open_set(name, tmp_path) for name in ("pets", "coco", "sugarcrepe"))
    with pytest.raises(UserError, match=r"pets: 1 of its 74 images are not there, the first is images/beagle_7.jpg"):
        require_whole("pets", pets.test.images)
    require_whole("pets/train", pets.train.images)
    cut = present(pets)
    assert "images/beagle_7.jpg" not in cut.test.images.keys
    beagle = prompts("pets").keys.index("beagle")
    assert np.bincount(cut.test.labels)[beagle] == 1
    assert cut.train is pets.train
    entries = json.loads((tmp_path / "coco/dataset_coco.json").read_text())["images"]
    texts = [
        s["raw"] for e in entries if e["split"] == "test" and "391001" not in e["filename"] for s in e["sentences"]
    ]
    assert list(present(coco).captions) == texts
    assert {len(subset.images) for subset in present(crepe)} == {5}
    assert len({id(subset.images) for subset in present(crepe)}) == 1
    about = ["000000000140.jpg" in subset.images.keys[i] for subset in crepe for i in subset.image_of.tolist()]
    assert sum(len(subset.positive) for subset in crepe) - sum(about) == sum(len(s.positive) for s in present(crepe))
