"""Recognises what a user named as a source: the files that are there, or a function."""

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from askew.data.files import home_path
from askew.data.sources import splits
from askew.data.sources.arrow import ArrowSource
from askew.data.sources.base import EVALUATED, LFS, Source, SourceOptions
from askew.data.sources.directory import LISTS, RECOGNISED, Reading, noted, open_list, reading_of
from askew.data.sources.listing import is_left_out, missing_parts
from askew.data.sources.mixed import MixedSource
from askew.data.sources.parquet import EmbeddedSource, open_parquet
from askew.data.sources.selection import is_selection, open_selection
from askew.data.sources.shards import TarSource
from askew.errors import UserError, imported, printable

EMBEDDED = "embedded"
PLUS, WEIGHTED = " + ", re.compile(r"(.+?)\s*\*\s*(-?\d+(?:\.\d+)?)")
RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
CHOICE = re.compile(r"\{([^{}]*,[^{}]*)\}")
REMOTE = re.compile(r"(s3|gs|gcs|hf|https?)://", re.IGNORECASE)
FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
SOURCE_NAMES = ("__len__", "__getitem__", "name", "describe", "notes", "block", "window")
WILDCARDS = "*?["
PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tar.lz4")


def open_source(source: str | Sequence[str], options: SourceOptions | None = None) -> Source:
    """Open what a user named. docs/sources.md has the rules.

    Args:
        source: a text, or a list of texts to mix. The parts of `A*2 + B` are mixed too, with A twice per epoch.

    Raises:
        UserError: nothing is there, or nothing that is recognised. It lists what is.
    """
    if not source:
        raise UserError(f"data: the recipe names no data: add --data SOURCE; {RECOGNISED}")
    options = options or SourceOptions()
    parts = parts_of(source)
    opened = [_open(text, options) for text, _ in parts]
    weights = [weight for _, weight in parts]
    return opened[0] if weights == [1] else MixedSource(opened, weights)


def parts_of(source: str | Sequence[str]) -> list[tuple[str, int]]:
    """The texts to mix, and how often an epoch sees each. A text that is an existing path is not taken apart."""
    if not isinstance(source, str):
        if not source:
            raise UserError("data.source: the list is empty")
        return [part for text in source for part in parts_of(text)]
    if source == EMBEDDED or exists(home_path(source)):
        return [(source, 1)]
    if PLUS in source:
        return [part for text in source.split(PLUS) for part in parts_of(text.strip())]
    found = WEIGHTED.fullmatch(source)
    if not found:
        return [(source, 1)]
    text, weight = found.groups()
    if not weight.isdigit() or int(weight) < 1:
        raise UserError(
            f"data: {printable(source)}: a weight must be a whole number: how often an epoch sees each sample; "
            "instead of A*0.5 + B write A*1 + B*2"
        )
    return [(text.strip(), int(weight))]


def absolute_source(source: str) -> str:
    """The same source as a text that does not depend on the working directory."""
    parts = []
    for text, weight in parts_of(source):
        named = text == EMBEDDED or is_function(text) or is_remote(text)
        where = text if named else os.path.abspath(home_path(text))
        parts.append(where if weight == 1 else f"{where}*{weight}")
    return PLUS.join(parts)


def is_function(text: str) -> bool:
    """Whether a text names `module:function`, which is imported and called."""
    return FUNCTION.fullmatch(text) is not None and not exists(Path(text))


def is_remote(text: str) -> bool:
    """Whether a text is an address of shards in a store, such as `s3://...`."""
    return REMOTE.match(text) is not None


def _open_recorded(source: str, options: SourceOptions) -> Source:
    """A source that a file names, and not the user: it must not decide what code runs."""
    if functions := [text for text, _ in parts_of(source) if is_function(text)]:
        raise UserError(
            f"{printable(functions[0])} is code, which a file may not run; if you trust it, name it yourself"
        )
    return open_source(source, options)


def _open(text: str, options: SourceOptions) -> Source:
    if text == EMBEDDED:
        return EmbeddedSource()
    if is_function(text):
        return open_custom(text, options)
    if is_remote(text):
        from askew.data.remote.source import open_remote

        remote = open_remote(text, expand_braces(text), options)
        _refuse_idle_split(text, [Path(shard.name) for shard in remote.shards], remote, options)
        return remote
    paths, said = paths_of(text, options)
    source = noted(open_paths(text, paths, options), said)
    _refuse_idle_split(text, paths, source, options)
    return source


def _refuse_idle_split(text: str, paths: list[Path], source: Source, options: SourceOptions) -> None:
    """A split that was asked for by name must have chosen something."""
    asked = {splits.canonical(name) for name in options.split.split(",")}
    is_default = options.split in (SourceOptions().split, EVALUATED)
    if is_default or splits.ALL in asked or any(note.startswith(("split ", "all splits ")) for note in source.notes):
        return
    if not all(asked & splits.splits_in(path.name) for path in paths):
        raise UserError(
            f"data: {printable(text)}: data.split={printable(options.split)} chooses nothing, because no file, folder "
            "or column names a split; leave data.split out"
        )


def open_custom(text: str, options: SourceOptions) -> Source:
    """The source that `module:function` returns: a function of SourceOptions from a module outside askew.

    Raises:
        UserError: no such module or function, or one that fails or returns something that is not a Source.
    """
    make = imported(text, "data.source")
    if not callable(make):
        raise UserError(f"data: {text}: {type(make).__name__} found, a function of SourceOptions expected")
    try:
        source: Any = make(options)
    except UserError:
        raise
    except Exception as error:  # the function is not ours: anything may happen in it
        raise UserError(f"data: {text}: {type(error).__name__}: {printable(str(error), 300)}") from error
    missing = [name for name in SOURCE_NAMES if not hasattr(source, name)]
    if missing:
        raise UserError(
            f"data: {text} returned no Source: its {type(source).__name__} lacks {', '.join(missing)}; "
            "see askew.data.sources.base.Source"
        )
    if not len(source):
        raise UserError(f"data: {text} returned a source without samples")
    return source


def open_paths(text: str, paths: list[Path], options: SourceOptions) -> Source:
    """The source that these paths make up. Several paths must be of one kind."""
    if len(paths) == 1 and paths[0].is_dir():
        return folder_reading(paths[0], options).open()
    for path in paths:
        if path.name.lower().endswith(PACKED):
            raise UserError(f"data: {path} is compressed and does not allow random access; unpack it to a plain .tar")
        with suppress(OSError), path.open("rb") as file:
            if file.read(len(LFS)) == LFS:
                raise UserError(f"data: {path} is a Git LFS pointer, not the data; fetch them with git lfs pull")
    kinds = sorted({path.suffix.lower() for path in paths})
    return noted(_open_kind(text, paths, kinds, options), missing_parts(paths))


def _open_kind(text: str, paths: list[Path], kinds: list[str], options: SourceOptions) -> Source:
    match kinds:
        case [".tar"]:
            return TarSource(paths, options)
        case [".parquet"] if is_selection(paths):
            return open_selection(paths, options, open_source if options.selected_from else _open_recorded)
        case [".parquet"]:
            return open_parquet(paths, options)
        case [".arrow"]:
            return ArrowSource(paths, options)
        case [kind] if len(paths) == 1 and kind in LISTS:
            return open_list(paths[0], options)
    if len(paths) > 1:
        found = ", ".join(kind or "no suffix" for kind in kinds)
        raise UserError(
            f"data: {printable(text)} matches {len(paths):,} files ({found}); several files make up one source only if "
            "all are .tar, .parquet or .arrow; mix others by A + B"
        )
    raise UserError(f"data: {paths[0]} has an unknown file type; {RECOGNISED}")


def folder_reading(folder: Path, options: SourceOptions) -> Reading:
    """How a folder is read as pairs: see directory.py."""
    return reading_of(folder, options, open_paths)


def paths_of(text: str, options: SourceOptions) -> tuple[list[Path], str]:
    """The files that a text names, in order: the path itself, or what its braces and wildcards expand to.

    A wildcard leaves out hidden files, and files of other splits unless it names a split itself; the line says so.

    Raises:
        UserError: nothing is there, or a file that a brace expands to is missing.
    """
    path = home_path(text)
    if exists(path):
        return [path], ""
    named = expand_braces(text)
    found: list[Path] = []
    said: list[str] = []
    missing: list[str] = []
    for part in named:
        part_path = home_path(part)
        if any(sign in part for sign in WILDCARDS):
            matches, notes = matching(part_path, options, f"data: {printable(text)}")
            said += notes
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
            f"{', ...' if len(missing) > 3 else ''}; name only files that exist, for example by a wildcard *"
        )
    return list(dict.fromkeys(found)), "; ".join(dict.fromkeys(said))


def matching(pattern: Path, options: SourceOptions, where: str) -> tuple[list[Path], list[str]]:
    """The files that wildcards in the last parts of a path match, and notes on splits and files that were left out."""
    fixed = next(place for place, part in enumerate(pattern.parts) if any(sign in part for sign in WILDCARDS))
    below, rest = Path(*pattern.parts[:fixed]), "/".join(pattern.parts[fixed:])
    try:
        found = sorted(below.glob(rest)) if below.is_dir() else []
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error
    kept = [path for path in found if not is_left_out(path.relative_to(below).as_posix())]
    hidden = len(found) - len(kept)
    said = [f"hidden files and system files left out: {hidden:,}"] if hidden else []
    if not kept or splits.splits_in(rest):
        return kept, said
    kept, split = splits.files_of_split(kept, options, where, below)
    return kept, [split, *said] if split else said


def exists(path: Path) -> bool:
    """Whether there is a file or folder at this path. A name that no file can have does not exist."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def expand_braces(text: str) -> list[str]:
    """`{000..331}` counts with leading zeros, `{train,val}` lists choices. The last of several varies fastest."""
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
