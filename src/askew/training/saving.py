"""When and how a run saves: a copy of its state is written in a thread while the next steps are taken."""

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from askew import distributed
from askew.errors import THEN_RESUME, writing
from askew.training import checkpoint

if TYPE_CHECKING:
    from askew.training.loop import Trainer


class Saver:
    """Writes the checkpoints of a run, one at a time, and lets no error of it be lost.

    A checkpoint is a copy of the state at its step, so what is written does not depend on how fast it is written. The
    copy lies in CPU memory that is used again each time, and takes as much as a checkpoint. Only rank 0 needs it.

    Attributes:
        step: the newest step whose checkpoint was begun.
    """

    def __init__(self, trainer: "Trainer"):
        self._trainer: Trainer = weakref.proxy(trainer)  # a cycle would keep a finished run's memory and open files
        self.step = trainer.done
        self.policy = checkpoint.Policy(trainer.recipe.train)
        self._copy: checkpoint.State = {}
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    @property
    def is_late(self) -> bool:
        """Whether this rank asks for a checkpoint now: the last one is old, or its write has failed."""
        return self.policy.is_late or self._error is not None

    def save(self, wait: bool) -> None:
        """Save the present step, once the write before it has ended. Every rank enters; rank 0 writes.

        Args:
            wait: until it is written. No copy is made then.

        Raises:
            UserError: this checkpoint or the one before it could not be written.
        """
        trainer, storage = self._trainer, self._trainer.storage
        self.step = trainer.done
        self.policy.saved()
        if storage is None:
            return
        what, keep = f"step {trainer.done}: the checkpoint", trainer.recipe.train.keep_checkpoints
        facts = facts_of(trainer)
        with trainer.profile.measure("saving"):
            self.wait()
            if wait or not trainer.recipe.train.checkpoint_async:
                with writing(what, storage.checkpoints, THEN_RESUME):
                    checkpoint.save(storage.checkpoints, trainer.done, trainer.method, trainer.optimizer, facts, keep)
                return
            state = checkpoint.state_of(trainer.method, trainer.optimizer)
            if distributed.is_main():
                self._copy = copied(state, self._copy)
                arguments = (what, storage.checkpoints, trainer.done, facts, keep)
                self._thread = threading.Thread(target=self._write, args=arguments, name="checkpoint")
                self._thread.start()

    def wait(self) -> None:
        """Wait for the write in flight, if any. Every rank enters.

        Raises:
            UserError: it has failed.
        """
        distributed.on_main(self._join)

    @contextmanager
    def settling(self, say: Callable[[str], None]) -> Iterator[None]:
        """What is written inside is there when the block ends, or else its error is raised on every rank.

        After a failure of this rank, which cannot meet the others any more, an error is only reported.
        """
        try:
            yield
        except BaseException:
            try:
                self._join()
            except Exception as error:
                say(f"saving   {error}")
            raise
        self.wait()

    def _write(self, what: str, folder: Path, step: int, facts: dict[str, Any], keep: int) -> None:
        try:
            with writing(what, folder, THEN_RESUME):
                checkpoint.write(folder, step, self._copy, facts, keep)
        except Exception as error:
            self._error = error  # for the main thread

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
        error, self._thread, self._error = self._error, None, None
        if error is not None:
            raise error


def facts_of(trainer: "Trainer") -> dict[str, Any]:
    """What a checkpoint knows of the run besides tensors."""
    return {
        "total": trainer.total,
        "data": trainer.loader.fingerprint,
        "contents": trainer.contents,
        "seconds": trainer.seconds,
        "drawn": trainer.bad_samples.drawn,
        "bad_samples": dict(trainer.bad_samples.causes),
        "not_evaluated": trainer.measuring.is_pending,
        "alarms": sorted(trainer.alarms.raised),
    }


def copied(state: checkpoint.State, into: checkpoint.State) -> checkpoint.State:
    """A copy of the state on the CPU, in the memory of an earlier copy where that fits. From CUDA it is page-locked."""
    copy: checkpoint.State = {}
    for file, tensors in state.items():
        copy[file] = {}
        for name, value in tensors.items():
            kept = into.get(file, {}).get(name)
            if kept is None or kept.shape != value.shape or kept.dtype != value.dtype:
                kept = torch.empty(value.shape, dtype=value.dtype, pin_memory=value.is_cuda)
            copy[file][name] = kept.copy_(value.detach(), non_blocking=value.is_cuda)
    if any(value.is_cuda for tensors in state.values() for value in tensors.values()):
        torch.cuda.synchronize()
    return copy
