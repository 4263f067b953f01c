"""A user's folder of class folders as a classification data set, maybe within test/, train/ and validation/."""

from pathlib import Path

import numpy as np

from askew.errors import UserError, printable
from askew.evaluation.datasets.base import Classification, Labelled
from askew.evaluation.datasets.folder import ImageFiles

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm")
SPLITS = {"test": ("test",), "train": ("train",), "validation": ("validation", "val", "valid")}
DEFAULT_PROMPTS = ("a photo of a {}",)


def open_class_folders(folder: Path, prompts: str = "", class_names: str = "") -> Classification:
    """Open a folder of class folders, maybe within test/, train/ and validation/.

    Args:
        prompts: a template with `{}`, or a file with one template per line; "" is "a photo of a {}".
        class_names: a file of the names of the classes; "" takes the names of the folders.

    Raises:
        UserError: a class is empty, splits have different classes, or prompts are malformed.
    """
    return _classification(folder, read_prompts(prompts))


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
