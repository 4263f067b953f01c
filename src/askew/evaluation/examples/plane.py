"""Images and texts in one plane."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class JointPlane:
    """The first two principal components of images and texts together.

    Attributes:
        image, text: (n, 2), (m, 2) coordinates. Where it makes a difference, images have the larger mean on each axis.
        explained: share of the variance along each axis, in [0, 1].
        gap: the modality gap, the distance between the mean image and the mean text; 0 to 2 for unit vectors.
    """

    image: np.ndarray
    text: np.ndarray
    explained: tuple[float, float]
    gap: float


def plane(image: np.ndarray, text: np.ndarray) -> JointPlane:
    """PCA of embeddings (n, D) and (m, D), centred on the mean of all n + m.

    The sign of an axis is arbitrary, and is fixed so that one model gives one map: the mean image is on its positive
    side, or, if the two means are equal there, its largest component is positive. A missing second axis (one pair, or
    D = 1) has coordinates 0.
    """
    both = np.concatenate([image, text]).astype(np.float64)
    centred = both - both.mean(axis=0)
    _, spread, axes = np.linalg.svd(centred, full_matrices=False)
    axes, variance = axes[:2], spread**2
    apart = (image.mean(axis=0, dtype=np.float64) - text.mean(axis=0, dtype=np.float64)) @ axes.T
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)[:, 0]
    signs = np.sign(np.where(np.abs(apart) > 1e-6, apart, largest))
    places = centred @ (axes * signs[:, None]).T
    places = np.pad(places, ((0, 0), (0, 2 - places.shape[1])))
    shares = np.zeros(2)
    if variance.sum() > 1e-12:
        shares[: len(axes)] = variance[:2] / variance.sum()
    gap = np.linalg.norm(image.mean(axis=0, dtype=np.float64) - text.mean(axis=0, dtype=np.float64))
    return JointPlane(places[: len(image)], places[len(image) :], (float(shares[0]), float(shares[1])), float(gap))
