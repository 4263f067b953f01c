"""A user's folder of class folders as a classification data set, maybe within test/, train/ and validation/."""

from pathlib import Path

import numpy as np

from askew.errors import UserError, printable
from askew.evaluation.datasets.base import Classification, Labelled
from askew.evaluation.datasets.class_layout import Layout, Node, class_layout
from askew.evaluation.datasets.class_names import names_of, read_class_names
from askew.evaluation.datasets.folder import ImageFiles
from askew.evaluation.datasets.prompts import read_prompts

__all__ = ["Layout", "class_layout", "open_class_folders", "refuse_for_captions"]


def open_class_folders(folder: Path, prompts: str = "", class_names: str = "") -> Classification:
    """Open a folder of class folders, maybe within test/, train/ and validation/.

    Args:
        prompts: a template with `{}`, or a file with one template per line; "" is "a photo of a {}".
        class_names: a file of names of the classes (`read_class_names`); "" takes the folders' names, or ImageNet's for
            WordNet ids.

    Raises:
        UserError: a layout with two readings, an empty class, different classes in splits, malformed prompts or names.
    """
    templates = read_prompts(prompts)
    given = read_class_names(class_names) if class_names else {}
    layout = class_layout(folder, given)
    if layout is None:
        raise UserError(f"{printable(str(folder), 400)}: not a folder of class folders: no folder in it holds an image")
    if layout.problem:
        raise UserError(layout.problem)
    names, notes, warnings = names_of(layout.classes, given, class_names)
    notes = [*layout.notes, *notes]
    splits = {split: _labelled(folder, node, notes) for split, node in layout.splits.items()}
    return Classification(
        folder.resolve().name or "data",
        "top1",
        names,
        templates,
        splits["test"],
        splits.get("train"),
        splits.get("validation"),
        notes=tuple(notes),
        warnings=(*layout.warnings, *warnings),
    )


def refuse_for_captions(text: str, prompts: str, class_names: str) -> None:
    """Options of class folders do nothing for images and captions.

    Raises:
        UserError: one of them is given.
    """
    if prompts or class_names:
        option = "--prompts" if prompts else "--class-names"
        raise UserError(
            f"{option} belongs to class folders, and {printable(text, 400)} is read as images and captions; leave it "
            "out (a template for captions is --caption-prompt)"
        )


def _labelled(folder: Path, split: Node, notes: list[str]) -> Labelled:
    """Images and labels of one split. Files that are neither images nor hidden are noted in `notes`."""
    paths: list[str] = []
    labels: list[int] = []
    for label, node in enumerate(sorted(split.folders, key=lambda node: node.name)):
        found = node.paths()
        others = [name for below in node.below() for name in below.others]
        if others:
            where = f"{split.name}/{node.name}"
            notes.append(
                f"{printable(where)}: {len(others)} files do not have an image suffix ({printable(others[0])})"
            )
        paths += [path[len(split.inside) :] for path in found]
        labels += [label] * len(found)
    return Labelled(ImageFiles(split.path, paths), np.array(labels))
