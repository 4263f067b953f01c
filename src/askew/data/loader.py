"""Order of samples, seeds and batches: pure functions of (seed, epoch, position), resumable by arithmetic."""

import errno
import gc
import hashlib
import multiprocessing
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from askew.data.images import Picture
from askew.data.order import Order
from askew.data.sources import Sample, Source
from askew.data.views import Views
from askew.data.watch import Watch, watched
from askew.errors import RunFailed, Unusable, UserError, printable

MAX_ATTEMPTS = 100  # substitutes tried for one bad sample before the run fails
ERRNO_CAUSES = {errno.ELOOP: "link loop", errno.ENAMETOOLONG: "missing file", errno.EIO: "disk error"}
FINGERS = 64  # samples whose names go into a fingerprint
SUBSTITUTE = 1  # its random stream; Order has another


@dataclass
class BadSamples:
    """How many samples were replaced, by cause, over all ranks. Kept in the checkpoint.

    A run fails when more than max(10, 1 % of the samples drawn) are bad.
    """

    drawn: int = 0
    causes: Counter = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """Samples that had to be replaced."""
        return sum(self.causes.values())

    def check(self) -> None:
        """Raises RunFailed if the budget is exceeded."""
        if self.total > max(10, 0.01 * self.drawn):
            causes = ", ".join(f"{cause}: {count:,}" for cause, count in self.causes.most_common())
            raise RunFailed(
                f"{self.total:,} bad samples while drawing {self.drawn:,}, over the budget of max(10, 1 %): {causes}. "
                "Fix them, or remove them and start a new run"
            )


class _Batches(Dataset):
    """Item k is this rank's part of the batch of step `first + k`, made in a worker."""

    def __init__(self, loader: "Loader", first: int, last: int):
        self.loader, self.first, self.last = loader, first, last

    def __len__(self) -> int:
        return self.last - self.first

    def __getitem__(self, index: int) -> dict:
        try:
            return self.loader.batch(self.first + index)
        except (
            RunFailed
        ) as error:  # raised again in the loop: an exception from a worker would bring its traceback along
            return {"failed": str(error)}


@dataclass
class Loader:
    """Batches of one rank. Epochs are endless: step s is batch s mod steps_per_epoch of epoch s div steps_per_epoch.

    Attributes:
        batch_size: over all ranks; divided evenly among them.
        cache_bytes: each worker keeps decoded images up to this size. The batches do not change.
        warn: called with a message after every `warn_after` seconds without a batch from the workers.
        fail_after: seconds without a batch after which the run fails.
    """

    source: Source
    views: Views
    batch_size: int
    seed: int
    num_workers: int = 0
    rank: int = 0
    world_size: int = 1
    cache_bytes: int = 0
    warn: Callable[[str], None] | None = None
    warn_after: float = 60.0
    fail_after: float = 1800.0
    _watch: Watch | None = field(default=None, init=False, repr=False)
    _cache: dict[int, Picture] = field(default_factory=dict, init=False, repr=False)
    _cached: int = field(default=0, init=False, repr=False)
    _order: Order | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.batch_size % self.world_size:
            below = self.batch_size // self.world_size * self.world_size
            raise UserError(
                f"loader.batch_size={self.batch_size} cannot be divided among {self.world_size} ranks; "
                f"the nearest sizes are {below or self.world_size} and {below + self.world_size}"
            )
        if self.batch_size < 2:
            raise UserError(
                "loader.batch_size=1: a single sample has nothing to be contrasted with; "
                "set loader.batch_size to 2 or more (hundreds if memory allows)"
            )
        if len(self.source) < self.batch_size:
            raise UserError(
                f"loader.batch_size={self.batch_size} is larger than the data ({len(self.source)} samples); "
                f"set loader.batch_size to {len(self.source)} or less"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Number of whole batches in the data. An epoch drops its last partial batch."""
        return len(self.source) // self.batch_size

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the number of samples and of the names of some of them, evenly spaced."""
        number = len(self.source)
        names = [self.source.name(index * number // FINGERS) for index in range(min(FINGERS, number))]
        return hashlib.sha256("\n".join([str(number), *names]).encode("utf-8", "surrogateescape")).hexdigest()

    def batches(self, first: int, last: int) -> Iterator[dict]:
        """Batches of steps first .. last - 1, made ahead of time by the workers. It starts at `first` right away."""
        workers = min(self.num_workers, max(last - first, 0))
        self._watch = Watch(workers)
        # Otherwise a worker's garbage collector would write to every object that it inherits, and so copy its page
        gc.freeze()
        made = iter(
            DataLoader(
                _Batches(self, first, last),
                batch_size=None,
                num_workers=workers,
                prefetch_factor=2 if workers else None,
                pin_memory=torch.cuda.is_available(),
                worker_init_fn=_start_worker if workers else None,
                timeout=self.warn_after if workers else 0,
            )
        )
        gc.unfreeze()
        warn = self.warn or (lambda text: None)
        return watched(made, self._watch, self.source, warn, self.warn_after, self.fail_after)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "warn": None}  # only the loop warns

    def batch(self, step: int) -> dict:
        """This rank's part of the batch of a step, after the sample stage.

        Tensors (B, ...) by key, and `bad_samples`: (cause, message) of each sample that was replaced.
        """
        epoch, index = divmod(step, self.steps_per_epoch)
        if self._order is None or self._order.epoch != epoch:
            source = self.source
            self._order = Order(len(source), self.seed, epoch, source.block, source.window)
        size = self.batch_size // self.world_size
        start = index * self.batch_size + self.rank * size
        bad: list[tuple[str, str]] = []
        made = [self._sample(self._order, position, bad) for position in range(start, start + size)]
        batch: dict = {key: torch.stack([sample[key] for sample in made]) for key in made[0]}
        batch["bad_samples"] = bad
        if self._watch is not None:
            self._watch.reads(-1)
        return batch

    def _sample(self, order: Order, position: int, bad: list[tuple[str, str]]) -> dict[str, Tensor]:
        """The sample at a position of the epoch's order, or the first usable substitute for it."""
        index, epoch = order[position], order.epoch
        for attempt in range(MAX_ATTEMPTS):
            if attempt:
                seed = [SUBSTITUTE, self.seed, epoch, position, attempt]
                index = int(np.random.default_rng(seed).integers(len(self.source)))
            name = ""
            if self._watch is not None:
                self._watch.reads(index)
            try:
                sample: Sample = self.source[index]
                name = sample.name
                if not any(c.strip() for c in sample.captions):
                    raise Unusable("no caption", "no caption")
                seed = [self.seed, epoch, position, sample.id]
                made = self.views.sample(self._open(index, sample.image), sample.captions, sample.tags, seed)
            except OSError as error:
                name = str(error.filename or name or self.source.name(index))
                bad.append((cause_of(error), f"{printable(name)}: {printable(error.strerror or str(error))}"))
                continue
            return {"id": torch.tensor(sample.id), "match_id": torch.tensor(sample.matched), **made}
        raise RunFailed(f"{MAX_ATTEMPTS} samples in a row could not be used; the last was {bad[-1][1]}")

    def _open(self, index: int, image: bytes) -> Picture:
        """The picture, from the cache if it is there. It is cached if there is room for it and it is never scaled."""
        if index in self._cache:
            return self._cache[index]
        picture = Picture(image)
        if self._cached + picture.nbytes <= self.cache_bytes and not self.views.scales(picture):
            self._cached += picture.keep()
            self._cache[index] = picture
        return picture


def cause_of(error: OSError) -> str:
    """A short name for the kind of fault, so that there are few counts."""
    if isinstance(error, Unusable):
        return error.cause
    if isinstance(error, FileNotFoundError):
        return "missing file"
    if isinstance(error, PermissionError):
        return "permission denied"
    return ERRNO_CAUSES.get(error.errno or 0, "unreadable image")


def _start_worker(worker: int) -> None:
    torch.set_num_threads(1)  # the training threads need the other cores
    for number in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C and schedulers reach every process; only the loop reacts
        signal.signal(number, signal.SIG_IGN)
    # PyTorch watches the process that forked a worker. From Python 3.14 on this is a server that its workers keep alive
    threading.Thread(target=_end_with_the_run, daemon=True).start()


def _end_with_the_run() -> None:
    run = multiprocessing.parent_process()
    if run is not None:
        run.join()
        os._exit(1)
