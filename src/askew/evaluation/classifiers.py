"""The solvers of the linear probe: the same problem, logistic regression with an L2 penalty, by two programs."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from askew.evaluation.logistic import Logistic

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

LIMIT = 1000  # iterations of a fit, as CLIP has it


class Classifier(Protocol):
    """What a fit makes."""

    @property
    def iterations(self) -> int:
        """Steps of the solver."""
        ...

    def predict(self, features: np.ndarray) -> np.ndarray:
        """The label of every row (n,)."""
        ...


Fitter = Callable[[float, Callable[[int], None]], Classifier]
"""Takes C, and what is called with the number of each iteration."""


@dataclass(frozen=True)
class ProbeSolver:
    """A way to fit.

    Attributes:
        title: what the protocol says.
        prepare: takes features (n, F), labels (n,) and a device.
    """

    title: str
    prepare: Callable[[np.ndarray, np.ndarray, torch.device], Fitter]


@dataclass(frozen=True)
class _FromScikit:
    model: "LogisticRegression"

    @property
    def iterations(self) -> int:
        return int(np.max(self.model.n_iter_))

    def predict(self, features: np.ndarray) -> np.ndarray:
        return np.asarray(self.model.predict(features))


def _lbfgs(features: np.ndarray, labels: np.ndarray, device: torch.device) -> Fitter:
    problem = Logistic(features, labels, device if device.type == "cuda" else "cpu")  # others may lack float64
    return lambda c, tick: problem.fit(c, LIMIT, tick=tick)


def _scikit_learn(features: np.ndarray, labels: np.ndarray, device: torch.device) -> Fitter:
    from sklearn.exceptions import ConvergenceWarning  # half a second, which every other command can do without
    from sklearn.linear_model import LogisticRegression

    def fit(c: float, tick: Callable[[int], None]) -> Classifier:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return _FromScikit(LogisticRegression(C=c, max_iter=LIMIT, random_state=0).fit(features, labels))

    return fit


SOLVERS = {
    "lbfgs": ProbeSolver("logistic regression, preconditioned L-BFGS", _lbfgs),
    "scikit-learn": ProbeSolver(f"scikit-learn {version('scikit-learn')} LogisticRegression, L-BFGS", _scikit_learn),
}
