"""Multinomial logistic regression by L-BFGS, preconditioned with the features' second moments.

The problem is that of scikit-learn's `LogisticRegression`: the mean cross-entropy plus the squared weights over 2 C n,
with an intercept that is not penalised. Its solver needs hundreds of iterations, because features are correlated and of
unequal scale. The curvature of the loss is bounded by the features' second moments (Böhning, 1992), so L-BFGS here
starts from their inverse, and needs a few dozen. The minimum is the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

TOLERANCE = 1e-6
"""The search ends when the next step promises to lower the objective by a smaller share than this. scikit-learn
compares the gradient with 1e-4, on features of any scale, and may end far above the minimum."""
SMALL = 1e-6  # nats: a lower objective counts as this one
EXACT = (
    1 << 19
)  # numbers in features: up to here all is in float64. Where items can be told apart with certainty, and C
# is large, the loss is lost in the rounding of float32 long before the minimum
MEMORY = 10  # pairs of steps and changes of the gradient
BLOCK = 1 << 19  # logits that are in memory at a time
TRIALS = 20  # of one line search
FLOOR = 1e-7  # of the preconditioner's eigenvalues, relative to their mean
LEAST = -80.0  # of a log-probability: the exponentials of lower ones are denormal, and slow


@dataclass(frozen=True)
class FittedClassifier:
    """A fitted classifier.

    Attributes:
        weights: (F, K) float64; one column if there are two classes.
        bias: (K,).
        classes: the labels in order; the prediction is one of them.
        objective: mean cross-entropy plus penalty, in nats.
        iterations: steps that were taken.
    """

    weights: np.ndarray
    bias: np.ndarray
    classes: np.ndarray
    objective: float
    iterations: int

    def predict(self, features: np.ndarray) -> np.ndarray:
        """The most likely label of each row (n,)."""
        logits = features @ self.weights.astype(features.dtype) + self.bias.astype(features.dtype)
        if len(self.classes) == 2:
            return self.classes[(logits[:, 0] > 0).astype(int)]
        return self.classes[logits.argmax(1)]


class _Point(NamedTuple):
    """Weights with intercept (F + 1, K), the objective there, and its gradient, in float64."""

    at: Tensor
    value: float
    gradient: Tensor


class Logistic:
    """The problem on one set of features, for any strength of regularisation.

    Args:
        features: (n, F); read as float32, or where they are few as float64.
        labels: (n,), with two classes or more.
        device: where the products are formed. It must know float64.
    """

    def __init__(self, features: np.ndarray, labels: np.ndarray, device: torch.device | str = "cpu"):
        self.classes, indices = np.unique(labels, return_inverse=True)
        assert len(self.classes) > 1, "one class has nothing to tell apart"
        kind = np.float64 if features.size <= EXACT else np.float32
        rows = torch.from_numpy(np.ascontiguousarray(features, dtype=kind))
        self.rows = torch.cat([rows, torch.ones(len(rows), 1, dtype=rows.dtype)], 1).to(device)
        self.labels = torch.from_numpy(indices.reshape(-1)).to(device)
        self.columns = len(self.classes) if len(self.classes) > 2 else 1
        self._moments = _second_moments(self.rows)

    def fit(
        self,
        c: float,
        limit: int = 1000,
        tolerance: float = TOLERANCE,
        tick: Callable[[int], None] = lambda iteration: None,
    ) -> FittedClassifier:
        """The classifier for one C, from weights of zero.

        Args:
            c: inverse strength of the penalty, as scikit-learn's C.
            limit: of iterations.
            tick: called with the number of every iteration.
        """
        penalty = torch.full((len(self._moments), 1), 1 / (c * len(self.rows)), dtype=torch.float64)
        penalty[-1] = 0
        penalty = penalty.to(self.rows.device)
        point = self._evaluate(torch.zeros(len(self._moments), self.columns).to(penalty), penalty)
        search = _Directions(self._preconditioner(penalty))
        iteration = 0
        while iteration < limit:
            direction = search.direction(point.gradient)
            promised = -_dot(direction, point.gradient) / 2
            found = self._step(point, direction, penalty) if promised > tolerance * max(point.value, SMALL) else None
            if found is None:  # or no lower point along a descent: float32 has no more digits
                break
            search.learn(found.at - point.at, found.gradient - point.gradient)
            point = found
            iteration += 1
            tick(iteration)
        made = point.at.cpu().numpy()
        return FittedClassifier(made[:-1], made[-1], self.classes, point.value, iteration)

    def _evaluate(self, at: Tensor, penalty: Tensor) -> _Point:
        """Objective and gradient, block by block, so that no (n, K) table is ever whole."""
        size = max(1, BLOCK // len(self.classes))
        single = at.to(self.rows.dtype)
        value = torch.zeros((), dtype=torch.float64, device=at.device)
        gradient = torch.zeros_like(at)
        for rows, labels in zip(self.rows.split(size), self.labels.split(size), strict=True):
            logits = rows @ single
            if self.columns == 1:
                logits = torch.cat([torch.zeros_like(logits), logits], 1)
            chosen = labels[:, None]
            logs = torch.log_softmax(logits, 1).clamp_(min=LEAST)
            value -= logs.gather(1, chosen).sum(dtype=torch.float64)
            excess = logs.exp_().scatter_add_(1, chosen, torch.full_like(chosen, -1, dtype=logs.dtype))
            gradient += rows.T @ excess[:, -self.columns :]
        count = len(self.rows)
        total = value / count + 0.5 * (penalty * at * at).sum()
        return _Point(at, total.item(), gradient / count + penalty * at)

    def _step(self, start: _Point, direction: Tensor, penalty: Tensor) -> _Point | None:
        """A point along a direction that meets the weak Wolfe conditions, by bisection."""
        slope = _dot(start.gradient, direction)
        low, high, length = 0.0, float("inf"), 1.0
        rounding = 1e-8 * max(1.0, abs(start.value)) if abs(slope) < 1e-8 else 0.0
        best = None
        for _ in range(TRIALS):
            found = self._evaluate(start.at + length * direction, penalty)
            if found.value > start.value + 1e-4 * length * slope + rounding:
                high = length
            else:
                best = found
                if _dot(found.gradient, direction) >= 0.9 * slope:
                    return found
                low = length
            length = (low + high) / 2 if high < float("inf") else 2 * low
        return best

    def _preconditioner(self, penalty: Tensor) -> Tensor:
        """Cholesky factor (F + 1, F + 1) of about the curvature that there is while all classes are equally likely."""
        likely = 1 / len(self.classes)
        curvature = likely * (1 - likely) * self._moments
        curvature.diagonal().add_(penalty[:, 0] + FLOOR * curvature.diagonal().mean())
        return torch.linalg.cholesky(curvature)


class _Directions:
    """The L-BFGS recursion (Nocedal and Wright, algorithm 7.4) from a preconditioner.

    Args:
        factor: Cholesky factor of the first estimate of the curvature.
    """

    def __init__(self, factor: Tensor):
        self.factor, self.scale = factor, 1.0
        self.pairs: list[tuple[Tensor, Tensor, float]] = []

    def direction(self, gradient: Tensor) -> Tensor:
        """A direction of descent, of the shape of the gradient."""
        left, shares = gradient.clone(), []
        for step, change, product in reversed(self.pairs):
            shares.append(_dot(step, left) / product)
            left -= shares[-1] * change
        left = self.scale * torch.cholesky_solve(left, self.factor)
        for (step, change, product), share in zip(self.pairs, reversed(shares), strict=True):
            left += (share - _dot(change, left) / product) * step
        return -left

    def learn(self, step: Tensor, change: Tensor) -> None:
        """Remember one step, and how it changed the gradient."""
        product = _dot(step, change)
        if product > 0:
            self.pairs = [*self.pairs, (step, change, product)][-MEMORY:]
            self.scale = product / _dot(change, torch.cholesky_solve(change, self.factor))


def _second_moments(rows: Tensor) -> Tensor:
    """Mean of outer products (F, F), float64."""
    total = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64, device=rows.device)
    for block in rows.split(max(1, BLOCK // rows.shape[1])):
        exact = block.double()  # the rounding of float32 would make small eigenvalues negative
        total += exact.T @ exact
    return total / len(rows)


def _dot(left: Tensor, right: Tensor) -> float:
    return (left * right).sum().item()
