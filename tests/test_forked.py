"""Processes that tests fork behave as those that Python starts."""

import os
import signal
import subprocess
import sys
import time

import pytest

import forked

FACTS = "import os, sys; print(sys.argv, os.getcwd(), os.environ['A'], sys.stdin.read()); print('é', file=sys.stderr)"
# In short sleeps: Python does not notice a signal that comes just before it goes to sleep until it wakes
WAITS = "import os, time; print(os.getpid(), flush=True); [time.sleep(0.1) for _ in range(1000)]"


@pytest.fixture(params=["forked", "new"])
def program(request):
    return forked.python() if request.param == "forked" else sys.executable


def run(program, *arguments, **options):
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, **options)


def test_arguments_streams_folder_and_environment_are_its_own(program, tmp_path):
    done = run(program, "-c", FACTS, "x", cwd=tmp_path, env={**os.environ, "A": "b"}, input="typed")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"['-c', 'x'] {tmp_path} b typed\n", "é\n")
    (tmp_path / "beside.py").write_text("NAME = 'beside'", encoding="utf-8")
    (tmp_path / "main.py").write_text("import beside, sys\nprint(__name__, beside.NAME, sys.argv[1])", encoding="utf-8")
    assert run(program, "-m", "main", "y", cwd=tmp_path).stdout == "__main__ beside y\n"
    assert run(program, tmp_path / "main.py", "z").stdout == "__main__ beside z\n"


@pytest.mark.parametrize(
    ("code", "status", "printed"),
    [
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit('no')", 1, "no\n"),
        ("import sys; sys.exit()", 0, ""),
        ("import atexit, sys; atexit.register(print, 'late', file=sys.stderr)", 0, "late\n"),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL, ""),
    ],
)
def test_its_end_is_seen(program, code, status, printed):
    done = run(program, "-c", code)
    assert (done.returncode, done.stderr) == (status, printed)


def test_an_exception_is_printed(program):
    done = run(program, "-c", "{}['x']")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "KeyError: 'x'"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_reaches_it(program, number):
    process = subprocess.Popen([program, "-c", WAITS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    assert forked.process_of(process) == pid
    process.send_signal(number)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == -number
    assert ("KeyboardInterrupt" in printed) == (number == signal.SIGINT)
    deadline = time.monotonic() + 20
    while alive(pid):
        assert time.monotonic() < deadline, "it lives on"
        time.sleep(0.05)


def alive(pid):
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
