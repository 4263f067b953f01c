"""Sources: what a user names is recognised, or refused in one line."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from askew.data.sources import ParquetSource, SourceOptions, TableSource, open_source, stable_id
from askew.data.sources.rows import RowSplit
from askew.errors import Unusable, UserError


def png(colour="red"):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.png").write_bytes(png())
    return tmp_path


def write(folder, name, text, encoding="utf-8"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def samples(source):
    return [source[index] for index in range(len(source))]


def test_an_id_depends_only_on_the_key():
    assert stable_id("photos/0001.jpg") == 4337451756392775537
    assert stable_id("x") != stable_id("y")
    assert 0 <= stable_id("") < 2**63


# Tables

TABLES = {
    "plain.csv": "image,caption\na.png,a kite\nb.png,an owl\na.png,a red kite\n",
    "quoted.csv": 'image,caption\n"a.png","a kite"\nb.png,an owl\na.png,"a red kite"\n',
    "tabs.tsv": "image\tcaption\na.png\ta kite\nb.png\tan owl\na.png\ta red kite\n",
    "case.csv": "FilePath,Title\na.png,a kite\nb.png,an owl\na.png,a red kite\n",
    "bom.csv": "\ufeffimage,caption\na.png,a kite\nb.png,an owl\na.png,a red kite\n",
    "windows.csv": "image,caption\r\na.png,a kite\r\nb.png,an owl\r\na.png,a red kite\r\n",
    "lines.jsonl": '{"image": "a.png", "caption": ["a kite", "a red kite"]}\n\n'
    '{"image": "b.png", "caption": "an owl"}\n',
}


@pytest.mark.parametrize("name", TABLES)
def test_rows_of_one_path_are_one_sample(folder, name):
    source = open_source(str(write(folder, name, TABLES[name])))
    assert len(source) == 2
    kite, owl = samples(source)
    assert kite.captions == ("a kite", "a red kite")
    assert owl.captions == ("an owl",)
    assert kite.match_id == kite.id == stable_id("a.png") != owl.id
    assert kite.image == png()
    assert kite.name == "a.png"
    assert "2 images, 3 captions" in source.describe


def test_a_caption_may_hold_a_line_break_and_blank_ones_are_dropped(folder):
    source = TableSource(write(folder, "t.csv", 'image,caption\na.png,"a kite,\nhigh up"\na.png,  \nb.png,\n'))
    assert source[0].captions == ("a kite,\nhigh up",)
    assert source[1].captions == ()  # the loader counts it as a bad sample: no caption


def test_columns_may_be_named_and_paths_absolute(folder):
    (folder / "sub").mkdir()
    path = write(folder / "sub", "t.csv", f"where,words,caption\n{folder / 'a.png'},a kite,no\n../b.png,an owl,no\n")
    options = SourceOptions(image_column="where", caption_column="words", allow_outside=True)
    source = open_source(str(path), options)
    assert [sample.captions for sample in samples(source)] == [("a kite",), ("an owl",)]
    assert all(sample.image == png() for sample in samples(source))


def test_paths_that_lead_out_of_the_folder_are_refused_unless_allowed(folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "c.png").write_bytes(png())
    text = f"image,caption\n{folder / 'a.png'},a kite\n../b.png,an owl\n"
    table = write(folder / "sub", "t.csv", text)
    with pytest.raises(UserError, match=r"every image path points outside .*sub \(first: .*data.allow_outside=true"):
        open_source(str(table))
    source = open_source(str(write(folder / "sub", "t.csv", text + "c.png,a cup\nx/../c.png,a cup\n")))
    assert source.notes[0].startswith("path outside the folder: 3 of 4")
    for index in (0, 1, 3):
        with pytest.raises(Unusable, match="points outside") as error:
            source[index]
        assert error.value.cause == "path outside the folder"
    assert source[2].captions == ("a cup",)
    for outside in (r"..\b.png", r"C:\b.png", "~/b.png", "a/.."):
        with pytest.raises(UserError, match="every image path"):
            open_source(str(write(folder, "t.csv", f"image,caption\n{outside},x\n")))
    assert open_source(str(write(folder, "t.csv", "image,caption\na..b/..c.png,x\n"))).notes == ()


def test_a_missing_image_is_an_os_error_for_the_loader_to_count(folder):
    source = TableSource(write(folder, "t.csv", "image,caption\nnone.png,a kite\n,an owl\n"))
    with pytest.raises(FileNotFoundError):
        source[0]
    with pytest.raises(OSError, match="path is empty"):
        source[1]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("t.csv", "image,words\na.png,x\n", ["no caption column", "'image', 'words'", "data.caption_column=NAME"]),
        ("t.csv", "x,caption\na.png,x\n", ["no image path column", "data.image_column=NAME"]),
        ("t.csv", "image,caption\n", ["no rows"]),
        ("t.csv", "", ["the table is empty", "image,caption"]),
        ("t.jsonl", '{"image": "a.png", "caption": "x"}\n{"image": \n', ["line 2", "not valid JSON"]),
        ("t.jsonl", '["a.png", "x"]\n', ["line 1", "JSON object"]),
        ("t.txt", "a.png x\n", ["no image path column", "separated by comma", "data.separator="]),
        ("t.xlsx", "a.png x\n", ["unknown file type", ".csv"]),
        ("t.csv", "image,cap\x1b[31mtion\na.png,x\n", ["cap\\x1b[31mtion"]),
        (
            "t.csv",
            "image,caption\na.png,x\nb.png,two dogs, one asleep\n",
            ["line 3", "3 fields under 2 names"],
        ),
        (
            "t.csv",
            'image,caption\na.png,"Hello he said\nb.png,second\n',
            ["line 3", "not a readable", "double the quotes", "data.quotes=literal"],
        ),
        ("t.csv", 'image,caption\na.png,"x" y\n', ["line 2", "not a readable table"]),
    ],
)
def test_what_is_wrong_with_a_table_is_one_line(folder, name, text, words):
    with pytest.raises(UserError) as error:
        open_source(str(write(folder, name, text)))
    assert "\n" not in str(error.value)
    assert "\x1b" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_another_encoding_is_named_with_its_remedy(folder):
    with pytest.raises(UserError, match=r"not UTF-8 text \(byte 20\).*iconv"):
        open_source(str(write(folder, "t.csv", "image,caption\na.png,é\n", "latin-1")))


def test_a_named_column_that_is_not_there(folder):
    with pytest.raises(
        UserError, match=r"no column 'words' \(data.caption_column\); the columns are 'image', 'caption'"
    ):
        open_source(str(write(folder, "t.csv", TABLES["plain.csv"])), SourceOptions(caption_column="words"))


@pytest.mark.parametrize("text", ["nowhere.csv", "nowhere"])
def test_a_source_that_is_not_there(text):
    with pytest.raises(UserError, match=f"data: {text} does not exist; give a .csv"):
        open_source(text)


# Parquet


def parquet(path, columns, **options):
    pq.write_table(pa.table(columns), path, **options)
    return path


@pytest.mark.parametrize("kind", ["bytes", "struct", "large"])
def test_parquet_with_image_bytes(tmp_path, kind):
    images = [png(c) for c in ("red", "green", "blue", "white", "black")]
    column = {
        "bytes": pa.array(images),
        "struct": pa.array([{"bytes": i, "path": "x"} for i in images]),
        "large": pa.array(images, type=pa.large_binary()),
    }[kind]
    captions = ["a", "b", "c", None, "e"]
    source = open_source(str(parquet(tmp_path / "t.parquet", {"image": column, "text": captions}, row_group_size=2)))
    assert [sample.image for sample in samples(source)] == images
    assert [sample.captions for sample in samples(source)] == [("a",), ("b",), ("c",), (), ("e",)]
    assert len({sample.id for sample in samples(source)}) == 5
    assert [sample.match_id for sample in samples(source)] == [sample.id for sample in samples(source)]
    assert source[3].name == "t.parquet row 3"


@pytest.mark.parametrize("tags", [["bike, street"], [[1, 2]], [{"a": 1}]], ids=["text", "numbers", "struct"])
def test_tags_that_are_no_lists_of_texts_are_not_read(tmp_path, tags):
    pq.write_table(pa.table({"image": [png()], "caption": ["a"], "tags": tags}), tmp_path / "t.parquet")
    assert open_source(str(tmp_path / "t.parquet"))[0].tags == ()


def test_parquet_columns_give_ids_match_ids_and_tags(tmp_path):
    columns = {"id": [5, 6, 7], "image": [png()] * 3, "caption": [["a", "b"], ["c"], []], "tags": [["x"], [], None],
               "concept": ["k", "l", "k"], "cell": ["train", "test", "train"]}  # fmt: skip
    path = parquet(tmp_path / "t.parquet", columns)
    one, two, three = samples(ParquetSource([path]))
    assert (one.id, two.id, three.id) == (5, 6, 7)
    assert one.match_id == three.match_id == stable_id("k") != two.match_id
    assert (one.captions, one.tags) == (("a", "b"), ("x",))
    assert (three.captions, three.tags) == ((), ())
    kept = ParquetSource([path], keep=RowSplit("cell", False, frozenset(["train"])))
    assert [sample.id for sample in samples(kept)] == [5, 7]
    with pytest.raises(UserError, match="no rows"):
        ParquetSource([path], keep=RowSplit("cell", False, frozenset(["nothing"])))


def test_a_folder_of_parquet_is_one_source_with_different_ids(tmp_path):
    for name in ("b", "a"):
        parquet(tmp_path / f"{name}.parquet", {"image": [png()] * 2, "caption": [f"{name}1", f"{name}2"]})
    found = samples(open_source(str(tmp_path)))
    assert [sample.captions[0] for sample in found] == ["a1", "a2", "b1", "b2"]
    assert len({sample.id for sample in found}) == 4


def test_what_is_wrong_with_parquet_is_one_line(tmp_path):
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(UserError, match=r"bad\.parquet: not a readable Parquet file"):
        open_source(str(tmp_path / "bad.parquet"))
    path = parquet(tmp_path / "t.parquet", {"image": [png()], "words": ["a"]})
    with pytest.raises(UserError, match="no caption column"):
        open_source(str(path))
    with pytest.raises(UserError, match="no column 'bytes'"):
        open_source(str(path), SourceOptions(image_column="bytes", caption_column="words"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="an empty folder"):
        open_source(str(tmp_path / "empty"))


def test_json_tables_keep_unicode(folder):
    line = json.dumps({"image": "a.png", "caption": "ein Käuzchen 🦉"}, ensure_ascii=False)
    assert open_source(str(write(folder, "t.jsonl", line + "\n")))[0].captions == ("ein Käuzchen 🦉",)
