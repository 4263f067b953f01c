"""CIFAR-10 and CIFAR-100, from the pickle files of their "python version". The files are never unpickled."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from askew.evaluation.datasets.base import Classification, Labelled
from askew.evaluation.datasets.folder import DatasetFolder
from askew.evaluation.datasets.pickled import read_pickle
from askew.evaluation.datasets.prompts import prompts

SIDE = 32


class Pixels:
    """Images stored as pixels, one per row: (n, 3 * 32 * 32) uint8, the red plane, then green, then blue."""

    keys: Sequence[str]

    def __init__(self, rows: np.ndarray, keys: Sequence[str]):
        self.rows = rows
        self.keys = tuple(keys)

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int) -> bytes:
        """The bytes of the row."""
        return self.rows[index].tobytes()

    def pixels(self, index: int) -> np.ndarray:
        """(32, 32, 3) uint8."""
        return np.ascontiguousarray(self.rows[index].reshape(3, SIDE, SIDE).transpose(1, 2, 0))

    def __getitem__(self, index: int) -> Image.Image:
        return Image.fromarray(self.pixels(index))


def cifar10(folder: DatasetFolder) -> Classification:
    """CIFAR-10: the training images are in data_batch_1 to data_batch_5, the test images in test_batch."""
    batches = [f"data_batch_{number}" for number in range(1, 6)]
    return _cifar(folder, batches, "test_batch", "labels", ("batches.meta", "label_names"))


def cifar100(folder: DatasetFolder) -> Classification:
    """CIFAR-100 with its 100 fine labels: the files train and test."""
    return _cifar(folder, ["train"], "test", "fine_labels", ("meta", "fine_label_names"))


def _cifar(folder: DatasetFolder, train: list[str], test: str, labels: str, meta: tuple[str, str]) -> Classification:
    """Labels are positions in the list of names in `meta`, which must name the same classes as the prompts."""
    known = prompts(folder.name)
    names = [str(name) for name in _entries(folder, meta[0], meta[1])[0]]
    folder.labels(names, meta[0])
    splits = {}
    for split, batches in (("train", train), ("test", [test])):
        rows, found, keys = [], [], []
        for batch in batches:
            pixels, classes = _entries(folder, batch, "data", labels)
            if getattr(pixels, "shape", ()) != (len(classes), 3 * SIDE * SIDE):
                raise folder.wrong(f"{batch}: {len(classes)} labels for pixels of shape {getattr(pixels, 'shape', ())}")
            rows.append(pixels)
            found += [names[label] if 0 <= label < len(names) else f"label {label}" for label in classes]
            keys += [f"{batch}/{row:05d}" for row in range(len(classes))]
        splits[split] = Labelled(Pixels(np.concatenate(rows), keys), folder.labels(found, split))
    return Classification(
        folder.name, "top1", known.classes, known.templates, splits["test"], splits["train"],
        expected=(("train", 50000), ("test", 10000)),
    )  # fmt: skip


def _entries(folder: DatasetFolder, file: str, *keys: str) -> list:
    """Entries of the dictionary in one file."""
    path = folder.find(file)
    try:
        batch = read_pickle(path.read_bytes())
        return [batch[key] for key in keys]
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"it has no entry {error}" if isinstance(error, KeyError) else str(error)
        raise folder.wrong(f"{file} is not a file of the python version ({reason})") from error
