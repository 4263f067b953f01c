"""A user's own folder or table goes through the same tasks; what is wrong with it is one line; copies are found."""

import io

import numpy as np
import pytest
from PIL import Image
from standins import Pictures, pictures, png

from askew.data.sources import open_source
from askew.errors import UserError
from askew.evaluation.overlap import bits_apart, difference_hash, overlap
from askew.evaluation.own import open_own, read_prompts
from askew.evaluation.sets import Captioned, Classification
from helpers import write_pairs


def classes(folder, counts, first=0):
    """A folder of class folders with so many pictures each."""
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for index in range(count):
            (folder / name / f"{index}.png").write_bytes(png(first))
            first += 1
    return folder


def test_a_folder_of_class_folders(tmp_path):
    folder = classes(tmp_path / "mine", {"red_kite": 3, "boat": 2, ".hidden": 1})
    (folder / "boat" / "notes.txt").write_text("x")
    data = open_own(str(folder))
    assert isinstance(data, Classification)
    assert data.name == "mine"
    assert data.classes == (("boat",), ("red kite",))
    assert data.templates == ("a photo of a {}",)
    assert list(data.test.images.keys) == ["boat/0.png", "boat/1.png", *(f"red_kite/{i}.png" for i in range(3))]
    assert data.test.labels.tolist() == [0, 0, 1, 1, 1]
    assert data.train is None
    assert data.notes == ("mine/boat: 1 files are no images by their names (notes.txt)",)
    assert data.test.images[0].mode == "RGB"
    assert data.test.images.read(2) == png(0)


def test_splits_are_found_by_their_names(tmp_path):
    classes(tmp_path / "d" / "test", {"a": 1, "b": 2})
    classes(tmp_path / "d" / "train", {"a": 3, "b": 4})
    classes(tmp_path / "d" / "val", {"a": 1, "b": 1})
    data = open_own(str(tmp_path / "d"), "a drawing of {}")
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
        open_own(str(folder))


def test_prompts(tmp_path):
    (tmp_path / "prompts.txt").write_text("a photo of a {}.\n\nart of {}\n")
    assert read_prompts(str(tmp_path / "prompts.txt")) == ("a photo of a {}.", "art of {}")
    (tmp_path / "bad.txt").write_text("a photo of a {}\na photo\n")
    for text, words in (
        (str(tmp_path / "bad.txt"), "'a photo' has not"),
        ("{} and {}", "'{} and {}' has not"),
        (str(tmp_path / "none.txt"), "neither a template"),
    ):
        with pytest.raises(UserError, match=words):
            read_prompts(text)


def test_a_table_of_captions(tmp_path):
    table = write_pairs(tmp_path, 5)
    with table.open("a") as file:
        file.write("0001.png,a second caption\n")
    data = open_own(str(table))
    assert isinstance(data, Captioned)
    assert (len(data.images), len(data.captions)) == (5, 6)
    assert data.image_of.tolist() == [0, 1, 1, 2, 3, 4]
    assert data.captions[2] == "a second caption"
    assert data.images.read(3) == (tmp_path / "0003.png").read_bytes()
    assert data.images[3].size == (40, 40)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("gone.png,a caption\n", r"1 of 5 images cannot be read: No such file"),
        ("0001.png,\n", r"1 of 4 images have no caption: 0001.png"),
    ],
)
def test_images_without_file_or_caption_are_told(tmp_path, line, words):
    table = write_pairs(tmp_path, 4)
    rows = [row for row in table.read_text().splitlines(keepends=True) if not row.startswith("0001") or "gone" in line]
    table.write_text("".join(rows) + line)
    with pytest.raises(UserError, match=words):
        open_own(str(table))


def again(data, size, quality):
    """The picture scaled and compressed anew."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).resize((size, size)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def photo(seed):
    """A smooth random picture, as photographs are at the size of the hash."""
    small = np.random.default_rng(seed).integers(0, 256, size=(8, 9, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small).resize((180, 160), Image.Resampling.NEAREST).save(buffer, "PNG")
    return buffer.getvalue()


def test_hashes_of_a_copy_are_near_and_of_others_far():
    hashes = [difference_hash(Image.open(io.BytesIO(photo(seed)))) for seed in range(20)]
    copies = [difference_hash(Image.open(io.BytesIO(again(photo(seed), 90, 60)))) for seed in range(20)]
    apart = bits_apart(np.array(hashes, dtype=np.uint64), np.array(copies, dtype=np.uint64))
    assert apart.diagonal().max() <= 3
    assert (apart + 64 * np.eye(20)).min() > 10
    ramp = Image.fromarray(np.tile(np.arange(9, dtype=np.uint8) * 20, (8, 1)))
    assert difference_hash(ramp) == 2**64 - 1
    assert difference_hash(Image.new("L", (50, 50), 7)) == 0
    assert bits_apart(np.array([0b1011], dtype=np.uint64), np.array([0, 2**63], dtype=np.uint64)).tolist() == [[3, 4]]


def test_copies_in_a_training_source_are_found(tmp_path):
    table = write_pairs(tmp_path, 9)
    (tmp_path / "0002.png").write_bytes(photo(1))
    (tmp_path / "0005.png").write_bytes(photo(2))
    (tmp_path / "0006.png").write_bytes(b"no image")
    flat = io.BytesIO()
    Image.new("RGB", (20, 20), "white").save(flat, "PNG")
    (tmp_path / "0008.png").write_bytes(flat.getvalue())
    grey = io.BytesIO()
    Image.new("RGB", (30, 30), "grey").save(grey, "PNG")
    test = Pictures([photo(0), photo(1), again(photo(2), 100, 70), b"", grey.getvalue()])
    result = overlap("mine", test, open_source(str(table)), "pairs.csv")
    assert result.task == "mine/overlap"
    assert result.values == {"exact": 1, "near": 1, "n": 5}
    assert result.protocol["pairs"] == [["p/1.png", "0002.png", "exact"], ["p/2.png", "0005.png", "near"]]
    assert (result.protocol["source_unreadable"], result.protocol["test_unreadable"]) == (1, 1)
    assert overlap("mine", pictures(3, first=50), open_source(str(table)), "x").protocol["pairs"] == []
