"""Every kind of trouble in every format: training, evaluation and `data check` agree on what is usable, and why."""

import json
import os
from collections import Counter

import pyarrow as pa
import pytest
from faults import SAMPLE_FAULTS
from formats import FORMATS
from kinds import CASES, arrow, images, kites, parquet, png, put, table, tar

from askew.data.check import Look, fails_after
from askew.data.loader import BadSamples, Loader
from askew.data.sources import SourceOptions, TarSource, open_source
from askew.data.sources import positioned as positioned_module
from askew.data.sources.base import EVALUATED
from askew.data.sources.listing import COPIES, LEFT_OUT, is_left_out
from askew.errors import RunFailed, UserError
from askew.evaluation.datasets.custom import open_custom
from askew.training.build import build_views
from micro_runs import askew_here, micro_recipe


@pytest.fixture(autouse=True)
def no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path.parent / "cache"))


def look_at(source) -> Look:
    look = Look()
    for index in range(len(source)):
        look.add(source, index)
    return look


def evaluated(made: str, options: SourceOptions | None = None):
    """The captions and images of evaluation, or the words with which the data are refused."""
    try:
        data = open_custom(made, options)
    except UserError as error:
        return None, 0, str(error)
    for index in range(len(data.images)):
        try:
            data.images[index]
        except OSError as error:
            return None, 0, str(error)
    return sorted(data.captions), len(data.images), ""


@pytest.mark.parametrize("name", CASES)
def test_a_kind_of_trouble(name, tmp_path):
    wanted = CASES[name]
    made = str(wanted.make(tmp_path))
    if wanted.refused:
        for asked in (lambda: open_source(made), lambda: open_custom(made)):
            with pytest.raises(UserError) as error:
                asked()
            assert wanted.refused in str(error.value)
            assert "\n" not in str(error.value)
        return
    source = open_source(made)
    look = look_at(source)
    assert sorted(look.captions.elements()) == sorted(wanted.captions), look.examples
    assert dict(look.unusable) == dict(wanted.bad), look.examples
    assert wanted.note in "; ".join(source.notes)
    captions, number, refusal = evaluated(made)
    if wanted.bad:
        assert captions is None
        assert any(cause in refusal for cause, _ in wanted.bad), refusal
        return
    assert captions == sorted(wanted.captions if wanted.evaluated is None else wanted.evaluated), refusal
    assert number == (wanted.images or len(captions))


def test_every_kind_occurs_in_several_formats():
    counts = Counter(case.kind for case in CASES.values())
    assert min(counts.values()) >= 4, counts


# The same sample in training, check and evaluation


@pytest.mark.parametrize("name", FORMATS)
def test_train_check_and_eval_agree_on_every_odd_sample(name, tmp_path):
    for number, (what, case) in enumerate(SAMPLE_FAULTS.items()):
        if name in case.not_in:
            continue
        folder = tmp_path / str(number)
        folder.mkdir()
        good = [(f"g{n}.png", png(n), f"good {n}") for n in range(2)]
        made = FORMATS[name](folder, [*good, (case.name, case.image, case.text)])
        source = open_source(made)
        look = look_at(source)
        recipe = micro_recipe(folder)
        loader = Loader(source, build_views(recipe, ("image", "text")), 3, seed=0)
        replaced = {cause for cause, _ in loader.batch(0)["bad_samples"]}
        assert replaced == set(look.unusable), what
        captions, _, refusal = evaluated(made, SourceOptions())
        assert (captions is None) == bool(replaced), (what, refusal)
        for cause, examples in look.examples.items():
            message = examples[0].rpartition(": ")[2]
            assert cause in refusal or message[:40] in refusal, (what, refusal)


# Options that choose


def test_a_split_is_chosen_by_name_and_all_of_them_by_all(tmp_path):
    made = str(CASES["splits: a column"].make(tmp_path))
    for split, count in {"train": 3, "validation": 1, "val": 1, "test": 2, "all": 6, "dev,test": 1}.items():
        assert len(open_source(made, SourceOptions(split=split))) == count
    with pytest.raises(UserError, match=r"no split 'nothing'.*its splits are test, train, validation.*data.split=all"):
        open_source(made, SourceOptions(split="nothing"))


def test_quotes_are_read_as_asked(tmp_path):
    images(tmp_path, 2)
    lines = 'image{0}caption\n0.png{0}"a kite, 0"\n1.png{0}a kite 1\n'
    csv, tsv = put(tmp_path / "a.csv", lines.format(",")), put(tmp_path / "a.tsv", lines.format("\t"))
    assert open_source(str(tsv))[0].captions == ('"a kite, 0"',)
    assert open_source(str(tsv), SourceOptions(quotes="enclosing"))[0].captions == ("a kite, 0",)
    assert open_source(str(csv))[0].captions == ("a kite, 0",)
    with pytest.raises(UserError, match="3 fields under 2 names"):
        list(open_source(str(csv), SourceOptions(quotes="literal")))
    open_quote = put(tmp_path / "b.csv", 'image,caption\n0.png,"Hello\n1.png,the end"\n')
    assert len(open_source(str(open_quote), SourceOptions(quotes="literal"))) == 2
    assert len(open_source(str(open_quote), SourceOptions(quotes="enclosing"))) == 1


@pytest.mark.parametrize(("separator", "sign"), [("bar", "|"), ("semicolon", ";"), ("\\t", "\t"), ("~", "~")])
def test_a_separator_is_named_or_given(tmp_path, separator, sign):
    images(tmp_path, 1)
    path = put(tmp_path / "a.csv", f"image{sign}what{sign}caption\n0.png{sign}x{sign}a kite\n")
    assert open_source(str(path), SourceOptions(separator=separator))[0].captions == ("a kite",)


def test_several_caption_columns_are_named_with_commas(tmp_path):
    images(tmp_path, 1)
    path = put(tmp_path / "a.csv", "image,caption,title\n0.png,a,b\n")
    source = open_source(str(path))
    assert source[0].captions == ("a",)
    assert "data.caption_column=caption,title reads all of them" in source.notes[0]
    assert open_source(str(path), SourceOptions(caption_column="caption,title"))[0].captions == ("a", "b")


# Captions, splits and patterns

BOXES = "0 0.5 0.25 0.1 0.2\n3 0.500000 1 0 1e-05"


@pytest.mark.parametrize("name", ["tar shards", "folder of images"])
def test_boxes_of_objects_are_no_captions(name, tmp_path):
    """YOLO's labels lie where captions would."""
    if name == "tar shards":
        made = tar(tmp_path / "a.tar", [("0.png", png(0)), ("0.txt", BOXES)])
    else:
        images(tmp_path / "train" / "images", 1)
        put(tmp_path / "train" / "labels" / "0.txt", BOXES)
        made = tmp_path / "train"
    look = look_at(open_source(str(made)))
    assert dict(look.unusable) == {"caption not text": 1}
    assert "boxes or outlines of objects" in look.examples["caption not text"][0]
    assert "caption not text" in evaluated(str(made))[2]


@pytest.mark.parametrize("text", ["7", "1 2 3 4 5", "0.5 0.5", "3 cats at 0.5 0.5 0.5 0.5"])
def test_numbers_that_are_no_boxes_are_captions(text, tmp_path):
    images(tmp_path, 1)
    put(tmp_path / "0.txt", text)
    assert open_source(str(tmp_path))[0].captions == (text,)


@pytest.mark.parametrize(
    ("cell", "captions"),
    [
        ("['a kite' 'two kites']", ("a kite", "two kites")),
        ("['a kite'\n \"a dog's kite\"]", ("a kite", "a dog's kite")),
        ("array(['a kite', 'two kites'], dtype=object)", ("a kite", "two kites")),
        ("['a' 'kite', 'two']", ("akite", "two")),
        ("array of kites", ("array of kites",)),
        ("['a kite' by me]", ("['a kite' by me]",)),
    ],
)
def test_a_list_as_numpy_prints_it(cell, captions, tmp_path):
    """pandas writes such cells into CSV. Python reads texts without commas between them as one."""
    images(tmp_path, 1)
    path = put(tmp_path / "a.jsonl", json.dumps({"image": "0.png", "caption": cell}))
    assert open_source(str(path))[0].captions == captions


@pytest.mark.parametrize(
    ("columns", "kept"),
    [
        ({"split": [b"train", b"test"]}, 1),
        ({"subset": ["coco", "sbu"], "set": ["train", "test"]}, 1),
        ({"set": [["a"], ["b"]]}, 2),
        ({"fold": [{"a": 1}, {"a": 2}]}, 2),
        ({"split": [None, None]}, 2),
        ({"path": [b"train/0.png", b"test/1.png"]}, 1),
    ],
)
def test_columns_that_may_name_a_split(columns, kept, tmp_path):
    pairs = {"image": [png(0), png(1)], "caption": ["a", "b"], **columns}
    assert len(open_source(str(parquet(tmp_path / "a.parquet", **pairs)))) == kept
    if "path" not in columns:
        assert len(open_source(str(arrow(tmp_path / "b", **pairs)))) == kept
    images(tmp_path / "c", 2)
    if "path" not in columns:
        cells = [[cell.decode() if isinstance(cell, bytes) else cell for cell in cells] for cells in columns.values()]
        rows = [[f"{n}.png", f"a kite {n}", *(cell[n] for cell in cells)] for n in range(2)]
        made = table(tmp_path / "c" / "a.jsonl", rows, ["image", "caption", *columns])
        assert len(open_source(str(made))) == kept


def test_a_pattern_searches_folders_and_their_names_are_splits(tmp_path):
    for folder, n in (("train/a", 0), ("train/b", 1), ("test/a", 2), (".old/a", 3)):
        parquet(tmp_path / folder / "0.parquet", image=[png(n)], caption=[f"a kite {n}"])
    for pattern in ("*/*/*.parquet", "**/*.parquet"):
        source = open_source(str(tmp_path / pattern))
        assert [source[n].captions[0] for n in range(len(source))] == kites(0, 1)
        assert source.notes[0].startswith("split train: 2 files; left out: test 1 (data.split)")
        assert evaluated(str(tmp_path / pattern))[0] == kites(2)
    assert len(open_source(str(tmp_path / "t*" / "a" / "*.parquet"), SourceOptions(split="all"))) == 2
    assert open_source(str(tmp_path / "test" / "*" / "0.parquet"))[0].captions == ("a kite 2",)


@pytest.mark.parametrize("command", [("data", "check"), ("train", "tiny", "--data"), ("eval", "embedded", "--data")])
def test_the_home_of_nobody_does_not_exist(command):
    done = askew_here(*command, "~nobody-of-this-name/a.csv")
    assert done.returncode == 2
    assert "error: " in done.stderr


def test_an_open_quote_is_found_where_names_have_no_suffix(tmp_path):
    rows = "".join(f"img{n},{{}}a kite {n}{{}}\n".format('"' * (n == 1), '"' * (n == 3)) for n in range(5))
    with pytest.raises(UserError, match=r"line 3: a quote opens here.*looks like a row"):
        open_source(str(put(tmp_path / "a.csv", f"image,caption\n{rows}")))
    lines = '"a kite,\nred, 3 m, and\nnew, 2024"'
    put(tmp_path / "img1", png(1))
    source = open_source(str(put(tmp_path / "b.csv", f"image,caption\nimg1,{lines}\n")))
    assert source[0].captions == (lines.strip('"'),)


def test_folders_that_hold_data_are_named(tmp_path):
    for name in ("english", "german"):
        parquet(tmp_path / name / "0.parquet", image=[png(0)], caption=["a kite"])
    with pytest.raises(UserError, match=r"holds data in several folders \(english, german\).*with \+ between them"):
        open_source(str(tmp_path))


def test_a_list_of_names_beside_images_with_texts_is_no_table(tmp_path):
    images(tmp_path, 1)
    put(tmp_path / "0.txt", "a kite 0")
    put(tmp_path / "classes.json", '["cat", "dog"]')
    put(tmp_path / "info.json", '{"images": 1}')
    assert open_source(str(tmp_path))[0].captions == ("a kite 0",)


# One reading of a folder


def test_check_and_eval_agree_on_classes_with_the_words_of_splits(tmp_path):
    for n, name in enumerate(("steam_train", "test_tube", "bus")):
        images(tmp_path / name, 1, n)
    assert len(open_custom(str(tmp_path)).classes) == 3
    assert "classes  3: bus" in askew_here("data", "check", tmp_path).stdout


def class_folders(folder, captions: bool):
    for name in ("cat", "dog"):
        images(folder / name, 2, 2 * (name == "dog"))
        for file in list((folder / name).glob("*.png")) if captions else []:
            put(file.with_suffix(".txt"), "a pet")


def test_class_folders_are_no_captions(tmp_path):
    class_folders(tmp_path, captions=False)
    with pytest.raises(UserError, match=r"look like classes \(cat, dog\), but no texts: `askew eval MODEL --data`"):
        open_source(str(tmp_path))
    assert [names[0] for names in open_custom(str(tmp_path)).classes] == ["cat", "dog"]
    done = askew_here("data", "check", tmp_path)
    assert done.returncode == 0
    assert "classes  2: cat, dog" in done.stdout
    assert "no captions to train on" in done.stdout


def test_a_text_for_every_image_makes_captions(tmp_path):
    class_folders(tmp_path, captions=True)
    assert len(open_custom(str(tmp_path)).captions) == 4
    classes = open_custom(str(tmp_path), SourceOptions(layout="classes", split=EVALUATED))
    assert len(classes.classes) == 2


def test_a_metadata_table_makes_captions(tmp_path):
    images(tmp_path / "images", 3)
    put(tmp_path / "metadata.csv", "file_name,text\n" + "".join(f"images/{n}.png,a kite {n}\n" for n in range(3)))
    assert list(open_custom(str(tmp_path)).captions) == kites(0, 1, 2)


def test_a_table_above_class_folders_is_refused_until_one_reading_is_chosen(tmp_path):
    class_folders(tmp_path, captions=False)
    put(tmp_path / "pets.csv", "image,caption\ncat/0.png,a cat\ndog/2.png,a dog\n")
    with pytest.raises(
        UserError, match=r"two ways: as images with captions \(pets.csv\), or as 2 class folders"
    ) as error:
        open_custom(str(tmp_path))
    assert "--set data.layout=pairs or --set data.layout=classes" in str(error.value)
    pairs = open_custom(str(tmp_path), SourceOptions(layout="pairs", split=EVALUATED))
    assert list(pairs.captions) == ["a cat", "a dog"]
    assert len(open_custom(str(tmp_path), SourceOptions(layout="classes", split=EVALUATED)).classes) == 2


# The budget of bad samples


@pytest.mark.parametrize(("share", "expected"), [(0.5, 11), (0.1, 100), (0.02, 540), (0.009, None), (1.0, 1)])
def test_the_verdict_is_the_runs_own_rule(share, expected):
    drawn = fails_after(share)
    assert drawn == expected or (drawn is not None and expected is not None and abs(drawn - expected) <= 1)
    if drawn is not None and share < 1:
        per_sample = share / (1 - share)
        with pytest.raises(RunFailed):
            BadSamples(drawn, Counter({"": int(per_sample * drawn + 1e-9)})).check()
        BadSamples(drawn - 2, Counter({"": int(per_sample * (drawn - 2))})).check()


def test_a_message_names_the_file_that_is_there(tmp_path):
    source = open_source(str(CASES["layouts: other image files in a tar"].make(tmp_path)))
    look = look_at(source)
    assert "001.xcf is there, which is not read as an image" in look.examples["no image"][0]


# Systems


def test_shards_are_read_without_pread(tmp_path, monkeypatch):
    """Windows has no os.pread."""
    path = CASES["splits: folders inside a tar"].make(tmp_path)
    expected = [TarSource([path], SourceOptions())[index] for index in range(3)]
    monkeypatch.delattr(positioned_module.os, "pread")
    os.remove(f"{path}.askew-index")
    assert [TarSource([path], SourceOptions())[index] for index in range(3)] == expected


def test_shards_beyond_the_limit_of_open_files_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("askew.data.sources.shards.OPEN_FILES", 4)
    for n in range(9):
        tar(tmp_path / f"{n:03d}.tar", [("a.png", png(n)), ("a.txt", f"a kite {n}")])
    source = open_source(str(tmp_path))
    assert sorted(source[n].captions[0] for n in range(9)) == kites(*range(9))
    assert len(source._files) == 4


def test_ids_beyond_63_bits_are_hashed(tmp_path):
    made = arrow(
        tmp_path / "a", image=[png(0), png(1)], caption=["a", "b"], id=pa.array([2**64 - 1, 2**64 - 2], pa.uint64())
    )
    assert all(0 <= sample.id < 2**63 for sample in open_source(str(made)))


def test_the_rule_of_hidden_files_knows_every_name_at_every_depth():
    for name in (*LEFT_OUT, *COPIES, ".a", "._a.png", "a.png~", "#a.png#"):
        assert all(map(is_left_out, (name, name.upper(), f"a/{name}", f"a\\{name}", f"{name}/a.png"))), name
    for name in (
        "a.png",
        "./a.png",
        "../a/b.png",
        "lost.png",
        "systems/a.png",
        "#1.png",
        "desktop.png",
        "@a.png",
        "__a",
    ):
        assert not is_left_out(name), name


def test_all_may_follow_a_split_that_is_not_there(tmp_path):
    for folder in ("train", "val"):
        for number in range(2):
            put(tmp_path / "a" / folder / f"{folder}{number}.png", png(number))
            put(tmp_path / "a" / folder / f"{folder}{number}.txt", f"a kite {number}")
    images(tmp_path, 4)
    rows = "".join(f"{number}.png,a kite,{'train' if number < 2 else 'val'}\n" for number in range(4))
    put(tmp_path / "a.csv", f"image,caption,split\n{rows}")
    for made in (str(tmp_path / "a"), str(tmp_path / "a.csv")):
        assert len(open_source(made, SourceOptions(split="train,all"))) == 2
        assert len(open_source(made, SourceOptions(split="test,all"))) == 4
