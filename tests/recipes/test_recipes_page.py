"""The tables of docs/recipes.md are those of the recipes."""

import runpy
from pathlib import Path

from askew.recipes import RECIPES

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "recipes_page.py"))


def test_the_page_has_every_recipe_as_it_is():
    text = SCRIPT["PAGE"].read_text(encoding="utf-8")
    assert SCRIPT["page"](text) == text, "run python scripts/recipes_page.py"
    listed = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    assert sorted(listed) == sorted(RECIPES)
