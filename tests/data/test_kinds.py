"""Every kind of trouble in every format: training, evaluation and `data check` agree on what is usable, and why."""

import os
from collections import Counter

import pyarrow as pa
import pytest
from faults import SAMPLE_FAULTS
from formats import FORMATS
from kinds import CASES, arrow, images, kites, png, put, tar

from askew.data.check import Look, fails_after
from askew.data.loader import BadSamples, Loader
from askew.data.sources import SourceOptions, TarSource, open_source
from askew.data.sources import positioned as positioned_module
from askew.data.sources.base import EVALUATED
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


# One reading of a folder


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
