"""What a run spends its time on, told once, after its first minute."""

import time
from collections import defaultdict

FIRST = 60.0  # seconds
REMEDIES = {
    "data": "raise loader.num_workers, or see what is slow with `askew data check SOURCE`",
    "compute": "the data keep up",
    "evaluation": "evaluate less often",
    "saving": "raise train.checkpoint_minutes, or save to a faster disk",
}


class Pace:
    """Shares of the time since the start: parts that were measured, and compute, which is the rest."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._seconds: dict[str, float] = defaultdict(float)
        self._told = False

    def add(self, part: str, since: float) -> None:
        """The time from `since` (monotonic) until now was spent on `part`: data, evaluation or saving."""
        self._seconds[part] += time.monotonic() - since

    def due(self, now: float) -> bool:
        """Whether the first minute is over and nothing was told yet."""
        return not self._told and now - self._started >= FIRST

    def verdict(self, now: float) -> str:
        """The shares, the largest first, and what follows from them."""
        self._told = True
        spent = max(now - self._started, 1e-9)
        shares = {part: seconds / spent for part, seconds in self._seconds.items()}
        shares["compute"] = max(0.0, 1.0 - sum(shares.values()))
        order = sorted(shares, key=lambda part: -shares[part])
        listed = ", ".join(f"{part} {shares[part]:.0%}" for part in order)
        return f"pace     of the first {spent:.0f} s: {listed}; the bottleneck is {order[0]}: {REMEDIES[order[0]]}"
