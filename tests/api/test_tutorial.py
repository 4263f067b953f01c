"""examples/tutorial.py runs as it is, at a small size, and draws what it says."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from askew import recipes
from helpers import micro_towers

FILE = Path(__file__).parents[2] / "examples" / "tutorial.py"


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """What the tutorial leaves, with micro towers and two steps."""
    folder = tmp_path_factory.mktemp("tutorial")
    recipe = recipes.find("tiny-clip").model_copy(update={"towers": micro_towers()})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(recipes.RECIPES, "tiny-clip", lambda: recipe)
        patch.setenv("TUTORIAL_FOLDER", str(folder / "made"))
        patch.setenv("TUTORIAL_STEPS", "2")
        return runpy.run_path(str(FILE), run_name="__main__")


def test_the_figures_are_there_and_not_blank(names):
    made = sorted(path.name for path in names["FOLDER"].glob("*.png"))
    assert made == ["captions.png", "curve.png", "results.png", "scenery.png", "search.png"]
    for name in made:
        assert np.asarray(Image.open(names["FOLDER"] / name).convert("L")).std() > 5, name


def test_what_it_says_is_there(names):
    assert [line["step"] for line in names["run"].metrics] == [1, 2]
    assert names["shown"].keys() <= names["results"].keys()
    assert len(names["photographs"]) == 40
    assert len(names["drawings"]) == 1268
    assert 0 < names["area"] < 1


def test_its_cells_are_marked():
    cells = [line for line in FILE.read_text(encoding="utf-8").splitlines() if line.startswith("# %%")]
    assert cells == ["# %% [markdown]", "# %%"] * 7
