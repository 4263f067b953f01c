"""Python processes that start at once: forked from one that has imported askew, PyTorch and open_clip already.

`python()` is a program that takes `-m MODULE`, `-c CODE` or a file, as Python does, and behaves as one to its caller:
working directory, environment, streams, signals and exit status are the new process's own. A process that imports
all of it anew costs five seconds of CPU, and a forked one a tenth of a second. What a test says about starting itself
belongs in a process of `sys.executable`: the first `askew train` of tests/test_cli.py, and tests/test_wheel.py.

Run as a file, it is the process that is forked: it reads requests from the socket that is named, and nothing else.
"""

import atexit
import gc
import json
import os
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path

PRELOADED = ("askew.cli", "askew.runs.resume", "askew.runs.evaluate", "askew.data.check", "torch.distributed.run")
SERVERS: list[subprocess.Popen] = []
RELAYED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)

# The program that a test starts: without `site`, it needs 20 ms. It lives as long as the process that it stands for.
CLIENT = """#!{python} -IS
import json, os, signal, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect({address!r})
place = f"{{os.path.abspath(sys.argv[0])}}.{{os.getpid()}}"
request = json.dumps(dict(argv=sys.argv[1:], cwd=os.getcwd(), env=dict(os.environ), place=place)).encode()
socket.send_fds(connection, [len(request).to_bytes(8, "big")], [0, 1, 2])
connection.sendall(request)
answers = connection.makefile()
pid = int(answers.readline())

def relay(number, frame):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass

for number in {relayed}:
    signal.signal(number, relay)
code = os.waitstatus_to_exitcode(int(answers.readline()))
if code < 0:
    signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
    os.kill(os.getpid(), -code)
os._exit(code)
"""


@cache
def python() -> str:
    """The path of the program; `sys.executable` where a process cannot be watched by a descriptor, as on macOS."""
    if not hasattr(os, "pidfd_open"):
        return sys.executable
    folder = Path(tempfile.mkdtemp(prefix="askew-forked-"))
    address, program = str(folder / "socket"), folder / "python"
    relayed = tuple(int(number) for number in RELAYED)
    program.write_text(CLIENT.format(python=sys.executable, address=address, relayed=relayed), encoding="utf-8")
    program.chmod(0o755)
    server = subprocess.Popen([sys.executable, __file__, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdin is not None
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    SERVERS.append(server)  # it ends, and removes the folder, when this process ends, however that is
    return str(program)


def process_of(program: subprocess.Popen) -> int:
    """The process that a started `python()` stands for, which leads a group of its own; the program where it is one."""
    file = Path(f"{python()}.{program.pid}")
    return int(file.read_text(encoding="utf-8")) if file.exists() else program.pid


def serve(address: str) -> list[str]:
    """Fork a process for every request, until nobody holds the other end of stdin. Returns in the new processes only.

    Returns:
        The arguments, as they stand behind `python`.
    """
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(16)
    for module in PRELOADED:
        import_module(module)
    gc.freeze()  # a collection in a new process would copy the pages of all of it
    with suppress(BrokenPipeError):  # there is nobody any more
        os.write(1, b"ready\n")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the watchers
    with selectors.DefaultSelector() as waiting:
        waiting.register(listener, selectors.EVENT_READ)
        waiting.register(0, selectors.EVENT_READ)
        while not any(key.fileobj == 0 for key, _ in waiting.select()):
            connection, _ = listener.accept()
            if os.fork() == 0:
                break
            connection.close()
        else:
            shutil.rmtree(Path(address).parent)
            os._exit(0)
    listener.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    header, descriptors, _, _ = socket.recv_fds(connection, 8, 3)
    request = json.loads(received(connection, int.from_bytes(header, "big")))
    if (pid := os.fork()) == 0:
        connection.close()
        become(request, descriptors)
        return request["argv"]
    for descriptor in descriptors:
        os.close(descriptor)
    watch(pid, connection)
    os._exit(0)


def received(connection: socket.socket, size: int) -> bytes:
    """So many bytes."""
    parts = b""
    while len(parts) < size:
        parts += connection.recv(size - len(parts))
    return parts


def watch(pid: int, connection: socket.socket) -> None:
    """Report a process and its end. Where the program that stands for it is killed, its whole group is killed too."""
    connection.sendall(b"%d\n" % pid)
    with selectors.DefaultSelector() as waiting:
        waiting.register(connection, selectors.EVENT_READ)
        waiting.register(os.pidfd_open(pid), selectors.EVENT_READ)
        if any(key.fileobj is connection for key, _ in waiting.select()):
            for kill in (os.kill, os.killpg):  # it may not lead its group yet
                with suppress(ProcessLookupError):
                    kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    with suppress(BrokenPipeError):  # it was killed
        connection.sendall(b"%d\n" % status)


def become(request: dict, descriptors: list[int]) -> None:
    """Take over what belongs to a process: session, streams, working directory, environment, path and signals.

    Its number is written down first: whoever has read a line of its output can ask `process_of`.
    """
    os.setsid()
    unfinished = Path(f"{request['place']}.tmp")
    unfinished.write_text(str(os.getpid()), encoding="utf-8")
    unfinished.replace(request["place"])
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    encoding, _, errors = os.environ.get("PYTHONIOENCODING", "").partition(":")
    encoding = encoding or "utf-8"
    sys.stdin = open(0, encoding=encoding)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding=encoding, errors=errors or "strict")  # noqa: SIM115
    sys.stderr = open(2, "w", encoding=encoding, errors="backslashreplace", buffering=1)  # noqa: SIM115
    del sys.path[0]  # of this file
    sys.path[:0] = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry not in sys.path]


def run(arguments: list[str]) -> int:
    """What `python ARGUMENTS` does. Returns its exit status."""
    try:
        execute(arguments)
    except SystemExit as stopped:
        if isinstance(stopped.code, str):
            print(stopped.code, file=sys.stderr)
        return stopped.code if isinstance(stopped.code, int) else int(bool(stopped.code))
    except KeyboardInterrupt:
        traceback.print_exc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def execute(arguments: list[str]) -> None:
    """Run a module, a text or a file as the main program."""
    while arguments[0] in ("-u", "-B"):
        arguments = arguments[1:]
    kind, *rest = arguments
    if kind == "-m":
        sys.argv, sys.path[:0] = rest, [os.getcwd()]
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv, sys.path[:0] = ["-c", *rest[1:]], [""]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__", "__builtins__": __builtins__})
    else:
        sys.argv, sys.path[:0] = arguments, [str(Path(kind).parent)]
        runpy.run_path(kind, run_name="__main__")


def end(code: int) -> None:
    """End as the interpreter does, but leave the freeing of modules, which takes seconds, to the system."""
    threading._shutdown()  # waits for threads
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if not stream.closed:
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    end(run(serve(sys.argv[1])))
