"""What `askew compare` does: two models on the same items, with paired intervals."""

from dataclasses import dataclass

from askew.errors import UserError, printable
from askew.evaluation.results import load
from askew.evaluation.significance import Difference, differences
from askew.report.console import Console
from askew.runs.compare_seeds import compared_across_seeds, names_of_side, seeds_table
from askew.runs.outcome_files import outcome_files
from askew.runs.tables import comparison_table


@dataclass(frozen=True)
class Comparison:
    """Differences of two models on the tasks that both were evaluated on.

    Attributes:
        tasks: that both have.
        differences: one per task and measure.
        refused: why tasks could not be compared: they were run on different items.
        alone: tasks that one of them alone has, by its name.
    """

    tasks: tuple[str, ...]
    differences: tuple[Difference, ...]
    refused: tuple[str, ...]
    alone: dict[str, tuple[str, ...]]


def compared(a: str, b: str) -> Comparison:
    """Two models on the same items.

    Args:
        a, b: run directories, results files, or folders of outcomes.

    Raises:
        UserError: no outcomes, or no task in common.
    """
    files_a, files_b = (outcome_files(name) for name in (a, b))
    common = [task for task in sorted(files_a) if task in files_b]
    if not common:
        have = "; ".join(f"{n}: {', '.join(sorted(f)) or 'none'}" for n, f in ((a, files_a), (b, files_b)))
        raise UserError(f"no task has been run on both ({printable(have, 400)})")
    found: list[Difference] = []
    refused: list[str] = []
    for task in common:
        try:
            found += differences(task, load(files_a[task]), load(files_b[task]), (printable(a), printable(b)))
        except UserError as error:
            refused.append(str(error))
    pairs = ((a, files_a, files_b), (b, files_b, files_a))
    alone = {name: tuple(sorted(set(files) - set(others))) for name, files, others in pairs}
    return Comparison(tuple(common), tuple(found), tuple(refused), {n: tasks for n, tasks in alone.items() if tasks})


def compare(a: str, b: str, console: Console) -> None:
    """Print the differences of two models, or of several runs a side (`A0,A1 B0,B1`); see `compared`.

    Raises:
        UserError: no outcomes, or no task in common; after the table, tasks whose items differ.
    """
    sides = [names_of_side(text) for text in (a, b)]
    if any(len(side) > 1 for side in sides):
        console.table(seeds_table(compared_across_seeds(*sides), *sides))
        return
    comparison = compared(a, b)
    found, refused = list(comparison.differences), list(comparison.refused)
    for name, tasks in comparison.alone.items():
        console.say(f"only on {printable(name)}: {', '.join(tasks)}")
    if found:
        console.table(comparison_table(found, printable(a, 400), printable(b, 400)))
    if refused:
        more = f" (and {len(refused) - 1} more tasks of {len(comparison.tasks)})" if len(refused) > 1 else ""
        raise UserError(refused[0] + more)
