"""The linear probe: askew's solver beside scikit-learn's, in one run, to the same value of the objective.

    python benchmarks/probe.py                      # 50,000 x 512 features of 100 classes, C = 1
    python benchmarks/probe.py --rows 3060 --width 320 --classes 102 --search
    python benchmarks/probe.py --features FILE.npz --search    # train, train_y, test, test_y

Made features are those of an encoder in outline: correlated, of unequal scale, classes that overlap. scikit-learn runs
first, to its own end. askew's solver then runs to its own end, and once more with the fewest iterations (a power of
two) after which its objective, computed in float64 from the weights of both, is no higher than scikit-learn's. With
--search, each also makes CLIP's search for C, fifteen fits, and the accuracies on the test images are compared.
"""

import argparse
import platform
import time
import warnings

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from askew.evaluation.classifiers import LIMIT
from askew.evaluation.logistic import FittedClassifier, Logistic
from askew.evaluation.tasks.linear_probe import Solver, Split, choose, held_out


def made_features(rows: int, width: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, F) and labels (n,)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    scale = np.geomspace(3.0, 0.03, width)  # as the spectrum of an encoder's features falls
    basis = np.linalg.qr(rng.normal(size=(width, width)))[0]
    centres = rng.normal(size=(classes, width)) * 0.12
    return ((centres[labels] + rng.normal(size=(rows, width))) * scale @ basis + 1.0).astype(np.float32), labels


def objective(weights: np.ndarray, bias: np.ndarray, x: np.ndarray, y: np.ndarray, c: float) -> float:
    """Mean cross-entropy plus the squared weights over 2 C n, in float64, nats. `weights` is (F, K)."""
    total = 0.0
    for start in range(0, len(x), 5000):
        logits = x[start : start + 5000].astype(float) @ weights + bias
        logits -= logits.max(1, keepdims=True)
        chosen = logits[np.arange(len(logits)), y[start : start + 5000]]
        total += float((np.log(np.exp(logits).sum(1)) - chosen).sum())
    return total / len(x) + float((weights**2).sum()) / (2 * c * len(x))


def one_fit(x: np.ndarray, y: np.ndarray, c: float) -> None:
    """Both solvers on one C."""
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LogisticRegression(C=c, max_iter=LIMIT, random_state=0).fit(x, y)
    theirs, seconds = objective(model.coef_.T, model.intercept_, x, y, c), time.perf_counter() - started
    own, fitted, ours = timed(x, y, c, LIMIT)
    steps = 1
    while (reached := timed(x, y, c, steps))[2] > theirs and steps < fitted.iterations:
        steps *= 2
    print(f"C {c:g}: scikit-learn {seconds:.1f} s, {model.n_iter_[0]} iterations, objective {theirs:.6f}", flush=True)
    for what, (spent, made, value) in (("to the same", reached), ("to its own end", (own, fitted, ours))):
        print(f"  askew, {what}: {spent:.1f} s, {made.iterations} iterations, objective {value:.6f}; "
              f"{seconds / spent:.1f} times as fast", flush=True)  # fmt: skip


def timed(x: np.ndarray, y: np.ndarray, c: float, limit: int) -> tuple[float, FittedClassifier, float]:
    """Seconds of askew's solver, what it made, and its objective."""
    started = time.perf_counter()
    fitted = Logistic(x, y).fit(c, limit)
    seconds = time.perf_counter() - started
    return seconds, fitted, objective(fitted.weights, fitted.bias, x, y, c)


def search(x: np.ndarray, y: np.ndarray, test: tuple[np.ndarray, np.ndarray] | None, solvers: list[str]) -> None:
    """CLIP's search for C, and the last fit on everything."""
    learn, check = held_out([str(number) for number in range(len(x))], 0.2)
    for name in solvers:
        solver = Solver(name)
        started = time.perf_counter()
        best = choose(Split(x[learn], y[learn]), Split(x[check], y[check]), "top1", solver).best
        model = solver.on(Split(x, y))(best)
        seconds = time.perf_counter() - started
        right = "" if test is None else f", test accuracy {100 * (model.predict(test[0]) == test[1]).mean():.2f} %"
        print(f"search with {name}: {seconds:.1f} s, C {best:.4g}{right}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--features", help="an .npz file with train, train_y, test and test_y instead")
    parser.add_argument("--c", type=float, nargs="*", default=[1.0])
    parser.add_argument("--search", action="store_true", help="CLIP's search for C too")
    parser.add_argument("--solvers", nargs="*", default=["scikit-learn", "lbfgs"], help="of the search")
    given = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads of torch")
    test = None
    if given.features:
        columns = np.load(given.features)
        features, labels = columns["train"], columns["train_y"]
        test = columns["test"], columns["test_y"]
    else:
        features, labels = made_features(given.rows, given.width, given.classes)
    print(f"{features.shape[0]:,} x {features.shape[1]} features of {len(np.unique(labels))} classes")
    for strength in given.c:
        one_fit(features, labels, strength)
    if given.search:
        search(features, labels, test, given.solvers)
