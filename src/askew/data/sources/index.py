"""Index files: what was learned from reading a file once, kept beside it or in a cache folder.

An index is an Arrow file that is mapped into memory. Opening it therefore takes the same time at any size, and all
processes of a machine share its memory. It is valid only for a file of the same size and modification time.
"""

import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from askew.data.files import replacing_file
from askew.data.sources.base import stable_id

SUFFIX = ".askew-index"
FORMAT = 2  # to be raised whenever the meaning of an index changes


def cache_folder() -> Path:
    """The folder for indices of files in read-only folders: XDG_CACHE_HOME/askew, by default ~/.cache/askew."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "askew"


def places(path: Path) -> tuple[Path, Path]:
    """The two places for a file's index: beside it, and in the cache folder under a hash of its path."""
    hidden = f"{stable_id(str(path.resolve())):016x}-{path.name}{SUFFIX}"
    return path.with_name(path.name + SUFFIX), cache_folder() / hidden


def indexed(path: Path, kind: str, build: Callable[[Path], tuple[pa.Table, dict[str, Any]]]) -> pa.Table:
    """The index of a file. It is built and saved unless there is a valid one.

    If neither place can be written to, the table stays in memory.

    Args:
        kind: what the index holds and the settings that it depends on. An index of another kind is not valid.
        build: makes the table, and facts about the file as plain JSON, which go into the schema's metadata.
    """
    status = path.stat()
    stamp = json.dumps({"format": FORMAT, "kind": kind, "size": status.st_size, "mtime_ns": status.st_mtime_ns})
    return _kept(stamp, places(path), lambda: build(path))


def remote_index(
    url: str, size: int, version: str, folder: Path, build: Callable[[], tuple[pa.Table, dict[str, Any]]]
) -> pa.Table:
    """The index of a tar shard in a store, kept in a folder. It is valid only for this size and version."""
    stamp = json.dumps({"format": FORMAT, "kind": "remote tar", "url": url, "size": size, "version": version})
    return _kept(stamp, (folder / f"{stable_id(url):016x}{SUFFIX}",), build)


def _kept(stamp: str, found: Sequence[Path], build: Callable[[], tuple[pa.Table, dict[str, Any]]]) -> pa.Table:
    for place in found:
        table = load(place, stamp)
        if table is not None:
            return table
    table, learned = build()
    table = table.replace_schema_metadata({"stamp": stamp, "facts": json.dumps(learned)}).combine_chunks()
    for place in found:
        if save(place, table):
            loaded = load(place, stamp)
            if loaded is not None:
                return loaded
    return table


def facts(table: pa.Table) -> dict[str, Any]:
    """The facts that `build` returned with the table."""
    return json.loads(table.schema.metadata[b"facts"])


def load(place: Path, stamp: str) -> pa.Table | None:
    """The table of an index file, mapped into memory; None if there is none with this stamp, or it is damaged."""
    with suppress(OSError, pa.ArrowInvalid, KeyError, TypeError):
        reader = pa.ipc.open_file(pa.memory_map(str(place)))
        if reader.schema.metadata[b"stamp"].decode() == stamp:
            return reader.read_all()
    return None


def save(place: Path, table: pa.Table) -> bool:
    """Write an index file; False if it cannot be written. Several processes may write the same one at once."""
    try:
        if place.parent == cache_folder():
            place.parent.mkdir(parents=True, exist_ok=True)
        with replacing_file(place) as temporary, pa.ipc.new_file(str(temporary), table.schema) as writer:
            writer.write_table(table)
    except OSError:
        return False
    return True
