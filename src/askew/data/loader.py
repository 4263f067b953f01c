"""Order of samples, seeds and batches: pure functions of (seed, epoch, position), resumable by arithmetic."""

import errno
import gc
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from askew.data.images import Picture
from askew.data.order import Order
from askew.data.parcel import EXHAUSTED, Mail, Parcel, remedy_of
from askew.data.sources import Sample, Source
from askew.data.sources.base import names_hash
from askew.data.views import Views
from askew.data.watch import Batches, Watch, name_of, tick_of, watched
from askew.data.workers import forget_frames, signals_held, start_worker
from askew.errors import RunFailed, Unusable, UserError, place_of, printable

MAX_ATTEMPTS = 100  # substitutes tried for one bad sample before the run fails
ERRNO_CAUSES = {errno.ELOOP: "link loop", errno.ENAMETOOLONG: "missing file", errno.EIO: "disk error"}
SUBSTITUTE = 1  # its random stream; Order has another


NAMED = 5  # bad samples of each cause; more are counted only


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

    def add(self, found: list[tuple[str, str]], drawn: int, say: Callable[[str], None]) -> None:
        """Count (cause, message) of samples that were replaced, of `drawn` samples. The first of each cause are named.

        Raises:
            RunFailed: the budget is exceeded.
        """
        for cause, message in found:
            self.causes[cause] += 1
            if self.causes[cause] <= NAMED:
                say(f"replaced a bad sample ({cause}): {message}")
        self.drawn += drawn
        self.check()

    def check(self) -> None:
        """Raises RunFailed if the budget is exceeded."""
        if self.total > max(10, 0.01 * self.drawn):
            causes = ", ".join(f"{cause}: {count:,}" for cause, count in self.causes.most_common())
            raise RunFailed(
                f"{self.total:,} bad samples while drawing {self.drawn:,}, over the budget of max(10, 1 %): {causes}. "
                "Fix them, or remove them and start a new run"
            )


class _Batches(Dataset):
    """Item k is this rank's part of the batch of step `first + k`, made in a worker, which sends it by `mail`."""

    def __init__(self, loader: "Loader", first: int, last: int, mail: Mail | None = None):
        self.loader, self.first, self.last, self.mail = loader, first, last, mail

    def __len__(self) -> int:
        return self.last - self.first

    def __getitem__(self, index: int) -> dict | Parcel:
        worker, step = get_worker_info(), self.first + index
        try:
            if worker is None or self.mail is None:
                return self.loader.batch(step)
            samples, bad = self.loader.samples(step)
            return self.mail.pack(worker.id, step, samples, {"bad_samples": bad})
        except (RunFailed, UserError) as error:  # raised again in the loop: from here it would bring a traceback along
            return {"failed": str(error)}
        finally:
            self.loader.rests()


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
        return names_hash(self.source)

    def batches(self, first: int, last: int) -> Batches:
        """Batches of steps first .. last - 1, made ahead of time by the workers. It starts at `first` right away.

        A batch that cannot be made is {"failed": the reason in one line}.

        Raises:
            UserError: the workers cannot be started.
        """
        workers = min(self.num_workers, max(last - first, 0))
        mail: Mail | None = None
        try:
            self._watch = watch = Watch(workers)
            mail = Mail(workers)
            made = self._started(_Batches(self, first, last, mail), workers, watch, mail)
        except BaseException as error:  # too little of something, a source that cannot be sent to a process, a signal
            if mail is not None:
                mail.close()
            if not isinstance(error, Exception):
                raise
            forget_frames(error)
            reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            raise UserError(
                f"loader.num_workers={self.num_workers}: the workers could not be started "
                f"({printable(reason, 300)}): {remedy_of(error)}"
            ) from error
        warn = self.warn or (lambda text: None)
        taken = watched(made, mail, watch, self.source, warn, self.warn_after, self.fail_after)
        return Batches(taken, mail)

    def _started(self, batches: _Batches, workers: int, watch: Watch, mail: Mail) -> Iterator[dict | Parcel]:
        """What comes from the workers, which are started here."""
        loader = DataLoader(
            batches,
            batch_size=None,
            num_workers=workers,
            collate_fn=_unchanged,
            prefetch_factor=2 if workers else None,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=partial(start_worker, watch, mail) if workers else None,
            timeout=tick_of(self.warn_after) if workers else 0,
        )
        # Otherwise a worker's garbage collector would write to every object that it inherits, and so copy its page
        gc.freeze()
        try:
            with signals_held():
                return iter(loader)
        finally:
            gc.unfreeze()

    def __getstate__(self) -> dict:
        return {**self.__dict__, "warn": None}  # only the loop warns

    def rests(self) -> None:
        """This process has handed over a batch, and reads no sample."""
        if self._watch is not None:
            self._watch.rests()

    def batch(self, step: int) -> dict:
        """This rank's part of the batch of a step, after the sample stage.

        Tensors (B, ...) by key, and `bad_samples`: (cause, message) of each sample that was replaced.
        """
        made, bad = self.samples(step)
        batch: dict = {key: torch.stack([sample[key] for sample in made]) for key in made[0]}
        batch["bad_samples"] = bad
        return batch

    def samples(self, step: int) -> tuple[list[dict[str, Tensor]], list[tuple[str, str]]]:
        """The samples of this rank's part of a batch, and (cause, message) of each that was replaced."""
        epoch, index = divmod(step, self.steps_per_epoch)
        if self._order is None or self._order.epoch != epoch:
            source = self.source
            self._order = Order(len(source), self.seed, epoch, source.block, source.window)
        size = self.batch_size // self.world_size
        start = index * self.batch_size + self.rank * size
        self._order.announce(self.source, start)
        bad: list[tuple[str, str]] = []
        return [self._sample(self._order, position, bad) for position in range(start, start + size)], bad

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
                if error.errno in EXHAUSTED:
                    raise not_read(self.source, index, error) from error
                name = str(error.filename or name or self.source.name(index))
                bad.append((cause_of(error), f"{printable(name)}: {printable(error.strerror or str(error))}"))
                continue
            except Exception as error:
                raise not_read(self.source, index, error) from error
            row = {"row": torch.tensor(index)} if "row" in self.views.wanted else {}
            return {"id": torch.tensor(sample.id), "match_id": torch.tensor(sample.matched), **row, **made}
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


def _unchanged(batch: Any) -> Any:
    """PyTorch would turn tuples into lists, but only where there are no workers."""
    return batch


def cause_of(error: OSError) -> str:
    """A short name for the kind of fault, so that there are few counts."""
    if isinstance(error, Unusable):
        return error.cause
    if isinstance(error, FileNotFoundError):
        return "missing file"
    if isinstance(error, PermissionError):
        return "permission denied"
    return ERRNO_CAUSES.get(error.errno or 0, "unreadable image")


def not_read(source: Source, index: int, error: Exception) -> RunFailed:
    """The failure of a run at a sample that is not bad but could not be read: the source has a fault, or means ran out.

    A UserError or RunFailed of the source itself stays as it is.
    """
    if isinstance(error, UserError | RunFailed):
        return RunFailed(str(error))
    where = f"sample {index} ({name_of(source, index)})"
    if isinstance(error, OSError):
        return RunFailed(f"{where}: {printable(error.strerror or str(error), 300)}: {remedy_of(error)}")
    return RunFailed(
        f"{where} could not be read: {type(error).__name__}: {printable(str(error), 300)}{place_of(error)}; a source "
        "raises askew.errors.Unusable for a sample that is to be replaced"
    )
