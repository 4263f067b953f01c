"""Zero-shot classification: names of classes in, probabilities and labels of images out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import softmax
from torch import Tensor

from askew.api.inputs import ImageInput, each, each_text, given_embeddings
from askew.errors import UserError, printable
from askew.evaluation.datasets.prompts import check_template, prompts, stored_prompts
from askew.evaluation.model import Encoders
from askew.evaluation.tasks.zero_shot import classifier

if TYPE_CHECKING:
    from askew.api.model import Model


@dataclass(frozen=True)
class Predictions:
    """What a zero-shot classifier finds for n images and K classes.

    Attributes:
        classes: the first name of each class.
        probabilities: (n, K) float32; each row sums to 1.

    Examples:
        >>> found = model.zero_shot(["dog", "cat"])(["photos/1.jpg", "photos/2.jpg"])
        >>> found.probabilities.shape, len(found.names), set(found.names) <= {"dog", "cat"}
        ((2, 2), 2, True)
    """

    classes: tuple[str, ...]
    probabilities: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """(n,) the index of the best class of each image; of equal classes the first."""
        return self.probabilities.argmax(axis=1)

    @property
    def names(self) -> list[str]:
        """The name of the best class of each image."""
        return [self.classes[label] for label in self.labels]


@dataclass(frozen=True)
class ZeroShotClassifier:
    """Classes as rows of a linear classifier. `Model.zero_shot` makes it; calling it classifies images.

    Attributes:
        model: embeds the images.
        classes: the first name of each class.
        weights: (K, D) unit-length embeddings of the classes.

    Examples:
        >>> classify = model.zero_shot(["dog", ["bicycle", "bike"]], templates="imagenet")
        >>> classify.classes
        ('dog', 'bicycle')
        >>> classify(["photos/1.jpg"]).labels.shape
        (1,)
    """

    model: "Model"
    classes: tuple[str, ...]
    weights: np.ndarray

    def __call__(
        self, images: Iterable[ImageInput] | Tensor, batch_size: int = 256, num_workers: int | None = None
    ) -> Predictions:
        """Classify images, or their embeddings (n, D); arguments and errors are those of `Model.encode_images`.

        Probabilities are the softmax of the cosines times the model's scale. A bias would cancel.
        """
        embeddings = given_embeddings(images, self.weights.shape[1], "images")
        if embeddings is None:
            embeddings = self.model.encode_images(images, batch_size, num_workers)  # type: ignore[arg-type]
        cosines = embeddings @ self.weights.T
        return Predictions(self.classes, softmax(cosines * np.float32(self.model.logit_scale), axis=1))


def class_weights(
    encoders: Encoders, classes: Sequence[str | Sequence[str]], templates: str | Sequence[str]
) -> tuple[tuple[str, ...], np.ndarray]:
    """The first name of each class, and evaluation's classifier (K, D) of all names in all templates.

    Raises:
        UserError: see `Model.zero_shot`.
    """
    synonyms: list[tuple[str, ...]] = []
    for index, given in enumerate(each(classes, "classes")):
        names = each_text([given] if isinstance(given, str) else given, f"classes[{index}]")
        if not names or not all(name.strip() for name in names):
            raise UserError(f"classes[{index}]: a class without a name; leave it out")
        synonyms.append(tuple(names))
    if not synonyms:
        raise UserError("classes: there are none; name at least one")
    return tuple(names[0] for names in synonyms), classifier(encoders, tuple(synonyms), _templates(templates))


def _templates(given: str | Sequence[str]) -> tuple[str, ...]:
    if isinstance(given, str) and given in stored_prompts():
        return prompts(given).templates
    if isinstance(given, str):
        if "{" not in given:
            known = ", ".join(stored_prompts())
            raise UserError(
                f"templates: {printable(given, 80)!r} is neither a template, with {{}} where the name goes, nor one "
                f"of the data sets with stored templates: {known}"
            )
        return (check_template(given, "templates"),)
    found = tuple(check_template(text, f"templates[{i}]") for i, text in enumerate(each_text(given, "templates")))
    if not found:
        raise UserError("templates: there are none; leave the argument out for 'a photo of a {}'")
    return found
