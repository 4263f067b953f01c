"""What `askew eval` is asked for: the model, the data sets and how they are opened, and options that do not fit."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from askew.data.images import PixelLimit
from askew.errors import UserError, printable
from askew.evaluation.datasets.base import EvaluationSet
from askew.evaluation.suite import EvaluationOptions
from askew.runs.custom_data import open_asked

Openers = dict[str, Callable[[], EvaluationSet]]  # data sets by name, opened when their turn comes


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line.

    Attributes:
        model: a run directory, local-dir:FOLDER, or NAME or NAME/TAG of open_clip.
        suite: "tiny", a suite of the catalogue, or names of its data sets with commas.
        data_root: the folder that holds the catalogue's data sets.
        data: custom data instead of a suite; `prompts`, `class_names`, `against` and `sets` go with it.
        sets: KEY=VALUE settings of how `data` is read (`data.split=test`).
        out: where results are appended; None: the run's own file, or none.
        cache: folder of features.
        max_megapixels: an image with more cannot be used.
    """

    model: str
    suite: str = "tiny"
    weights: str = "student"
    out: Path | None = None
    batch_size: int = 256
    precision: str = "fp32"
    data_root: Path | None = None
    data: str = ""
    prompts: str = ""
    against: str = ""
    cache: Path | None = None
    class_names: str = ""
    sets: tuple[str, ...] = ()
    options: EvaluationOptions = field(default_factory=EvaluationOptions)
    max_megapixels: float = PixelLimit().megapixels


def default_cache() -> Path | None:
    """`askew/features` in the user's cache folder; None for a user without a home."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "askew" / "features"
    except RuntimeError:
        return None


def openers_of(asked: Request) -> Openers:
    """The data sets that were asked for. Custom data are open already: a wrong layout shows at once.

    Raises:
        UserError: unknown data sets, custom data that cannot be read, or options that belong to other data.
    """
    return _custom(asked) if asked.data else _catalogued(asked)


def refuse_options_of_others(asked: Request) -> None:
    """The suite `tiny` is fixed, and options that it would ignore are errors."""
    options = {
        "--precision bf16": asked.precision != "fp32",
        "--prompts": asked.prompts,
        "--class-names": asked.class_names,
        "--set": asked.sets,
        "--against": asked.against,
        "--data-root": asked.data_root,
        "other names in --suite": asked.suite != "tiny",
    }
    ignored = [option for option, given in options.items() if given]
    if ignored:
        raise UserError(
            f"the suite tiny takes no {', no '.join(ignored)}; it runs alone, and other data sets need a second command"
        )


def _custom(asked: Request) -> Openers:
    opened = open_asked(asked.data, asked.sets, asked.prompts, asked.class_names, asked.against)
    return {opened.name: lambda: opened}


def _catalogued(asked: Request) -> Openers:
    from askew.evaluation.datasets import catalog  # the suite `tiny` does not need its readers

    for option, value in (
        ("--prompts", asked.prompts), ("--class-names", asked.class_names), ("--against", asked.against),
        ("--set", asked.sets),
    ):  # fmt: skip
        if value:
            raise UserError(f"{option} belongs to --data; the sets of a suite have prompts of their own")
    entries = catalog.find_entries(asked.suite)
    need = [entry.name for entry in entries if entry.packaged is None]
    if asked.data_root is None and need:
        raise UserError(
            f"--suite {printable(asked.suite)} needs --data-root DIR, the folder that holds the data sets"
            + ("" if len(need) == len(entries) else f" (for {', '.join(need)})")
        )
    return {entry.name: partial(entry.open, asked.data_root) for entry in entries}
