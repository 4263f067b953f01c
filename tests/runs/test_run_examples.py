"""Examples of real runs: computed once, kept with the model, and honest about what is missing."""

import csv
import shutil
from contextlib import chdir
from functools import cache

import pytest
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image

from askew.config import DataSettings, EvaluationSettings
from askew.evaluation import model
from askew.evaluation.examples import pool as pools
from askew.report.console import Console
from askew.runs import examples
from askew.runs.directory import RunDirectory
from askew.runs.examples import examples_of
from helpers import micro_towers, write_pairs
from micro_runs import micro_recipe, table_of_25, train

HOSTILE = "<script>alert(1)</script> \u202eevil\x1b[31m"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished MCD run on 25 pairs, whose table lies beside it."""
    folder = tmp_path_factory.mktemp("examples")
    return train(micro_recipe(table_of_25(folder / "data"), max_steps=2), folder / "run")


@pytest.fixture(autouse=True)
def quick(monkeypatch, request):
    """Few samples, and one tokenizer for all models of this size: making it takes longer than all the rest."""
    monkeypatch.setattr(examples, "SAMPLES", 25 if request.function is test_what_is_shown_of_25_pairs else 3)
    monkeypatch.setattr(model.open_clip, "get_tokenizer", lambda name: tokenizer())


@cache
def tokenizer():
    """That of micro models."""
    return SimpleTokenizer(context_length=micro_towers().text_cfg["context_length"])


@pytest.fixture
def copied(run, tmp_path):
    """A copy of the run, with its data, that a test may change."""
    shutil.copytree(run.parent, tmp_path / "copy")
    folder = RunDirectory(tmp_path / "copy" / "run")
    folder.examples.unlink(missing_ok=True)
    recipe = folder.read_recipe()
    folder.write_recipe(
        recipe.model_copy(update={"data": DataSettings(source=str(tmp_path / "copy" / "data" / "pairs.csv"))})
    )
    return folder


class Said(Console):
    """What was said."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def say(self, text):
        self.lines.append(text)

    warn = say


def with_data(run, **settings):
    """The run with other data in its recipe."""
    run.write_recipe(run.read_recipe().model_copy(update={"data": DataSettings(**settings)}))


def table(folder, rows):
    """pairs.csv with (image file, caption) rows."""
    with (folder / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "caption"), *rows])


def test_made_once_and_kept_until_the_model_changes(copied):
    console = Said()
    found = examples_of(copied, console)
    assert found is not None
    assert len(console.lines) == 1
    assert (found.weights, found.trained_on, found.missing, found.notes) == ("student", True, {}, ())
    assert found.data.startswith("images that the model was trained on: ")
    assert examples_of(copied, console) == found
    assert len(console.lines) == 1, "the second time they were kept"
    weights = next(copied.model().glob("*.safetensors"))
    shutil.copy(next(copied.model("teacher").glob("*.safetensors")), weights)
    assert examples_of(copied, console) != found
    assert len(console.lines) == 2


def test_what_is_shown_of_25_pairs(run):
    found = examples_of(RunDirectory(run), Console(quiet=True))
    to_image = found.retrieval.text_to_image
    assert (to_image.queries, to_image.candidates) == (25, 25)
    assert [query.kind for query in to_image.shown] == ["best"] * 3 + ["typical"] * 3 + ["worst"] * 3
    for query in to_image.shown:
        assert len(query.hits) == 5
        assert [hit.cosine for hit in query.hits] == sorted((hit.cosine for hit in query.hits), reverse=True)
        first = [hit.right for hit in query.hits].index(True) + 1 if query.rank <= 5 else None
        assert first is None or first == query.rank
    assert found.names.images == 25
    assert len(found.map.pairs) == 25
    assert all(found.pictures[pair.picture].startswith("data:image/webp;base64,") for pair in found.map.pairs)
    assert len(found.texts) == len(set(found.texts)) == 25
    gallery = found.gallery
    assert len(gallery.samples) == 12
    assert len(gallery.student) == len(gallery.teacher) == 25 * 4
    largest = [max(view.student for view in sample.views) for sample in gallery.samples]
    assert largest == sorted(largest)
    assert largest[-1] == max(gallery.student)
    assert {effect.name for effect in gallery.operations} >= {"crop", "flip", "grayscale", "hue"}


def test_without_its_data_what_is_kept_is_shown_and_the_rest_is_explained(copied):
    kept = examples_of(copied, Console(quiet=True))
    data = copied.path.parent / "data"
    shutil.move(data, data.with_name("elsewhere"))
    assert examples_of(copied, Console(quiet=True)) == kept
    copied.examples.write_text("{", encoding="utf-8")
    found = examples_of(copied, Console(quiet=True))
    assert set(found.missing) == {"retrieval", "names", "map", "gallery"}
    assert all("pairs.csv" in reason for reason in found.missing.values())
    assert (found.retrieval, found.names, found.map, found.gallery) == (None,) * 4
    shutil.move(data.with_name("elsewhere"), data)
    assert examples_of(copied, Console(quiet=True)) == kept, "they were not kept without the data"


def test_bad_samples_are_skipped_and_counted(copied, monkeypatch):
    table(copied.path.parent / "data", [(f"{number:04d}.png", f"number {number}") for number in range(5)])
    data = copied.path.parent / "data"
    (data / "0003.png").write_bytes(b"no image")
    (data / "0004.png").unlink()
    monkeypatch.setattr(examples, "SAMPLES", 5)
    found = examples_of(copied, Console(quiet=True))
    assert found.retrieval.image_to_text.queries == 3
    assert [note.partition(" could")[0] for note in found.notes] == [
        "2 of 5 samples for retrieval, names and map",
        "2 of 5 samples for the gallery",
    ]
    (data / "pairs.csv").write_text("image,caption\n0003.png,a\n0004.png,b\n", encoding="utf-8")
    copied.examples.unlink()
    found = examples_of(copied, Console(quiet=True))
    assert set(found.missing) == {"retrieval", "names", "map", "gallery"}
    assert "none of 2 samples can be used" in found.missing["gallery"]


def test_one_pair(copied):
    data = copied.path.parent / "data"
    table(data, [("0000.png", HOSTILE)])
    found = examples_of(copied, Console(quiet=True))
    assert set(found.missing) == {"retrieval", "names"}
    assert len(found.map.pairs) == 1
    assert found.texts == (HOSTILE,), "text stays as it is: pages escape it"
    assert len(found.gallery.samples) == 1
    assert examples_of(copied, Console(quiet=True)) == found
    assert copied.examples.exists(), "nothing failed, so they are kept"


def test_ten_identical_captions(copied):
    data = copied.path.parent / "data"
    table(data, [(f"{number:04d}.png", "the same") for number in range(10)])
    found = examples_of(copied, Console(quiet=True))
    assert set(found.missing) == {"names"}
    assert found.retrieval.image_to_text is None
    assert found.retrieval.text_to_image.recall[1] == 1, "every image belongs to it"
    assert found.retrieval.text_to_image.candidates == 10


def test_identical_images(copied):
    data = copied.path.parent / "data"
    for number in range(6):  # equal pixels in files with different bytes: not copies, and all scores tie
        Image.open(data / "0000.png").save(data / f"same{number}.png", compress_level=number)
    table(data, [(f"same{number}.png", f"number {number}") for number in range(6)])
    found = examples_of(copied, Console(quiet=True))
    assert found.retrieval.text_to_image.recall == {1: 0, 5: 0, 10: 1}, "ties lose"
    assert found.names.confused >= 5
    shutil.copy(data / "same0.png", data / "same1.png")
    table(data, [("same0.png", "one"), ("same1.png", "two")])
    copied.examples.unlink()
    found = examples_of(copied, Console(quiet=True))
    assert found.retrieval.text_to_image is None, "equal bytes are one image, with two captions"
    assert found.retrieval.image_to_text.recall[1] == 1


def test_held_out_data_are_preferred(copied, tmp_path):
    held_out = write_pairs(tmp_path / "held", 9, seed=5)
    recipe = copied.read_recipe()
    copied.write_recipe(recipe.model_copy(update={"evaluation": EvaluationSettings(held_out=str(held_out))}))
    found = examples_of(copied, Console(quiet=True))
    assert not found.trained_on
    assert found.data.startswith("held-out data: ")
    assert found.retrieval.image_to_text.queries == 9
    captions = {line.rpartition(",")[2] for line in (copied.path.parent / "data" / "pairs.csv").read_text().split("\n")}
    assert {sample.caption for sample in found.gallery.samples} <= captions, "the gallery is of the training data"


def test_the_embedded_data_show_the_style_that_is_not_trained_on(copied, monkeypatch):
    monkeypatch.setattr(examples, "IMAGES", 12)
    monkeypatch.setattr(examples, "SAMPLES", 3)
    with_data(copied, source="embedded")
    found = examples_of(copied, Console(quiet=True))
    assert not found.trained_on
    assert "not trained on" in found.data
    shown = {sample.captions[0] for sample in pools.unseen_styles(12)}
    assert set(found.texts) == shown
    assert len(found.gallery.samples) == 3


def test_a_run_that_is_not_finished_and_one_without_a_checkpoint(tmp_path):
    recipe = micro_recipe(table_of_25(tmp_path / "data"), "clip", max_steps=1, checkpoint_steps=1)
    folder = RunDirectory(train(recipe, tmp_path / "run"))
    shutil.rmtree(folder.model())
    found = examples_of(folder, Console(quiet=True))
    assert found.weights == "student at step 1 of 1"
    assert found.gallery.teacher is None
    assert found.gallery.agreement is None
    assert examples_of(folder, Console(quiet=True)) == found
    shutil.rmtree(folder.checkpoints)
    assert examples_of(folder, Console(quiet=True)) is None


def test_a_directory_that_cannot_be_written_costs_a_warning(copied):
    console = Said()
    copied.examples.mkdir()
    found = examples_of(copied, console)
    assert found.gallery is not None
    assert "could not be kept" in console.lines[-1]


def test_a_model_that_cannot_be_loaded_is_the_reason(copied):
    next(copied.model().glob("*.safetensors")).write_bytes(b"damaged")
    found = examples_of(copied, Console(quiet=True))
    assert set(found.missing) == {"retrieval", "names", "map", "gallery"}
    assert "cannot be loaded" in found.missing["map"]
    assert not copied.examples.exists()


def test_the_paths_of_a_recipe_are_relative_to_where_it_was_started(copied, tmp_path):
    with_data(copied, source="data/pairs.csv")
    with chdir(copied.path.parent):
        found = examples_of(copied, Console(quiet=True))
    assert not found.missing
    with chdir(tmp_path):
        assert examples_of(copied, Console(quiet=True)) == found, "kept"
