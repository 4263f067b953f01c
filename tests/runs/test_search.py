"""`askew search`: what brute force finds, from texts and images; copies once, unusable pairs never."""

import re
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from standins import micro_model

from askew.data.sources.base import bytes_id
from askew.evaluation import approximate, streaming
from askew.evaluation import nearest as nearest_module
from askew.evaluation.chunks import Chunk
from askew.evaluation.nearest import Block, blocks, candidates, located, nearest, place_of
from helpers import write_pairs
from micro_runs import askew_here


def unit(random, num, width):
    vectors = random.normal(size=(num, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def chunk_of(first, image, text, owner, picture, readable, captions):
    n = len(image)
    return Chunk(first, image, text, owner, np.arange(n), np.arange(n), picture, readable, captions, ["x"] * n, ())


class TestNearest:
    def test_the_results_of_a_product_and_a_sort(self):
        """300 candidates in uneven blocks; every number of results up to more than there are."""
        random = np.random.default_rng(0)
        vectors, queries, places = unit(random, 300, 7), unit(random, 3, 7), np.arange(300)
        cuts = [0, 1, 120, 121, 300]
        parts = [Block(vectors[a:b], places[a:b], places[a:b]) for a, b in pairwise(cuts)]
        scores = queries @ vectors.T
        for top in (1, 10, 299, 300, 500):
            found = nearest(parts, queries, top)
            expected = np.argsort(-scores, axis=1, kind="stable")[:, :top]
            np.testing.assert_array_equal(found.places, expected)
            np.testing.assert_allclose(found.similarity, np.take_along_axis(scores, expected, 1), rtol=1e-6, atol=1e-6)

    def test_of_equal_candidates_the_first_is_first(self):
        vectors = np.tile(np.array([[1.0, 0.0]], np.float32), (9, 1))
        parts = [Block(vectors[:4], np.arange(4), np.arange(4)), Block(vectors[4:], np.arange(4, 9), np.arange(4, 9))]
        assert nearest(parts, vectors[:1], 6).places.tolist() == [[0, 1, 2, 3, 4, 5]]

    def test_the_same_is_found_once_at_its_best(self):
        """Cosines 0.6, 0.8 | 1, 0.6: the second and third candidates are copies, worth 1 together."""
        first = np.array([[0.6, 0.8], [0.8, 0.6]], np.float32)
        second = np.array([[1.0, 0.0], [0.6, 0.8]], np.float32)
        parts = [
            Block(first, np.array([0, 1]), np.array([10, 11])),
            Block(second, np.array([2, 3]), np.array([11, 12])),
        ]
        found = nearest(parts, np.array([[1.0, 0.0]], np.float32), 3)
        assert found.places.tolist() == [[2, 0, 3]]
        np.testing.assert_allclose(found.similarity, [[1.0, 0.6, 0.6]])

    def test_nothing_to_find(self):
        empty = Block(np.empty((0, 2), np.float32), np.empty(0, np.int64), np.empty(0, np.int64))
        assert nearest([empty], np.array([[1.0, 0.0]], np.float32), 3).places.shape == (1, 0)

    def test_candidates_are_of_samples_that_can_be_used(self):
        """Sample 6 cannot be read; its caption is no candidate either. Captions 0 and 3 are equal."""
        eye = np.eye(3, dtype=np.float32)
        captions = ["a", "b", "c", "a"]
        readable = np.array([True, False, True])
        chunk = chunk_of(
            5, eye, np.vstack([eye, eye[:1]]), np.array([5, 6, 7, 7]), np.array([1, 1, 2]), readable, captions
        )
        images, texts = candidates(3, chunk, "images"), candidates(3, chunk, "captions")
        assert [located(place) for place in images.places] == [(3, 0), (3, 2)]
        assert images.same.tolist() == [1, 2]
        assert [located(place) for place in texts.places] == [(3, 0), (3, 2), (3, 3)]
        assert texts.same.tolist() == [bytes_id(b"a"), bytes_id(b"c"), bytes_id(b"a")]
        assert located(place_of(70_000_000, 9_999)) == (70_000_000, 9_999)


class Chunks:
    """A store whose chunks are given."""

    def __init__(self, chunks, folder):
        self.made, self.folder = chunks, folder

    def __len__(self):
        return sum(map(len, self.made))

    def chunk(self, number):
        return self.made[number]

    def chunks(self):
        return iter(self.made)

    def beside(self, name):
        return self.folder / "ab" / name


@pytest.fixture
def many(tmp_path):
    """5,000 images of width 32 in chunks of 1,000; every tenth is a copy of the one before it."""
    random = np.random.default_rng(1)
    image, picture = unit(random, 5000, 32), np.arange(5000)
    image[10::10], picture[10::10] = image[9:-1:10], picture[9:-1:10]
    chunks = [
        chunk_of(at, image[at : at + 1000], image[at : at + 1000], np.arange(at, at + 1000), picture[at : at + 1000],
                 np.ones(1000, bool), ["x"] * 1000)
        for at in range(0, 5000, 1000)
    ]  # fmt: skip
    return Chunks(chunks, tmp_path)


def test_blocks_hold_all_candidates_of_several_chunks(many, monkeypatch):
    monkeypatch.setattr(nearest_module, "TOGETHER", 1500)
    found = list(blocks(many.chunks(), "images"))
    assert [len(block.places) for block in found] == [2000, 2000, 1000]
    assert [located(place) for place in found[1].places[[0, -1]]] == [(2, 0), (3, 999)]
    np.testing.assert_array_equal(found[2].vectors, many.chunk(4).image)


def test_the_graph_finds_nearly_all_and_is_made_once(many):
    pytest.importorskip("usearch")
    queries, said = unit(np.random.default_rng(2), 50, 32), []
    exact = nearest(blocks(many.chunks(), "images"), queries, 10)
    found = approximate.approximately_nearest(many, "images", queries, 10, said.append)
    again = approximate.approximately_nearest(many, "images", queries, 10, said.append)
    assert said == ["making a search index of 5,000 samples, once for these data and this model"]
    np.testing.assert_array_equal(found.places, again.places)
    recall = np.mean([len(np.intersect1d(*both)) / 10 for both in zip(found.places, exact.places, strict=True)])
    assert recall >= 0.95
    assert (np.diff(found.similarity, axis=1) <= 0).all()
    common = found.places == exact.places
    np.testing.assert_allclose(found.similarity[common], exact.similarity[common], rtol=1e-5, atol=1e-6)


def test_without_usearch_the_two_ways_out_are_named(many, monkeypatch):
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    with pytest.raises(ValueError, match=r"pip install 'askew\[search\]'; or compare with all of them: --exact"):
        approximate.index_class(len(many))


def test_many_copies_of_an_image_do_not_hide_the_others(many):
    """The first 1,000 images, and 50 copies of the nearest one."""
    pytest.importorskip("usearch")
    first, query = many.chunk(0), unit(np.random.default_rng(3), 1, 32)
    best = int((first.image @ query[0]).argmax())
    rows = np.concatenate([np.arange(1000), np.full(50, best)])
    copied = replace(
        first, image=first.image[rows], picture=first.picture[rows], readable=first.readable[rows],
        ids=first.ids[rows], match=first.match[rows],
    )  # fmt: skip
    store = Chunks([copied], many.folder)
    found = approximate.approximately_nearest(store, "images", query, 10, lambda line: None)
    exact = nearest(blocks(store.chunks(), "images"), query, 10)
    assert found.places.shape == (1, 10)
    assert len(np.intersect1d(found.places, exact.places)) >= 9


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A micro model, and 12 pairs: the fifth image is a copy of the fourth, the sixth cannot be read."""
    folder = tmp_path_factory.mktemp("search")
    micro_model(folder / "model")
    write_pairs(folder / "data", 12)
    (folder / "data" / "0004.png").write_bytes((folder / "data" / "0003.png").read_bytes())
    (folder / "data" / "0005.png").write_bytes(b"no image")
    return folder


def searched(here: Path, *arguments: str, code: int = 0):
    command = ["search", "local-dir:model", "--data", "data/pairs.csv", "--cache", "cache", *arguments]
    done = askew_here(*command, cwd=here)
    assert done.returncode == code, done.stderr
    return done


def rows_of(output: str) -> list[list[str]]:
    """The cells of the rows of tables."""
    return [
        [cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if re.match(r"│ +\d", line)
    ]


def test_an_image_is_nearest_to_itself(here):
    done = searched(here, "--image", "data/0007.png", "--top", "3")
    rows = rows_of(done.stdout)
    assert len(rows) == 3
    assert rows[0][:3] == ["1", "1.000", "0007.png"]
    assert "number 7" in rows[0][3]
    assert "1 of 12 samples cannot be used; the first: 0005.png: cannot identify the image" in done.stderr


def test_copies_are_shown_once_and_all_is_shown_if_less_is_there(here):
    done = searched(here, "a square", "--image", "data/0003.png", "--top", "50")
    rows = rows_of(done.stdout)
    assert len(rows) == 2 * 10
    names = [row[2] for row in rows[10:]]
    assert names[0] == "0003.png"
    assert "0004.png" not in names
    assert "0005.png" not in names
    assert "--top 50: the data have only 10 different images that can be used, and all are shown" in done.stderr
    similarities = [float(row[1]) for row in rows[10:]]
    assert similarities == sorted(similarities, reverse=True)


def test_a_large_source_needs_usearch_before_it_is_embedded_and_not_with_exact(here, monkeypatch):
    for module in ("askew.runs.search.LIMIT", "askew.evaluation.approximate.LIMIT"):
        monkeypatch.setattr(module, 11)
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    monkeypatch.setattr("askew.runs.stored.Store.make", lambda store: pytest.fail("too late"))
    done = searched(here, "a square", code=2)
    assert "12 samples are more than 11, and usearch, which searches so many, is not installed" in done.stderr
    monkeypatch.undo()
    monkeypatch.setattr("askew.runs.search.LIMIT", 11)
    assert len(rows_of(searched(here, "a square", "--exact").stdout)) == 10


def test_a_large_source_is_searched_by_the_graph(here, monkeypatch):
    pytest.importorskip("usearch")
    monkeypatch.setattr("askew.runs.search.LIMIT", 11)
    graph = searched(here, "a square", "--image", "data/0007.png")
    assert "making a search index of 12 samples" in graph.stderr
    assert graph.stdout == searched(here, "a square", "--image", "data/0007.png", "--exact").stdout


def test_a_caption_is_nearest_to_itself(here):
    caption = (here / "data" / "pairs.csv").read_text().splitlines()[9].split(",")[1]
    done = searched(here, caption, "--for", "captions", "--top", "2")
    assert rows_of(done.stdout)[0] == ["1", "1.000", "0008.png", caption]


def test_data_that_are_as_they_were_are_not_read_again(here):
    first = searched(here, "a square", "--set", "data.split=all", "--unchanged")
    assert "not embedded yet, or changed since then: all of it is read" in first.stderr
    again = searched(here, "a square", "--set", "data.split=all", "--unchanged")
    assert "embedded 12 samples, as they were: the data were not read again" in again.stderr
    assert again.stdout == first.stdout


@pytest.mark.parametrize("kind", ["images", "captions"])
def test_the_results_do_not_depend_on_chunks(here, monkeypatch, kind):
    """Chunks of 5: the copy 0004.png is in the first, 0005.png begins the second."""
    arguments = ("a square", "--image", "data/0009.png", "--for", kind, "--top", "12")
    whole = rows_of(searched(here, *arguments).stdout)
    monkeypatch.setattr(streaming, "SIZE", 5)
    assert rows_of(searched(here, *arguments).stdout) == whole


def test_a_long_query_is_said_to_be_cut(here):
    done = searched(here, "red " * 40, "--top", "1")
    assert "is longer than the model's context, and its end is not encoded" in done.stderr


def test_the_page_shows_pictures_and_no_markup_of_the_data(here):
    searched(here, "<script>alert(1)</script>", "--image", "data/0007.png", "--html", "page.html", "--top", "4")
    page = (here / "page.html").read_text(encoding="utf-8")
    assert page.count("data:image/") == 4 + 4 + 1
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "number 7" in page


def test_one_pair_is_enough(here):
    write_pairs(here / "one", 1)
    done = askew_here(
        "search", "local-dir:model", "--data", "one/pairs.csv", "--cache", "cache", "a kite", "--top", "1", cwd=here
    )
    assert done.returncode == 0
    assert [row[0] for row in rows_of(done.stdout)] == ["1"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "nothing to search for"),
        ((" ",), "an empty text finds nothing"),
        (("--image", "data/0005.png"), "--image data/0005.png: cannot identify the image"),
        (("--image", "gone.png"), "--image gone.png: No such file or directory"),
        (("a", "--html", "gone/page.html"), "there is no folder gone"),
        (("a", "--for", "people"), "--for 'people' is not known"),
        (("a", "--precision", "fp8"), "--precision 'fp8' is not known; use fp32 or bf16"),
        (("a", "--set", "train.epochs=3"), "only settings of how --data is read"),
    ],
)
def test_bad_input_is_one_line(here, arguments, words):
    done = searched(here, *arguments, code=2)
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_without_a_home_a_cache_folder_is_asked_for(here, monkeypatch):
    monkeypatch.setattr("askew.runs.stored.default_cache", lambda: None)
    done = askew_here("search", "local-dir:model", "--data", "data/pairs.csv", "a", cwd=here)
    assert "there is no cache folder for embeddings; name one with --cache DIR" in done.stderr


def test_nothing_that_can_be_read(here):
    write_pairs(here / "bad", 2)
    for path in (here / "bad").glob("*.png"):
        path.write_bytes(b"")
    done = askew_here("search", "local-dir:model", "--data", "bad/pairs.csv", "--cache", "cache", "a", cwd=here)
    assert done.returncode == 2
    assert "none of the 2 samples can be used; the first: 0000.png: empty image" in done.stderr


def test_pictures_that_change_colour_mode_are_queries_too(here):
    Image.new("LA", (9, 300), 128).save(here / "thin.png")
    assert len(rows_of(searched(here, "--image", "thin.png", "--top", "2").stdout)) == 2
