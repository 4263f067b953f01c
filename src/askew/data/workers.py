"""The life of a loader's worker: it is started while signals wait, ignores them, and ends with the loop."""

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from askew.data.parcel import Mail
from askew.data.watch import Watch
from askew.errors import UserError, printable

STOPS = (signal.SIGINT, signal.SIGTERM)


def forget_frames(error: BaseException) -> None:
    """Let go of what a failed start has left. PyTorch's clean-up of it may fail and print a traceback of no use."""
    before = sys.unraisablehook
    sys.unraisablehook = lambda unraisable: None
    try:
        traceback.clear_frames(error.__traceback__)
    finally:
        sys.unraisablehook = before


def refuse_unguarded_script(workers: int) -> None:
    """Refuse to train where a worker would import the script that trains, and so train again.

    Workers that are forked do not import it. Others do: on macOS and Windows, and everywhere from Python 3.14 on. A
    notebook or a prompt is no file that could be imported.

    Raises:
        UserError: this is such a worker; or a script trains at its top level, with workers, and never looks at its
            `__name__`.
    """
    remedy = 'put it below `if __name__ == "__main__":`, or set loader.num_workers=0'
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # as multiprocessing itself finds out
        raise UserError(f"a worker of the loader imports this script, which trains again when it is imported; {remedy}")
    method = multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    if not workers or method == "fork" or file is None or not _called_by(vars(main)):
        return
    if "__name__" not in Path(file).read_text(encoding="utf-8", errors="replace"):
        raise UserError(
            f"{printable(file, 400)} trains at its top level, and workers of the loader import it, so that it would "
            f"train again in each of them; {remedy}"
        )


def _called_by(main: dict[str, Any]) -> bool:
    """Whether the top level of a module has called this function."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_globals is main and frame.f_code.co_name == "<module>":
            return True
        frame = frame.f_back
    return False


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
