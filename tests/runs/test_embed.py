"""`askew embed`: tables and arrays with the embeddings of every pair, written whole or not at all."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from standins import micro_model

from askew.data.images import decode
from askew.evaluation import streaming
from askew.evaluation.chunks import Chunk
from askew.evaluation.loading import load_encoders
from askew.evaluation.projection import plane_of
from helpers import write_pairs
from micro_runs import askew_here


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A micro model, and 9 samples: 0000.png has two captions, 0003.png cannot be read."""
    folder = tmp_path_factory.mktemp("embed")
    micro_model(folder / "model")
    table = write_pairs(folder / "data", 9)
    with table.open("a", encoding="utf-8") as file:
        file.write("0000.png,another caption\n")
    (folder / "data" / "0003.png").write_bytes(b"no image")
    return folder


def embed(here, out, *arguments, code=0):
    command = ["embed", "local-dir:model", "--data", "data/pairs.csv", "--cache", "cache", "--out", out, *arguments]
    done = askew_here(*command, cwd=here)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def table(here):
    done = embed(here, "pairs.parquet", "--images")
    assert "1 of 9 samples cannot be used" in done.stderr
    return pq.read_table(here / "pairs.parquet")


def test_a_row_is_a_pair(here, table):
    assert table.column_names == [
        *("id", "sample", "name", "caption", "similarity", "x", "y", "image_embedding", "text_embedding", "image"),
    ]
    assert table["sample"].to_pylist() == [0, 0, 1, 2, 4, 5, 6, 7, 8]
    assert table["name"].to_pylist()[:4] == ["0000.png", "0000.png", "0001.png", "0002.png"]
    assert table["caption"][1].as_py() == "another caption"
    assert table.schema.field("image_embedding").type == pa.list_(pa.float32(), 16)
    assert table.schema.field("text_embedding").type == pa.list_(pa.float32(), 16)
    assert json.loads(table.schema.metadata[b"askew"])["model"] == "local-dir:model"
    assert table.schema.metadata[b"data"] == b"data/pairs.csv"


def test_embeddings_are_the_models(here, table):
    encoders = load_encoders(f"local-dir:{here / 'model'}", torch.device("cpu"))
    images = [decode((here / "data" / name).read_bytes()) for name in table["name"].to_pylist()]
    image, text = (np.stack(table[name].to_numpy()) for name in ("image_embedding", "text_embedding"))
    np.testing.assert_allclose(image, encoders.image(images), atol=1e-6)
    np.testing.assert_allclose(text, encoders.text(table["caption"].to_pylist()), atol=1e-6)
    np.testing.assert_allclose(table["similarity"].to_numpy(), (image * text).sum(axis=1), atol=1e-6)


def test_images_are_the_files(here, table):
    for image, name in zip(table["image"].to_pylist(), table["name"].to_pylist(), strict=True):
        assert image == {"bytes": (here / "data" / name).read_bytes(), "path": name}


def test_the_map_keeps_most_of_the_variance(table):
    """Rows of one image have one place; the variance along x and y is the largest two of PCA."""
    x, y = table["x"].to_numpy(), table["y"].to_numpy()
    assert (x[0], y[0]) == (x[1], y[1])
    image = np.stack(table["image_embedding"].to_numpy())[1:]  # each sample once
    values = np.linalg.svd(image - image.mean(axis=0), compute_uv=False)[:2]
    np.testing.assert_allclose([np.linalg.norm(x[1:]), np.linalg.norm(y[1:])], values, rtol=1e-4)


def test_a_row_group_is_a_chunk_and_one_without_a_pair_is_left_out(here, table, monkeypatch):
    """Chunks of 1: the fourth sample cannot be used."""
    monkeypatch.setattr(streaming, "SIZE", 1)
    embed(here, "chunks.parquet", "--images")
    file = pq.ParquetFile(here / "chunks.parquet")
    assert file.metadata.num_row_groups == 8
    found = file.read()
    assert found.schema.equals(table.schema, check_metadata=False)
    for name in ("id", "sample", "name", "caption", "image"):
        assert found[name] == table[name]
    for name in ("image_embedding", "text_embedding"):
        np.testing.assert_allclose(np.stack(found[name].to_numpy()), np.stack(table[name].to_numpy()), atol=1e-6)


def test_arrays_are_in_the_order_of_the_source(here, table):
    embed(here, "pairs.npy")
    images, texts, samples = (np.load(here / f"pairs{part}.npy", mmap_mode="r") for part in ("", "-texts", "-samples"))
    assert images.shape == (9, 16)
    assert texts.shape == (10, 16)
    assert samples.tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert (images[3] == 0).all()
    np.testing.assert_array_equal(images[table["sample"].to_numpy()], np.stack(table["image_embedding"].to_numpy()))
    np.testing.assert_array_equal(texts[samples != 3], np.stack(table["text_embedding"].to_numpy()))


def test_files_are_replaced_only_if_asked(here, table):
    before = (here / "pairs.parquet").read_bytes()
    done = embed(here, "pairs.parquet", code=2)
    assert "pairs.parquet is there already; replace it with --overwrite" in done.stderr
    assert (here / "pairs.parquet").read_bytes() == before
    embed(here, "pairs.parquet", "--overwrite")
    assert "image" not in pq.read_schema(here / "pairs.parquet").names
    assert not list(here.glob("*.tmp"))
    (here / "other-texts.npy").write_bytes(b"")
    assert "other-texts.npy is there already" in embed(here, "other.npy", code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("pairs.csv",), "--out pairs.csv: name a file that ends in .parquet or .npy"),
        (("gone/pairs.npy",), "there is no folder gone; make it"),
        (("a.npy", "--images"), "--images: only a .parquet holds images"),
    ],
)
def test_bad_input_is_one_line(here, arguments, words):
    done = embed(here, *arguments, code=2)
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


class TestPlane:
    def chunk(self, image, readable=None):
        n = len(image)
        readable = np.ones(n, bool) if readable is None else readable
        whole, none = np.arange(n), np.empty(0, np.int64)
        return Chunk(0, image.astype(np.float32), image[:0], none, whole, whole, whole, readable, [], ["x"] * n, ())

    def test_worked_by_hand(self):
        """Points (+-3, 0, 1) and (0, +-1, 1): the mean is (0, 0, 1), the axes are the first two."""
        points = np.array([[3, 0, 1], [-3, 0, 1], [0, 1, 1], [0, -1, 1]])
        plane = plane_of([self.chunk(points[:1]), self.chunk(points[1:])])
        np.testing.assert_allclose(plane.mean, [0, 0, 1])
        np.testing.assert_allclose(plane.project(points), points[:, :2], atol=1e-6)

    def test_extremes(self):
        """One image, equal images, width 1, none that can be used: a place for each, all of them finite."""
        for image in (np.ones((1, 3)), np.ones((5, 3)), np.array([[1.0], [1.0]])):
            assert (plane_of([self.chunk(image)]).project(image) == 0).all()
        assert (plane_of([self.chunk(np.zeros((2, 3)), np.zeros(2, bool))]).axes == 0).all()
