"""What the classes of a user's folders are called in prompts: by a file of names, by ImageNet, or by the folders."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from askew.data.sources.base import path_bytes
from askew.errors import UserError, printable
from askew.evaluation.datasets.prompts import prompts

WORDNET = re.compile(r"n\d{8}")
FORMAT = "write FOLDER: NAME; SYNONYM on each line, or a .json object of lists of names by folder"
Names = tuple[tuple[str, ...], ...]


def read_class_names(text: str) -> dict[str, tuple[str, ...]]:
    """The names of each class folder, from a file.

    A line is the folder, a colon, and one or more names with semicolons between them. Empty lines and lines that begin
    with `#` are skipped. A file that ends in .json is an object: folders, and for each a name or a list of names.

    Raises:
        UserError: the file cannot be read, or a line or an entry has another form; the message names it.
    """
    path, where = Path(text), f"--class-names {printable(text, 400)}"
    try:
        content = Path(os.path.expanduser(path)).read_bytes().decode("utf-8-sig")
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: `~NAME` of no user
        reason = getattr(error, "strerror", None) or ("it is not UTF-8" if isinstance(error, UnicodeError) else error)
        raise UserError(f"{where}: not a readable text file ({reason}); {FORMAT}") from error
    names = _of_json(content, where) if path.suffix.lower() == ".json" else _of_lines(content, where)
    if not names:
        raise UserError(f"{where}: the file names no class; {FORMAT}")
    return names


def _of_lines(content: str, where: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(content.split("\n"), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        folder, colon, names = line.partition(":")
        folder, parts = folder.strip(), tuple(name.strip() for name in names.split(";"))
        if not colon or not folder:
            raise UserError(f"{where}, line {number}: {printable(line, 60)!r} is not FOLDER: NAME; {FORMAT}")
        if not all(parts):
            raise UserError(f"{where}, line {number}: an empty name for the folder {printable(folder)}; {FORMAT}")
        if folder in found:
            raise UserError(
                f"{where}, line {number}: the folder {printable(folder)} was named before; give all its names on one "
                "line, with semicolons between them"
            )
        found[folder] = parts
    return found


def _of_json(content: str, where: str) -> dict[str, tuple[str, ...]]:
    def once(items: list[tuple[str, Any]]) -> dict[str, Any]:
        twice = [key for number, (key, _) in enumerate(items) if key in dict(items[:number])]
        if twice:
            raise UserError(f"{where}: the folder {printable(twice[0])} is named twice; give all its names in one list")
        return dict(items)

    try:
        entries = json.loads(content, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{where}: not valid JSON ({error}); {FORMAT}") from error
    if not isinstance(entries, dict):
        raise UserError(f'{where}: not an object by folder, as in {{"n02123045": ["tabby", "tabby cat"]}}; {FORMAT}')
    found: dict[str, tuple[str, ...]] = {}
    for folder, value in entries.items():
        names = value if isinstance(value, list) else [value]
        if not names or not all(isinstance(name, str) and name.strip() for name in names):
            shown = printable(json.dumps(value, ensure_ascii=False), 60)
            raise UserError(f"{where}: the folder {printable(folder)} has {shown}, not a name or a list of names")
        found[folder] = tuple(name.strip() for name in names)
    return found


def names_of(
    folders: Sequence[str], given: Mapping[str, tuple[str, ...]], file: str
) -> tuple[Names, list[str], list[str]]:
    """The names of each class; notes on where they come from; warnings.

    Args:
        folders: the class folders, in the order of the labels.
        given: what `read_class_names` found in `file`; empty without a file.

    Raises:
        UserError: the file lacks a folder or has one that is not there, or two classes have the same names.
    """
    if given:
        _check_folders(folders, given, file)
        names = tuple(given[folder] for folder in folders)
        _check_different(folders, names)
        return names, [f"class names from {printable(Path(file).name)}"], _with_commas(names)
    ids = [folder for folder in folders if WORDNET.fullmatch(folder)]
    if ids:
        return _imagenet(folders, ids)
    plain = [path_bytes(folder).decode("utf-8", "replace") for folder in folders]  # no letters that are not UTF-8
    names = tuple((" ".join(folder.replace("_", " ").split()) or folder,) for folder in plain)
    _check_different(folders, names)
    bare = [folder for folder in folders if not any(c.isalpha() for c in folder)]
    return names, [], [_unnamed(bare, "numbers")] if bare else []


def _imagenet(folders: Sequence[str], ids: list[str]) -> tuple[Names, list[str], list[str]]:
    """ImageNet's names for the WordNet ids that it has; other folders keep their own."""
    stored = prompts("imagenet")
    known = dict(zip(stored.keys, stored.classes, strict=True))
    names = tuple(known.get(folder) or (folder.replace("_", " "),) for folder in folders)
    found, unknown = [f for f in ids if f in known], [f for f in ids if f not in known]
    notes = [f"WordNet ids that have the names of ImageNet's classes in prompts: {len(found):,}"] if found else []
    return names, notes, [_unnamed(unknown, "WordNet ids that are not among ImageNet's 1,000")] if unknown else []


def _unnamed(folders: list[str], what: str) -> str:
    names = ", ".join(printable(folder, 40) for folder in folders[:3]) + (", ..." if len(folders) > 3 else "")
    return (
        f"class folders are called by {what} ({names}; {len(folders):,} in all), so prompts read 'a photo of a "
        f"{printable(folders[0], 40)}'; name the classes with --class-names FILE"
    )


def _check_folders(folders: Sequence[str], given: Mapping[str, tuple[str, ...]], file: str) -> None:
    missing, unknown = [f for f in folders if f not in given], [f for f in given if f not in set(folders)]
    said = []
    for found, what in ((missing, "lacks the class folders"), (unknown, "names folders that are not there")):
        if found:
            names = ", ".join(printable(folder, 40) for folder in found[:10])
            said.append(f"{what} {names}" + (f" and {len(found) - 10:,} more" if len(found) > 10 else ""))
    if said:
        raise UserError(f"--class-names {printable(file, 400)}: it {', and '.join(said)}; name each class folder once")


def _check_different(folders: Sequence[str], names: Names) -> None:
    """No two classes may have the same names in prompts: they would tie, and only the first could ever win."""
    owner: dict[frozenset[str], str] = {}
    for folder, several in zip(folders, names, strict=True):
        key = frozenset(" ".join(name.casefold().split()) for name in several)
        if owner.setdefault(key, folder) != folder:
            raise UserError(
                f"the class folders {printable(owner[key])} and {printable(folder)} are both called "
                f"{printable(several[0])!r} in prompts; put their images into one folder, or give them different names "
                "with --class-names FILE"
            )


def _with_commas(names: Names) -> list[str]:
    commas = [name for several in names for name in several if "," in name]
    if not commas:
        return []
    return [f"{len(commas):,} names have a comma, as in {printable(commas[0])!r}; synonyms are separated by semicolons"]
