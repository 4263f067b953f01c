"""Splits: which files, folders and rows are for training, and which were set aside for validation and test.

A split is named in the name of a file (`train-00000-of-00001.parquet`, `cc3m_val_0001.tar`), in the name of a folder
(`test/`), or in a column `split`. Names are compared word by word, so that `latest.parquet` is no test split.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from askew.data.sources.base import SourceOptions
from askew.data.sources.files import CaptionsByPath
from askew.errors import UserError, printable

ALL = "all"
WORDS = {
    "train": ("train", "training", "trn"),
    "validation": ("validation", "valid", "val", "dev", "development", "eval", "evaluation"),
    "test": ("test", "testing", "tst"),
}
SPLIT_OF = {word: split for split, words in WORDS.items() for word in words}
COLUMNS = ("split", "splits", "partition", "subset", "set", "fold", "data_split", "dataset_split")
BETWEEN = re.compile(r"[^a-z]+")
CHOOSE = "choose with --set data.split=NAME, or read everything with --set data.split=all"


class UnclearFolders(UserError):
    """Folders name splits in a way that leaves more than one reading."""


def splits_in(name: str) -> set[str]:
    """The splits that the name of a file or folder contains as whole words."""
    words = BETWEEN.split(name.lower()) + BETWEEN.split(re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower())
    return {SPLIT_OF[word] for word in words if word in SPLIT_OF}


def split_of(name: str) -> str:
    """The one split that a name contains; "" if it contains none, or several."""
    found = splits_in(name)
    return found.pop() if len(found) == 1 else ""


def canonical(value: str) -> str:
    """`training` and `Train` are the split `train`; a name that is not known stays as it is."""
    return SPLIT_OF.get(value.strip().lower(), value.strip())


def wanted(options: SourceOptions, have: Iterable[str], where: str) -> str:
    """The split to read: the first of `data.split` that is there.

    Args:
        have: the splits that there are.
        where: what has them, for messages.

    Raises:
        UserError: none of them is there.
    """
    found = {canonical(name): name for name in have}
    for asked in options.split.split(","):
        if asked.strip() == ALL:
            return ALL
        if canonical(asked) in found:
            return found[canonical(asked)]
    listed = ", ".join(map(printable, sorted(found.values()))) or "none"
    raise UserError(
        f"{where}: no split {options.split.replace(',', ' or ')!r} (data.split); its splits are {listed}; {CHOOSE}"
    )


def choice(options: SourceOptions, have: Counter, where: str, what: str) -> tuple[str, str]:
    """The split to read, or ALL, and one line that says so.

    Args:
        have: how many there are of each split.
        what: of what, for the line: file, row, ...

    Raises:
        UserError: the wanted split is not there.
    """
    split = wanted(options, have, where)
    return split, f"all splits are read: {counted(have)}" if split == ALL else said(split, have, what)


def files_of_split(
    paths: Sequence[Path], options: SourceOptions, where: str, below: Path | None = None
) -> tuple[list[Path], str]:
    """Of files found together, those of the split that is wanted, and one line that says so, or "".

    If no name contains a split, all files are read.

    Args:
        below: the folder that a pattern searches: the folders in it name the split of a file whose own name does not.

    Raises:
        UserError: no file is of the wanted split, or some names contain a split and others none.
    """
    names = {path: _split_of_file(path, below) for path in paths}
    have = Counter(filter(None, names.values()))
    if not have:
        return list(paths), ""
    bare = [path for path, split in names.items() if not split]
    if bare and options.split != ALL:
        raise UserError(
            f"{where}: {len(bare):,} of {len(paths):,} files name no split, or several (first: "
            f"{printable(bare[0].name)}), and others do ({counted(have)}); name the files to read by a pattern, or "
            "read everything with --set data.split=all"
        )
    split, line = choice(options, have, where, "file")
    return [path for path, found in names.items() if split in (found, ALL)], line


def _split_of_file(path: Path, below: Path | None) -> str:
    parts = path.relative_to(below).parts if below is not None else (path.name,)
    return next(filter(None, map(split_of, reversed(parts))), "")


def folder_of_split(folder: Path, names: Sequence[str], options: SourceOptions) -> tuple[Path, str] | None:
    """The subfolder of the wanted split, and one line that says so. None where subfolders are no splits.

    They are splits if two of them name different splits, or the only one does. Then all must.

    Args:
        names: the subfolders that hold data.

    Raises:
        UserError: the wanted split is not there, several folders are of it, or other folders hold data too.
    """
    found = {name: split_of(name) for name in names}
    have = Counter(filter(None, found.values()))
    others = [name for name, split in found.items() if not split]
    if not have or (others and set(have) <= {"train"}) or options.split == ALL:
        return None
    if others:
        raise UnclearFolders(
            f"data: {folder}: some folders name a split ({', '.join(map(printable, sorted(set(found) - set(others))))})"
            f" and others do not ({', '.join(map(printable, sorted(others)[:3]))}); give the folder to read, or read "
            "everything with --set data.split=all"
        )
    split, line = choice(options, have, f"data: {folder}", "folder")
    if split == ALL:
        return None
    chosen = sorted(name for name, named in found.items() if named == split)
    if len(chosen) > 1:
        raise UnclearFolders(
            f"data: {folder}: {len(chosen)} folders are of the split {split!r} ({', '.join(map(printable, chosen))}); "
            "give the one to read, or several with + between them"
        )
    return folder / chosen[0], line


def folder_split(path: str) -> str:
    """The split that the first folder of a path is exactly called after; "" if it is none."""
    folder, slash, _ = path.removeprefix("./").partition("/")
    return SPLIT_OF.get(folder.lower(), "") if slash else ""


def code_of_folder(path: str) -> int:
    """The same as a number: 0 for none, else 1 + the place in WORDS."""
    split = folder_split(path) if "/" in path else ""
    return 1 + list(WORDS).index(split) if split else 0


def folders_of_split(counts: Sequence[int], options: SourceOptions, where: str) -> tuple[int, str]:
    """The code whose samples are read (0: all of them), and one line that says so, or "".

    Samples name a split by their folder only if all of them do, and there are at least two splits.

    Args:
        counts: how many samples have each code.
    """
    have = Counter({split: count for split, count in zip(WORDS, counts[1:], strict=True) if count})
    if counts[0] or len(have) < 2:
        return 0, ""
    split, line = choice(options, have, where, "sample")
    return 0 if split == ALL else 1 + list(WORDS).index(split), line


def columns_of(columns: Sequence[str]) -> list[str]:
    """The columns that may name the split of each row, the likeliest first."""
    lowered = {name.strip().lower(): name for name in columns if name}
    return [lowered[name] for name in COLUMNS if name in lowered]


def as_name(value: object) -> str | int | float | bool | None:
    """A cell of such a column: bytes as text, and lists and mappings, which name no split, as they are printed."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def rows_of_split(column: str, values: Counter, options: SourceOptions, where: str) -> tuple[set | None, str]:
    """The values of a split column whose rows are read (None: all rows), and one line that says so.

    A column `split` is always taken at its word. Another one (`set`, `fold`, ...) counts only if every value is the
    name of a split.

    Args:
        values: how many rows have each value.

    Raises:
        UserError: no row is of the wanted split.
    """
    named = Counter()
    for value, count in values.items():
        named[canonical(str(value)) if value is not None else ""] += count
    if not any(named):  # a column without any value
        return None, ""
    if any(name not in WORDS and name != "restval" for name in named) and column.strip().lower() != "split":
        return None, ""
    split = canonical(wanted(options, [name for name in named if name], f"{where}, column {column!r}"))
    if split == ALL:
        return None, f"all splits of the column {column!r} are read: {counted(named)}"
    also = {"restval"} if split == "train" else set()  # Karpathy's leftover validation images belong to training
    chosen = {v for v in values if v is not None and canonical(str(v)) in {split, *also}}
    return chosen, said(split, named, "row")


def said(split: str, have: Counter, what: str) -> str:
    """`split train: 2 files; left out: test 1, validation 1`."""
    number = have[split]
    others = Counter({name: count for name, count in have.items() if name != split})
    plural = "" if number == 1 else "s"
    left = f"; left out: {counted(others)}" if others else ""
    return f"split {printable(split)}: {number:,} {what}{plural}{left} (data.split)"


def counted(have: Counter) -> str:
    """`test 1, train 2`."""
    return ", ".join(f"{printable(name) or 'no name'} {count:,}" for name, count in sorted(have.items()))


def paths_of_split(pairs: CaptionsByPath, options: SourceOptions, where: str) -> tuple[CaptionsByPath, str]:
    """Of a list whose every path begins with the folder of a split (`train/0.png`, `test/1.png`): the wanted ones."""
    have: Counter = Counter()
    for folder, count in pairs.folders.items():
        have[SPLIT_OF.get(folder.lower(), "")] += count
    if len(have) < 2 or "" in have:
        return pairs, ""
    split, line = choice(options, have, where, "row")
    if split == ALL:
        return pairs, line
    return pairs.in_folders([folder for folder in pairs.folders if SPLIT_OF[folder.lower()] == split]), line
