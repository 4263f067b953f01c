"""The examples in the docstrings of the public names run, and every public name has one."""

import doctest
import inspect
from contextlib import chdir

import pytest
from PIL import Image

import askew
from askew.recipes.settings import to_yaml
from micro_runs import micro_recipe, table_of_25, train

NAMES = [name for name in askew.__all__ if name != "__version__"]


@pytest.fixture(scope="module")
def globs(tmp_path_factory):
    """What examples may use: a finished run, pairs, photographs, and a recipe, in the working directory."""
    here = tmp_path_factory.mktemp("docstrings")
    table = table_of_25(here)
    recipe = micro_recipe(table, "clip", epochs=1)
    train(recipe, here / "runs" / "my-run")
    (here / "my_recipe.yaml").write_text(to_yaml(recipe), encoding="utf-8")
    (here / "photos").mkdir()
    for number, path in enumerate(sorted(here.glob("*.png"))[:3], 1):
        Image.open(path).save(here / "photos" / f"{number}.jpg")
    with chdir(here):
        yield {"askew": askew, "model": askew.load("runs/my-run", device="cpu")}


@pytest.mark.parametrize("name", NAMES)
def test_examples_run(name, globs):
    """Also those of the methods of a class."""
    found = getattr(askew, name)
    tests = [test for test in doctest.DocTestFinder().find(found, name, globs=globs) if test.examples]
    assert inspect.getdoc(found)
    assert tests, "no example"
    for test in tests:
        report: list[str] = []
        doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=report.append)
        assert report == []
