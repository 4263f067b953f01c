"""Which files count: the one rule for hidden files and for what systems and tools leave behind, in every reader.

Left out are names that begin with a dot (`.ipynb_checkpoints`, `.DS_Store`, Apple's `._` shadows), the names below,
editors' copies (`a.png~`, `#a.png#`), and everything inside such a folder. Readers count what they leave out.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from askew.errors import printable

LEFT_OUT = {  # in lower case
    "__macosx",  # macOS, in zip files
    "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information",  # Windows
    "@eadir", "#recycle", "@recycle",  # network drives of Synology and QNAP
    "__pycache__", "lost+found",
}  # fmt: skip

PART = re.compile(r"(.*?)(\d{3,})(-of-\d+)?(\D*)")  # of the name of a numbered file
# Nearly all names can be passed over without being taken apart
SUSPECT = re.compile(r"(^|[/\\])([.#@$]|__|thumbs|ehthumbs|desktop|system|lost)|~($|[/\\])", re.IGNORECASE)
COPIES = LEFT_OUT | {".ipynb_checkpoints", ".ds_store", ".trash", ".trashes", ".thumbnails"}


def is_left_out(path: str) -> bool:
    """Whether a relative path is hidden, or rubbish: judged by each of its parts. `.` and `..` are neither."""
    return SUSPECT.search(path) is not None and any(
        _is_rubbish(part) for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")
    )


def is_copy_of_a_tool(path: str) -> bool:
    """Whether a path that a list names lies among what tools leave behind. Lists may name other hidden files."""
    parts = path.replace("\\", "/").split("/")
    return any(part.lower() in COPIES or (part.startswith("._") and len(part) > 2) for part in parts)


def _is_rubbish(name: str) -> bool:
    hidden, copies = name.startswith("."), name.endswith("~") or (name.startswith("#") and name.endswith("#"))
    return hidden or copies or name.lower() in LEFT_OUT


@dataclass
class Listing:
    """What was met while folders were listed.

    Attributes:
        left_out: number of hidden and rubbish files and folders that were left out.
        example: the first of them.
        notes: folders that cannot be read.
    """

    left_out: int = 0
    example: str = ""
    notes: list[str] = field(default_factory=list)

    def leave_out(self, path: str) -> None:
        """Count one more."""
        self.left_out += 1
        self.example = self.example or path

    @property
    def note(self) -> str:
        """One line, or "" if nothing was left out."""
        if not self.left_out:
            return ""
        return f"hidden files and system files left out: {self.left_out:,}, for example {printable(self.example)}"


def visible(folder: Path, listing: Listing | None = None) -> list[os.DirEntry]:
    """The entries of one folder, sorted by name, without hidden ones and rubbish, which are counted.

    Raises:
        OSError: the folder cannot be read.
    """
    listing = listing if listing is not None else Listing()
    kept = []
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if is_left_out(entry.name):
                listing.leave_out(f"{folder.name}/{entry.name}")
            else:
                kept.append(entry)
    return kept


def files_below(folder: Path, listing: Listing) -> Iterator[str]:
    """Sorted paths of files anywhere below a folder, relative to it and with `/`.

    Links to folders are followed, each real folder once, so that there can be no loops.
    """
    seen: set[tuple[int, int]] = set()

    def walk(place: Path, inside: str) -> Iterator[str]:
        try:
            facts = place.stat()
            entries = visible(place, listing)
        except OSError as error:
            listing.notes.append(f"folder that cannot be read: {printable(str(place))} ({error.strerror})")
            return
        if (facts.st_dev, facts.st_ino) in seen:
            return
        if facts.st_ino:
            seen.add((facts.st_dev, facts.st_ino))
        for entry in entries:
            name = f"{inside}{entry.name}"
            if entry.is_dir():
                yield from walk(place / entry.name, f"{name}/")
            else:
                yield name

    yield from walk(folder, "")


def missing_parts(paths: Sequence[Path]) -> str:
    """One line if parts of a numbered set of files are not there, by their names; "" if none is known to be missing."""
    found: dict[tuple[str, str, str], set[int]] = {}
    width: dict[tuple[str, str, str], int] = {}
    for path in paths:
        part = PART.fullmatch(path.name)
        if part:
            before, number, total, after = part.groups()
            key = (before, total or "", after)
            found.setdefault(key, set()).add(int(number))
            width[key] = len(number)
    lacking: list[str] = []
    for (before, total, after), numbers in found.items():
        last = int(total.removeprefix("-of-")) if total else max(numbers) + 1
        first = 0 if total else min(numbers)
        if last - first > 100 * len(numbers):
            continue  # years or ids rather than numbers of parts
        gaps = [number for number in range(first, last) if number not in numbers]
        lacking += [f"{before}{number:0{width[before, total, after]}d}{total}{after}" for number in gaps]
    if not lacking:
        return ""
    shown = ", ".join(map(printable, lacking[:3])) + (", ..." if len(lacking) > 3 else "")
    return f"numbered files that are missing: {len(lacking):,} ({shown})"
