"""Processes that are ranks of one another, for the tests that need several."""

import json
import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

import forked
from askew import distributed

TESTS = Path(__file__).parent
PATIENCE = 500  # seconds until ranks that wait for each other are given up


def free_port() -> int:
    """One that nobody listens to."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def join(rank: int, size: int, port: int, device: str = "cpu") -> None:
    """Make this process one of several ranks, which may share a GPU."""
    import torch

    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    distributed.start(torch.device(device), backend="gloo")


def reports_of(module: str, size: int, folder: Path, num_ports: int = 1) -> list[dict]:
    """What `module.on_rank(rank, ports, folder)` returns in as many processes, which must all end within PATIENCE."""
    ports = [free_port() for _ in range(num_ports)]
    folders = os.pathsep.join([str(TESTS / "training"), str(TESTS / "gpu"), str(TESTS)])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([folders, os.environ["PYTHONPATH"]])}
    code = "import json, pathlib, sys, {0}; out = pathlib.Path(sys.argv[2]); rank = int(sys.argv[1])\n"
    code += "report = {0}.on_rank(rank, [int(port) for port in sys.argv[3:]], out)\n"
    code += "(out / f'rank{{rank}}.json').write_text(json.dumps(report), encoding='utf-8')"
    started = [
        subprocess.Popen(
            [forked.python(), "-c", code.format(module), str(rank), str(folder), *map(str, ports)], env=environment
        )
        for rank in range(size)
    ]
    deadline = time.monotonic() + PATIENCE
    while any(process.poll() is None for process in started):
        if time.monotonic() > deadline or any(process.poll() for process in started):  # the others would wait for it
            for process in started:
                process.kill()
            pytest.fail(f"a rank failed, or they did not finish within {PATIENCE} s")
        time.sleep(0.2)
    assert [process.returncode for process in started] == [0] * size
    return [json.loads((folder / f"rank{rank}.json").read_text(encoding="utf-8")) for rank in range(size)]
