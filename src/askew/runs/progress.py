"""How far an evaluation is, as lines for the console."""

import time
from dataclasses import dataclass, field

from askew.report.console import Console, clock


@dataclass
class PassProgress:
    """How far a pass over the images of a set is."""

    console: Console
    name: str = ""
    _started: float = field(default=0.0, init=False)
    _first: int = field(default=0, init=False)

    def tick(self, done: int, total: int) -> None:
        """`done` of `total` images are embedded."""
        now = time.monotonic()
        if not self._started or done < self._first:
            self._started, self._first = now, done
        seconds = now - self._started
        rate = (done - self._first) / seconds if seconds > 0 else 0.0
        self.console.images_done(self.name, done, total, rate)
        if done >= total:
            self._started = 0.0

    def fits(self, done: int, total: int, c: float, iteration: int) -> None:
        """`done` of `total` fits of a linear probe are made, and the present one is in an iteration (0: not yet)."""
        now = time.monotonic()
        if done == 0 and iteration == 0:
            self._started = now
        left = f", about {clock((now - self._started) / done * (total - done))} left" if 0 < done < total else ""
        steps = f", iteration {iteration}" if iteration else ""
        self.console.fits_done(self.name, done, total, f", C {c:.3g}{steps}{left}" if done < total else "")
        if done >= total:
            self._started = 0.0
