"""Class folders: which folders are classes and splits, what is left out, and layouts with two readings."""

import os
import shutil

import pytest
from standins import png

from askew.errors import UserError
from askew.evaluation.datasets.classes import class_layout, open_class_folders


def made(root, *paths, first=0):
    """Files by their paths: pictures, or text if the suffix is another one."""
    for seed, path in enumerate(paths, first):
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(seed) if file.suffix.lower() in (".png", ".jpg", ".tif", ".avif", ".jp2") else b"text")
    return root


def keys(labelled):
    return None if labelled is None else list(labelled.images.keys)


PAIR = ("cat/0.png", "dog/0.png")


def under(*splits):
    """One cat and one dog in each of these folders."""
    return [f"{split}/{path}" for split in splits for path in PAIR]


def test_hidden_copies_and_rubbish_are_left_out_and_counted(tmp_path):
    made(
        tmp_path, *PAIR, "cat/.ipynb_checkpoints/0-checkpoint.png", "cat/._0.png", "cat/@eaDir/0.png", "dog/Thumbs.db",
        "__MACOSX/cat/0.png", ".cache/0.png", "dog/0.png~", "dog/lost+found/1.png",
    )  # fmt: skip
    data = open_class_folders(tmp_path)
    assert keys(data.test) == list(PAIR)
    assert data.classes == (("cat",), ("dog",))
    assert data.notes == (f"hidden files and system files left out: 8, for example {tmp_path.name}/.cache",)


def test_every_suffix_of_an_image_counts_in_any_case(tmp_path):
    made(tmp_path, "cat/0.JPG", "cat/1.avif", "cat/2.jp2", "cat/3.TIF", "dog/0.Png", "dog/readme.TXT")
    data = open_class_folders(tmp_path)
    assert len(data.test.labels) == 5
    assert data.notes == (f"{tmp_path.name}/dog: 1 files do not have an image suffix (readme.TXT)",)


def test_links_to_classes_are_followed_without_loops(tmp_path):
    made(tmp_path, "store/cats/0.png", "store/cats/1.png", "store/dogs/0.png")
    data = tmp_path / "data"
    data.mkdir()
    os.symlink(tmp_path / "store" / "cats", data / "cat")
    os.symlink(tmp_path / "store" / "dogs", data / "dog")
    os.symlink(data, data / "dog" / "all")  # back to a folder above
    opened = open_class_folders(data)
    assert keys(opened.test) == ["cat/0.png", "cat/1.png", "dog/0.png"]
    assert opened.notes == ("link to a folder above it, not followed: dog/all",)
    assert opened.test.images.read(1) == png(1)


def test_a_folder_in_two_classes_or_splits_is_refused(tmp_path):
    made(tmp_path, *PAIR, "cat/more/1.png")
    os.symlink(tmp_path / "cat" / "more", tmp_path / "cat" / "same")
    opened = open_class_folders(tmp_path)
    assert keys(opened.test) == ["cat/0.png", "cat/more/1.png", "dog/0.png"]
    assert opened.notes == ("cat/same and cat/more are one folder, which counts once",)
    os.symlink(tmp_path / "cat" / "more", tmp_path / "dog" / "more")
    with pytest.raises(UserError, match=r"dog/more and cat/more are one folder \(a link\), so its images would count"):
        open_class_folders(tmp_path)
    splits = made(tmp_path / "splits", *under("train"))
    os.symlink(splits / "train", splits / "val")
    with pytest.raises(UserError, match="val and train are one folder"):
        open_class_folders(splits)


@pytest.mark.parametrize("val", ["val", "Val", "valid", "VALIDATION", "dev"])
@pytest.mark.parametrize("train", ["train", "Training"])
def test_without_a_test_split_validation_is_the_test(tmp_path, val, train):
    """The right reading of train/{cat,dog} and val/{cat,dog}: two classes, not the classes train and val."""
    data = open_class_folders(made(tmp_path, *under(train, val), f"{val}/cat/1.png"))
    assert data.classes == (("cat",), ("dog",))
    assert keys(data.test) == ["cat/0.png", "cat/1.png", "dog/0.png"]
    assert data.test.images.folder == tmp_path / val
    assert keys(data.train) == list(PAIR)
    assert data.validation is None  # the probe holds a part of train out
    assert data.notes == (f"no test split: evaluated on {val}",)


@pytest.mark.parametrize(
    ("folders", "found"),
    [
        (("train", "val", "test"), {"train", "validation", "test"}),
        (("Train", "Testing"), {"train", "test"}),
        (("test",), {"test"}),
        (("test", "dev"), {"test", "validation"}),
        (("training_set", "test_set"), {"train", "test"}),
        (("train2017", "val-images", "Test Data"), {"train", "validation", "test"}),
    ],
)
def test_splits_are_found_in_any_case(tmp_path, folders, found):
    made(tmp_path, *under(*folders))
    layout = class_layout(tmp_path)
    assert set(layout.splits) == found
    assert (layout.problem, layout.notes, layout.classes) == ("", (), ("cat", "dog"))
    assert layout.images == 2 * len(folders)


def test_only_validation_is_evaluated_without_a_probe(tmp_path):
    data = open_class_folders(made(tmp_path, *under("val")))
    assert data.train is None
    assert data.notes == ("no test split: evaluated on val",)


@pytest.mark.parametrize(
    ("inside", "note"),
    [
        ("images", "the class folders were looked for in images"),
        ("pets/images", "the class folders were looked for in pets/images"),
        ("data/test", "the class folders were looked for in data"),
        ("test/images", "the class folders were looked for in test/images"),
    ],
)
def test_wrapping_folders_are_entered_and_said(tmp_path, inside, note):
    data = open_class_folders(made(tmp_path, *under(inside), "annotations/list.xml"))
    assert data.classes == (("cat",), ("dog",))
    assert keys(data.test) == list(PAIR)
    assert note in "; ".join(data.notes)
    assert data.test.images.read(0) == png(0)


REFUSED = {
    "only train": (under("train"), r"a training split and nothing to evaluate on; .* use --data \S+/train, or add"),
    "a split beside a class": (
        [*under("train"), "bird/0.png"],
        r"train can be splits, or classes beside bird; if they are splits, move bird elsewhere; .*--class-names FILE",
    ),
    "a class called test beside others": (
        [*PAIR, "test/0.png"], "test can be splits, or classes beside cat and dog",
    ),
    "splits or classes": (
        ["train/0.png", "test/0.png"],
        "test and train hold images and no class folders: they can be classes, or splits without labels; .*class-names",
    ),
    "a test split without labels": (
        [*under("train", "val"), "test/0.png"],
        "test holds images without class folders, so they have no labels; .* or move it elsewhere",
    ),
    "Tiny ImageNet's val": ([*under("train"), "val/images/0.png"], "val holds images without class folders"),
    "one split twice": (under("val", "valid"), "val and valid name one split twice; keep one"),
    "the same in two cases": (under("Test", "test"), "Test and test name one split twice"),
    "one class": (["cat/0.png", "cat/1.png"], "one class folder, cat, so every image would be right with any model"),
    "one class in a split": (["test/cat/0.png", "train/cat/0.png"], "one class folder, cat"),
    "images only": (["images/0.png", "images/1.png"], "one class folder, images"),
    "splits with names of their own": (
        under("first half", "second half"),
        "first half and second half hold the same folders, cat and dog: they can be splits of these classes, or "
        "classes; if they are splits, call them train, val and test; .*--class-names FILE",
    ),
    "a split and another": (under("train", "eval"), "train can be splits, or classes beside eval"),
    "folders of COCO": (["train2017/0.png", "val2017/0.png"], "train2017 and val2017 hold images and no class folders"),
    "splits inside classes": (
        ["cat/train/0.png", "cat/test/0.png", "dog/train/0.png", "dog/test/0.png"],
        r"cat/test: a split inside a class; put the class folders into the splits, as in test/cat",
    ),
    "YOLO": (
        ["images/train/0.png", "images/val/0.png", "labels/train/0.txt"], "train and val hold images and no class",
    ),
    "loose images": ([*PAIR, "2.png"], r"1 images lie beside the class folders \(2.png"),
    "an empty class": ([*PAIR, "owl/readme.md"], "owl: the class has no image"),
    "different classes": (
        [*under("test", "train"), "train/owl/0.png"], r"classes that the test split lacks: owl \(1 in all\)",
    ),
    "other capitals": ([*under("test"), "train/Cat/0.png", "train/dog/0.png"], "the test split lacks: Cat"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_layouts_with_two_readings_or_none_are_one_line(tmp_path, name):
    paths, words = REFUSED[name]
    made(tmp_path, *paths)
    layout = class_layout(tmp_path)
    assert layout is not None
    assert "\n" not in layout.problem
    with pytest.raises(UserError, match=words):
        open_class_folders(tmp_path)


@pytest.mark.parametrize(
    ("paths", "classes"),
    [
        (["train/0.png", "test/0.png"], ("test", "train")),
        ([*PAIR, "test/0.png"], ("cat", "dog", "test")),
        (under("front", "back"), ("back", "front")),
    ],
)
def test_a_file_of_names_makes_classes_of_folders_called_like_splits(tmp_path, paths, classes):
    """The remedy that the message gives."""
    made(tmp_path / "d", *paths)
    (tmp_path / "names.txt").write_text("".join(f"{name}: a {name}\n" for name in classes))
    data = open_class_folders(tmp_path / "d", class_names=str(tmp_path / "names.txt"))
    assert data.classes == tuple((f"a {name}",) for name in classes)
    assert len(data.test.labels) == len(paths)
    assert data.train is None


def test_remedies_work(tmp_path):
    """Only train: naming that folder evaluates on it."""
    made(tmp_path, *under("train"))
    assert open_class_folders(tmp_path / "train").classes == (("cat",), ("dog",))
    made(tmp_path, *under("val"))
    assert open_class_folders(tmp_path).notes == ("no test split: evaluated on val",)


def test_facts_for_who_decides_what_a_folder_is(tmp_path):
    made(tmp_path, "00000/0.jpg", "00000/0.txt", "00000/1.jpg", "00000/1.json", "00001/0.jpg", "00001/9.txt", "a.png")
    layout = class_layout(tmp_path)
    assert (layout.images, layout.texts, layout.loose) == (3, 2, 1)
    assert layout.classes == ("00000", "00001")
    for nothing in (tmp_path / "00000", tmp_path / "gone", tmp_path / "a.png"):
        assert class_layout(nothing) is None
    with pytest.raises(UserError, match="not a folder of class folders: no folder in it holds an image"):
        open_class_folders(tmp_path / "00000")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_one_line(tmp_path):
    made(tmp_path, *PAIR)
    (tmp_path / "dog").chmod(0)
    with pytest.raises(UserError, match=r"dog: the folder cannot be read \(Permission denied\)"):
        class_layout(tmp_path)
    shutil.rmtree(tmp_path, ignore_errors=True)


def test_classes_whose_images_lie_deeper_are_said(tmp_path):
    """SUN397's a/abbey: the letters are not the classes. Tiny ImageNet's CLASS/images is fine."""
    data = open_class_folders(made(tmp_path / "sun", "a/abbey/0.png", "a/alley/0.png", "b/bank/0.png"))
    assert data.classes == (("a",), ("b",))
    assert data.warnings == (
        "the classes are a and b, and their folders count for them, such as a/abbey; if these are the classes, move "
        "them into one folder",
    )
    tiny = open_class_folders(made(tmp_path / "tiny", "cat/images/0.png", "dog/images/0.png"))
    assert (tiny.classes, tiny.warnings) == ((("cat",), ("dog",)), ())


def test_one_folder_called_like_a_split_inside_a_class_is_a_thing(tmp_path):
    data = open_class_folders(made(tmp_path, "vehicles/car/0.png", "vehicles/train/0.png", "pets/cat/0.png"))
    assert keys(data.test) == ["pets/cat/0.png", "vehicles/car/0.png", "vehicles/train/0.png"]


@pytest.mark.parametrize(
    "splits",
    [
        ("seg_train", "seg_test"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("training_set/training_set", "test_set/test_set"),
        ("pets-training-128", "pets-test-128"),
    ],
)
def test_names_that_differ_only_in_the_split_are_splits(tmp_path, splits):
    made(tmp_path, *under(*splits))
    data = open_class_folders(tmp_path)
    assert data.classes == (("cat",), ("dog",))
    assert keys(data.test) == keys(data.train) == list(PAIR)


def test_a_split_in_the_name_of_a_thing_is_none(tmp_path):
    made(tmp_path, "steam_train/0.png", "bullet_train/1.png", "test_tube/2.png", "bus/3.png")
    assert len(open_class_folders(tmp_path).classes) == 4


@pytest.mark.parametrize("names", [("images", "annotations/trimaps"), ("JPEGImages", "SegmentationClass")])
def test_images_beside_masks_are_no_classes(tmp_path, names):
    made(tmp_path, *(f"{name}/{n}.png" for name in names for n in range(2)))
    with pytest.raises(UserError, match=f"{names[0]} is rarely the name of a class.*--class-names FILE"):
        open_class_folders(tmp_path)
    (tmp_path / "names.txt").write_text("".join(f"{(top := name.partition('/')[0])}: {top}\n" for name in names))
    assert len(open_class_folders(tmp_path, "", str(tmp_path / "names.txt")).classes) == 2
