"""Workers cannot hang silently: it is known what each of them is reading, and an endless wait becomes a failure."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

import torch
from torch.utils.data import get_worker_info

from askew.data.parcel import Mail, Parcel, not_handed_over
from askew.data.sources.base import Source
from askew.errors import RunFailed, printable

TICK = 2.0  # seconds between two looks at what the workers do, while there is no batch
MEMORY = (
    "most often because memory ran out: lower loader.num_workers or loader.cache_mb, or give the container more memory "
    "and a larger --shm-size"
)
LOST = 10.0  # seconds without a batch after which idle workers mean that one was lost


class Watch:
    """The sample that each worker is reading, in memory that the workers share with the loop.

    Args:
        workers: how many there are. 0 counts as one: the loop itself.
    """

    def __init__(self, workers: int):
        # One row per worker: 1 + the index of its sample, -1 between batches, or 0 before its start; and the monotonic
        # time since when
        self._state = torch.zeros(max(workers, 1), 2, dtype=torch.float64).share_memory_()

    def reads(self, index: int) -> None:
        """Called by a worker that starts to read a sample."""
        self._set(index + 1)

    def rests(self) -> None:
        """Called by a worker that has started, or has handed over a batch."""
        self._set(-1)

    def _set(self, state: int) -> None:
        info = get_worker_info()
        row = self._state[info.id if info else 0]
        row[1], row[0] = time.monotonic(), state

    def at_work(self) -> list[tuple[int, int, float]]:
        """(worker, index of its sample, seconds since it started) for each that is reading, longest first."""
        now = time.monotonic()
        rows = enumerate(self._state.tolist())
        found = [(worker, int(sample) - 1, now - since) for worker, (sample, since) in rows if sample > 0]
        return sorted(found, key=lambda row: -row[2])

    def idle_seconds(self) -> float:
        """For how long no worker has had anything to do; 0 if one has."""
        rows = self._state.tolist()
        return time.monotonic() - max(since for _, since in rows) if all(state < 0 for state, _ in rows) else 0.0

    def describe(self, source: Source) -> str:
        """What the workers are reading, in words."""
        named = [
            f"worker {worker} has been reading sample {index} ({name_of(source, index)}) for {seconds:.0f} s"
            for worker, index, seconds in self.at_work()
        ]
        waiting = [str(worker) for worker, (state, _) in enumerate(self._state.tolist()) if state == 0]
        if waiting:
            named.append(f"worker {', '.join(waiting[:8])} has not started yet")
        return "; ".join(named[:8]) or "no worker is reading a sample"


def name_of(source: Source, index: int) -> str:
    """A sample's name, to be shown. A source from outside may fail even there."""
    try:
        return printable(str(source.name(index)))
    except Exception:  # it is asked for in order to report something worse
        return "no name"


@contextmanager
def deaths_reported() -> Iterator[None]:
    """Inside, a worker that dies is a RunFailed. PyTorch raises it wherever the loop is at that moment."""
    try:
        yield
    except RuntimeError as error:
        message = str(error)
        if "DataLoader worker (pid" not in message:
            raise
        reason = MEMORY
        if "Bus error" in message:
            reason = (
                "because shared memory (/dev/shm) ran out, or a file that it had mapped became shorter: start the "
                "container with a larger --shm-size, or lower loader.num_workers"
            )
        what = printable(message.split(". It is possible")[0], 300)
        raise RunFailed(f"a loader worker died ({what}), {reason}") from error


class Batches:
    """Batches from workers, which end with it: also when it is closed, or forgotten, before the first batch."""

    def __init__(self, made: Generator[dict, None, None], mail: Mail):
        self._made, self._mail = made, mail

    def __iter__(self) -> Iterator[dict]:
        return self

    def __next__(self) -> dict:
        return next(self._made)

    def close(self) -> None:
        """End the workers, also those that are reading."""
        self._mail.close()
        self._made.close()

    def __del__(self) -> None:
        self._mail.close()


def watched(
    batches: Iterator[dict | Parcel],
    mail: Mail,
    watch: Watch,
    source: Source,
    warn: Callable[[str], None],
    warn_after: float,
    fail_after: float,
) -> Generator[dict, None, None]:
    """The batches of a DataLoader whose timeout is `tick_of(warn_after)`. The workers end with this iterator.

    Every `warn_after` seconds without a batch, `warn` is called with a message that names the samples being read.

    Raises:
        RunFailed: there was no batch for `fail_after` seconds, a worker died, or a batch was lost on its way.
    """
    try:
        while True:
            try:
                with deaths_reported():
                    made = _next(batches, watch, source, warn, warn_after, fail_after)
                    if made is None:
                        return
                    batch = made.batch() if isinstance(made, Parcel) else made
            except (ConnectionError, EOFError) as error:
                raise RunFailed(f"a loader worker died ({printable(str(error), 300)}), {MEMORY}") from error
            except OSError as error:
                raise RunFailed(not_handed_over(error)) from error
            del made  # the memory of a batch goes with its tensors
            yield batch
    finally:
        mail.close()


def _next(
    batches: Iterator[dict | Parcel],
    watch: Watch,
    source: Source,
    warn: Callable[[str], None],
    warn_after: float,
    fail_after: float,
) -> dict | Parcel | None:
    """What arrives next, or None at the end."""
    started, warned = time.monotonic(), 0
    while True:
        try:
            return next(batches, None)
        except RuntimeError as error:
            if "timed out" not in str(error):
                raise
            waited = time.monotonic() - started
            if waited >= LOST and watch.idle_seconds() >= LOST:
                raise RunFailed(
                    f"no batch for {waited:.0f} s, and yet no worker is reading: a batch was lost on its way; "
                    "set loader.num_workers=0, and report this"
                ) from error
            if waited < warn_after * (warned + 1):
                continue
            warned = int(waited / warn_after)
            text = f"no batch for {waited:.0f} s: {watch.describe(source)}"
            if waited >= fail_after:
                raise RunFailed(f"{text}. The storage does not respond") from error
            warn(text)


def tick_of(warn_after: float) -> float:
    """Seconds after which a wait for a batch is looked at."""
    return min(warn_after, TICK)
