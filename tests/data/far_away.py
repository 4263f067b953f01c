"""Stores for tests: a web server with and without byte ranges, and with faults that are injected on demand."""

import hashlib
import io
import socket
import struct
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def picture(number: int) -> bytes:
    """A PNG of 24 pixels whose colours and size in bytes depend on the number."""
    buffer = io.BytesIO()
    pixels = np.zeros((24, 24, 3), dtype=np.uint8)
    rows = number % 24 + 1
    pixels[:rows] = np.random.default_rng(number).integers(0, 256, size=(rows, 24, 3))
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_shards(folder: Path, shards: int, samples: int, name: str = "{:05d}.tar") -> Path:
    """Tar shards of webdataset's layout: KEY.json, KEY.png, KEY.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        with tarfile.open(folder / name.format(shard), "w") as tar:
            for number in range(shard * samples, (shard + 1) * samples):
                for suffix, data in (
                    ("json", b'{"width": 24}'),
                    ("png", picture(number)),
                    ("txt", f"picture number {number}".encode()),
                ):
                    member = tarfile.TarInfo(f"{number:06d}.{suffix}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    return folder


@lru_cache
def contents_of(file: Path, modified: int) -> tuple[bytes, str]:
    """A file, and its ETag."""
    data = file.read_bytes()
    return data, hashlib.md5(data).hexdigest()


@dataclass
class WebServer:
    """A web server of the files in a folder.

    Attributes:
        url: its address.
        ranges: whether it gives parts of files.
        faults: what becomes of the next requests for contents, one each: "503", "reset", "short" (the body ends too
            early), "cut" (it says so itself), "hang", "403", "noise" (other bytes); "" lets one through.
        secret: what an address must end in; others are denied.
        changed_after: number of requests for contents after which every caption has another letter.
        delay, bytes_per_second: of the link.
        requests: (method, path, range) of all requests so far.
    """

    folder: Path
    ranges: bool = True
    faults: list[str] = field(default_factory=list)
    secret: str = ""
    changed_after: float = float("inf")
    delay: float = 0.0
    bytes_per_second: float = float("inf")
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    url: str = ""
    lock: Any = field(default_factory=threading.Lock)

    def fault(self) -> str:
        """The next one."""
        with self.lock:
            return self.faults.pop(0) if self.faults else ""

    def start(self) -> ThreadingHTTPServer:
        """Answer from now on, to the end of the process or until it is shut down."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"store": self}))
        server.daemon_threads, server.block_on_close = True, False
        server.handle_error = lambda *ignored: None  # who was cut off by a fault closes the connection
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        return server

    @contextmanager
    def running(self) -> Iterator["WebServer"]:
        """Inside, it answers."""
        server = self.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: WebServer

    def log_message(self, *arguments: Any) -> None:
        """Nothing is printed."""

    def do_HEAD(self) -> None:
        """Size and version."""
        self.answer(contents=False)

    def do_GET(self) -> None:
        """Contents."""
        self.answer(contents=True)

    def answer(self, contents: bool) -> None:
        store, asked = self.store, self.headers.get("Range", "")
        with store.lock:
            store.requests.append((self.command, self.path, asked))
        time.sleep(store.delay)
        fault = store.fault() if contents else ""
        if not self.path.endswith(store.secret):
            fault = "403"
        file = store.folder / self.path.partition("?")[0].lstrip("/")
        if fault == "503" or fault == "403" or not file.is_file():
            self.send_response(int(fault or 404))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            return
        if fault == "hang":
            time.sleep(3)
        data, etag = contents_of(file, file.stat().st_mtime_ns)
        if sum(method == "GET" for method, _, _ in store.requests) > store.changed_after:
            data, etag = data.replace(b"picture number", b"picture Number"), "another"
        partial = bool(asked and store.ranges)
        size = len(data)
        if partial:
            first, last = asked.removeprefix("bytes=").split("-")
            data = data[int(first) : int(last) + 1]
        if fault == "noise":
            data = bytes(255 - byte for byte in data)
        self.send_response(206 if partial else 200)
        if partial:
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(data) - 1}/{size}")
        self.send_header("Content-Length", str(len(data) // 2 if fault == "cut" else len(data)))
        self.send_header("ETag", f'"{etag}"')
        self.end_headers()
        if not contents:
            return
        time.sleep(len(data) / store.bytes_per_second)
        with suppress(ConnectionError):  # whoever asked had no patience
            self.wfile.write(data[: len(data) // 2] if fault in ("short", "cut") else data)
        self.close_connection = fault == "short"  # without the rest of the body
