"""A source from a module outside the package: `--data my_module:my_source`."""

import pickle
import re
import sys

import pytest
import torch

from askew.data.loader import Loader
from askew.data.sources import SourceOptions, open_source
from askew.data.sources.recognise import FUNCTION
from askew.errors import UserError
from askew.training.build import build_views
from helpers import write_pairs
from micro_runs import askew_here, micro_recipe, micro_settings

# A module of a user: a source of squares of one colour, and several functions that are wrong
MODULE = """
import io

from PIL import Image

from askew.data.sources.base import SHUFFLE_BLOCK, SHUFFLE_WINDOW, Sample
from askew.errors import Unusable, UserError

COLOURS = ("red", "green", "blue", "yellow", "black", "white", "orange", "purple", "pink", "gray")


class Squares:
    notes, block, window = ("one square is missing",), SHUFFLE_BLOCK, SHUFFLE_WINDOW

    def __init__(self, options, number=30):
        self.describe, self.options, self.number = f"{number} squares", options, number

    def __len__(self):
        return self.number

    def __getitem__(self, index):
        if index == 7:
            raise Unusable("there is no square 7", "no square")
        colour, encoded = COLOURS[index % len(COLOURS)], io.BytesIO()
        Image.new("RGB", (20 + index, 30), colour).save(encoded, "PNG")
        return Sample(index, index % len(COLOURS), encoded.getvalue(), (f"a {colour} square",), (), self.name(index))

    def name(self, index):
        return f"square {index}"


def squares(options):
    return Squares(options)


def nothing(options):
    return Squares(options, 0)


def unfinished(options):
    return [1, 2, 3]


def fails(options):
    raise KeyError("no_such_key")


def refuses(options):
    raise UserError(f"no squares of the split {options.split}")


NUMBER = 3
"""
NAME = "source_from_outside"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The user's module can be imported, from a folder outside the package."""
    (tmp_path / f"{NAME}.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    yield tmp_path
    sys.modules.pop(NAME, None)


def loader_of(source, **settings):
    views = build_views(micro_recipe("unused"), ("image", "aug", "text", "masked_text"))
    return Loader(source, views, 8, seed=0, **settings)


def test_a_function_of_the_options_gives_the_source(module):
    source = open_source(f"{NAME}:squares", SourceOptions(split="dev", caption_column="title"))
    assert (len(source), source.describe, source.notes) == (30, "30 squares", ("one square is missing",))
    assert source.options == SourceOptions(split="dev", caption_column="title")
    assert source[3].captions == ("a yellow square",)
    again = pickle.loads(pickle.dumps(source))  # as it goes to a spawned worker
    assert again[3] == source[3]


def test_its_batches_are_the_same_with_workers_and_its_bad_samples_are_replaced(module):
    source = open_source(f"{NAME}:squares")
    here, causes = loader_of(source), set()
    for step, batch in enumerate(loader_of(source, num_workers=2).batches(0, 6)):
        expected = here.batch(step)
        assert batch.keys() == expected.keys()
        assert [list(bad) for bad in batch.pop("bad_samples")] == [list(bad) for bad in expected["bad_samples"]]
        assert all(torch.equal(batch[key], expected[key]) for key in batch)
        causes |= set(expected["bad_samples"])
    assert causes == {("no square", "square 7: there is no square 7")}


def test_it_is_mixed_with_others(module):
    table = write_pairs(module / "pairs", 5)
    mixed = open_source([f"{NAME}:squares*2", str(table)])
    assert len(mixed) == 65
    assert mixed[33].captions == ("a yellow square",)
    assert open_source(f"{NAME}:squares*2 + {table}").describe == mixed.describe


def test_a_path_that_exists_comes_first(module, monkeypatch):
    folder = module / f"{NAME}:squares"
    folder.mkdir()
    write_pairs(folder, 3)
    (folder / "pairs.csv").rename(folder / "metadata.csv")
    (folder / "metadata.csv").write_text((folder / "metadata.csv").read_text().replace("image,", "file_name,"))
    monkeypatch.chdir(module)
    assert len(open_source(f"{NAME}:squares")) == 3


@pytest.mark.parametrize("text", ["a:b", "a.b:c", "_a1.b_2:C_3"])
def test_what_is_taken_for_a_function(text):
    assert FUNCTION.fullmatch(text)
    with pytest.raises(UserError, match=f"data.source={text}: No module named"):
        open_source(text)


@pytest.mark.parametrize("text", ["1a:b", "a:1b", "a/b:c", "C:\\a", "a:b.c", "a:b:c", "a-b:c", "a:", ":a", "a.csv"])
def test_what_is_not_taken_for_a_function(text):
    assert not FUNCTION.fullmatch(text)
    with pytest.raises(UserError, match="does not exist"):
        open_source(text)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent", f"data.source={NAME}:absent: module '{NAME}' has no attribute 'absent'"),
        ("NUMBER", f"data: {NAME}:NUMBER: int found, a function of SourceOptions expected"),
        ("unfinished", f"data: {NAME}:unfinished returned no Source: its list lacks name, describe, "),
        ("nothing", f"data: {NAME}:nothing returned a source without samples"),
        ("fails", f"data: {NAME}:fails: KeyError: 'no_such_key'"),
        ("refuses", "no squares of the split train"),
    ],
)
def test_a_wrong_function_is_one_line(module, name, message):
    with pytest.raises(UserError, match=re.escape(message)) as raised:
        open_source(f"{NAME}:{name}")
    assert "\n" not in str(raised.value)


def test_the_command_line_trains_on_it(module):
    """From the folder of the module, as a user would: the working directory is searched."""
    done = askew_here("train", "--data", f"{NAME}:squares", "--out", "run", *micro_settings(), cwd=module)
    assert done.returncode == 0, done.stderr
    assert "one square is missing" in done.stderr
    assert (module / "run" / "model").is_dir()
    assert f"source: {NAME}:squares" in (module / "run" / "recipe.yaml").read_text()
