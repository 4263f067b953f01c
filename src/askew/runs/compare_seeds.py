"""What `askew compare A0,A1,A2 B0,B1,B2` does: several runs a side, which differ in nothing but their seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path

from askew.data.files import home_path
from askew.errors import UserError, printable
from askew.evaluation.results import load
from askew.evaluation.seeds import Estimate, difference, interval, scores_of
from askew.evaluation.significance import same_items
from askew.report.table import Table
from askew.runs.directory import RunDirectory
from askew.runs.outcome_files import outcome_files
from askew.runs.tables import measure_title, percent, star


@dataclass(frozen=True)
class SeedDifference:
    """One measure of one task, on several runs a side.

    Attributes:
        a, b: the mean of each side.
        difference: b - a, seed by seed and item by item.
        n: items.
    """

    task: str
    measure: str
    a: Estimate
    b: Estimate
    difference: Estimate
    n: int


def names_of_side(text: str) -> list[str]:
    """What a side names: one thing, or several with commas between them. A path that exists is one."""
    return [text] if home_path(text).exists() else [name.strip() for name in text.split(",") if name.strip()]


def compared_across_seeds(a: Sequence[str], b: Sequence[str]) -> list[SeedDifference]:
    """Every measure of every task that all runs have, over the seeds that both sides have.

    The seed of a run is that of its recipe. What is no run (a results file) has its place on its side for a seed.

    Args:
        a, b: run directories, results files, or folders of outcomes.

    Raises:
        UserError: a side has a seed twice, both share none, no task is on all of them, or their items differ.
    """
    sides = [_by_seed(names) for names in (a, b)]
    seeds = sorted(sides[0].keys() & sides[1].keys())
    if not seeds:
        shown = " and ".join(", ".join(map(str, sorted(side))) for side in sides)
        raise UserError(f"the two sides have no seed in common ({shown}); runs are paired by train.seed")
    chosen = [[side[seed] for seed in seeds] for side in sides]
    files = {name: outcome_files(name) for side in chosen for name in side}
    tasks = [task for task in files[chosen[0][0]] if all(task in found for found in files.values())]
    if not tasks:
        raise UserError("no task has been run on all of them; run askew eval on each in the same way")
    made: list[SeedDifference] = []
    for task in sorted(tasks):
        made += _of_task(task, seeds, chosen, files)
    return made


def seeds_table(found: Sequence[SeedDifference], a: Sequence[str], b: Sequence[str]) -> Table:
    """One row per task and measure: both means and their spread over seeds, the difference and its interval."""
    columns = ("task", "measure", "A, %", "B, %", "B - A", "95 % interval", "of items", "of seeds", "seeds", "items")
    rows = []
    for one in found:
        gain = one.difference
        mark = star(gain.low, gain.high) if gain.clear else "  "
        interval = f"{100 * gain.low:+.1f} to {100 * gain.high:+.1f}{mark}"
        errors = ["" if isnan(error) else f"{100 * error:.2f}" for error in (gain.item_error, gain.seed_error)]
        sides = [_spread(side) for side in (one.a, one.b)]
        rows.append(
            [
                printable(one.task), measure_title(one.measure), *sides, f"{100 * gain.mean:+.1f}", interval, *errors,
                str(gain.num_seeds), f"{one.n:,}",
            ]
        )  # fmt: skip
    shown = [printable(", ".join(names), 400) for names in (a, b)]
    title = f"B - A, mean ± standard deviation over seeds\nA {shown[0]}\nB {shown[1]}"
    caption = (
        "Intervals are of other items and other seeds together; 'of items' and 'of seeds' are the standard errors that "
        "each adds, in points. * the interval excludes zero; one in twenty such intervals does so by chance"
    )
    return Table(title, columns, rows, left=columns[:2], caption=caption)


def _spread(side: Estimate) -> str:
    return percent(side.mean) + ("" if isnan(side.deviation) else f" ± {percent(side.deviation)}")


def _by_seed(names: Sequence[str]) -> dict[int, str]:
    found: dict[int, str] = {}
    for place, name in enumerate(names):
        directory = RunDirectory(home_path(name))
        seed = directory.read_recipe().train.seed if directory.exists else place
        if seed in found:
            raise UserError(
                f"{printable(found[seed], 200)} and {printable(name, 200)} have the same seed, {seed}, on one side; "
                "name runs of different seeds"
            )
        found[seed] = name
    return found


def _of_task(
    task: str, seeds: Sequence[int], sides: Sequence[Sequence[str]], files: dict[str, dict[str, Path]]
) -> list[SeedDifference]:
    """The measures of one task. The items of all runs are put in one order."""
    read = [[load(files[name][task]) for name in side] for side in sides]
    reference, first = printable(sides[0][0]), read[0][0]
    loaded = [
        [one.at(same_items(task, first, one, (reference, printable(name)))[1]) for name, one in zip(*pair, strict=True)]
        for pair in zip(sides, read, strict=True)
    ]
    found = []
    for measure in (m for m in first.right if all(m in one.right for side in loaded for one in side)):
        a, b = (scores_of(seeds, side, measure) for side in loaded)
        gain = difference(a, b)
        assert gain is not None, "the seeds are the same"
        found.append(SeedDifference(task, measure, interval(a), interval(b), gain, len(first.items)))
    return found
