"""What a run spends its time on: the speed of the last steps, and one verdict after the first minute."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from askew.training.utilisation import Utilisation

FIRST = 60.0  # seconds
REMEDIES = {
    "data": "raise loader.num_workers, or see what is slow with `askew data check SOURCE`",
    "compute": "the data keep up",
    "evaluation": "evaluate less often",
    "saving": "raise train.checkpoint_minutes, or save to a faster disk",
}


class Window:
    """Steps since the last logged line, and how long they waited for data.

    Args:
        utilisation: says how much of the device these steps have used; None leaves it out.
    """

    def __init__(self, utilisation: Utilisation | None = None):
        self._utilisation = utilisation
        self._open()

    def _open(self) -> None:
        self._started = time.monotonic()
        self._waited = 0.0
        self._steps = 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Inside, the run waits for a batch."""
        since = time.monotonic()
        yield
        self._waited += time.monotonic() - since

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Inside, the time does not count."""
        since = time.monotonic()
        yield
        self._started += time.monotonic() - since

    def step(self) -> None:
        """One more step was taken."""
        self._steps += 1

    def close(self, batch_size: int) -> dict[str, float]:
        """Samples per second, and the share of the time that was spent waiting for data; then a new window begins."""
        spent = time.monotonic() - self._started
        speed = self._steps * batch_size / spent
        rates = {"samples_per_second": speed, "data_wait": self._waited / spent}
        self._open()
        return rates | (self._utilisation.of(speed) if self._utilisation else {})


class Profile:
    """Shares of the time since the start: parts that were measured, and compute, which is the rest."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._seconds: dict[str, float] = defaultdict(float)
        self._reported = False

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Inside, the time is spent on `part`: data, evaluation or saving."""
        since = time.monotonic()
        yield
        self._seconds[part] += time.monotonic() - since

    @property
    def is_due(self) -> bool:
        """Whether the first minute is over and its verdict has not been reported yet."""
        return not self._reported and time.monotonic() - self._started >= FIRST

    def verdict(self) -> str:
        """The shares, largest first, and what they mean."""
        self._reported = True
        spent = max(time.monotonic() - self._started, 1e-9)
        shares = {part: seconds / spent for part, seconds in self._seconds.items()}
        shares["compute"] = max(0.0, 1.0 - sum(shares.values()))
        order = sorted(shares, key=lambda part: -shares[part])
        listed = ", ".join(f"{part} {shares[part]:.0%}" for part in order)
        return f"profile  first {spent:.0f} s: {listed}; the bottleneck is {order[0]}: {REMEDIES[order[0]]}"
