"""Names on the command line lead to data sets: suites, names, and entries of modules outside askew."""

import sys

import numpy as np
import pytest
from standins import Colours, png

from askew.errors import UserError
from askew.evaluation.datasets.base import Classification, MissingSet
from askew.evaluation.datasets.catalog import SUITES, CatalogEntry, find_entries, find_entry, names, open_set
from askew.evaluation.features import Extractor
from askew.evaluation.suite import EvaluationOptions, run_set

OUTSIDE = """
from askew.evaluation.datasets.base import Classification
from askew.evaluation.datasets.catalog import CatalogEntry

CLASSES = {"RBN": ("robin",), "OWL": ("owl", "bird of night")}


def read(folder):
    rows = [line.split("\\t") for line in folder.lines("birds.tsv")]
    paths, keys = [f"images/{file}" for file, _ in rows], [key for _, key in rows]
    test = folder.split(paths, keys, "birds.tsv", class_keys=tuple(CLASSES))
    return Classification(folder.name, "top1", tuple(CLASSES.values()), ("a {}.",), test, expected=(("test", 4),))


def forgetful(folder):
    return folder.split(["images/0.png"], ["OWL"], "birds.tsv")


BIRDS = CatalogEntry("birds", "My birds", ("birds-2026", "birds"), "images/ and birds.tsv", read)
OTHER_BIRDS = CatalogEntry("birds", "Other birds", ("other",), "images/ and birds.tsv", read)
FORGETFUL = CatalogEntry("forgotten", "Without its classes", ("birds",), "images/ and birds.tsv", forgetful)
TITLE = "not an entry"
"""


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A data root with three pictures of birds, and a module `birds` in the working directory that reads them."""
    (tmp_path / "birds.py").write_text(OUTSIDE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "birds", raising=False)
    images = tmp_path / "root" / "birds" / "images"
    images.mkdir(parents=True)
    for index in range(3):
        (images / f"{index}.png").write_bytes(png(index))
    (images.parent / "birds.tsv").write_text("0.png\tOWL\n1.png\tRBN\n2.png\tOWL\n")
    yield tmp_path / "root"
    sys.modules.pop("birds", None)


def test_the_suite_paper_is_this_list():
    """Spelled out: a data set that is added to the catalogue must not join the paper's suite by accident."""
    assert SUITES == {
        "paper": (
            "pets", "cifar10", "cifar100", "sun397", "food101", "flowers102", "cars", "caltech101", "aircraft", "dtd",
            "imagenet", "flickr30k", "coco", "sugarcrepe",
        ),
    }  # fmt: skip


def test_a_suite_is_its_data_sets_and_no_set_comes_twice():
    assert [entry.name for entry in find_entries("paper")] == list(SUITES["paper"])
    assert [entry.name for entry in find_entries("dtd,pets,dtd")] == ["dtd", "pets"]
    assert [entry.name for entry in find_entries("imagenet-80,paper")] == ["imagenet-80", *SUITES["paper"]]
    assert [find_entry(name).name for name in names()] == list(names())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "flower102",
            r"^--suite 'flower102' is not known; did you mean 'flowers102'\? suites: tiny, paper; data sets: ",
        ),
        ("papers", r"did you mean 'paper'\?"),
        ("tinny", r"did you mean 'tiny'\?"),
        ("\x1b[31m", r"^--suite '\\\\x1b\[31m' is not known; suites: "),
    ],
)
def test_a_name_that_is_not_known_is_one_line(name, words):
    with pytest.raises(UserError, match=words):
        find_entry(name)
    with pytest.raises(UserError, match=words):
        find_entries(f"pets,{name}")


def test_a_data_set_from_outside_brings_its_own_classes_and_prompts(outside):
    (entry,) = find_entries("birds:BIRDS")
    data = entry.open(outside)
    assert isinstance(data, Classification)
    assert (data.name, data.classes, data.templates) == ("birds", (("robin",), ("owl", "bird of night")), ("a {}.",))
    assert data.test.labels.tolist() == [1, 0, 1]
    assert data.test.images.keys == ("images/0.png", "images/1.png", "images/2.png")
    assert data.test.images.read(1) == png(1)
    assert open_set("birds:BIRDS", outside).test.images.keys == data.test.images.keys
    assert [e.name for e in find_entries("pets,birds:BIRDS,birds:BIRDS")] == ["pets", "birds"]


def test_it_is_evaluated_like_any_other(outside):
    vectors = {text: np.eye(12)[row] for row, text in enumerate(["a robin.", "a owl.", "a bird of night."])}
    model, lines = Colours(vectors), []
    data = find_entry("birds:BIRDS").open(outside)
    options = EvaluationOptions(("zero_shot",))
    (result,) = run_set("birds", data, model, Extractor(model, workers=1), options, lines.append)
    assert result.task == "birds/zero_shot"
    assert (result.values["n"], result.values["classes"]) == (3, 2)
    assert result.protocol["templates"] == ["a {}."]
    assert lines == ["birds: test 3 (expected 4!)"]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            lambda d: (d / "birds.tsv").unlink(),
            r"^birds: \S+birds has no birds.tsv; it should hold images/ and birds.tsv",
        ),
        (lambda d: (d / "birds.tsv").write_text("0.png\tEMU\n"), r"birds.tsv has 1 class.* not among its 2: EMU"),
        (lambda d: (d / "birds.tsv").write_text("0.png\tOWL\n"), r"birds.tsv has no image of 1 of the 2 classes: RBN"),
        (
            lambda d: [file.unlink() for file in (d / "images").iterdir()],
            r"none of the 3 images of birds.tsv is in .*the first is images/0.png",
        ),
        (lambda d: d.rename(d.with_name("elsewhere")), r"^birds: \S+birds-2026 is missing; it should hold images/ and"),
    ],
)
def test_its_faults_are_found_by_the_same_checks(outside, damage, words):
    damage(outside / "birds")
    with pytest.raises(UserError, match=words) as caught:
        find_entry("birds:BIRDS").open(outside)
    assert isinstance(caught.value, MissingSet) == ("should hold" in words)


@pytest.mark.parametrize(
    ("suite", "words"),
    [
        (
            "birds:TITLE",
            "--suite birds:TITLE: it is a str, not a CatalogEntry of askew.evaluation.datasets.catalog",
        ),
        ("birds:WREN", "--suite=birds:WREN: module 'birds' has no attribute 'WREN'"),
        ("no_such_birds:BIRDS", "--suite=no_such_birds:BIRDS: No module named 'no_such_birds'"),
        ("birds:BIRDS,birds:OTHER_BIRDS", "two different data sets are called 'birds'; rename one"),
    ],
)
def test_a_wrong_entry_from_outside_is_one_line(outside, suite, words):
    with pytest.raises(UserError, match=words):
        find_entries(suite)


def test_a_reader_that_forgets_its_classes_is_reminded(outside):
    with pytest.raises(UserError, match=r"forgotten: askew stores no class names .*class_keys of DatasetFolder\.split"):
        find_entry("birds:FORGETFUL").open(outside)


def test_an_entry_is_all_that_a_program_needs(outside):
    """Without a module: an entry is an ordinary object."""
    entry = CatalogEntry("one", "One", ("birds",), "images/", lambda folder: folder.files(["images/0.png"], "one"))
    assert entry.open(outside).keys == ("images/0.png",)
