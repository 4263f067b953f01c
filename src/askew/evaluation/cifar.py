"""CIFAR-10 and CIFAR-100, from the files of their "python version": pickles, which are read and never unpickled."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from askew.evaluation.pickled import read_pickle
from askew.evaluation.places import Place
from askew.evaluation.prompts import prompts
from askew.evaluation.sets import Classification, Labelled

SIDE = 32


class Pixels:
    """Images that are stored as pixels: rows (n, 3 * 32 * 32) uint8, the red plane, then green, then blue."""

    keys: Sequence[str]

    def __init__(self, rows: np.ndarray, keys: Sequence[str]):
        self.rows = rows
        self.keys = tuple(keys)

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int) -> bytes:
        """The row's bytes."""
        return self.rows[index].tobytes()

    def __getitem__(self, index: int) -> Image.Image:
        return Image.fromarray(self.rows[index].reshape(3, SIDE, SIDE).transpose(1, 2, 0))


def cifar10(place: Place) -> Classification:
    """CIFAR-10: data_batch_1 to data_batch_5 are the training images, test_batch the test images."""
    batches = [f"data_batch_{number}" for number in range(1, 6)]
    return _cifar(place, batches, "test_batch", "labels", ("batches.meta", "label_names"))


def cifar100(place: Place) -> Classification:
    """CIFAR-100 with its 100 fine labels: train and test."""
    return _cifar(place, ["train"], "test", "fine_labels", ("meta", "fine_label_names"))


def _cifar(place: Place, train: list[str], test: str, labels: str, meta: tuple[str, str]) -> Classification:
    """Labels count in the order of the names in `meta`, which have to be the prompts' classes."""
    known = prompts(place.name)
    names = [str(name) for name in _entries(place, meta[0], meta[1])[0]]
    place.labels(names, meta[0])
    splits = {}
    for split, batches in (("train", train), ("test", [test])):
        rows, found, keys = [], [], []
        for batch in batches:
            pixels, classes = _entries(place, batch, "data", labels)
            if getattr(pixels, "shape", ()) != (len(classes), 3 * SIDE * SIDE):
                raise place.wrong(f"{batch}: {len(classes)} labels for pixels of shape {getattr(pixels, 'shape', ())}")
            rows.append(pixels)
            found += [names[label] if 0 <= label < len(names) else f"label {label}" for label in classes]
            keys += [f"{batch}/{row:05d}" for row in range(len(classes))]
        splits[split] = Labelled(Pixels(np.concatenate(rows), keys), place.labels(found, split))
    return Classification(
        place.name, "top1", known.classes, known.templates, splits["test"], splits["train"],
        expected=(("train", 50000), ("test", 10000)),
    )  # fmt: skip


def _entries(place: Place, file: str, *keys: str) -> list:
    """Entries of a batch's dictionary."""
    path = place.find(file)
    try:
        batch = read_pickle(path.read_bytes())
        return [batch[key] for key in keys]
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"it has no entry {error}" if isinstance(error, KeyError) else str(error)
        raise place.wrong(f"{file} is not a file of the python version ({reason})") from error
