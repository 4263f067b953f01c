"""What an entry of `evaluate` or of `evaluation.during` names, opened."""

from dataclasses import dataclass

from askew.config import EvaluateEntry
from askew.data.files import home_path
from askew.errors import UserError, printable
from askew.evaluation.datasets.base import Captioned, EvaluationSet
from askew.evaluation.suite import KNOWN_TASKS, TASKS, EvaluationOptions
from askew.runs.custom_data import open_asked

TINY = "tiny"  # the suite of the data that come with askew
DEFAULT_TASKS = tuple(task for task in TASKS if task != "linear_probe")  # which takes long, and runs where it is named


@dataclass(frozen=True)
class OpenedSet:
    """A data set of `evaluation.during`, by the name that its measures have.

    Attributes:
        dataset: None for the suite `tiny`, which opens its own data.
        data: of custom data, as it was written; "" for sets of the catalogue.
    """

    name: str
    dataset: EvaluationSet | None
    options: EvaluationOptions
    data: str = ""


def opened_entry(entry: EvaluateEntry) -> list[OpenedSet]:
    """The data sets that an entry names. Images are not decoded yet.

    Raises:
        UserError: an unknown suite or task, or data that are not there or cannot be read.
    """
    tasks = ("wrong_captions",) if entry.wrong_captions else tuple(entry.tasks or DEFAULT_TASKS)
    if unknown := [task for task in tasks if task not in KNOWN_TASKS]:
        raise UserError(f"the task {printable(', '.join(unknown))} is not known; tasks: {', '.join(KNOWN_TASKS)}")
    options = EvaluationOptions(tasks, allow_missing=entry.allow_missing)
    if entry.suite == TINY:
        if entry.data_root or entry.tasks:
            raise UserError("the suite tiny is fixed: it takes no data_root and no tasks")
        return [OpenedSet(TINY, None, options)]
    if entry.suite:
        from askew.evaluation.datasets import catalog  # the suite `tiny` does not need its readers

        found = catalog.find_entries(entry.suite)
        if not entry.data_root and any(one.packaged is None for one in found):
            raise UserError(f"suite {printable(entry.suite)} needs data_root, the folder that holds the data sets")
        root = home_path(entry.data_root) if entry.data_root else None
        return [OpenedSet(one.name, one.open(root), options) for one in found]
    data = entry.data or entry.wrong_captions
    opened = open_asked(data, tuple(entry.settings), "", "", "")
    if entry.wrong_captions and not isinstance(opened, Captioned):
        raise UserError(f"wrong_captions: {printable(data)} holds class folders, and no captions")
    return [OpenedSet(opened.name, opened, options, data)]
