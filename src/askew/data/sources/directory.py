"""What a folder holds: data files, a table, or images with texts. Every command asks here.

A folder is read in one way, or not at all: where two readings are possible it is refused, and the message says how to
choose one.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from askew.data.sources import splits
from askew.data.sources.annotations import open_json, open_tokens
from askew.data.sources.arrow import is_saved_dataset, open_saved_dataset
from askew.data.sources.base import IMAGE_SUFFIXES, Source, SourceOptions
from askew.data.sources.delimited import lines_of
from askew.data.sources.folders import Contents, FolderSource, contents_of, metadata_of, open_metadata
from askew.data.sources.listing import Listing, files_below, visible
from askew.data.sources.tables import TABLE_SUFFIXES, TableSource, opened
from askew.errors import UserError, printable

SHARDS = (".tar", ".parquet", ".arrow")
LISTS = (*TABLE_SUFFIXES, ".token", ".json")
ANNOTATIONS = "annotations"  # COCO's folder of caption files
RECORDS = re.compile(r'\[\s*(\{|$)|\{.*"(images|annotations)"\s*:\s*\[', re.DOTALL)  # of JSON: not a list of names
TOKEN_LINE = re.compile(r"\S.*\.\w+#\w+\t")
RECOGNISED = (
    "give a .csv, .tsv or .jsonl table, .tar shards ('data/{000..331}.tar', 'data/*.tar'), .parquet files, a folder of "
    "these or of images with texts, a .json of COCO or Karpathy, a .token of Flickr30k, `embedded`, or module:function"
)
OpenFiles = Callable[[str, list[Path], SourceOptions], Source]


@dataclass(frozen=True)
class Reading:
    """One way to read a folder as pairs.

    Attributes:
        what: for messages; "" if the folder holds no pairs. Then `open` raises an error that says so.
        texts: share of the images that have a text of their own, if that is what was found.
        open: makes the source.
    """

    what: str
    open: Callable[[], Source]
    texts: float = 0.0


def reading_of(folder: Path, options: SourceOptions, open_files: OpenFiles) -> Reading:
    """How a folder is read as pairs of images and captions.

    Args:
        open_files: opens files of one kind as one source.

    Raises:
        UserError: the folder is empty, or can be read in two ways, or lacks the split that is wanted.
    """
    listing = Listing()
    entries = visible(folder, listing)
    if is_saved_dataset(folder):
        return Reading("a data set saved to disk", lambda: open_saved_dataset(folder, options))
    if not entries:
        raise UserError(f"data: {folder} is an empty folder; {RECOGNISED}")
    table = metadata_of(folder)
    if table is not None:
        return Reading(table.name, lambda: open_metadata(table, folder, options))
    files = [folder / entry.name for entry in entries if entry.is_file()]
    folders = [entry.name for entry in entries if entry.is_dir()]
    shards = _shards(folder, files, folders)
    if shards:
        kept, said = splits.files_of_split(shards, options, f"data: {folder}")
        notes = (said, listing.note)
        return Reading(f"{shards[0].suffix} files", lambda: noted(open_files(str(folder), kept, options), *notes))
    tables, faults = _tables(folder, files, options)
    images_here = any(path.suffix.lower() in IMAGE_SUFFIXES for path in files)
    holding = [name for name in folders if _holds_data(folder / name)]
    if not tables:
        below = _below(folder, holding, images_here, options, open_files)
        if below is not None:
            return below
    contents = contents_of(folder)
    share = share_of_texts(contents)
    if tables and share:
        raise UserError(
            f"data: {folder} can be read in two ways: as {printable(tables[0].name)}, or as images with a text each; "
            f"give the table as the source ({printable(str(tables[0]), 400)}), or move it elsewhere"
        )
    if tables:
        kept, said = _one_table(folder, tables, options)
        return Reading(kept.name, lambda: noted(open_list(kept, options), said))
    if not contents.images and len(holding) > 1:
        listed = ", ".join(map(printable, holding[:4])) + (", ..." if len(holding) > 4 else "")
        error = UserError(
            f"data: {folder} holds data in several folders ({listed}); give one of them as the source, or several with "
            "+ between them"
        )
        return Reading("", lambda: _raise(error))
    if not share and faults:
        return Reading("", lambda: _raise(faults[0]))
    return Reading("texts of images" if share else "", lambda: _folder(folder, options, contents), share)


def _raise(error: UserError) -> Source:
    raise error


def noted(source: Source, *said: str) -> Source:
    """The source, with more notes in front; empty ones are left out."""
    source.notes = (*filter(None, said), *source.notes)
    return source


def open_list(path: Path, options: SourceOptions) -> Source:
    """A file that lists images and captions: a table, COCO's or Karpathy's JSON, or Flickr's token file."""
    suffix = path.suffix.lower()
    if suffix == ".json":
        return open_json(path, options)
    if suffix == ".token" or (suffix == ".txt" and _is_token_file(path)):
        return open_tokens(path, options)
    return TableSource(path, options)


def _is_token_file(path: Path) -> bool:
    return any(TOKEN_LINE.match(line) for line in islice(lines_of(path), 1))


def _shards(folder: Path, files: Sequence[Path], folders: Sequence[str]) -> list[Path]:
    """The tar, Parquet or Arrow files of a folder. Parquet files that only describe other files are left out.

    img2dataset writes 00000.parquet beside 00000.tar, or beside the folder 00000: what it knows of each image.
    """
    found = {suffix: [path for path in files if path.suffix.lower() == suffix] for suffix in SHARDS}
    stems = {path.stem for path in found[".tar"]} | set(folders)
    found[".parquet"] = [path for path in found[".parquet"] if path.stem not in stems]
    kinds = [suffix for suffix in SHARDS if found[suffix]]
    if len(kinds) > 1:
        raise UserError(
            f"data: {folder} holds files of several kinds ({', '.join(kinds)}); name those to read by a pattern, for "
            f"example '{printable(str(folder), 400)}/*{kinds[0]}'"
        )
    return found[kinds[0]] if kinds else []


def _tables(folder: Path, files: Sequence[Path], options: SourceOptions) -> tuple[list[Path], list[UserError]]:
    """The lists in a folder that name images and captions, and what is wrong with other tables."""
    if (folder / ANNOTATIONS).is_dir() and not any(path.suffix.lower() in LISTS for path in files):
        files = [folder / ANNOTATIONS / entry.name for entry in visible(folder / ANNOTATIONS) if entry.is_file()]
    stems = {path.stem for path in files if path.suffix.lower() in IMAGE_SUFFIXES}
    found, faults = [], []
    for path in files:
        if path.suffix.lower() not in LISTS or path.stem in stems:
            continue
        try:
            if _is_list(path, options):
                found.append(path)
        except UserError as error:
            if path.suffix.lower() not in (".txt", ".json"):
                faults.append(error)
    captions = [path for path in found if "caption" in path.name.lower()]
    json_only = all(path.suffix.lower() == ".json" for path in found)
    return (captions if captions and json_only else found), faults  # COCO's instances and keypoints have images too


def _is_list(path: Path, options: SourceOptions) -> bool:
    """Whether a file names images and captions. Raises UserError for a table that does not."""
    suffix = path.suffix.lower()
    if suffix == ".json":
        with path.open("rb") as file:
            start = file.read(4096).decode("utf-8", "replace").lstrip("\ufeff \r\n\t")
        return RECORDS.match(start) is not None
    if suffix == ".token" or (suffix == ".txt" and _is_token_file(path)):
        return True
    opened(path, options)
    return True


def _one_table(folder: Path, tables: list[Path], options: SourceOptions) -> tuple[Path, str]:
    kept, said = splits.files_of_split(tables, options, f"data: {folder}")
    if len(kept) > 1:
        listed = ", ".join(printable(path.name) for path in kept[:4])
        raise UserError(
            f"data: {folder} holds {len(kept)} tables ({listed}); give one of them as the source, or several with + "
            "between them"
        )
    return kept[0], said


def _holds_data(folder: Path) -> bool:
    wanted = (*IMAGE_SUFFIXES, *SHARDS, *TABLE_SUFFIXES)
    return any(name.lower().endswith(wanted) for name in files_below(folder, Listing()))


def _below(
    folder: Path, holding: list[str], images_here: bool, options: SourceOptions, open_files: OpenFiles
) -> Reading | None:
    """The reading of a subfolder: of the wanted split, or of the only one, if it holds data files."""
    chosen = splits.folder_of_split(folder, holding + ([""] if images_here else []), options)
    if chosen is not None:
        inner = reading_of(chosen[0], options, open_files)
        return Reading(inner.what, lambda: noted(inner.open(), chosen[1]), inner.texts)
    if len(holding) == 1 and not images_here:
        inner = reading_of(folder / holding[0], options, open_files)
        return inner if inner.what and not inner.texts else None
    return None


def share_of_texts(contents: Contents) -> float:
    """The share of images that have a text of their own, of the kind that most have."""
    if not contents.images:
        return 0.0
    counts = [sum(bool(contents.text_of(name, kind)) for name in contents.images) for kind in contents.texts]
    return max(counts) / len(contents.images)


def _folder(folder: Path, options: SourceOptions, contents: Contents) -> Source:
    """Images with texts. Class folders are refused by name: they have no captions."""
    classes = sorted({name.partition("/")[0] for name in contents.images if "/" in name})
    if not any(contents.texts.values()) and len(classes) > 1:
        listed = ", ".join(map(printable, classes[:3])) + (", ..." if len(classes) > 3 else "")
        raise UserError(
            f"data: {folder} has {len(contents.images):,} images in folders that look like classes ({listed}), but no "
            "texts: `askew eval MODEL --data` takes class folders; for training put NAME.txt beside NAME.jpg, or list "
            "the images in metadata.csv with the columns file_name,text"
        )
    return FolderSource(folder, options, contents)
