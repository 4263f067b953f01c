"""The command line. It parses, calls one function, and turns an outcome into an exit code. Heavy imports are lazy.

Exit codes: 0 done; 2 the user can fix it (one line, no traceback); 3 the run failed; 130 and 143 after saving on Ctrl-C
and SIGTERM; 1 a bug in askew.
"""

import sys
from contextlib import suppress

from askew.cli import data, evaluating, exporting, inspect, report, search, training  # the commands
from askew.cli.app import app
from askew.errors import Interrupted, RunFailed, Stopped, UserError, is_launched, printable, stopping
from askew.ranks import hand_to_launcher, lost_others, recognise_srun
from askew.report.streams import unfailing

__all__ = ["app", "data", "evaluating", "exporting", "inspect", "main", "report", "search", "training"]


def main() -> None:
    """Run the command line and exit with its code. Nothing that is printed can fail."""
    recognise_srun()
    with unfailing() as out:
        code = _run()
        out.flush()
        if code == 0 and out.lost is not None:
            code = _end(UserError(f"standard output: {out.lost.strerror}; send it where there is room"), 2)
        _end_workers()
    sys.exit(code)


def _run() -> int:
    """The exit code of the command."""
    with stopping():
        try:
            app(standalone_mode=True)
        except SystemExit as done:
            return done.code if isinstance(done.code, int) else int(done.code is not None)
        except UserError as error:
            return _end(error, 2)
        except RunFailed as error:
            return _end(error, 3)
        except (Interrupted, Stopped) as error:
            return _end(error, 128 + error.signal_number, "stopped")
        except Exception as error:
            if lost_others(error):
                return _end(error, 3)
            if is_launched() and _is_known(error):
                return 1
            raise
    return 0


def _is_known(error: Exception) -> bool:
    """Whether another rank shows the traceback of this bug. Of ranks that end at once, one does."""
    from askew import distributed

    if not distributed.may_report(error):
        return True
    hand_to_launcher(f"{type(error).__name__}: {printable(str(error), 4000)} (the traceback is above)")
    return False


def _end_workers() -> None:
    """At its end, the interpreter waits for every process that it has started, and one may hang."""
    if "multiprocessing" not in sys.modules:
        return
    children = sys.modules["multiprocessing"].active_children()
    with suppress(RuntimeError):  # PyTorch's, about a worker that was killed
        for child in children:
            child.join(2.0)
            child.kill()


def _end(error: BaseException, code: int, label: str = "error") -> int:
    """Print why the command ends; of several ranks one does. Returns the exit code."""
    text = str(error)
    if is_launched():
        from askew import distributed

        if not distributed.may_report(error):
            return code
        if lost_others(error):
            text = f"the other ranks are gone ({printable(' '.join(text.split()), 300)})"
        if label == "error" and hand_to_launcher(f"error: {printable(text, 4000)}"):
            return code
    from askew.report.console import Console

    Console().error(text, label)
    return code
