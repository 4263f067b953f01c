"""Workers cannot hang silently: it is known what each of them is reading, and an endless wait becomes a failure."""

import time
from collections.abc import Callable, Iterator

import torch
from torch.utils.data import get_worker_info

from askew.data.sources.base import Source
from askew.errors import RunFailed, printable


class Watch:
    """The sample that each worker is reading, in memory that the workers share with the loop.

    Args:
        workers: how many there are. 0 counts as one: the loop itself.
    """

    def __init__(self, workers: int):
        # One row per worker: 1 + the index of its sample, or 0 between batches; and the monotonic time of its start
        self._state = torch.zeros(max(workers, 1), 2, dtype=torch.float64).share_memory_()

    def reads(self, index: int) -> None:
        """Called by a worker that starts to read a sample; with -1, by one that is between samples."""
        info = get_worker_info()
        row = self._state[info.id if info else 0]
        row[1], row[0] = time.monotonic(), index + 1

    def at_work(self) -> list[tuple[int, int, float]]:
        """(worker, index of its sample, seconds since it started) for each that is reading, longest first."""
        now = time.monotonic()
        rows = enumerate(self._state.tolist())
        found = [(worker, int(sample) - 1, now - since) for worker, (sample, since) in rows if sample > 0]
        return sorted(found, key=lambda row: -row[2])

    def describe(self, source: Source) -> str:
        """What the workers are reading, in words."""
        named = [
            f"worker {worker} has been reading sample {index} ({printable(source.name(index))}) for {seconds:.0f} s"
            for worker, index, seconds in self.at_work()
        ]
        return "; ".join(named[:8]) or "no worker is reading a sample"


def watched(
    batches: Iterator[dict],
    watch: Watch,
    source: Source,
    warn: Callable[[str], None],
    warn_after: float,
    fail_after: float,
) -> Iterator[dict]:
    """The batches of a DataLoader whose timeout is `warn_after` seconds.

    After each timeout, `warn` is called with a message that names the samples being read.

    Raises:
        RunFailed: there was no batch for `fail_after` seconds, or a worker died.
    """
    waited = 0.0
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except (RuntimeError, ConnectionError, EOFError) as error:
            message = str(error)
            if "DataLoader worker (pid" in message or not isinstance(error, RuntimeError):
                raise RunFailed(
                    f"a loader worker died ({printable(message, 300)}), most often because memory ran out: "
                    "lower loader.num_workers or loader.cache_mb"
                ) from error
            if "timed out" not in message:
                raise
            waited += warn_after
            text = f"no batch for {waited:.0f} s: {watch.describe(source)}"
            if waited >= fail_after:
                raise RunFailed(f"{text}. The storage does not respond") from error
            warn(text)
            continue
        waited = 0.0
        yield batch
