"""The life of a loader's worker: it is started while signals wait, ignores them, and ends with the loop."""

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from askew.data.parcel import Mail
from askew.data.watch import Watch

STOPS = (signal.SIGINT, signal.SIGTERM)


def forget_frames(error: BaseException) -> None:
    """Let go of what a failed start has left. PyTorch's clean-up of it may fail and print a traceback of no use."""
    before = sys.unraisablehook
    sys.unraisablehook = lambda unraisable: None
    try:
        traceback.clear_frames(error.__traceback__)
    finally:
        sys.unraisablehook = before


def signals_held() -> AbstractContextManager[None]:
    """Inside, Ctrl-C and SIGTERM wait: a worker that is just being started could not tell whose they are."""
    if not hasattr(signal, "pthread_sigmask") or threading.current_thread() is not threading.main_thread():
        return nullcontext()
    return _held()


@contextmanager
def _held() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_worker(watch: Watch, mail: Mail, worker: int) -> None:
    """What a worker does first: leave signals to the loop, and end with it."""
    torch.set_num_threads(1)  # the training threads need the other cores
    for number in STOPS:  # Ctrl-C and schedulers reach every process; only the loop reacts
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    # PyTorch watches the process that forked a worker. From Python 3.14 on this is a server that its workers keep alive
    threading.Thread(target=_end_with_the_run, daemon=True).start()
    threading.Thread(target=_end_with_the_mail, args=(mail, worker), daemon=True).start()
    watch.rests()


def _end_with_the_run() -> None:
    run = multiprocessing.parent_process()
    if run is not None:
        run.join()
        os._exit(1)


def _end_with_the_mail(mail: Mail, worker: int) -> None:
    mail.wait_for_end(worker)
    os._exit(0)  # the worker may be in a read that never returns
