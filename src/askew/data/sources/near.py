"""Where the images of a list are: in the list's own folder, or in one near it."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa

from askew.data.sources.base import SourceOptions
from askew.data.sources.listing import visible
from askew.errors import UserError, printable

FOLDERS = ("images", "Images", "flickr30k-images", "flickr30k_images", "Flicker8k_Dataset", "data", "imgs", "img")
LOOKED_AT = 100  # paths of a list
MOST_FOLDERS = 64  # beside the list, that are looked into


def root_of(path: Path, table: pa.Table, options: SourceOptions) -> tuple[Path, str]:
    """The folder that a table's paths are relative to, and one line if it is not the table's own, or "".

    It is `image_root`, the table's own folder, or the first folder near it that holds any of the first hundred images.
    """
    if options.image_root:
        return Path(os.path.expanduser(options.image_root)), ""
    some = first_paths(table)
    if any(holds(path.parent, name) for name in some):
        return path.parent, ""
    for folder in candidates(path):
        if any(holds(folder, name) for name in some):
            return folder, f"images are looked for in {printable(str(folder), 400)} (data.image_root)"
    return path.parent, ""


def located(path: Path, table: pa.Table, options: SourceOptions) -> Path:
    """The same for files that never name their folder (COCO, Karpathy, Flickr30k).

    Raises:
        UserError: no folder near it holds any of the first hundred images.
    """
    some = first_paths(table)
    roots = [Path(os.path.expanduser(options.image_root))] if options.image_root else [path.parent, *candidates(path)]
    for root in roots:
        if any(holds(root, name) for name in some):
            return root
    looked = ", ".join(map(str, roots[:8]))
    raise UserError(
        f"{path}: its images ({printable(some[0])}, ...) are not in {looked}; set data.image_root to their folder"
    )


def first_paths(table: pa.Table) -> list[str]:
    """The first hundred paths of a list."""
    return [name.as_py().decode("utf-8", "surrogateescape") for name in table["path"][:LOOKED_AT]]


def holds(folder: Path, name: str) -> bool:
    """Whether a file is there; a name that no file can have is not."""
    try:
        return bool(name) and ((folder / name).is_file() or (folder / name.replace("\\", "/")).is_file())
    except (OSError, ValueError):
        return False


def candidates(path: Path) -> Iterator[Path]:
    """Folders near a list; for annotations/captions_train2017.json also ../train2017."""
    for name in FOLDERS:
        yield path.parent / name
    yield path.parent.parent / path.stem.rpartition("_")[2]
    for name in FOLDERS:
        yield path.parent.parent / name
    try:
        yield from (path.parent / e.name for e in islice(visible(path.parent), MOST_FOLDERS) if e.is_dir())
    except OSError:
        return
