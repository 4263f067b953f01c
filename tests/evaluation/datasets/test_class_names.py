"""Names of class folders: from a file, from ImageNet, from the folders. A wrong file is one line that says why."""

import json

import numpy as np
import pytest
from standins import Colours, features_of, png

from askew.errors import UserError
from askew.evaluation.datasets.class_names import names_of, read_class_names
from askew.evaluation.datasets.classes import open_class_folders
from askew.evaluation.tasks.zero_shot import zero_shot


def folders(root, *names):
    """Class folders with one picture each."""
    for seed, name in enumerate(names):
        (root / name).mkdir(parents=True)
        (root / name / "0.png").write_bytes(png(seed))
    return root


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("n.txt", b"a: tabby; tabby cat\nb: owl\n"),
        ("n.txt", b"\xef\xbb\xbf# two classes\r\n\r\n b :  owl \r\na: tabby ;tabby cat\r\n"),
        ("n.json", b'{"a": ["tabby", " tabby cat"], "b": "owl"}'),
    ],
    ids=["lines", "BOM, CRLF, comments", "JSON"],
)
def test_a_file_of_names_and_synonyms(tmp_path, file, content):
    (tmp_path / file).write_bytes(content)
    data = open_class_folders(folders(tmp_path / "d", "a", "b"), class_names=str(tmp_path / file))
    assert data.classes == (("tabby", "tabby cat"), ("owl",))
    assert data.notes == (f"class names from {file}",)


def test_the_names_of_a_class_are_averaged(tmp_path):
    """Two names at 90 degrees average to the diagonal (1, 1) / sqrt 2; an image at 30 degrees of it is right."""
    (tmp_path / "n.txt").write_text("a: x; y\nb: z\n")
    data = open_class_folders(folders(tmp_path / "d", "a", "b"), "{}", str(tmp_path / "n.txt"))
    texts = {"x": np.array([1.0, 0, 0]), "y": np.array([0, 1.0, 0]), "z": np.array([0.8, 0, 0.6])}
    image = np.array([[0.6, 0.8, 0], [0.8, 0, 0.6]])  # 0.99 to the diagonal and 0.48 to z; 0.57 and 1
    result = zero_shot(Colours(texts), data, features_of(image.astype(np.float32)))  # type: ignore[arg-type]
    assert result.values["top1"] == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: cat\n", "lacks the class folders b; name"),
        ("a: cat\nb: dog\nc: owl\n", "names folders that are not there c; name"),
        ("c: owl\na: cat\n", "lacks the class folders b, and names folders that are not there c"),
        ("a: cat\nb dog\n", "line 2: 'b dog' is not FOLDER: NAME; write FOLDER: NAME; SYNONYM on each line"),
        ("a: cat;; kitten\nb: dog\n", "line 1: an empty name for the folder a"),
        ("a:\nb: dog\n", "line 1: an empty name for the folder a"),
        ("a: cat\nb: dog\na: kitten\n", "line 3: the folder a was named before"),
        ("# none\n", "the file names no class"),
        ("a: cat\nb: CAT\n", "a and b are both called 'CAT' in prompts"),
    ],
)
def test_a_wrong_file_of_names(tmp_path, content, words):
    (tmp_path / "n.txt").write_text(content)
    with pytest.raises(UserError, match=words):
        open_class_folders(folders(tmp_path / "d", "a", "b"), class_names=str(tmp_path / "n.txt"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"a": "cat", "a": "dog"}', "the folder a is named twice"),
        ('["cat", "dog"]', "not an object by folder"),
        ('{"a": ["cat", 3]}', r'the folder a has \["cat", 3\], not a name or a list of names'),
        ('{"a": []}', r"the folder a has \[\], not"),
        ('{"a": {"name": "cat"}}', "not a name or a list"),
        ('{"a": "cat"', "not valid JSON"),
        ("{}", "the file names no class"),
    ],
)
def test_a_wrong_json_of_names(tmp_path, content, words):
    (tmp_path / "n.json").write_text(content)
    with pytest.raises(UserError, match=words):
        read_class_names(str(tmp_path / "n.json"))


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "n.txt").write_bytes("a: cat".encode("utf-16"))
    for name, words in (("n.txt", "it is not UTF-8"), ("gone.txt", "No such file"), (".", "Is a directory")):
        with pytest.raises(UserError, match=rf"--class-names .*not a readable text file \({words}"):
            read_class_names(str(tmp_path / name))
    with pytest.raises(UserError, match=r"--class-names ~nobody/n\.txt: not a readable text file"):
        read_class_names("~nobody/n.txt")


def test_many_missing_folders_are_counted():
    with pytest.raises(UserError, match=r"lacks the class folders 01, .*, 10 and 90 more"):
        names_of([f"{n:02d}" for n in range(101)], {"00": ("zero",)}, "n.txt")


def test_synonyms_with_commas_warn():
    _, _, warnings = names_of(["a", "b"], {"a": ("tench, Tinca tinca",), "b": ("owl",)}, "n.txt")
    assert warnings == ["1 names have a comma, as in 'tench, Tinca tinca'; synonyms are separated by semicolons"]


def test_wordnet_ids_have_imagenets_names(tmp_path):
    data = open_class_folders(folders(tmp_path, "n01440764", "n01443537"))
    assert data.classes == (("tench",), ("goldfish",))
    assert data.notes == ("WordNet ids that have the names of ImageNet's classes in prompts: 2",)
    assert data.warnings == ()


def test_unknown_ids_and_numbers_warn():
    names, notes, warnings = names_of(["n01440764", "n99999999"], {}, "")
    assert names == (("tench",), ("n99999999",))
    assert notes == ["WordNet ids that have the names of ImageNet's classes in prompts: 1"]
    assert warnings == [
        "class folders are called by WordNet ids that are not among ImageNet's 1,000 (n99999999; 1 in all), so prompts "
        "read 'a photo of a n99999999'; name the classes with --class-names FILE"
    ]
    names, notes, warnings = names_of(["0", "1", "2", "33"], {}, "")
    assert (names[3], notes) == (("33",), [])
    assert warnings[0].startswith(
        "class folders are called by numbers (0, 1, 2, ...; 4 in all), so prompts read 'a photo of a 0'"
    )


@pytest.mark.parametrize("pair", [("hot dog", "hot_dog"), ("Cat", "cat"), ("a__b", "a b")])
def test_two_folders_of_one_name_are_refused(pair):
    with pytest.raises(UserError, match=r"are both called .* in prompts; put their images into one folder"):
        names_of(sorted((*pair, "owl")), {}, "")


def test_imagenet_itself_may_repeat_a_name():
    """Two of its classes are called missile, as in every published evaluation."""
    names, _, _ = names_of(["n03773504", "n04008634"], {}, "")
    assert names == (("missile",), ("missile",))


def test_a_json_of_names_may_hold_any_letters(tmp_path):
    (tmp_path / "n.json").write_text(json.dumps({"a:b": "凧", "c": ["é"]}, ensure_ascii=False), encoding="utf-8")
    assert read_class_names(str(tmp_path / "n.json")) == {"a:b": ("凧",), "c": ("é",)}
