"""How a batch gets from a worker to the loop: in nameless shared memory, whose descriptor goes through a socket pair.

PyTorch's own way needs a socket below TMPDIR, whose path may be too long, and room in /dev/shm, of which a container
has 64 MB; and it sends from a thread whose errors nobody sees. Here nothing has a path, and all that can fail does so
in the worker's own thread while the batch is made, so that the failure is sent in place of the batch.
"""

import errno
import itertools
import mmap
import os
import socket
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from askew.errors import RunFailed, printable

ALIGNED = 64  # bytes: every tensor begins at a multiple of it
EXHAUSTED = {  # what a process may have too little of, and what to do about it
    errno.EMFILE: "raise the limit of open files (ulimit -n), or lower loader.num_workers",
    errno.ENFILE: "this machine has too many open files: lower loader.num_workers",
    errno.ETOOMANYREFS: "raise the limit of open files (ulimit -n), or lower loader.num_workers",
    errno.ENOMEM: "memory ran out: lower loader.num_workers or loader.batch_size",
    errno.ENOSPC: "shared memory ran out: start the container with a larger --shm-size, or lower loader.num_workers "
    "or loader.batch_size",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f), or lower loader.batch_size",
}
_numbers = itertools.count()
# In the loop's process: by number, because a parcel that arrives knows only numbers
_open: weakref.WeakValueDictionary[int, "Mail"] = weakref.WeakValueDictionary()


def remedy_of(error: BaseException) -> str:
    """What to do about an error of the operating system, which PyTorch passes on as text."""
    number = getattr(error, "errno", None) or next((n for n in EXHAUSTED if os.strerror(n) in str(error)), 0)
    return EXHAUSTED.get(number, "set loader.num_workers=0, which needs no other process")


def can_share() -> bool:
    """Whether this machine has nameless shared memory: Linux has, unless a sandbox forbids it."""
    if not hasattr(os, "memfd_create") or not hasattr(socket, "send_fds"):
        return False
    try:
        os.close(os.memfd_create("askew"))
    except OSError as error:
        return error.errno in EXHAUSTED  # it has, and the error will be reported where a batch needs it
    return True


@dataclass
class Parcel:
    """A batch on its way: all that it holds except the bytes of its tensors.

    Attributes:
        other: what is not a tensor.
        layout: type, shape and first byte of each tensor.
        size: of the shared memory, in bytes.
        content: the bytes themselves, where memory cannot be shared.
    """

    mail: int
    worker: int
    step: int
    other: dict[str, Any]
    layout: dict[str, tuple[torch.dtype, tuple[int, ...], int]]
    size: int
    content: bytearray | None = None

    def batch(self) -> dict:
        """The batch, in the loop. Its tensors share the worker's memory; nothing is copied."""
        memory = self.content if self.content is not None else _open[self.mail].receive(self)
        return {**_views(memory, self.layout), **self.other}

    def pin_memory(self) -> dict:
        """The batch with its tensors in pinned memory: what PyTorch's thread for that calls."""
        try:
            made = self.batch()
            return {key: value.pin_memory() if isinstance(value, Tensor) else value for key, value in made.items()}
        except (OSError, RuntimeError) as error:
            return {"failed": not_handed_over(error)}


class Mail:
    """The pairs of sockets between the loop and its workers. Workers get it when they start, and end when it closes."""

    def __init__(self, workers: int):
        self.number, self.shares = next(_numbers), can_share()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        _open[self.number] = self
        for _ in range(workers):
            self._pairs.append(socket.socketpair())
            self._pairs[-1][0].setblocking(False)  # what is sent comes before its parcel: the loop never waits for it

    # In a worker

    def pack(self, worker: int, step: int, samples: Sequence[dict[str, Tensor]], other: dict[str, Any]) -> Parcel:
        """Stack the samples in memory that the loop can see, and hand that over.

        Raises:
            RunFailed: there is no memory, or no descriptor, for the batch.
        """
        layout, size = _layout(samples)
        parcel = Parcel(self.number, worker, step, other, layout, size)
        try:
            if not self.shares:
                parcel.content = bytearray(size)
                _stack(samples, parcel.content, layout)
                return parcel
            descriptor = os.memfd_create("askew")
            try:
                os.posix_fallocate(descriptor, 0, size)  # no memory is an error here, and a bus error when it is used
                _stack(samples, mmap.mmap(descriptor, size), layout)
                socket.send_fds(self._pairs[worker][1], [_stamp(step)], [descriptor])
            finally:
                os.close(descriptor)
        except (OSError, MemoryError) as error:
            raise RunFailed(not_handed_over(error, size)) from error
        return parcel

    def wait_for_end(self, worker: int) -> None:
        """Return when the loop has no more use for its workers."""
        while self._pairs[worker][1].recv(1):
            pass

    # In the loop

    def receive(self, parcel: Parcel) -> mmap.mmap:
        """The memory of a parcel that has arrived. The parcels of one worker arrive in their order."""
        data, descriptors, _, _ = socket.recv_fds(self._pairs[parcel.worker][0], len(_stamp(0)), 1)
        if not descriptors:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        try:
            if data != _stamp(parcel.step):
                raise OSError(errno.EPROTO, "the memory of another batch arrived")
            return mmap.mmap(descriptors[0], parcel.size)
        finally:
            os.close(descriptors[0])

    def close(self) -> None:
        """End the workers, also those that are reading."""
        for here, there in self._pairs:
            with suppress(OSError):  # of a worker that has ended already
                here.shutdown(socket.SHUT_RDWR)  # workers have copies of the descriptor: closing it would not do
            here.close()
            there.close()
        self._pairs = []


def not_handed_over(error: BaseException, size: int = 0) -> str:
    """The one line about a batch that a worker could not hand over."""
    what = f"a batch of {max(size >> 20, 1):,} MB" if size else "a batch"
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"a loader worker could not hand over {what} ({printable(reason, 300)}): {remedy_of(error)}"


def _stamp(step: int) -> bytes:
    return step.to_bytes(8, "little")


def _layout(samples: Sequence[dict[str, Tensor]]) -> tuple[dict[str, tuple[torch.dtype, tuple[int, ...], int]], int]:
    """Where the tensors of a batch are in its memory, and the size of that."""
    layout, size = {}, 0
    for key, one in samples[0].items():
        layout[key] = (one.dtype, (len(samples), *one.shape), size)
        size += -(-len(samples) * one.numel() * one.element_size() // ALIGNED) * ALIGNED
    return layout, max(size, ALIGNED)


def _views(memory: Any, layout: dict[str, tuple[torch.dtype, tuple[int, ...], int]]) -> dict[str, Tensor]:
    """The tensors that are in the memory. They keep it, and it goes with the last of them."""
    views = {}
    for key, (dtype, shape, start) in layout.items():
        count = 1
        for size in shape:
            count *= size
        empty = torch.empty(shape, dtype=dtype)
        views[key] = torch.frombuffer(memory, dtype=dtype, count=count, offset=start).view(shape) if count else empty
    return views


def _stack(samples: Sequence[dict[str, Tensor]], memory: Any, layout: dict) -> None:
    """Copy the samples into the memory of their batch."""
    for key, whole in _views(memory, layout).items():
        torch.stack([sample[key] for sample in samples], out=whole)
