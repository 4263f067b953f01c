"""Methods that are made of ours, and what is wrong with a module from outside, in one line."""

import sys

import pytest

from askew.config import METHODS, method_config_class
from askew.errors import RunFailed, UserError, imported
from askew.recipes.settings import override, to_yaml
from micro_runs import metrics_of, micro_recipe, table_of_25, train, trainer_of

MODULE = """
import torch

from askew.methods.clip import CLIP


class Scaled(CLIP):
    class Config(CLIP.Config):
        factor: float = 2.0

        def build(self, towers, identity):
            return Scaled(self, towers)

    def objective(self, local, gathered, progress):
        loss, terms = super().objective(local, gathered, progress)
        return self.config.factor * loss, terms


class Clashing(CLIP):
    class Config(CLIP.Config):
        def build(self, towers, identity):
            return Clashing(self, towers)

    def objective(self, local, gathered, progress):
        loss, terms = super().objective(local, gathered, progress)
        return loss, terms | {"step": loss}


class Unconfigured(CLIP):
    pass
"""


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A module on the path, gone afterwards."""
    (tmp_path / "outside_methods.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("outside_methods", None)


def test_a_method_derived_from_one_of_ours_has_its_own_name_and_trains(outside):
    table = table_of_25(outside / "pairs")
    recipe = override(micro_recipe(table, "clip"), ["method.name=outside_methods:Scaled", "method.factor=3"])
    assert recipe.method.name == "outside_methods:Scaled"
    assert recipe.method.temperature == METHODS["clip"]().temperature
    assert "name: outside_methods:Scaled" in to_yaml(recipe)
    assert METHODS["clip"]().name == "clip"
    (first, *_), (plain, *_) = (
        metrics_of(train(one, outside / name)) for one, name in ((recipe, "run"), (micro_recipe(table, "clip"), "clip"))
    )
    assert first["contrast"] == plain["contrast"]
    assert first["loss"] == pytest.approx(3 * plain["loss"], rel=1e-6)


def test_a_term_cannot_take_a_name_that_the_loop_logs(outside):
    recipe = override(micro_recipe(table_of_25(outside / "pairs"), "clip"), ["method.name=outside_methods:Clashing"])
    with pytest.raises(UserError, match="a term of the loss cannot be called 'step'"):
        trainer_of(recipe).run()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("outside_methods:Unconfigured", "needs a Config of its own"),
        ("outside_methods:torch", "not a subclass of askew.methods.base.Method"),
        ("outside_methods:Missing", "has no attribute 'Missing'"),
        ("no_such_module:Method", "No module named 'no_such_module'"),
        ("clap", "is not known; methods: clip, slip"),
        (7, "is not known"),
    ],
)
def test_what_is_no_method_is_one_line(outside, name, words):
    with pytest.raises(UserError, match=words):
        method_config_class(name)


def test_an_error_in_a_module_is_named_with_its_line(outside):
    (outside / "outside_broken.py").write_text("x = 1\n\nraise RuntimeError('half done')\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"outside_broken:x: RuntimeError: half done \(.*outside_broken.py:3\)"):
        imported("outside_broken:x", "recipe")


def test_a_run_that_fails_after_its_first_step_says_how_to_resume(tmp_path):
    recipe = micro_recipe(table_of_25(tmp_path / "pairs"), "clip", learning_rate=1e30, min_learning_rate=0)
    with pytest.raises(RunFailed, match=r"is not finite.*Resume with --resume --out"):
        train(recipe, tmp_path / "run")
