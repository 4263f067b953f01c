"""Samples whose images are files: paths below one folder and their captions, from any kind of list."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from askew.data.sources.base import SHUFFLE_BLOCK, SHUFFLE_WINDOW, Sample, read_file, stable_id
from askew.errors import Unusable, UserError, printable

CHUNK = 65_536
OUTSIDE = r"^([/\\~]|[A-Za-z]:[/\\])|(^|[/\\])\.\.([/\\]|$)"  # absolute, or with ..
REMEDY = "move the list to a folder above the images, or set data.allow_outside=true if you trust it"


class CaptionsByPath:
    """Captions grouped by path while a list is read; compact while it grows, an Arrow table at the end."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._owners: list[np.ndarray] = []
        self._texts: list[pa.Array] = []
        self._owner: list[int] = []
        self._text: list[str] = []

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, path: str, captions: Iterable[str]) -> None:
        """Add one row: a path, seen before or not, and its captions, if any."""
        number = self._numbers.setdefault(path, len(self._numbers))
        for caption in captions:
            self._owner.append(number)
            self._text.append(caption)
        if len(self._text) >= CHUNK:
            self._flush()

    def _flush(self) -> None:
        self._owners.append(np.array(self._owner, dtype=np.int64))
        # JSON may hold half of a surrogate pair, which is not a character and cannot be written in UTF-8
        self._texts.append(pa.array([t.encode("utf-8", "replace").decode() for t in self._text], pa.large_string()))
        self._owner, self._text = [], []

    def table(self) -> pa.Table:
        """`path` and `captions` (a list): one row per path, in the order of their first rows."""
        self._flush()
        owners = np.concatenate(self._owners)
        order = np.argsort(owners, kind="stable")
        counts = np.bincount(owners, minlength=len(self._numbers)) if self._numbers else np.zeros(0, np.int64)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        texts = pa.chunked_array(self._texts).take(pa.array(order)).combine_chunks()
        captions = pa.LargeListArray.from_arrays(pa.array(offsets), texts)
        paths = [path.encode("utf-8", "surrogateescape") for path in self._numbers]
        return pa.table({"path": pa.array(paths, pa.large_binary()), "captions": captions})


class FileSource:
    """Samples from a table of `path` and `captions`.

    Ids are hashes of the paths as written. The table is Arrow's rather than a list of objects, so that forked workers
    share its memory: reading a row writes nothing.

    Args:
        root: the folder that paths are relative to.
        table: see CaptionsByPath.
        describe: what the source is called; counts are added.
        allow_outside: whether paths may be absolute or leave `root` by `..`.

    Raises:
        UserError: every path leads out of `root`, and that is not allowed.
    """

    block, window = SHUFFLE_BLOCK, SHUFFLE_WINDOW

    def __init__(
        self, root: Path, table: pa.Table, describe: str, allow_outside: bool = False, notes: tuple[str, ...] = ()
    ):
        self.root, self.notes = root, notes
        self._paths, self._captions = (table[name].combine_chunks() for name in ("path", "captions"))
        self._allow_outside = allow_outside
        if not allow_outside:
            outside = pc.sum(pc.match_substring_regex(self._paths, OUTSIDE)).as_py()  # type: ignore[attr-defined]
            if outside == len(self._paths):
                first = printable(self.name(0))
                raise UserError(f"{describe}: every image path points outside {root} (first: {first}); {REMEDY}")
            if outside:
                self.notes += (f"path outside the folder: {outside:,} of {len(self._paths):,}; {REMEDY}",)
        captions = len(self._captions.flatten()) if len(self._captions) else 0
        self.describe = f"{describe}: {len(self._paths):,} images, {captions:,} captions"

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Sample:
        where = self.name(index)
        if not where:
            raise Unusable("the image path is empty", "no image path")
        if not self._allow_outside and pc.match_substring_regex(self._paths[index], OUTSIDE).as_py():  # type: ignore[attr-defined]
            raise Unusable(f"{where} points outside {self.root}; {REMEDY}", "path outside the folder")
        key = stable_id(where.removeprefix("./"))
        try:
            image = read_file(self.root / where)
        except ValueError as error:  # a NUL in the name
            raise Unusable(f"{printable(where)}: {error}", "missing file") from error
        return Sample(key, key, image, tuple(self._captions[index].as_py()), (), where)

    def name(self, index: int) -> str:
        """The path as written."""
        return self._paths[index].as_py().decode("utf-8", "surrogateescape")
