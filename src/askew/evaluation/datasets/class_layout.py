"""How a folder of class folders is laid out: its classes, its splits, and where it can be read in two ways.

Nothing is decoded, and nothing is decided for the user: a layout that has two readings, or
none that makes sense, has a `problem`, a line that says how to choose.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from askew.data.sources import splits as names_of_splits
from askew.data.sources.base import IMAGE_SUFFIXES
from askew.data.sources.listing import Listing
from askew.errors import printable
from askew.evaluation.datasets.class_tree import Node, scanned

SPLITS = {
    "test": ("test", "testing"),
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev"),
}
"""The words that name splits, in any case. Others may follow: `training_set`, `val2017`, `test-images`."""
SPLIT = re.compile(r"([a-z]+?)[ _.-]?(?:sets?|images?|imgs?|data|split|\d+)?", re.IGNORECASE)
CONTAINERS = ("images", "image", "imgs", "img", "pictures", "photos", "jpegimages", "jpeg", "jpg", "png")
"""Names of folders that hold all images of a split, and are no class."""
NO_CLASS = ("images", "image", "imgs", "img", "jpegimages")
"""Of these, the ones that are no class beside other folders either: `images/` and `annotations/`."""


@dataclass(frozen=True)
class Layout:
    """A folder of class folders.

    Attributes:
        folder: the folder that was named.
        splits: by "test", "train" and "validation": the folder whose subfolders are the classes. Without splits, only
            "test".
        problem: why it cannot be evaluated, and how to choose or to fix it, in one line; "" if it can.
        notes: what a reader of the numbers should know.
        warnings: what makes the numbers doubtful.
        loose: number of images that lie beside the class folders.
    """

    folder: Path
    splits: dict[str, Node]
    problem: str = ""
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    loose: int = 0

    @property
    def classes(self) -> tuple[str, ...]:
        """The sorted names of the class folders: of the test split, or of the first that there is."""
        return tuple(sorted(folder.name for folder in next(iter(self.splits.values())).folders))

    @property
    def images(self) -> int:
        """Number of images in class folders, over all splits."""
        return sum(folder.total for split in self.splits.values() for folder in split.folders)

    @property
    def texts(self) -> int:
        """How many of these have a text file of the same name beside them: then the folder may be images and texts."""
        folders = [folder for split in self.splits.values() for folder in split.folders]
        return sum(node.with_text for folder in folders for node in folder.below())


def split_of(name: str) -> str:
    """The split that a folder's name means, or ""."""
    found = SPLIT.fullmatch(name)
    return next((split for split, words in SPLITS.items() if found and found[1].lower() in words), "")


def named_splits(folders: list[Node], known: Collection[str] = ()) -> dict[str, str]:
    """The split of each folder that is named like one, by the folder's name.

    Beside the words of `split_of`, these are names that differ only in the split: `seg_train` and `seg_test`. One such
    name alone is a thing: `steam_train`.
    """
    found = {folder.name: split_of(folder.name) for folder in folders}
    alike: dict[str, list[str]] = {}
    for name in found:
        if split := names_of_splits.split_of(name):
            words = "|".join(sorted(names_of_splits.WORDS[split], key=len, reverse=True))
            alike.setdefault(re.sub(words, "*", name.lower(), count=1), []).append(name)
    alike.pop("*", None)  # `train` beside `eval`: whole words are split_of's
    for names in alike.values():
        splits = {name: names_of_splits.split_of(name) for name in names}
        found |= splits if len(set(splits.values())) > 1 else {}
    return {name: split for name, split in found.items() if split and name not in known}


def class_layout(folder: Path, known: Collection[str] = ()) -> Layout | None:
    """The layout of a folder; None if it is no folder of folders with images.

    Args:
        known: names of folders that are classes, even where they are called like a split.

    Raises:
        UserError: a folder that cannot be read.
    """
    if not folder.is_dir():
        return None
    listing, repeats = Listing(), []
    root = scanned(folder, listing, repeats)
    if not root.full:
        return None
    notes = [*([listing.note] if listing.note else []), *listing.notes]
    node = _unwrapped(root, known, notes)
    split_by_name = named_splits(node.full, known)
    named = [child for child in node.full if child.name in split_by_name]
    if named:
        splits = {split_by_name[child.name]: _unwrapped(child, known, notes) for child in named}
        unused = [child.name for child in node.folders if child not in node.full]
        notes += [f"folders without images left out: {', '.join(map(printable, unused[:5]))}"] if unused else []
    else:
        splits = {"test": node}
    problem = _repeated(repeats, splits.values(), notes)
    problem = problem or (
        _of_splits(node, named, list(split_by_name.values())) if named else _of_other_splits(node, known)
    )
    if named and not problem and "test" not in splits:
        notes.append(f"no test split: evaluated on {splits['validation'].inside.rstrip('/')}")
        splits["test"] = splits.pop("validation")
    splits = {split: splits[split] for split in SPLITS if split in splits}
    if not problem:
        problem = next(filter(None, (_of_containers(split, known) for split in splits.values())), "")
    if not problem:
        problem = next(filter(None, (_of_classes(split, splits["test"]) for split in splits.values())), "")
    if not problem and len(splits["test"].folders) == 1:
        problem = _only_class(splits["test"])
    loose = len(node.images) + sum(len(split.images) for split in splits.values() if split is not node)
    return Layout(folder, splits, problem, tuple(notes), () if problem else _deep(splits["test"]), loose)


def _unwrapped(node: Node, known: Collection[str], notes: list[str]) -> Node:
    """The folder whose subfolders are classes or splits: below folders that hold nothing but one folder of folders."""
    while not node.images and len(node.full) == 1:
        only = node.full[0]
        is_split = split_of(only.name) and only.name != node.name  # archives often repeat: training_set/training_set
        if only.images or not only.full or is_split or only.name in known:
            break
        notes.append(f"the class folders were looked for in {printable(only.inside.rstrip('/'))}")
        node = only
    return node


def _repeated(repeats: list[tuple[str, str]], splits: Iterable[Node], notes: list[str]) -> str:
    """The problem of a folder that belongs to two classes or splits. Twice in one class, it counts once: a note."""
    classes = [folder.inside for split in splits for folder in split.folders]
    for path, first in repeats:
        if any(path.startswith(inside) and f"{first}/".startswith(inside) for inside in classes):
            notes.append(f"{printable(path)} and {printable(first)} are one folder, which counts once")
        else:
            return (
                f"{printable(path)} and {printable(first)} are one folder (a link), so its images would count for both;"
                " remove one of them"
            )
    return ""


def _of_splits(node: Node, named: list[Node], by_split: list[str]) -> str:
    """What is wrong with folders that are named like splits."""
    where = printable(str(node.path), 400)
    listed = _listed(named)
    others = [child for child in node.full if child not in named]
    flat = [child for child in named if _is_flat(child)]
    as_classes = "if they are classes, list every class in a file and name it with --class-names FILE"
    if others:
        return (
            f"{where}: {listed} can be splits, or classes beside {_listed(others)}; if they are splits, move "
            f"{_listed(others)} elsewhere; {as_classes}"
        )
    if len(flat) == len(named):
        return (
            f"{where}: {listed} hold images and no class folders: they can be classes, or splits without labels; "
            f"{as_classes}; if they are splits, put a folder per class into each"
        )
    if flat:
        return (
            f"{where}: {_listed(flat)} holds images without class folders, so they have no labels; put a folder per "
            "class into it, or move it elsewhere"
        )
    if len(set(by_split)) < len(by_split):
        return f"{where}: {listed} name one split twice; keep one folder for each split"
    if by_split == ["train"]:
        return (
            f"{where}: there is a training split and nothing to evaluate on; to evaluate on the training images use "
            f"--data {printable(str(named[0].path), 400)}, or add a folder test or val with the same class folders"
        )
    return ""


def _of_other_splits(node: Node, known: Collection[str]) -> str:
    """Folders that hold the same folders are probably splits with names of their own."""
    holders: dict[frozenset[str], list[str]] = {}
    for child in node.full:
        inner = frozenset(folder.name for folder in child.full)
        if len(inner) > 1 and not child.images and child.name not in known and not any(map(split_of, inner)):
            holders.setdefault(inner, []).append(child.name)
    for inner, names in holders.items():
        if len(names) > 1:
            return (
                f"{printable(str(node.path), 400)}: {_names(names)} hold the same folders, {_names(sorted(inner))}: "
                "they can be splits of these classes, or classes; if they are splits, call them train, val and test; "
                "if they are classes, list every class in a file and name it with --class-names FILE"
            )
    return ""


def _is_flat(split: Node) -> bool:
    """Whether a split's images have no labels: they lie in it directly, or in one folder called `images`."""
    alone = split.full[0] if len(split.full) == 1 else None
    return not split.full or (alone is not None and alone.name.lower() in CONTAINERS and not alone.full)


def _of_containers(split: Node, known: Collection[str]) -> str:
    """Images without labels, beside folders of something else: masks, annotations."""
    holders = [child for child in split.full if child.name.lower() in NO_CLASS and child.name not in known]
    others = [child for child in split.full if child not in holders]
    if not holders or not others:
        return ""
    return (
        f"{printable(str(split.path), 400)}: {_listed([*holders, *others])} hold images, and {_listed(holders[:1])} "
        "is rarely the name of a class; put the images into a folder per class, or, if these are classes, list every "
        "class in a file and name it with --class-names FILE"
    )


def _of_classes(split: Node, test: Node) -> str:
    """What is wrong with the class folders of one split; `test` is the split that has the right ones."""
    have, wanted = {folder.name for folder in split.folders}, {folder.name for folder in test.folders}
    extra, missing = sorted(have - wanted), sorted(wanted - have)
    where = printable(str(split.path), 400)
    if extra or missing:
        names = ", ".join(printable(n, 40) for n in (extra or missing)[:5])
        return (
            f"{where}: {'classes that the test split lacks' if extra else 'classes of the test split are missing'}: "
            f"{names} ({len(extra or missing)} in all); every split needs the same class folders"
        )
    if split.images:
        return (
            f"{where}: {len(split.images)} images lie beside the class folders ({printable(split.images[0])}, ...); "
            "put each into the folder of its class"
        )
    for folder in split.folders:
        if not folder.total:
            return (
                f"{printable(str(folder.path), 400)}: the class has no image ({', '.join(IMAGE_SUFFIXES)}); "
                "add some, or remove the folder"
            )
    inner = [(child, folder) for folder in split.folders for child in folder.full if split_of(child.name)]
    if len(inner) > 1:  # one alone may be a thing: vehicles/train
        child, folder = inner[0]
        return (
            f"{printable(str(child.path), 400)}: a split inside a class; put the class folders into the splits, "
            f"as in {printable(child.name)}/{printable(folder.name)}"
        )
    return ""


def _deep(split: Node) -> tuple[str, ...]:
    """A line if no class folder holds an image itself, and some hold several folders: these may be the classes."""
    inner = next((folder.full[0] for folder in split.folders if len(folder.full) > 1), None)
    if inner is None or any(folder.images for folder in split.folders):
        return ()
    return (
        f"the classes are {_listed(split.full)}, and their folders count for them, such as "
        f"{printable(inner.inside.rstrip('/'))}; if these are the classes, move them into one folder",
    )


def _only_class(split: Node) -> str:
    name = printable(split.folders[0].name)
    return (
        f"{printable(str(split.path), 400)}: there is one class folder, {name}, so every image would be right with any "
        "model; name the folder that holds the class folders, at least two"
    )


def _listed(folders: list[Node]) -> str:
    return _names([folder.name for folder in folders])


def _names(folders: list[str]) -> str:
    """At most five names."""
    names = [printable(name, 40) for name in folders[:5]] + (["..."] if len(folders) > 5 else [])
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
