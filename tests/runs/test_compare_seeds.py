"""Several runs a side: paired by seed in any order of names and items, and honest about what it knows."""

import numpy as np
import pytest

from askew import recipes
from askew.errors import UserError
from askew.evaluation.results import Outcomes, save
from askew.recipes.settings import override
from askew.report.console import Console
from askew.runs.compare import compare
from askew.runs.compare_seeds import compared_across_seeds, names_of_side, seeds_table
from askew.runs.directory import RunDirectory
from askew.runs.tables import star

ITEMS = 200


def outcomes(seed, share, items=ITEMS):
    right = np.random.default_rng(seed).random(items) < share
    names = np.array([f"{n:032x}" for n in range(items)])
    return Outcomes(names, names, {"top1": right}, clusters=np.arange(items) // 2)


def run(folder, seed, share, shuffled=False, items=ITEMS, task="pets/zero_shot"):
    """A run directory that has a recipe and the outcomes of one task."""
    directory = RunDirectory(folder)
    folder.mkdir(parents=True)
    directory.write_recipe(override(recipes.find("tiny-clip"), [f"train.seed={seed}"]))
    made = outcomes(1000 * seed + round(100 * share), share, items)
    order = np.random.default_rng(seed).permutation(items) if shuffled else np.arange(items)
    file = directory.results.outcomes() / f"{task}.npz"
    file.parent.mkdir(parents=True)
    save(made.at(order), file)
    return str(folder), made.right["top1"]


def test_seeds_are_paired_in_any_order(tmp_path):
    a = [run(tmp_path / f"a{seed}", seed, 0.4) for seed in (0, 1, 2)]
    b = [run(tmp_path / f"b{seed}", seed, 0.6, shuffled=True) for seed in (2, 0, 1)]
    (found,) = compared_across_seeds([name for name, _ in a], [name for name, _ in b])
    by_seed = dict(zip((2, 0, 1), (right for _, right in b), strict=True))
    gains = np.array([by_seed[seed].mean() - right.mean() for seed, (_, right) in enumerate(a)])
    assert found.difference.mean == pytest.approx(gains.mean())
    assert found.difference.seed_error == pytest.approx(gains.std(ddof=1) / np.sqrt(3))
    assert found.a.deviation == pytest.approx(np.std([right.mean() for _, right in a], ddof=1))
    assert (found.difference.num_seeds, found.n) == (3, ITEMS)
    assert found.difference.clear
    row = seeds_table([found], ["a"], ["b"]).rows[0]
    assert row[5].endswith(" *")
    assert row[2].startswith(f"{100 * found.a.mean:.1f} ± ")


def test_only_shared_seeds_count_and_one_seed_has_no_star(tmp_path):
    a = [run(tmp_path / f"a{seed}", seed, 0.2)[0] for seed in (0, 1)]
    b = [run(tmp_path / f"b{seed}", seed, 0.9)[0] for seed in (1, 5)]
    (found,) = compared_across_seeds(a, b)
    assert found.difference.num_seeds == 1
    assert "*" not in seeds_table([found], a, b).rows[0][5]
    assert "nan" not in "".join(seeds_table([found], a, b).rows[0])


@pytest.mark.parametrize(
    ("seeds_a", "seeds_b", "changes", "words"),
    [
        ((0, 1), (2, 3), {}, r"no seed in common \(0, 1 and 2, 3\); runs are paired by train.seed"),
        ((0, 0), (0, 1), {}, "have the same seed, 0, on one side"),
        ((0, 1), (0, 1), {"items": 150}, "pets/zero_shot: the two were not tested on the same items"),
        ((0, 1), (0, 1), {"task": "dtd/zero_shot"}, "no task has been run on all of them"),
    ],
)
def test_what_cannot_be_compared_is_said(seeds_a, seeds_b, changes, words, tmp_path):
    a = [run(tmp_path / f"a{place}", seed, 0.4)[0] for place, seed in enumerate(seeds_a)]
    b = [run(tmp_path / f"b{place}", seed, 0.4, **changes)[0] for place, seed in enumerate(seeds_b)]
    with pytest.raises(UserError, match=words):
        compared_across_seeds(a, b)


def test_the_command_takes_commas(tmp_path, capsys):
    sides = [",".join(run(tmp_path / f"{side}{seed}", seed, share)[0] for seed in (0, 1))
             for side, share in (("a", 0.3), ("b", 0.7))]  # fmt: skip
    compare(*sides, Console())
    printed = capsys.readouterr().out
    assert "mean ± standard deviation over seeds" in printed
    assert "pets/zero_shot" in printed
    strange = tmp_path / "x,y"
    strange.mkdir()
    assert names_of_side(str(strange)) == [str(strange)]
    assert names_of_side("a, b,") == ["a", "b"]


def test_an_interval_that_touches_zero_as_shown_has_no_star():
    """Seen: `+0.0 to +3.6 *`."""
    assert star(0.0004, 0.036).strip() == ""
    assert star(0.0006, 0.036).strip() == "*"
    assert star(-0.03, -0.0004).strip() == ""
    assert star(-0.03, -0.0006).strip() == "*"
