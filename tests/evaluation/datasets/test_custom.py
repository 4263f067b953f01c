"""A user's own folder or table as a data set. What is wrong with it is one line."""

import pytest
from standins import png

from askew.errors import UserError
from askew.evaluation.datasets.base import Captioned, Classification
from askew.evaluation.datasets.custom import open_custom
from helpers import write_pairs


def classes(folder, counts, first=0):
    """A folder of class folders, with a number of pictures each."""
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for index in range(count):
            (folder / name / f"{index}.png").write_bytes(png(first))
            first += 1
    return folder


def test_a_folder_of_class_folders(tmp_path):
    folder = classes(tmp_path / "custom", {"red_kite": 3, "boat": 2, ".hidden": 1})
    (folder / "boat" / "notes.txt").write_text("x")
    data = open_custom(str(folder))
    assert isinstance(data, Classification)
    assert data.name == "custom"
    assert data.classes == (("boat",), ("red kite",))
    assert data.templates == ("a photo of a {}",)
    assert list(data.test.images.keys) == ["boat/0.png", "boat/1.png", *(f"red_kite/{i}.png" for i in range(3))]
    assert data.test.labels.tolist() == [0, 0, 1, 1, 1]
    assert data.train is None
    assert data.notes == (
        "hidden files and system files left out: 1, for example custom/.hidden",
        "custom/boat: 1 files do not have an image suffix (notes.txt)",
    )
    assert data.test.images[0].mode == "RGB"
    assert data.test.images.read(2) == png(0)


def test_splits_are_found_by_their_names(tmp_path):
    classes(tmp_path / "d" / "test", {"a": 1, "b": 2})
    classes(tmp_path / "d" / "train", {"a": 3, "b": 4})
    classes(tmp_path / "d" / "val", {"a": 1, "b": 1})
    data = open_custom(str(tmp_path / "d"), prompts="a drawing of {}")
    assert [len(split.labels) for split in (data.test, data.train, data.validation)] == [3, 7, 2]
    assert data.templates == ("a drawing of {}",)
    assert data.classes == (("a",), ("b",))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda d: (d / "test" / "c").mkdir(), r"test.c: the class has no image"),
        (lambda d: classes(d / "train", {"c": 1}), r"train: classes that the test split lacks: c \(1 in all\)"),
        (lambda d: classes(d / "test", {"c": 1}), r"train: classes of the test split are missing: c"),
        (lambda d: (d / "test" / "stray.png").write_bytes(png(0)), r"1 images lie beside the class folders \(stray"),
    ],
)
def test_a_wrong_layout_is_one_line(tmp_path, spoil, words):
    folder = tmp_path / "d"
    for split in ("test", "train"):
        classes(folder / split, {"a": 1, "b": 1})
    spoil(folder)
    with pytest.raises(UserError, match=words):
        open_custom(str(folder))


def test_a_table_of_captions(tmp_path):
    table = write_pairs(tmp_path, 5)
    with table.open("a") as file:
        file.write("0001.png,a second caption\n")
    data = open_custom(str(table))
    assert isinstance(data, Captioned)
    assert (len(data.images), len(data.captions)) == (5, 6)
    assert data.image_of.tolist() == [0, 1, 1, 2, 3, 4]
    assert data.captions[2] == "a second caption"
    assert data.images.read(3) == (tmp_path / "0003.png").read_bytes()
    assert data.images[3].size == (40, 40)


@pytest.mark.parametrize("option", ["prompts", "class_names"])
def test_options_of_class_folders_are_refused_for_captions(tmp_path, option):
    with pytest.raises(UserError, match=rf"--{option.replace('_', '-')} belongs to class folders, .*--caption-prompt"):
        open_custom(str(write_pairs(tmp_path, 2)), **{option: "a {}"})


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("gone.png,a caption\n", r"1 of 5 samples cannot be used: missing file: No such file"),
        ("0001.png,\n", r"1 of 4 samples have no caption .no caption.: 0001.png"),
    ],
)
def test_images_without_a_file_or_a_caption_are_reported(tmp_path, line, words):
    table = write_pairs(tmp_path, 4)
    rows = [row for row in table.read_text().splitlines(keepends=True) if not row.startswith("0001") or "gone" in line]
    table.write_text("".join(rows) + line)
    with pytest.raises(UserError, match=words):
        open_custom(str(table))
