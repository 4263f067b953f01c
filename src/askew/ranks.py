"""Ranks as processes: what starts them (torchrun or srun), who waits for whom, and how the launcher hears of their end.

Nothing here communicates between ranks but `RankWatch`, which leaves notes in the store that they met at.
"""

import json
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from askew.errors import is_launched

LOG = logging.getLogger(__name__)  # without a handler of the program's, it writes to standard error
FIRST_PORT, NUM_PORTS = 20_000, 10_000  # where ranks of srun meet: below those that systems give out themselves
LOOK = 15.0  # seconds between two looks of the watch
FIRST_LINE, NEXT_LINES = 60.0, 300.0  # seconds of waiting after which it is said, and said again
NAMED = 4  # ranks, at most, in such a line


def recognise_srun() -> None:
    """Give this process what torchrun would have given it, if srun started it as one of several tasks.

    In a script of sbatch, and in the shell of salloc, SLURM announces tasks too, but there is one process: it has no
    step. Variables that are set already are kept, so a MASTER_ADDR or MASTER_PORT of the user's counts.
    """
    given = os.environ
    if is_launched() or "SLURM_STEP_ID" not in given or int(given.get("SLURM_NTASKS", "1")) < 2:
        return
    if "SLURM_PROCID" not in given:
        return
    nodes = given.get("SLURM_STEP_NODELIST") or given.get("SLURM_NODELIST") or given.get("SLURM_JOB_NODELIST", "")
    number = int(given.get("SLURM_JOB_ID", "0")) + 7919 * int(given["SLURM_STEP_ID"])  # other steps, other ports
    found = {
        "RANK": given["SLURM_PROCID"],
        "WORLD_SIZE": given["SLURM_NTASKS"],
        "LOCAL_RANK": given.get("SLURM_LOCALID", "0"),
    }
    given.update(found)
    given.setdefault("MASTER_ADDR", first_host(nodes) or "127.0.0.1")
    given.setdefault("MASTER_PORT", str(FIRST_PORT + number % NUM_PORTS))


def first_host(nodes: str) -> str:
    """The first host of SLURM's list.

    >>> first_host("gpu[03-07,11],login1"), first_host("a-1,a-2"), first_host("rack[1-2]n[004-009]")
    ('gpu03', 'a-1', 'rack1n004')
    """
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", nodes)
    return re.sub(r"\[([^\]\-,]+)[^\]]*\]", r"\1", first[0]) if first else ""


# Restarts by torchrun


def may_restart() -> bool:
    """Whether torchrun starts the ranks again if one fails (`--max-restarts`)."""
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0


def num_restarts() -> int:
    """How often torchrun has started these ranks again."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def launcher() -> str:
    """The torchrun that started this process: the same after a restart, and no other.

    torchrun has a folder of its own for the errors of its ranks: FOLDER/attempt_N/RANK/error.json.
    """
    errors = Path(os.environ.get("TORCHELASTIC_ERROR_FILE", ""))
    own = errors.parents[2] if len(errors.parents) > 3 else os.getppid()
    return f"{os.environ.get('TORCHELASTIC_RUN_ID', '')} {socket.gethostname()} {own}"


# Who waits for whom


class RankWatch:
    """Says, by Python's logging, for whom this rank waits, once it has waited for long. Steps pay nothing for it.

    Every rank passes the same points in the same order, and counts them. A thread leaves this rank's count in the store
    now and then. A rank that waits reads those of the others: it waits for those that have counted less.

    Attributes:
        step: the one that is being taken, for the line.
    """

    def __init__(self, store: Any, rank: int, size: int):
        self.step = 0
        self._rank, self._size = rank, size
        self._count, self._what, self._since = 0, "", 0.0  # since: 0 while it does not wait
        self._said = 0.0  # seconds of the present wait after which the last line came
        self._ended = threading.Event()
        self._store = store.clone()  # a connection of its own
        self._thread = threading.Thread(target=self._look, name="who waits for whom", daemon=True)
        self._thread.start()

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Inside, this rank may wait for the others; once more inside of a longer wait, as in a backward pass."""
        before = self._what, self._since
        self._count, self._said = self._count + 1, 0.0
        self._what, self._since = what, time.monotonic()
        try:
            yield
        finally:
            self._what, self._since = before

    def end(self) -> None:
        """Stop looking."""
        self._ended.set()

    def _look(self) -> None:
        with suppress(Exception):  # the store is gone: the run has ended, and others say why
            while not self._ended.wait(LOOK):
                self._store.set(f"askew/place/{self._rank}", str(self._count))
                since, count, what = self._since, self._count, self._what
                waited = time.monotonic() - since if since else 0.0
                if waited >= FIRST_LINE and (not self._said or waited - self._said >= NEXT_LINES):
                    line = self._line(count, what, waited)
                    if line and count == self._count:
                        self._said = waited
                        LOG.warning(line)

    def _line(self, count: int, what: str, waited: float) -> str:
        """What to say; "" if all others wait too, or one of them with a lower number says it."""
        places = [self._place(rank) if rank != self._rank else count for rank in range(self._size)]
        behind = [rank for rank, place in enumerate(places) if place < count]
        if not behind or any(place >= count for place in places[: self._rank]):
            return ""
        named = ", ".join(map(str, behind[:NAMED])) + (f" and {more} more" if (more := len(behind) - NAMED) > 0 else "")
        at = f"{what}, step {self.step}" if self.step else what
        time_waited = str(timedelta(seconds=round(waited)))
        return f"rank {self._rank} waits for rank{'s' * (len(behind) > 1)} {named} ({at}), {time_waited} so far"

    def _place(self, rank: int) -> int:
        key = f"askew/place/{rank}"
        return int(self._store.get(key)) if self._store.check([key]) else 0


# The end of a run, as the launcher hears of it


def hand_to_launcher(line: str) -> bool:
    """Have torchrun end its own report with the line. False if there is no torchrun."""
    file = os.environ.get("TORCHELASTIC_ERROR_FILE", "")
    if not is_launched() or not file:
        return False
    shown = {"message": line, "extraInfo": {"py_callstack": f"\n{line}", "timestamp": str(int(time.time()))}}
    try:
        Path(file).write_text(json.dumps({"message": shown}), encoding="utf-8")
    except OSError:
        return False
    return True


def lost_others(error: BaseException) -> bool:
    """Whether an error only says that another rank has ended."""
    if not is_launched() or not isinstance(error, RuntimeError):
        return False
    import torch.distributed as dist

    signs = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "gloo", "NCCL", "TCPStore")
    return isinstance(error, dist.DistError) or any(sign in str(error) for sign in signs)
