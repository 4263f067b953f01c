"""What a user named, recognised by what is there."""

import re
from pathlib import Path

from askew.data.sources.base import Options, Source
from askew.data.sources.parquet import EmbeddedSource, open_parquet
from askew.data.sources.shards import TarSource
from askew.data.sources.tables import TABLE_SUFFIXES, TableSource
from askew.errors import UserError, printable

EMBEDDED = "embedded"
RECOGNISED = (
    "give a .csv, .tsv or .jsonl table, .parquet files, .tar shards ('data/{000..331}.tar', 'data/*.tar'), a folder of "
    "one of these, or `embedded`"
)
RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
CHOICE = re.compile(r"\{([^{}]*,[^{}]*)\}")
PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tar.lz4")


def open_source(text: str, options: Options | None = None) -> Source:
    """Open what a user named; docs/sources.md has the rules.

    Raises:
        UserError: nothing there, or nothing that is recognised, with what is.
    """
    options = options or Options()
    if text == EMBEDDED:
        return EmbeddedSource()
    return open_paths(text, paths_of(text), options)


def open_paths(text: str, paths: list[Path], options: Options) -> Source:
    """The source that these paths are: several must be of one kind."""
    if len(paths) == 1 and paths[0].is_dir():
        return open_folder(paths[0], options)
    kinds = sorted({path.suffix.lower() for path in paths})
    for path in paths:
        if path.name.lower().endswith(PACKED):
            raise UserError(f"data: {path} is compressed and cannot be read at random; unpack it to a plain .tar")
    if kinds == [".tar"]:
        return TarSource(paths, options)
    if kinds == [".parquet"]:
        return open_parquet(paths, options)
    if len(paths) == 1 and kinds[0] in TABLE_SUFFIXES:
        return TableSource(paths[0], options)
    if len(paths) > 1:
        found = ", ".join(kind or "no suffix" for kind in kinds)
        raise UserError(f"data: {printable(text)} matches {len(paths):,} files ({found}); {RECOGNISED}")
    raise UserError(f"data: {paths[0]} is of no known kind; {RECOGNISED}")


def open_folder(folder: Path, options: Options) -> Source:
    """The source that a folder is."""
    for suffix in (".tar", ".parquet"):
        files = sorted(folder.glob(f"*{suffix}"))
        if files:
            return open_paths(str(folder), files, options)
    raise UserError(f"data: {folder} is a folder without *.parquet or *.tar files; {RECOGNISED}")


def paths_of(text: str) -> list[Path]:
    """The files that a text names: itself, or what its braces and wildcards stand for, in order.

    Raises:
        UserError: nothing there, or a part of a brace's range missing.
    """
    path = Path(text).expanduser()
    if exists(path):
        return [path]
    named = expand_braces(text)
    found: list[Path] = []
    missing: list[str] = []
    for part in named:
        part_path = Path(part).expanduser()
        if any(sign in part for sign in "*?["):
            matches = sorted(part_path.parent.glob(part_path.name)) if part_path.parent.is_dir() else []
        else:
            matches = [part_path] if exists(part_path) else []
        found += matches
        missing += [] if matches else [part]
    if not found:
        raise UserError(f"data: {printable(text)} does not exist; {RECOGNISED}")
    if missing:
        first = ", ".join(map(printable, missing[:3]))
        raise UserError(
            f"data: {len(missing):,} of the {len(named):,} files of {printable(text)} do not exist: {first}"
            f"{', ...' if len(missing) > 3 else ''}; name what is there, for example by a wildcard *"
        )
    return list(dict.fromkeys(found))


def exists(path: Path) -> bool:
    """Whether something is there; a name that no file can have is not."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def expand_braces(text: str) -> list[str]:
    """`{000..331}` counts with its zeros, `{train,val}` chooses; several multiply, the last counting fastest."""
    for pattern in (RANGE, CHOICE):
        found = pattern.search(text)
        if found:
            if pattern is RANGE:
                first, last = found.groups()
                step = 1 if int(first) <= int(last) else -1
                parts = [f"{n:0{len(first)}d}" for n in range(int(first), int(last) + step, step)]
            else:
                parts = found[1].split(",")
            before, after = text[: found.start()], text[found.end() :]
            return [rest for part in parts for rest in expand_braces(before + part + after)]
    return [text]
