"""Images in folders of folders, listed in one walk: without hidden files, and through links without loops."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from askew.data.sources.base import IMAGE_SUFFIXES, TEXT_SUFFIXES
from askew.data.sources.listing import Listing, visible
from askew.errors import UserError, printable


@dataclass(eq=False)
class Node:
    """One folder and what is below it. `inside` is its path in the folder that was named, "" or ending in `/`."""

    path: Path
    inside: str
    images: list[str] = field(default_factory=list)  # names of the files directly in it
    with_text: int = 0  # of these images, those with a text file of the same name
    others: list[str] = field(default_factory=list)
    folders: list["Node"] = field(default_factory=list)
    total: int = 0  # number of images anywhere below

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.name

    def below(self) -> Iterator["Node"]:
        """This folder and all below it, each before its subfolders."""
        yield self
        for folder in self.folders:
            yield from folder.below()

    @property
    def full(self) -> list["Node"]:
        """The subfolders with an image somewhere below."""
        return [folder for folder in self.folders if folder.total]

    def paths(self) -> list[str]:
        """Sorted paths of all images below, relative to the folder that was named."""
        found = [(node.inside + name).split("/") for node in self.below() for name in node.images]
        return ["/".join(parts) for parts in sorted(found)]


def scanned(folder: Path, listing: Listing, repeats: list[tuple[str, str]]) -> Node:
    """The tree below a folder. A folder that links lead to twice is walked once and reported in `repeats`."""
    seen: dict[tuple[int, int], str] = {}

    def walk(node: Node, above: frozenset[tuple[int, int]]) -> None:
        try:
            facts, entries = node.path.stat(), visible(node.path, listing)
        except OSError as error:
            raise UserError(
                f"{printable(str(node.path), 400)}: the folder cannot be read ({error.strerror}); "
                "make it readable, or remove it"
            ) from error
        identity = (facts.st_dev, facts.st_ino)
        seen[identity], above = node.inside.rstrip("/"), above | {identity}
        texts = {os.path.splitext(e.name)[0] for e in entries if _suffix(e.name) in TEXT_SUFFIXES}
        for entry in entries:
            path, inside = node.path / entry.name, f"{node.inside}{entry.name}"
            if not entry.is_dir():
                (node.images if _suffix(entry.name) in IMAGE_SUFFIXES else node.others).append(entry.name)
                continue
            linked = path.stat()
            if (linked.st_dev, linked.st_ino) in above:
                listing.notes.append(f"link to a folder above it, not followed: {printable(inside)}")
            elif linked.st_ino and (linked.st_dev, linked.st_ino) in seen:
                repeats.append((inside, seen[linked.st_dev, linked.st_ino]))
            else:
                node.folders.append(Node(path, f"{inside}/"))
                walk(node.folders[-1], above)
                node.total += node.folders[-1].total
        node.total += len(node.images)
        node.with_text = sum(os.path.splitext(name)[0] in texts for name in node.images)

    root = Node(folder, "")
    walk(root, frozenset())
    return root


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()
