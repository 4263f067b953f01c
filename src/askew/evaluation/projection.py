"""A flat map of embeddings: the two directions in which they vary most (principal component analysis)."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from askew.evaluation.chunks import Chunk


@dataclass(frozen=True)
class PrincipalPlane:
    """A plane through the mean.

    Attributes:
        mean: (D,).
        axes: (2, D) orthonormal; zero where the embeddings do not vary in so many directions.
    """

    mean: np.ndarray
    axes: np.ndarray

    def project(self, embeddings: np.ndarray) -> np.ndarray:
        """(n, D) to (n, 2) float32."""
        return ((embeddings - self.mean) @ self.axes.T).astype(np.float32)


def plane_of(chunks: Iterable[Chunk]) -> PrincipalPlane:
    """The plane that keeps most of the variance of the images that can be used; there is at least one.

    The largest entry of each axis is positive, so that the same data give the same map on every machine.
    """
    images = [chunk.image[chunk.readable] for chunk in chunks]
    width = images[0].shape[1]
    count = sum(len(part) for part in images)
    if not count:
        return PrincipalPlane(np.zeros(width), np.zeros((2, width)))
    mean = sum(part.sum(axis=0, dtype=np.float64) for part in images) / count
    scatter = np.zeros((width, width))
    for part in images:
        centred = part - mean
        scatter += centred.T @ centred
    values, vectors = np.linalg.eigh(scatter)
    axes = vectors.T[::-1][:2].copy()
    axes[values[::-1][:2] <= 1e-9 * count] = 0.0
    if len(axes) < 2:
        axes = np.vstack([axes, np.zeros((2 - len(axes), width))])
    largest = axes[np.arange(2), np.abs(axes).argmax(axis=1)]
    axes[largest < 0] *= -1
    return PrincipalPlane(np.asarray(mean), axes)
