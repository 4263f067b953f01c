"""Workers that cannot hang silently: what each of them reads is known, and a wait without end becomes a failure."""

import time
from collections.abc import Callable, Iterator

import torch
from torch.utils.data import get_worker_info

from askew.data.sources.base import Source
from askew.errors import RunFailed, printable


class Watch:
    """The sample that each worker is at, in memory that they share with the loop.

    Args:
        workers: how many; 0 counts as one, the loop itself.
    """

    def __init__(self, workers: int):
        # A row a worker: 1 + the index of the sample, 0 between batches; since when, in seconds of the monotonic clock
        self._state = torch.zeros(max(workers, 1), 2, dtype=torch.float64).share_memory_()

    def reads(self, index: int) -> None:
        """This worker begins with a sample; -1: it has none in hand."""
        info = get_worker_info()
        row = self._state[info.id if info else 0]
        row[1], row[0] = time.monotonic(), index + 1

    def at_work(self) -> list[tuple[int, int, float]]:
        """(worker, index of its sample, seconds since it began) of those that have one, the longest first."""
        now = time.monotonic()
        rows = enumerate(self._state.tolist())
        found = [(worker, int(sample) - 1, now - since) for worker, (sample, since) in rows if sample > 0]
        return sorted(found, key=lambda row: -row[2])

    def describe(self, source: Source) -> str:
        """What the workers read, in words."""
        named = [
            f"worker {worker} has read sample {index} ({printable(source.name(index))}) for {seconds:.0f} s"
            for worker, index, seconds in self.at_work()
        ]
        return "; ".join(named[:8]) or "no worker has a sample in hand"


def watched(
    batches: Iterator[dict],
    watch: Watch,
    source: Source,
    warn: Callable[[str], None],
    warn_after: float,
    fail_after: float,
) -> Iterator[dict]:
    """The batches of a DataLoader whose timeout is `warn_after`, in seconds.

    Each such time without a batch is told, with the samples that are being read.

    Raises:
        RunFailed: after `fail_after` seconds without a batch, or when a worker died.
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
                    f"a loader worker died ({printable(message, 300)}); most often the machine was out of memory: "
                    "lower loader.num_workers or loader.cache_mb. Go on with --resume"
                ) from error
            if "timed out" not in message:
                raise
            waited += warn_after
            text = f"no batch for {waited:.0f} s: {watch.describe(source)}"
            if waited >= fail_after:
                raise RunFailed(f"{text}. The storage does not answer; mend it and go on with --resume") from error
            warn(text)
            continue
        waited = 0.0
        yield batch
