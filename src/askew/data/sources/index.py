"""Index files: what was learned of a file by reading it once, kept beside it or in a cache folder.

An index is an Arrow file, mapped into memory, so that opening it costs the same at any size and the processes of a
machine share its pages. It counts only for a file of the same size and time of change.
"""

import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from askew.data.sources.base import stable_id

SUFFIX = ".askew-index"
FORMAT = 1  # raised whenever what an index means changes


def cache_folder() -> Path:
    """Where indices of files in read-only folders go: XDG_CACHE_HOME/askew, by default ~/.cache/askew."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "askew"


def places(path: Path) -> tuple[Path, Path]:
    """The two places of a file's index: beside it, and in the cache folder under a hash of its path."""
    hidden = f"{stable_id(str(path.resolve())):016x}-{path.name}{SUFFIX}"
    return path.with_name(path.name + SUFFIX), cache_folder() / hidden


def indexed(path: Path, kind: str, build: Callable[[Path], tuple[pa.Table, dict[str, Any]]]) -> pa.Table:
    """The index of a file; built and saved unless a good one is there. Its facts are in the schema's metadata.

    Args:
        kind: what the index holds and the settings that it depends on; another kind is built anew.
        build: makes the table, and facts as plain JSON.

    Where neither place can be written the table stays in memory.
    """
    status = path.stat()
    stamp = json.dumps({"format": FORMAT, "kind": kind, "size": status.st_size, "mtime_ns": status.st_mtime_ns})
    for place in places(path):
        table = load(place, stamp)
        if table is not None:
            return table
    table, found = build(path)
    table = table.replace_schema_metadata({"stamp": stamp, "facts": json.dumps(found)}).combine_chunks()
    for place in places(path):
        if save(place, table):
            loaded = load(place, stamp)
            if loaded is not None:
                return loaded
    return table


def facts(table: pa.Table) -> dict[str, Any]:
    """The facts that `build` gave beside the table."""
    return json.loads(table.schema.metadata[b"facts"])


def load(place: Path, stamp: str) -> pa.Table | None:
    """The table of an index file that bears this stamp, mapped; None where there is none or it is damaged."""
    with suppress(OSError, pa.ArrowInvalid, KeyError, TypeError):
        reader = pa.ipc.open_file(pa.memory_map(str(place)))
        if reader.schema.metadata[b"stamp"].decode() == stamp:
            return reader.read_all()
    return None


def save(place: Path, table: pa.Table) -> bool:
    """Write an index file whole or not at all, whoever else writes it at the same time; False where it cannot be."""
    temporary = ""
    try:
        if place.parent == cache_folder():
            place.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=place.name, suffix=".tmp", dir=place.parent)
        with os.fdopen(handle, "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        os.chmod(temporary, 0o644)
        os.replace(temporary, place)
        return True
    except OSError:
        if temporary:
            with suppress(OSError):
                os.unlink(temporary)
        return False
