"""`data.captions=each`: every caption of an image is a sample of its own."""

import csv
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from askew.data.sources import SourceOptions, open_source
from askew.data.sources.each_caption import EachCaption, caption_counts, with_captions
from askew.data.sources.selection import Origin, contents_of_source
from askew.errors import Unusable
from askew.recipes.settings import override
from askew.training.build import build
from micro_runs import micro_recipe

COUNTS = [1, 3, 2, 5]
CAPTIONS = [[f"image {image} caption {number}" for number in range(count)] for image, count in enumerate(COUNTS)]


def picture(number):
    encoded = io.BytesIO()
    Image.new("RGB", (40, 40), (40 * number, 0, 0)).save(encoded, "PNG")
    return encoded.getvalue()


def write_images(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(len(COUNTS)):
        (folder / f"{number}.png").write_bytes(picture(number))


def as_csv(folder):
    write_images(folder)
    with (folder / "pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["image", "caption"], *([f"{i}.png", c] for i, texts in enumerate(CAPTIONS) for c in texts)])
    return folder / "pairs.csv"


def as_parquet(folder):
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table({"image": [picture(i) for i in range(4)], "captions": CAPTIONS})
    pq.write_table(table, folder / "pairs.parquet", row_group_size=3)
    return folder / "pairs.parquet"


def as_arrow(folder):
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table({"image": [picture(i) for i in range(4)], "captions": CAPTIONS})
    with pa.OSFile(str(folder / "pairs.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    return folder / "pairs.arrow"


def as_karpathy(folder):
    write_images(folder)
    images = [
        {"filename": f"{i}.png", "split": "train", "sentences": [{"raw": text} for text in texts]}
        for i, texts in enumerate(CAPTIONS)
    ]
    (folder / "dataset.json").write_text(json.dumps({"images": images}))
    return folder / "dataset.json"


KINDS = {"csv": as_csv, "parquet": as_parquet, "arrow": as_arrow, "karpathy": as_karpathy}


class Plain:
    """A source that does not say how many captions its samples have."""

    def __init__(self, inner):
        self.inner, self.describe, self.notes = inner, "plain", ()
        self.block, self.window = inner.block, inner.window
        self.__dict__["name"] = inner.name

    def __len__(self):
        return len(self.inner)

    def __getitem__(self, index):
        if index == 2:
            raise Unusable("gone", "missing file")
        return self.inner[index]


@pytest.mark.parametrize("kind", KINDS)
def test_every_caption_is_a_sample(tmp_path, kind):
    inner = open_source(str(KINDS[kind](tmp_path)))
    source = EachCaption(inner)
    assert len(source) == sum(COUNTS)
    samples = [source[index] for index in range(len(source))]
    assert [sample.captions for sample in samples] == [(text,) for texts in CAPTIONS for text in texts]
    assert len({sample.id for sample in samples}) == len(samples)
    owners = np.repeat(range(4), COUNTS)
    assert [sample.matched for sample in samples] == [inner[owner].matched for owner in owners]
    assert source.name(4) == f"{inner.name(2)}, caption 1"
    with pytest.raises(IndexError):
        source[len(source)]


@pytest.mark.parametrize("kind", KINDS)
def test_captions_are_counted_without_reading_images(tmp_path, kind, monkeypatch):
    source = open_source(str(KINDS[kind](tmp_path)))
    monkeypatch.setattr(type(source), "__getitem__", lambda self, index: pytest.fail("a sample was read"))
    assert caption_counts(source).tolist() == COUNTS


def test_a_split_a_mixture_a_selection_and_any_other_source(tmp_path):
    parquet = as_parquet(tmp_path / "a")
    inner = open_source(str(parquet))
    mixed = open_source(f"{parquet}*2 + {as_csv(tmp_path / 'b')}")
    assert caption_counts(mixed).tolist() == [*COUNTS, *COUNTS, *COUNTS]
    assert caption_counts(Plain(inner)).tolist() == [1, 3, 0, 5]
    origin = Origin(str(parquet), SourceOptions(), contents_of_source(inner, sum(COUNTS)))
    rows = pa.table({**origin.columns(3), "sample": [1, 1, 3], "caption": [0, 2, 4]})
    pq.write_table(rows, tmp_path / "some.parquet")
    some = EachCaption(open_source(str(tmp_path / "some.parquet")))
    assert [some[i].captions[0] for i in range(len(some))] == [CAPTIONS[1][0], CAPTIONS[1][2], CAPTIONS[3][4]]


def test_the_rows_of_a_split_alone(tmp_path):
    table = pa.table({"image": [picture(i) for i in range(4)], "captions": CAPTIONS, "split": ["train", "test"] * 2})
    pq.write_table(table, tmp_path / "pairs.parquet", row_group_size=2)
    assert caption_counts(open_source(str(tmp_path / "pairs.parquet"))).tolist() == [1, 2]


def test_a_sample_that_cannot_be_read_stays_one_bad_sample(tmp_path):
    source = EachCaption(Plain(open_source(str(as_parquet(tmp_path)))))
    assert len(source) == 1 + 3 + 1 + 5
    with pytest.raises(Unusable, match="gone"):
        source[4]


def test_a_caption_that_is_not_utf_8_costs_its_row_alone(tmp_path):
    whole = as_parquet(tmp_path)
    texts = pa.array([b"a kite", b"\xff\xfe kite", b"a boat", b"a car"], pa.binary())
    table = pq.read_table(whole).drop_columns("captions").append_column("caption", texts.view(pa.string()))
    pq.write_table(table, whole)
    source = EachCaption(open_source(str(whole)))
    assert caption_counts(source.inner).tolist() == [1, 0, 1, 1]
    assert len(source) == 4
    with pytest.raises(Unusable, match="not UTF-8"):
        source[1]


def test_captions_that_are_fewer_than_when_they_were_counted(tmp_path):
    file = as_csv(tmp_path)
    source = EachCaption(open_source(str(file)))
    source._ends = np.cumsum([1, 4, 2, 5])
    with pytest.raises(Unusable, match="has 3 captions now, and had 4 or more when the data were opened"):
        source[4]


def test_the_setting(tmp_path):
    recipe = override(micro_recipe(as_csv(tmp_path), "clip"), ["data.captions=each", "loader.batch_size=11"])
    built = build(recipe)
    assert len(built.loader.source) == 11
    batch = built.loader.batch(0)
    assert len(set(batch["match_id"].tolist())) == 4  # the captions of an image are positives of one another
    assert len({tuple(row) for row in batch["text"].tolist()}) == 11
    assert with_captions(built.loader.source, "one") is built.loader.source
