"""A user's own data as a data set: a folder of class folders, or any source of images and captions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from askew.data.images import decode
from askew.data.sources import Source, open_source
from askew.errors import UserError, printable
from askew.evaluation.datasets.base import Captioned, Classification, Labelled
from askew.evaluation.datasets.folder import ImageFiles

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm")
SPLITS = {"test": ("test",), "train": ("train",), "validation": ("validation", "val", "valid")}
DEFAULT_PROMPTS = ("a photo of a {}",)


class SourceImages:
    """The images of a training source, named as the source names them."""

    def __init__(self, source: Source, names: Sequence[str]):
        self.source, self.keys = source, names

    def __len__(self) -> int:
        return len(self.keys)

    def read(self, index: int) -> bytes:
        """The encoded bytes."""
        return self.source[index].image

    def __getitem__(self, index: int) -> Image.Image:
        try:
            return decode(self.read(index))
        except OSError as error:
            raise OSError(f"{self.keys[index]}: {error.strerror or error}") from error


def open_custom(text: str, prompts: str = "") -> Classification | Captioned:
    """Open a folder of class folders, maybe within test/, train/ and validation/, or a source of images and captions.

    Args:
        text: the folder, or anything that `askew train --data` takes.
        prompts: a template with `{}`, or a file with one template per line; "" is "a photo of a {}".

    Raises:
        UserError: the layout is neither, a class is empty, splits have different classes, or prompts are malformed.
    """
    folder = Path(text).expanduser()
    if folder.is_dir() and not any(folder.glob("*.parquet")) and any(_class_folders(folder)):
        return _classification(folder, read_prompts(prompts))
    return _captioned(text)


def read_prompts(text: str) -> tuple[str, ...]:
    """Templates, given as one template or as a file with one per line. Each contains `{}` exactly once.

    Raises:
        UserError: a template without exactly one `{}`, or a file that cannot be read.
    """
    if not text:
        return DEFAULT_PROMPTS
    templates = (text,)
    if "{}" not in text:
        path = Path(text).expanduser()
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"--prompts {printable(text)}: neither a template with {{}} nor a readable file of templates ({error})"
            ) from error
        templates = tuple(line.strip() for line in lines if line.strip())
    bad = [template for template in templates if template.count("{}") != 1]
    if bad or not templates:
        wrong = f"{printable(bad[0])!r} does not" if bad else "the file has none"
        raise UserError(f"--prompts {printable(text)}: a template contains {{}} once, where the name goes; {wrong}")
    return templates


def _class_folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _classification(folder: Path, templates: tuple[str, ...]) -> Classification:
    parts = {split: next((folder / n for n in names if (folder / n).is_dir()), None) for split, names in SPLITS.items()}
    if parts["test"] is None:
        parts = {"test": folder, "train": None, "validation": None}
    assert parts["test"] is not None
    names = [path.name for path in _class_folders(parts["test"])]
    notes: list[str] = []
    splits = {split: _split(path, names, notes) for split, path in parts.items() if path is not None}
    return Classification(
        folder.resolve().name,
        "top1",
        tuple((name.replace("_", " "),) for name in names),
        templates,
        splits["test"],
        splits.get("train"),
        splits.get("validation"),
        notes=tuple(notes),
    )


def _split(folder: Path, names: list[str], notes: list[str]) -> Labelled:
    """Images and labels of one folder of class folders. Files without the suffix of an image are noted in `notes`."""
    have = [path.name for path in _class_folders(folder)]
    extra, missing = sorted(set(have) - set(names)), sorted(set(names) - set(have))
    if extra or missing:
        listed = ", ".join(printable(n, 40) for n in (extra or missing)[:5])
        raise UserError(
            f"{folder}: {'classes that the test split lacks' if extra else 'classes of the test split are missing'}: "
            f"{listed} ({len(extra or missing)} in all); every split needs the same class folders"
        )
    stray = [p for p in folder.iterdir() if p.is_file() and p.suffix.lower() in SUFFIXES]
    if stray:
        raise UserError(
            f"{folder}: {len(stray)} images lie beside the class folders ({printable(stray[0].name)}, ...); "
            "put each into the folder of its class"
        )
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        files = sorted(p for p in (folder / name).rglob("*") if p.is_file() and not p.name.startswith("."))
        images = [p for p in files if p.suffix.lower() in SUFFIXES]
        others = [p for p in files if p.suffix.lower() not in SUFFIXES]
        if not images:
            raise UserError(
                f"{folder / name}: the class has no image ({', '.join(SUFFIXES)}); add some, or remove the folder"
            )
        if others:
            notes.append(f"{folder.name}/{name}: {len(others)} files do not have an image suffix ({others[0].name})")
        paths += [path.relative_to(folder).as_posix() for path in images]
        labels += [label] * len(images)
    return Labelled(ImageFiles(folder, paths), np.array(labels))


def _captioned(text: str) -> Captioned:
    source = open_source(text)
    names: list[str] = []
    captions: list[str] = []
    image_of: list[int] = []
    unreadable: list[str] = []
    bare: list[str] = []
    for index in range(len(source)):
        try:
            sample = source[index]
        except OSError as error:
            unreadable.append(f"{error.strerror or error}" + (f" ({error.filename})" if error.filename else ""))
            continue
        if not sample.captions:
            bare.append(sample.name)
        names.append(sample.name or str(index))
        captions += sample.captions
        image_of += [index] * len(sample.captions)
    for found, what in ((unreadable, "images cannot be read"), (bare, "images have no caption")):
        if found:
            raise UserError(
                f"{printable(text)}: {len(found):,} of {len(source):,} {what}: {printable(found[0])}"
                f"{', ...' if len(found) > 1 else ''}; fix or remove their rows"
            )
    name = Path(text).expanduser().stem or "data"
    return Captioned(name, SourceImages(source, names), tuple(captions), np.array(image_of, dtype=int))
