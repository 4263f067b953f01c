"""Every format holds the same pairs, gives the same batches, and trains."""

import csv
import json
import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from formats import FORMATS, write_csv, write_folder, write_images, write_jsonl, write_parquet

from askew.data.loader import Loader
from askew.data.order import Order
from askew.data.sources import SourceOptions, open_source, stable_id
from askew.data.sources import parquet as parquet_module
from askew.data.sources import tables as tables_module
from askew.errors import UserError
from askew.training.build import build_views
from helpers import write_pairs
from micro_runs import micro_recipe, trainer_of


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """25 pairs with different images, in folders, sorted by name."""
    table = write_pairs(tmp_path_factory.mktemp("pairs"), 25)
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [(f"d{n // 9}/{r['image']}", (table.parent / r["image"]).read_bytes(), r["caption"])
            for n, r in enumerate(rows)]  # fmt: skip


EVERYTHING = ("image", "aug", "text", "masked_text", "mlm_labels")


def batches_of(source, recipe):
    loader = Loader(source, build_views(recipe, EVERYTHING), 8, seed=3)
    return [loader.batch(step) for step in (0, 2, 3)]


SPLITS = {"saved_dataset": ["split train"], "karpathy": ["split train"]}  # what a format's notes say


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_batches_bit_for_bit_and_trains(name, pairs, tmp_path):
    written = FORMATS[name](tmp_path, pairs)
    source = open_source(written)
    assert len(source) == 25
    for index, (path, image, text) in enumerate(pairs):
        sample = source[index]
        assert (sample.image, sample.captions, sample.id) == (image, (text,), stable_id(path))
        assert sample.match_id == sample.id
        assert source.name(index)
    assert [note.partition(";")[0].partition(":")[0] for note in source.notes] == SPLITS.get(name, [])
    again = pickle.loads(pickle.dumps(source))
    assert again[24] == source[24]
    (tmp_path / "same").mkdir()
    recipe = micro_recipe(written, "clip", max_steps=2)
    expected = batches_of(open_source(write_parquet(tmp_path / "same", pairs)), recipe)
    for one, other in zip(batches_of(source, recipe), expected, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one if key != "bad_samples")
    trainer = trainer_of(recipe)
    trainer.run()
    assert trainer.done == 2
    assert trainer.bad_samples.total == 0


# Mixing


def test_sources_are_mixed_by_weights(pairs, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    a, b = write_csv(tmp_path / "a", pairs[:3]), write_parquet(tmp_path / "b", pairs[:4])
    mixed = open_source(f"{a}*3 + {b}")
    assert len(mixed) == 3 * 3 + 4
    assert [mixed[i].captions for i in range(13)] == [(p[2],) for p in [*pairs[:3] * 3, *pairs[:4]]]
    assert mixed[0].id == mixed[3].id == mixed[0].match_id
    assert len({mixed[i].id for i in range(13)}) == 7  # the same name in two sources means two images
    assert "3 times per epoch" in mixed.describe
    assert mixed.name(10) == "pairs.parquet, row group 0, its row 1"
    listed = open_source([f"{a} *3", b])
    assert [listed[i] for i in range(13)] == [mixed[i] for i in range(13)]
    assert len(open_source(f"{a}*2")) == 6
    with pytest.raises(UserError, match=r"a weight must be a whole number.*A\*1 \+ B\*2"):
        open_source(f"{a}*0.5 + {b}")
    with pytest.raises(UserError, match=r"nowhere\.csv does not exist"):
        open_source(f"{a} + nowhere.csv")


def test_a_path_with_special_characters_is_a_path(pairs, tmp_path):
    folder = tmp_path / "a + b*2"
    folder.mkdir()
    assert len(open_source(write_csv(folder, pairs[:2]))) == 2


# Parquet larger than memory


def test_a_large_parquet_set_is_read_by_row_group(pairs, tmp_path, monkeypatch):
    path = write_parquet(tmp_path, pairs * 8)
    whole = open_source(path)
    size = whole._size(0, 0)
    monkeypatch.setattr(parquet_module, "IN_MEMORY", 3 * size)
    source = open_source(path)
    assert not source._kept
    assert source.block % 7 == 0  # whole row groups
    for index in (0, 199, 6, 7, 100):
        assert source[index] == whole[index]
        assert source.name(index) == whole.name(index)
    for index in range(200):
        source[index]
    assert 1 <= len(source._kept) <= 4  # the last row group is short
    assert pickle.loads(pickle.dumps(source))[150] == whole[150]


def test_the_order_of_a_large_parquet_set_keeps_to_its_row_groups(monkeypatch, tmp_path):
    table = pa.table({"image": pa.array([b"x" * 1000] * 9000, pa.binary()), "caption": ["a"] * 9000})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=300, use_dictionary=False)
    monkeypatch.setattr(parquet_module, "IN_MEMORY", 3 * 10**6)
    source = open_source(str(tmp_path / "a.parquet"))
    assert (source.block, source.window) == (1200, 2400)
    order = Order(9000, 0, 0, source.block, source.window)
    for start in range(0, 7200, 2400):
        groups = {order[position] // 300 for position in range(start, start + 2400)}
        assert len(groups) <= 2 * 4 + 2
    reads = []
    read = parquet_module.pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        parquet_module.pq.ParquetFile, "read_row_group", lambda *a, **k: reads.append(a[1]) or read(*a, **k)
    )
    for position in range(9000):
        source[order[position]]
    assert len(reads) <= 2 * 30  # of thirty row groups


def test_row_groups_that_fill_the_memory_are_noted(monkeypatch, tmp_path):
    table = pa.table({"image": pa.array([b"x" * 1000] * 900, pa.binary()), "caption": ["a"] * 900})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=450, use_dictionary=False)
    monkeypatch.setattr(parquet_module, "IN_MEMORY", 10**5)
    assert "written with row_group_size=" in open_source(str(tmp_path / "a.parquet")).notes[0]


def test_parquet_of_paths_is_a_table(pairs, tmp_path):
    write_images(tmp_path, pairs)
    rows = {"path": [p[0] for p in pairs] + [pairs[0][0]], "caption": [p[2] for p in pairs] + ["another"]}
    pq.write_table(pa.table(rows), tmp_path / "t.parquet")
    source = open_source(str(tmp_path / "t.parquet"))
    assert len(source) == 25
    assert source[0].captions == (pairs[0][2], "another")
    assert source[3].image == pairs[3][1]


# Tables, folders, annotations


def test_a_large_table_is_read_once(pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(tables_module, "LARGE", 100)
    path = write_csv(tmp_path, pairs)
    whole = open_source(path)
    monkeypatch.setattr(tables_module, "pairs_of", lambda *a: pytest.fail("the index is not used"))
    again = open_source(path)
    assert [again[i] for i in range(25)] == [whole[i] for i in range(25)]


def test_image_root_is_another_folder(pairs, tmp_path):
    (tmp_path / "lists").mkdir()
    write_images(tmp_path / "images", pairs[:2])
    table = tmp_path / "lists" / "t.csv"
    table.write_text(f"image,caption\n{pairs[0][0]},a\n", encoding="utf-8")
    assert open_source(str(table), SourceOptions(image_root=str(tmp_path / "images")))[0].image == pairs[0][1]


def test_a_folder_without_images_or_texts(tmp_path, pairs):
    write_images(tmp_path / "bare", pairs[:3])
    with pytest.raises(UserError, match="3 images but no texts; put NAME"):
        open_source(str(tmp_path / "bare"))
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "a.txt").write_text("a", encoding="utf-8")
    with pytest.raises(UserError, match="without images"):
        open_source(str(tmp_path / "words"))
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match="an empty folder"):
        open_source(str(tmp_path / "nothing"))


def test_a_folder_source_follows_no_loop_and_notes_texts_without_image(tmp_path, pairs):
    source_folder = tmp_path / "f"
    source_folder.mkdir()
    write_folder(source_folder, pairs[:3])
    (source_folder / "loop").symlink_to(source_folder, target_is_directory=True)
    (source_folder / "lonely.txt").write_text("a", encoding="utf-8")
    source = open_source(str(source_folder))
    assert len(source) == 3
    assert source.notes == ("text without image: 1, for example lonely.txt",)


def test_a_saved_dataset_is_chosen_by_split_and_must_be_flat(tmp_path, pairs):
    FORMATS["saved_dataset"](tmp_path, pairs)
    with pytest.raises(UserError, match=r"no split 'dev' \(data.split\); its splits are train"):
        open_source(str(tmp_path), SourceOptions(split="dev"))
    state = tmp_path / "train" / "state.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "_indices_data_files": [{"filename": "x"}]}))
    with pytest.raises(UserError, match="flatten_indices"):
        open_source(str(tmp_path))
    assert len(open_source(str(tmp_path / "train" / "data-00000-of-00001.arrow"))) == 25


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", "[1, 2]", "record 0: 1 is not a JSON object"),
        ("a.json", "{", "not readable as JSON"),
        ("a.json", '{"images": [{"id": 1}], "annotations": []}', "an entry lacks 'file_name'"),
        ("a.json", '{"images": [{"id": 1, "file_name": "x.jpg"}], "annotations": []}', "data.image_root"),
        ("a.json", '{"images": [{"filename": "x.jpg", "split": "val", "sentences": []}]}', "no split 'train'"),
        ("a.token", "x.jpg a caption\n", "line 1: each line must be"),
        ("a.token", "", "the file is empty"),
    ],
)
def test_what_is_wrong_with_annotations_is_one_line(tmp_path, name, content, words):
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=words) as error:
        open_source(str(tmp_path / name))
    assert "\n" not in str(error.value)


def test_several_captions_of_an_image_stay_together(tmp_path, pairs):
    both = [*pairs[:3], (pairs[1][0], pairs[1][1], "another")]
    for write in (write_csv, write_jsonl, FORMATS["tokens"], FORMATS["karpathy"]):
        folder = tmp_path / write.__name__
        folder.mkdir()
        source = open_source(write(folder, both))
        assert source[1].captions == (pairs[1][2], "another")
        assert len(source) == 3


def test_reading_writes_nothing_to_shared_memory(pairs, tmp_path):
    """Arrow's arrays hold no Python objects, so reading in a fork copies none of their pages (sizes, not times)."""
    source = open_source(write_csv(tmp_path, pairs))
    names = {type(value).__module__.partition(".")[0] for value in (source._paths, source._captions)}
    assert names == {"pyarrow"}
    before = pa.total_allocated_bytes()
    for _ in range(20):
        for index in range(25):
            source[index]
    assert pa.total_allocated_bytes() == before
