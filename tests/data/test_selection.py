"""Selections: some captions of another source, listed in a Parquet file by `askew inspect` and filtered by anybody."""

import json
import pickle
import shutil
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from askew.data.order import Order
from askew.data.sources import MixedSource, SelectionSource, SourceOptions, open_source
from askew.data.sources.selection import Origin, contents_of_source
from askew.errors import Unusable, UserError
from helpers import write_pairs


@pytest.fixture
def data(tmp_path):
    """Three images with two captions each."""
    table = write_pairs(tmp_path / "old", 3)
    rows = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join([*rows, *(f"{row}, again" for row in rows[1:])]).replace(", again", " again") + "\n")
    return table


def written(path, data, samples, captions, options=None, **changed):
    source = open_source(str(data), options)
    origin = Origin(str(data), options or SourceOptions(), contents_of_source(source, 6))
    columns = {**origin.columns(len(samples)), "sample": samples, "caption": captions, "noise": np.zeros(len(samples))}
    pq.write_table(pa.table({**columns, **changed}), path)
    return str(path)


def test_it_gives_the_listed_captions_in_the_order_of_the_source(data, tmp_path):
    whole = open_source(str(data))
    listed = open_source(written(tmp_path / "kept.parquet", data, [2, 0, 2, 2], [1, 0, 0, 1]))
    assert isinstance(listed, SelectionSource)
    assert [listed[index].captions for index in range(len(listed))] == [whole[0].captions[:1], whole[2].captions]
    assert [listed[index].id for index in range(2)] == [whole[0].id, whole[2].id]
    assert listed[1].matched == whole[2].matched
    assert listed.name(1) == whole.name(2)
    assert listed.describe == f"3 of 6 captions of {whole.describe}"
    with pytest.raises(IndexError):
        listed[2]


def test_all_of_it_is_the_source_itself(data, tmp_path):
    whole = open_source(str(data))
    every = open_source(written(tmp_path / "kept.parquet", data, [0, 0, 1, 1, 2, 2], [0, 1] * 3))
    assert [every[index] for index in range(3)] == [whole[index] for index in range(3)]
    assert (every.block, every.window) == (whole.block, whole.window)


def test_blocks_shrink_with_the_share_that_is_kept(tmp_path):
    samples = np.arange(0, 5162, 10)
    origin = Origin("embedded", SourceOptions(), contents_of_source(open_source("embedded"), 9))
    pq.write_table(
        pa.table({**origin.columns(len(samples)), "sample": samples, "caption": np.zeros(len(samples), np.int32)}),
        tmp_path / "tenth.parquet",
    )
    source, whole = open_source(str(tmp_path / "tenth.parquet")), open_source("embedded")
    assert source.block == pytest.approx(whole.block / 10, rel=0.1)
    assert source.window % source.block == 0
    order = Order(len(source), 0, 0, source.block, source.window)
    assert sorted(order[position] for position in range(len(source))) == list(range(len(source)))


def test_workers_receive_it_and_mixtures_take_it(data, tmp_path):
    path = written(tmp_path / "kept.parquet", data, [1], [0])
    assert pickle.loads(pickle.dumps(open_source(path)))[0] == open_source(path)[0]
    mixed = open_source(f"{path}*2 + {data}")
    assert isinstance(mixed, MixedSource)
    assert len(mixed) == 5


@pytest.mark.parametrize("tool", ["plain text columns", "64-bit indices", "two files"])
def test_other_tools_may_write_it(data, tmp_path, tool):
    path = tmp_path / "kept.parquet"
    written(path, data, [0, 1], [0, 1])
    table = pq.read_table(path)
    if tool == "plain text columns":
        for place, name in enumerate(table.column_names[:3]):
            table = table.set_column(place, name, table[name].cast(pa.string()))
    elif tool == "64-bit indices":
        table = table.set_column(4, "caption", table["caption"].cast(pa.int64()))
    else:
        pq.write_table(table.slice(1), tmp_path / "second.parquet")
        table = table.slice(0, 1)
    pq.write_table(table, path)
    name = str(tmp_path / "{kept,second}.parquet") if tool == "two files" else str(path)
    assert len(open_source(name)) == 2


def test_data_that_moved_are_named(data, tmp_path):
    path = written(tmp_path / "kept.parquet", data, [1], [0])
    before = open_source(path)[0]
    shutil.move(tmp_path / "old", tmp_path / "new")
    with pytest.raises(UserError, match=r"selects from .*pairs.csv.* does not exist; .*data.selected_from=SOURCE"):
        open_source(path)
    found = open_source(path, SourceOptions(selected_from=str(tmp_path / "new" / "pairs.csv")))
    assert found[0] == before


def test_options_are_those_of_the_time(data, tmp_path):
    text = data.read_text(encoding="utf-8").replace("image,caption", "image,words")
    data.write_text(text, encoding="utf-8")
    options = SourceOptions(caption_column="words", selected_from="elsewhere")
    path = written(tmp_path / "kept.parquet", data, [1], [1], options)
    assert len(open_source(path)) == 1
    assert json.loads(pq.read_table(path)["askew_options"][0].as_py())["selected_from"] == ""
    with pytest.raises(UserError, match=r"leave out data\.caption_column=words"):
        open_source(path, SourceOptions(caption_column="words"))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("other data", "where other data are now"),
        ("other captions", "where other data are now"),
        ("an index beyond", "where other data are now"),
        ("no rows", "no rows"),
        ("two sources", "select from 2 sources"),
        ("negative", "not an index in every row"),
        ("null", "not an index in every row"),
        ("text", "not an index in every row"),
        ("options of another kind", "not what askew inspect wrote"),
        ("options that are none", "not what askew inspect wrote"),
        ("itself", "selects from itself"),
    ],
)
def test_what_is_no_selection_of_these_data_is_refused(data, tmp_path, what, message):
    path = tmp_path / "kept.parquet"
    changed = {
        "an index beyond": {"sample": [1, 3]},
        "two sources": {"askew_source": [str(data), "embedded"]},
        "negative": {"caption": [0, -1]},
        "null": {"sample": pa.array([0, None])},
        "text": {"sample": ["0", "1"]},
        "options of another kind": {"askew_options": ["[1]", "[1]"]},
        "options that are none": {"askew_contents": ["{", "{"]},
        "itself": {"askew_source": [str(path)] * 2},
    }.get(what, {})
    written(path, data, [0, 1], [0, 1], **changed)
    if what == "no rows":
        pq.write_table(pq.read_table(path).slice(0, 0), path)
    if what == "other data":
        data.write_text(data.read_text(encoding="utf-8").replace("0001.png", "0002.png"), encoding="utf-8")
    if what == "other captions":  # under the same names, as of rows that were put in another order
        data.write_text(data.read_text(encoding="utf-8").replace(" again", " once more"), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        open_source(str(path))


def test_rows_in_another_order_are_other_data(data, tmp_path):
    """The names of rows of Parquet are their numbers, and stay as they were."""
    rows = [{"image": (data.parent / f"{n:04d}.png").read_bytes(), "caption": f"words {n}"} for n in range(3)]
    rows_file = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(rows), rows_file)
    path = written(tmp_path / "kept.parquet", rows_file, [1], [0])
    (tmp_path / "new").mkdir()
    moved = shutil.copy(rows_file, tmp_path / "new")
    assert open_source(path, SourceOptions(selected_from=str(moved)))[0].captions == ("words 1",)
    pq.write_table(pa.Table.from_pylist(rows[::-1]), rows_file)
    with pytest.raises(UserError, match="where other data are now"):
        open_source(path)


def test_a_list_without_probes_is_compared_by_names(data, tmp_path):
    path = written(tmp_path / "kept.parquet", data, [1], [0])
    contents = json.loads(pq.read_table(path)["askew_contents"][0].as_py())
    del contents["probes"]
    written(path, data, [1], [0], askew_contents=[json.dumps(contents)])
    assert len(open_source(path)) == 1
    data.write_text(data.read_text(encoding="utf-8").replace("0001.png", "0002.png"), encoding="utf-8")
    with pytest.raises(UserError, match="where other data are now"):
        open_source(path)


def test_captions_that_are_gone_make_a_bad_sample(data, tmp_path):
    source = open_source(written(tmp_path / "kept.parquet", data, [0, 1], [0, 5]))
    assert source[0].captions
    with pytest.raises(Unusable, match="has 2 captions"):
        source[1]


class Listener:
    """A source of numbers, which is told what is needed."""

    block, window, notes, describe = 8, 32, (), "numbers"

    def __len__(self):
        return 1000

    def expect(self, starts, stops, soon, places=None):
        self.told = list(zip(places.tolist(), starts.tolist(), stops.tolist(), strict=True)), soon


@pytest.mark.parametrize("seed", range(4))
def test_a_source_far_away_is_told_what_is_needed_and_little_else(seed):
    rng = np.random.default_rng(seed)
    samples = np.unique(np.concatenate([rng.integers(0, 1000, size=40), np.arange(300, 420)]))
    origin = Origin("numbers", SourceOptions(), {"captions": 1000})
    one = SelectionSource(Listener(), samples, np.zeros(len(samples), np.int64), origin, "list.parquet")
    starts = rng.permutation(np.arange(0, len(one), one.block))
    stops = np.minimum(starts + one.block, len(one))
    one.expect(starts, stops, 3)
    told, soon = one.inner.told
    assert soon == 3
    assert [place for place, _, _ in told] == sorted(place for place, _, _ in told)
    for place, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        ranges = [(low, high) for number, low, high in told if number == place]
        assert all(any(low <= index < high for low, high in ranges) for index in samples[start:stop])
        assert all({low, high - 1} <= set(samples[start:stop].tolist()) for low, high in ranges)
        assert all(after[0] - before[1] >= Listener.block for before, after in pairwise(ranges))
    one.expect(starts, stops, 3, places=2 * np.arange(len(starts)))  # in a mixture
    assert {place for place, _, _ in one.inner.told[0]} == set(range(0, 2 * len(starts), 2))
