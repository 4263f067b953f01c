"""The numbers behind the examples of a report, on cases worked out by hand."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from askew.data.images import PixelLimit
from askew.data.operations import IDENTITY, PARAMETERS
from askew.data.sources import Sample
from askew.data.sources.base import bytes_id
from askew.data.views import ImageView, MaskedTokens, Normalise, Tokens, Views
from askew.evaluation.examples import pool as pools
from askew.evaluation.examples.effects import average_ranks, effects, in_words, rank_correlation, strengths
from askew.evaluation.examples.gallery import Misaligned, Sight, misaligned, spread
from askew.evaluation.examples.others import attracted, innate
from askew.evaluation.examples.plane import plane
from askew.evaluation.examples.retrieval import confusions, ranking
from askew.evaluation.metrics import ranks

SCORES = np.array(
    [  # rows: images; columns: texts. Image i has text i
        [0.9, 0.1, 0.2, 0.3],  # right, by 0.6
        [0.8, 0.7, 0.1, 0.2],  # text 0 is 0.1 nearer
        [0.1, 0.2, 0.5, 0.4],  # right, by 0.1
        [0.6, 0.5, 0.7, 0.3],  # three texts are nearer, the nearest by 0.4
    ]
)
OWN = np.eye(4, dtype=bool)


class TestRanking:
    def test_by_hand(self):
        found = ranking(SCORES, OWN, num=1, k=2)
        (best,), (typical,), (worst,) = found.best, found.typical, found.worst
        assert (found.queries, found.candidates) == (4, 4)
        assert found.recall == {1: 0.5, 5: 1.0, 10: 1.0}
        assert found.median == 0.5  # of 0, 1, 0, 3
        assert (best.query, best.rank, best.match, best.top) == (0, 0, 0, (0, 3))
        assert (typical.query, typical.rank) == (2, 0)
        assert (worst.query, worst.rank, worst.match, worst.top) == (3, 3, 3, (2, 0))

    def test_the_other_direction_is_that_of_the_transposed_scores(self):
        found = ranking(SCORES.T, OWN, num=4)
        worst = found.worst[0]
        assert (worst.query, worst.rank, worst.top) == (3, 2, (2, 0, 3, 1)), "0.3 and 0.3 tie, and ties lose"

    @pytest.mark.parametrize("size", range(1, 14))
    def test_no_query_occurs_twice(self, size):
        scores = np.random.default_rng(size).normal(size=(size, size))
        found = ranking(scores, np.eye(size, dtype=bool), num=3)
        shown = [query.query for query in (*found.best, *found.typical, *found.worst)]
        assert len(shown) == len(set(shown)) == min(size, 9) or size < 9
        assert len(found.best) == max(1, min(3, size // 3))
        assert len(set(shown)) == len(shown)
        assert [q.rank for q in found.worst] == sorted((q.rank for q in found.worst), reverse=True)

    def test_where_everything_ties_nothing_is_found(self):
        match = np.eye(3, dtype=bool)
        found = ranking(np.ones((3, 3)), match, k=3)
        every = (*found.best, *found.typical, *found.worst)
        assert {query.rank for query in every} == {2}
        assert all(query.top[-1] == query.query for query in every)
        assert found.recall[1] == 0

    def test_the_rank_is_that_of_recall_and_the_place_of_the_first_match(self):
        rng = np.random.default_rng(0)
        scores = rng.integers(0, 4, size=(30, 20)) / 4  # many ties
        match = rng.random((30, 20)) < 0.15
        match[:, 0] |= ~match.any(axis=1)
        found = ranking(scores, match, num=10, k=20)
        expected = ranks(scores, [np.flatnonzero(row) for row in match])
        for query in (*found.best, *found.typical, *found.worst):
            first = next(place for place, column in enumerate(query.top) if match[query.query, column])
            assert query.rank == expected[query.query] == first

    def test_one_text_for_all_images(self):
        found = ranking(np.ones((10, 1)), np.ones((10, 1), dtype=bool))
        assert found.recall[1] == 1
        assert found.best[0].top == (0,)
        other = ranking(np.ones((1, 10)), np.ones((1, 10), dtype=bool))
        assert (other.queries, len(other.best), other.typical, other.worst) == (1, 1, (), ())


class TestConfusions:
    def test_by_hand(self):
        found = confusions(SCORES, OWN)
        named = [(one.right, one.wrong, one.confused, one.images) for one in found]
        assert named == [(3, 2, 1, 1), (1, 0, 1, 1), (2, 3, 0, 1), (0, 3, 0, 1)]
        assert [one.margin for one in found] == pytest.approx([0.4, 0.1, -0.1, -0.6])

    def test_images_of_one_name_are_counted_together(self):
        scores = np.array([[0.5, 0.6], [0.5, 0.9], [0.5, 0.4], [0.1, 0.8]])
        match = np.array([[True, False], [True, False], [True, False], [False, True]])
        most = confusions(scores, match)[0]
        assert (most.right, most.wrong, most.confused, most.images, most.example) == (0, 1, 2, 3, 1)
        assert most.margin == pytest.approx(0.4)

    def test_a_tie_is_a_confusion(self):
        assert confusions(np.ones((2, 2)), np.eye(2, dtype=bool))[0].confused == 1

    def test_where_all_texts_are_right_there_is_no_wrong_one(self):
        assert confusions(np.ones((10, 1)), np.ones((10, 1), dtype=bool)) == []


class TestPlane:
    def test_by_hand(self):
        image = np.array([[3.0, 0.5, 0], [3, -0.5, 0]])
        text = np.array([[-1.0, 0.5, 0], [-1, -0.5, 0]])
        found = plane(image, text)
        assert found.gap == pytest.approx(4)
        assert found.explained == pytest.approx((16 / 17, 1 / 17))
        assert found.image[:, 0] == pytest.approx([2, 2])
        assert found.text[:, 0] == pytest.approx([-2, -2])
        assert np.abs(found.image[:, 1]) == pytest.approx([0.5, 0.5])

    def test_a_rotation_of_the_space_does_not_turn_the_map(self):
        rng = np.random.default_rng(0)
        image, text = rng.normal(size=(20, 6)) + 0.3, rng.normal(size=(15, 6))
        turned = np.linalg.qr(rng.normal(size=(6, 6)))[0]
        one, other = plane(image, text), plane(image @ turned, text @ turned)
        assert np.allclose(one.image, other.image)
        assert np.allclose(one.text, other.text)
        assert one.gap == pytest.approx(other.gap)
        assert (one.image.mean(axis=0) > one.text.mean(axis=0)).all(), "images are on the positive side"

    @pytest.mark.parametrize(("images", "texts", "width"), [(1, 1, 4), (10, 1, 4), (3, 3, 1)])
    def test_few_points_and_few_dimensions(self, images, texts, width):
        found = plane(np.ones((images, width)), -np.ones((texts, width)))
        assert found.explained == pytest.approx((1, 0))
        assert found.image.shape == (images, 2)
        assert np.abs(found.image[:, 1]).max() < 1e-12

    def test_identical_points(self):
        found = plane(np.ones((3, 4)), np.ones((2, 4)))
        assert found.explained == (0, 0)
        assert found.gap == 0
        assert np.isfinite(found.image).all()


def recorded(**numbers):
    """The recorded numbers of a view, those of an untouched image except for these."""
    return [numbers.get(name, untouched) for name, untouched in zip(PARAMETERS, IDENTITY, strict=True)]


AUG = ImageView("aug", 8, (0.2, 1), 0.5, 0.8, (0.4, 0.4, 0.4, 0.1), 0.2, 0.5, (0.1, 2.0))


class TestEffects:
    def test_in_words(self):
        view = recorded(crop_w=0.5, crop_h=0.46, brightness=-0.5, hue=0.8, blur=0.2, flip=1, grayscale=1, contrast=0.01)
        assert in_words(view, AUG.operations) == (
            "crop 23 % of the area", "brightness -20 %", "hue +29°", "blur 0.4 px", "flipped", "grayscale",
        )  # fmt: skip
        assert in_words(recorded(), AUG.operations) == ()

    def test_strengths(self):
        views = np.array([recorded(crop_w=0.5, crop_h=0.5, hue=-0.5), recorded(hue=0.25), recorded(flip=1)])
        found = strengths(views, AUG.operations)
        assert set(found) == {"crop", "hue", "flip"}
        assert found["crop"].tolist() == [0.75, 0, 0]
        assert found["hue"].tolist() == [0.5, 0.25, 0]

    def test_rank_correlation(self):
        assert average_ranks(np.array([5, 7, 5])).tolist() == [0.5, 2, 0.5]
        assert rank_correlation(np.array([1, 2, 3]), np.array([1, 10, 11])) == pytest.approx(1)
        assert rank_correlation(np.array([1, 2, 3]), np.array([3, 2, 1])) == pytest.approx(-1)
        assert rank_correlation(np.array([1, 2, 3, 4]), np.array([2, 1, 4, 3])) == pytest.approx(0.6)
        assert rank_correlation(np.array([1, 1]), np.array([1, 2])) is None

    def test_the_operation_that_does_harm_comes_first(self):
        rng = np.random.default_rng(0)
        harm = rng.random((50, 4))
        views = [
            [recorded(crop_w=1 - h, blur=float(b)) for h, b in zip(row, rng.random(4), strict=True)] for row in harm
        ]
        crop, blur = effects(np.array(views), AUG.operations, 1 + harm)
        assert (crop.name, crop.correlation, crop.share) == ("crop", pytest.approx(1), 1)
        assert crop.low == pytest.approx(1)
        assert blur.name == "blur"
        assert blur.low < 0 < blur.high
        assert abs(blur.correlation) < 0.2

    def test_one_sample_has_no_interval(self):
        views = np.array([[recorded(flip=1), recorded()]])
        (flip,) = effects(views, AUG.operations, np.array([[2.0, 1.0]]))
        assert (flip.correlation, flip.low, flip.high) == (pytest.approx(1), None, None)


def test_the_spread_goes_from_harmless_to_ruinous():
    ratios = np.array([[1.0, 1.5], [0.9, 1.0], [1.1, 3.0], [1.2, 1.2], [1.0, 1.1]])
    assert spread(ratios, 3) == [1, 3, 2]
    assert spread(ratios, 9) == [1, 4, 3, 0, 2]
    assert spread(ratios[:1], 12) == [0]


# With images


def views_of(size=8):
    images = (ImageView("image", size, (1, 1)), AUG)
    return Views(
        ("image", "aug"), images, Tokens(16), MaskedTokens(), Normalise((0, 0, 0), (1, 1, 1)), 0.0, limit=PixelLimit()
    )


class Brightness:
    """Encoders of a stand-in model: an image is an angle, its mean brightness; a text is the angle that it names."""

    device = torch.device("cpu")

    def __init__(self, scale=1.0):
        self.scale = scale

    def preprocess(self, image):
        return torch.from_numpy(np.asarray(image, dtype=np.float32).transpose(2, 0, 1).copy() / 255)

    def features(self, pixels):
        assert pixels.shape[1:] == (3, 8, 8)
        return None, self._at(pixels.mean(dim=(1, 2, 3)).double().numpy() * self.scale)

    def text(self, texts):
        return self._at(np.array([float(text) for text in texts]))

    def _at(self, angle):
        return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def sample(level, caption, number=0):
    """8 x 8 pixels of one level of gray."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (level, level, level)).save(file, "PNG")
    return Sample(number, None, file.getvalue(), (caption,), name=f"row {number}")


class TestPool:
    def test_equal_images_and_equal_captions_are_one(self):
        samples = [sample(0, "0"), sample(255, "1"), sample(0, " 0.5"), sample(51, "1"), "row 9: gone"]
        samples.append(Sample(5, None, b"no image", ("x",), name="row 5"))
        found = pools.pool(samples, Brightness())
        assert found.texts == ("0", "1", "0.5")
        assert found.match.tolist() == [[True, False, True], [False, True, False], [False, True, False]]
        assert found.image.shape == (3, 2)
        assert found.own_text(2) == 1
        assert len(found.problems) == 2
        assert found.problems[1].startswith("row 5: ")
        assert found.scores[1, 1] == pytest.approx(1)
        assert found.scores[0, 2] == pytest.approx(np.cos(0.5))

    def test_nothing_that_can_be_used(self):
        assert pools.pool(["row 0: gone"], Brightness()) is None

    def test_rows_of_a_source_are_the_same_every_time_and_spread_over_a_large_one(self):
        small = type("S", (), {"window": 100, "block": 10, "__len__": lambda self: 50})()
        assert sorted(pools.drawn_rows(small, 80)) == list(range(50))
        assert pools.drawn_rows(small, 7) == pools.drawn_rows(small, 7)
        large = type("S", (), {"window": 100, "block": 10, "__len__": lambda self: 100_000})()
        rows = pools.drawn_rows(large, 40)
        assert len(set(rows)) == len(rows) == 40
        assert max(rows) < 100_000
        assert len({row // 10 for row in rows}) == pools.REGIONS, "few places of the file are read"

    def test_what_cannot_be_read_is_named_in_its_place(self):
        class Source:
            def __getitem__(self, index):
                if index == 1:
                    raise FileNotFoundError(2, "No such file", "b.png")
                return sample(0, str(index), index)

            def name(self, index):
                return f"row {index}"

        found = pools.read(Source(), [2, 1, 0])
        assert [one if isinstance(one, str) else one.id for one in found] == [2, "row 1: No such file", 0]

    def test_the_unseen_style_of_the_embedded_data(self):
        found = pools.unseen_styles(5)
        assert [one.id for one in found] == [one.id for one in pools.unseen_styles(5)]
        assert len({bytes_id(one.image) for one in found}) == 5


class TestMisaligned:
    def test_the_ratio_is_that_of_equation_7(self):
        level = 128
        samples = [sample(level, "2.0"), "row 1: gone", sample(level, "-1")]
        found = misaligned(samples, views_of(), Brightness(), Brightness(0.5), num=3)
        assert found.captions == ("2.0", "-1")
        assert found.problems == ("row 1: gone",)
        assert found.student.shape == (2, 3)
        assert found.views.shape == (2, 3, 3, 8, 8)

        def chord(angle, other):
            return 2 * np.sin(abs(angle - other) / 2)

        assert found.distance == pytest.approx([chord(2, level / 255), chord(-1, level / 255)], rel=1e-4)
        mean = found.views.double().mean(dim=(2, 3, 4)).numpy() / 255  # up to rounding to 8 bits
        for ratios, scale in ((found.student, 1.0), (found.teacher, 0.5)):
            for row, text in enumerate((2.0, -1.0)):
                expected = chord(text, scale * mean[row]) / chord(text, scale * level / 255)
                assert ratios[row] == pytest.approx(expected, rel=0.02)

    def test_a_teachers_distances_are_to_its_own_text(self):
        class Elsewhere(Brightness):
            def text(self, texts):
                return super().text([str(float(text) + 1) for text in texts])

        level = 128
        found = misaligned([sample(level, "2.0")], views_of(), Brightness(), Elsewhere(), num=3)
        own = misaligned([sample(level, "3.0")], views_of(), Brightness(), num=3)
        assert found.teacher == pytest.approx(own.student)
        assert found.student != pytest.approx(own.student, rel=0.01)

    def test_without_a_teacher_and_without_samples(self):
        assert misaligned([sample(9, "1")], views_of(), Brightness(), num=2).teacher is None
        assert misaligned(["gone"], views_of(), Brightness()) is None

    def test_the_same_views_every_time(self):
        one, other = (misaligned([sample(9, "1")], views_of(), Brightness()) for _ in range(2))
        assert torch.equal(one.views, other.views)
        assert len(np.unique(one.parameters[0], axis=0)) == 4


def looked_at(text, original, views, match=None, captions=None, teacher=None):
    """Samples whose embeddings are angles on a circle, in degrees."""

    def at(angles):
        angles = torch.tensor(angles, dtype=torch.float64).deg2rad()
        return torch.stack([angles.cos(), angles.sin()], dim=-1).float()

    count = len(text)
    sights = [Sight(at(text), at(one[0]), at(one[1])) if one else None for one in ((original, views), teacher)]
    captions = tuple(captions or map(str, range(count)))
    match = np.arange(count) if match is None else np.array(match)
    empty = torch.zeros(count, 3, 1, 1)
    return Misaligned(captions, match, empty, empty, np.zeros(0), (), *sights, ())


def chord(degrees):
    """The distance of two unit vectors."""
    return 2 * np.sin(np.radians(degrees) / 2)


class TestOthers:
    # Image 0 is 10 degrees from its text and 80 from text 1; its second view is 60 from the one and 30 from the other
    FOUND = looked_at([0, 90], [10, 85], [[20, 60], [88, 70]], teacher=([10, 85], [[10, 70], [85, 85]]))

    def test_a_view_that_comes_near_another_caption(self):
        (one,) = attracted(self.FOUND, 5)
        assert (one.sample, one.view, one.other) == (0, 1, 1)
        assert one.student == pytest.approx(chord(30) / chord(80), rel=1e-5)
        assert one.teacher == pytest.approx(chord(20) / chord(80), rel=1e-5)

    def test_what_was_nearer_to_the_other_caption_before_does_not_count(self):
        assert attracted(looked_at([0, 90], [50, 85], [[60], [85]]), 5) == []

    @pytest.mark.parametrize("same", [{"match": [7, 7]}, {"captions": ["a", "a"]}])
    def test_copies_and_equal_captions_are_no_others(self, same):
        found = looked_at([0, 90], [10, 85], [[60], [88]], **same)
        assert attracted(found, 5) == []
        assert innate(found, 5) == []

    def test_pairs_that_never_fitted_come_first(self):
        # Text 2 belongs at 90 degrees and its image is at 0: its caption is that of another image
        found = looked_at([0, 60, 90], [5, 60, 0], [[5], [60], [0]])
        worst, *_ = innate(found, 2)
        assert (worst.sample, worst.other) == (2, 0)
        floor = 1e-3  # of a distance: text 0 is where image 2 is
        assert worst.student == pytest.approx(chord(90) / np.sqrt(floor * chord(60)), rel=1e-4)
        assert worst.teacher is None
        assert [one.sample for one in innate(found, 9)] == [2, 0, 1]

    def test_one_sample_has_no_others(self):
        found = looked_at([0], [10], [[20]])
        assert attracted(found, 5) == innate(found, 5) == []
