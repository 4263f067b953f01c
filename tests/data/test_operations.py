"""The table of image operations, and operations from outside the package."""

import json
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import forked
from askew.data.loader import Loader
from askew.data.operations import (
    CHANCES,
    IDENTITY,
    NUM_PARAMETERS,
    OPERATIONS,
    PARAMETERS,
    bind,
    custom_operations,
    draw,
    identity,
)
from askew.data.sources import open_source
from askew.data.views import ImageView, stream
from askew.errors import UserError
from askew.nn.heads import AugmentationHead
from askew.recipes.settings import from_yaml, override, to_yaml
from askew.training.build import build_method, build_views
from helpers import write_pairs
from micro_runs import askew_here, micro_recipe, train

# A module of a user: two operations, one of them with functions that cannot be pickled, and several wrong ones
MODULE = """
import torch

from askew.data.operations import Operation


def threshold(rng, strength):
    return rng.uniform(0.1, 0.5)


def solarize(image, recorded, strength):
    above = image >= 1 - recorded[:, None, None, None]
    return torch.where(above, 1 - image, image)


SOLARIZE = Operation("solarize", "1 minus the threshold", draw=threshold, apply=solarize)
INVERT = Operation("invert", "1 if inverted", apply=lambda image, recorded, strength: image.neg_().add_(1))
GAMMA = Operation(
    "gamma", "exponent", (0.5, 2), 1, draw=lambda rng, strength: rng.uniform(0.5, strength), strength=2.0,
    apply=lambda image, recorded, strength: image.pow_(recorded[:, None, None, None]),
)  # fmt: skip

NUMBER = 3
HUE = Operation("hue", "there is one already", apply=solarize)
UNTOUCHED = Operation("one", "", (0.1, 0.5), 0, draw=threshold, apply=solarize)
FAR = Operation("two", "", (0, 0.2), draw=threshold, apply=solarize)
WITHOUT = Operation("three", "")
RAISES = Operation("four", "", apply=lambda image, recorded: image)
SMALLER = Operation("five", "", apply=lambda image, recorded, strength: image[:, :1])
NAN = Operation("six", "", draw=lambda rng, strength: float("nan"), apply=solarize)


DRAWN = 0.5
RARELY = Operation("seven", "", draw=lambda rng, strength: DRAWN, apply=solarize)
"""
NAME = "operations_from_outside"
SOLARIZE, INVERT, GAMMA = (f"{NAME}:{name}" for name in ("SOLARIZE", "INVERT", "GAMMA"))
JITTER = (0.4, 0.4, 0.4, 0.1)
STRONG = ImageView("aug", 24, (0.08, 1.0), 0.5, 0.8, JITTER, 0.2, 0.5, (0.1, 2.0))


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The user's module can be imported, from a folder outside the package."""
    (tmp_path / f"{NAME}.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    yield tmp_path
    sys.modules.pop(NAME, None)


def recipe_with(table, custom, method="uniclip"):
    recipe = micro_recipe(table, method)
    return recipe.model_copy(update={"views": recipe.views.model_copy(update={"operations": custom})})


def loader_of(recipe, **settings):
    source = open_source(recipe.data.source)
    views = build_views(recipe, ("image", "aug", "aug2", "text"))
    return Loader(source, views, recipe.loader.batch_size, seed=0, **settings)


# The table


def test_columns_are_named_once_and_in_the_order_that_results_depend_on():
    assert (
        *("crop_x", "crop_y", "crop_w", "crop_h", "brightness", "contrast", "saturation", "hue"),
        *("blur", "flip", "grayscale"),
    ) == PARAMETERS
    assert len(set(PARAMETERS)) == NUM_PARAMETERS == 11
    assert IDENTITY == identity() == (0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0)


def test_an_untouched_number_is_in_the_range():
    for operation in OPERATIONS:
        assert operation.range[0] <= operation.untouched <= operation.range[1], operation.name
        assert operation.description


def test_every_chance_belongs_to_an_operation():
    named = [operation.probability for operation in OPERATIONS if isinstance(operation.probability, str)]
    assert set(named) == set(CHANCES)


def test_numbers_are_drawn_in_the_order_that_results_depend_on():
    """Written out: the chances of flip, jitter, grayscale and blur, then four changes of colour, then the blur."""
    for seed in range(200):
        view = STRONG if seed % 2 else replace(STRONG, flip=0.1, jitter=(0.4, 0.0, 0.4, 0.1), blur_sigma=(0.3, 5.0))
        found = draw(view.operations, (0.1, 0.2, 0.3, 0.4), np.random.default_rng(seed))
        rng = np.random.default_rng(seed)
        flip, jitter, grayscale, blur = rng.random(4)
        changes = rng.uniform(-1, 1, size=4)
        sigma = rng.uniform(*view.blur_sigma)
        jittered = jitter < view.jitter_probability
        expected = [0.1, 0.2, 0.3, 0.4]
        expected += [c if jittered and largest else 0 for c, largest in zip(changes, view.jitter, strict=True)]
        expected += [sigma / 2 if blur < view.blur else 0, flip < view.flip, grayscale < view.grayscale]
        assert found == expected
        assert rng.random() == skipped(view, seed)


def skipped(view, seed):
    """The random number after all that a view draws."""
    rng = np.random.default_rng(seed)
    draw(view.operations, (0, 0, 1, 1), rng)
    return rng.random()


def test_a_strength_is_a_setting_or_one_number_of_it():
    strengths = {one.operation.name: one.strength for one in bind(STRONG)}
    assert [strengths[name] for name in ("brightness", "contrast", "saturation", "hue")] == list(JITTER)
    assert strengths["blur"] == (0.1, 2.0)
    assert strengths["crop_x"] == (0.08, 1.0)


# Operations from outside


def test_custom_operations_have_further_columns(module):
    custom = custom_operations({SOLARIZE: 0.2, INVERT: 0.1, GAMMA: 1.0})
    assert [one.name for one in custom] == ["solarize", "invert", "gamma"]
    assert [one.probability for one in custom] == [0.2, 0.1, 1.0]
    assert identity(custom) == (*IDENTITY, 0, 0, 1)


def test_a_custom_operation_changes_no_number_of_any_other(module):
    custom = custom_operations({SOLARIZE: 0.5, INVERT: 0.3})
    for seed in range(100):
        plain, one, two, other = (
            replace(STRONG, custom=chosen).draw(40, 30, stream([seed], "aug"))
            for chosen in ((), custom[:1], custom, tuple(replace(o, probability=0.0) for o in custom))
        )
        assert plain.box == one.box == two.box
        assert torch.equal(plain.parameters, one.parameters[:11])
        assert torch.equal(one.parameters, two.parameters[:12])
        assert other.parameters.tolist() == [*plain.parameters.tolist(), 0, 0]


def test_a_custom_operation_has_the_right_odds_and_its_own_range(module):
    view = replace(STRONG, custom=custom_operations({SOLARIZE: 0.3}))
    drawn = torch.stack([view.draw(40, 30, stream([seed], "aug")).parameters[11] for seed in range(2000)])
    happened = drawn != 0
    assert happened.float().mean().item() == pytest.approx(0.3, abs=0.052)  # five standard deviations
    assert 0.1 <= drawn[happened].min() < 0.12
    assert 0.48 < drawn[happened].max() <= 0.5


def test_custom_operations_are_applied_last_and_where_they_were_drawn(module):
    """The batch stage against its parts: the built-in operations, then each custom one, on the samples it wants."""
    custom = custom_operations({SOLARIZE: 0.5, GAMMA: 0.5})
    view = replace(STRONG, custom=custom)
    image = (torch.rand(24, 3, 20, 20, generator=torch.Generator().manual_seed(0)) * 255).byte()
    parameters = torch.stack([view.draw(40, 30, stream([row], "aug")).parameters for row in range(24)])
    batch, plain = {"aug": image, "aug_params": parameters}, {"aug": image, "aug_params": parameters[:, :11]}
    view.finish(batch, lambda values: values)
    STRONG.finish(plain, lambda values: values)
    changed = 0
    for made, values, recorded in zip(batch["aug"], plain["aug"], parameters, strict=True):
        expected = values.clamp(0, 1)
        if recorded[11] != 0:
            expected = torch.where(expected >= 1 - recorded[11], 1 - expected, expected)
        if recorded[12] != 1:
            expected = expected.pow(recorded[12])
        torch.testing.assert_close(made, expected, rtol=0, atol=1e-6)
        changed += int(not torch.equal(made, values))
    assert 8 < changed < 24


def test_a_recipe_with_custom_operations_has_them_in_both_strong_views(module):
    recipe = recipe_with(write_pairs(module / "pairs", 40), {SOLARIZE: 0.9, INVERT: 0.9})
    loader = loader_of(recipe)
    batch = loader.batch(0)
    for key in ("image", "aug", "aug2"):
        assert batch[f"{key}_params"].shape == (8, 13)
    assert (batch["image_params"][:, 4:] == 0).all()
    assert (batch["aug_params"][:, 11:] != 0).float().mean() > 0.5
    assert (batch["aug2_params"][:, 11:] != 0).float().mean() > 0.5
    plain = loader_of(recipe_with(recipe.data.source, {})).batch(0)
    for key, value in plain.items():
        if key != "bad_samples":
            assert torch.equal(batch[key][:, :11] if key.endswith("_params") else batch[key], value), key
    finished, finished_plain = (
        loader.views.finish(batch),
        loader_of(recipe_with(recipe.data.source, {})).views.finish(plain),
    )
    assert torch.equal(finished["image"], finished_plain["image"])
    assert not torch.equal(finished["aug"], finished_plain["aug"])


def test_custom_operations_travel_to_workers(module):
    recipe = recipe_with(write_pairs(module / "pairs", 40), {SOLARIZE: 0.5, INVERT: 0.5})
    here = loader_of(recipe)
    for step, batch in enumerate(loader_of(recipe, num_workers=2).batches(0, 5)):
        expected = here.batch(step)
        assert all(torch.equal(batch[key], expected[key]) for key in expected if key != "bad_samples")
    copy = pickle.loads(pickle.dumps(here.views))  # as they go to a spawned worker
    assert [one.name for one in copy.images[1].custom] == ["solarize", "invert"]
    assert copy == here.views


def test_custom_operations_travel_to_a_process_that_starts_from_nothing(module):
    """As a spawned worker does: it knows askew but no custom module, and half of the functions are no module's."""
    (module / "views.bin").write_bytes(pickle.dumps(build_views(recipe_with("unused", {INVERT: 1.0}), ("aug",))))
    code = "\n".join([
        "import pickle, sys, numpy",
        "views = pickle.loads(open('views.bin', 'rb').read())",
        "drawn = views.images[1].draw(40, 30, numpy.random.default_rng(0))",
        "assert drawn.parameters[11] == 1, drawn",
    ])  # fmt: skip
    done = subprocess.run([forked.python(), "-c", code], cwd=module, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_uniclip_is_told_of_custom_operations_and_trains(module):
    recipe = recipe_with(write_pairs(module / "pairs", 26), {SOLARIZE: 0.5, GAMMA: 0.5})
    method = build_method(recipe)
    (head,) = (part for part in method.modules() if isinstance(part, AugmentationHead))
    assert tuple(head.get_buffer("identity").tolist()) == (*IDENTITY, 0, 1)
    folder = train(recipe, module / "run")
    assert (folder / "model").is_dir()
    assert from_yaml(folder / "recipe.yaml").views.operations == {SOLARIZE: 0.5, GAMMA: 0.5}


def test_a_recipe_names_custom_operations(module, tmp_path):
    recipe = override(micro_recipe("pairs.csv"), [f'views.operations={{"{SOLARIZE}": 0.2}}'])
    assert recipe.views.operations == {SOLARIZE: 0.2}
    (tmp_path / "recipe.yaml").write_text(to_yaml(recipe), encoding="utf-8")
    assert from_yaml(tmp_path / "recipe.yaml") == recipe
    with pytest.raises(UserError, match=r"views\.operations"):
        override(recipe, [f'views.operations={{"{SOLARIZE}": 1.2}}'])


WRONG = {
    "NUMBER": r": int found, askew\.data\.operations\.Operation expected",
    "HUE": "there is an operation 'hue' already; give it another name",
    "UNTOUCHED": r"0 is outside its range of 0\.1 to 0\.5 \(untouched\)",
    "FAR": r"0\.\d+ is outside its range of 0 to 0\.2; `draw` must keep to it",
    "NAN": "nan is outside its range of 0 to 1",
    "WITHOUT": "has no `apply`",
    "RAISES": "TypeError: .* takes 2 positional arguments but 3 were given",
    "SMALLER": r"`apply` must return images like those that it is given, float32 \(B, 3, H, W\)",
    "ABSENT": f"module '{NAME}' has no attribute 'ABSENT'",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_operation_is_one_line(module, name):
    with pytest.raises(UserError, match=WRONG[name]) as raised:
        custom_operations({f"{NAME}:{name}": 0.5})
    assert str(raised.value).startswith("views.operations")
    assert f"{NAME}:{name}" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_two_operations_of_one_name_are_one_line(module):
    (module / "operations_of_another.py").write_text(f"from {NAME} import SOLARIZE", encoding="utf-8")
    with pytest.raises(UserError, match="another:SOLARIZE: there is an operation 'solarize' already"):
        custom_operations({SOLARIZE: 0.5, "operations_of_another:SOLARIZE": 0.5})


def test_a_module_that_is_not_there_is_one_line():
    with pytest.raises(UserError, match=r"views\.operations=no_such_module:X: No module named 'no_such_module'"):
        custom_operations({"no_such_module:X": 0.5})


@pytest.mark.parametrize("workers", [0, 1])
def test_a_number_out_of_range_during_training_fails_the_run_in_one_line(module, monkeypatch, workers):
    recipe = recipe_with(write_pairs(module / "pairs", 40), {f"{NAME}:RARELY": 1.0})
    loader = loader_of(recipe, num_workers=workers)
    monkeypatch.setattr(sys.modules[NAME], "DRAWN", 2.0)
    (batch,) = loader.batches(0, 1)
    assert batch == {"failed": f"views.operations: {NAME}:RARELY: 2.0 is outside its range of 0 to 1"}


def test_the_command_line_names_a_wrong_operation(module):
    setting = json.dumps({f"{NAME}:NUMBER": 0.5})
    table = write_pairs(module / "pairs", 26)
    done = askew_here("train", "--data", table, "--set", f"views.operations={setting}", cwd=module)
    assert done.returncode == 2
    assert f"{NAME}:NUMBER: int found, askew.data.operations.Operation expected" in " ".join(done.stderr.split())
