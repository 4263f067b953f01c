"""Requests to a store, through fsspec: repeated after a passing fault, limited in time and in number per second."""

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from askew.data.sources.base import SourceOptions
from askew.errors import Unusable, UserError, printable

EXTRA = "pip install 'askew[remote]'"
REQUEST = 32 * 2**20  # bytes that one request asks for at most, in data.remote_timeout
FIRST_DELAY, LONGEST_DELAY, LONGEST_ASKED = 0.5, 60.0, 300.0  # seconds before a request is repeated
PASSING = (408, 425, 429)  # of the HTTP statuses below 500
UNKNOWN_USER = ("NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError", "ProfileNotFound")
FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, ImportError, TypeError, AttributeError, ValueError)
CREDENTIALS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; for a public bucket set FSSPEC_S3_ANON=1",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS; for a public bucket set FSSPEC_GCS_TOKEN=anon",
    "hf": "set HF_TOKEN, or call hf auth login",
    "http": "name an address that needs no password, or one that is signed",
}
GONE, DENIED, FAILED = "shard gone", "permission denied", "remote read failed"  # causes of bad samples
_systems: dict[tuple[int, str, float], Any] = {}  # by process: an event loop must not be inherited
_jitter = random.SystemRandom()


def family_of(url: str) -> str:
    """`s3`, `gs`, `hf` or `http`."""
    name = url.partition("://")[0].lower()
    return {"gcs": "gs", "https": "http"}.get(name, name)


class RemoteStore:
    """The store that an address is in. It may be sent to another process, which opens connections of its own.

    Args:
        url: any address in it.
        options: timeout, retries and requests per second.
        folder: where the processes of this machine share the limit of requests.
    """

    def __init__(self, url: str, options: SourceOptions, folder: Path):
        self.family, self.folder = family_of(url), folder
        self.seconds, self.retries = options.remote_timeout, options.remote_retries
        self.per_second = options.remote_requests

    def info(self, url: str, retries: int | None = None) -> dict[str, Any]:
        """What the store knows of one file now: its size, and an ETag or a time of change under the store's name."""
        self._system().invalidate_cache()
        return self.ask(url, "info", retries=retries)

    def read(self, url: str, start: int, stop: int) -> bytes:
        """Bytes start .. stop - 1 of a file, at most REQUEST of them.

        Raises:
            Unusable: they could not be read, or arrived in part, in every attempt.
        """
        # Readers that are not asynchronous would otherwise read far ahead
        more: dict[str, Any] = {} if self._is_asynchronous() else {"cache_type": "none"}

        def whole(data: bytes) -> bool:
            if len(data) > stop - start:
                raise Unusable(f"{shown(url)}: the server ignores byte ranges; set data.remote_read=whole", FAILED)
            return len(data) == stop - start

        return self.ask(url, "cat_file", check=whole, start=start, end=stop, **more)

    def download(self, url: str, start: int, stop: int, size: int, place: Path, ranges: bool) -> None:
        """Write bytes start .. stop - 1 of a file of that size to an existing file."""
        if not ranges:
            assert (start, stop) == (0, size)
            seconds = self.seconds * -(-size // REQUEST)
            self.ask(url, "get_file", str(place), check=lambda _: place.stat().st_size == size, seconds=seconds)
            return
        with place.open("r+b") as file:
            for first in range(start, stop, REQUEST):
                file.write(self.read(url, first, min(first + REQUEST, stop)))

    def gives_ranges(self, url: str) -> bool:
        """Whether parts of a file can be read. Only web servers may refuse to."""
        if self.family != "http":
            return True
        system = self._system()

        async def status() -> int:
            session = await system.set_session()
            # The body is not read: it may be the whole file
            async with session.get(system.encode_url(url), headers={"Range": "bytes=0-0"}) as response:
                return response.status

        from fsspec.asyn import sync

        return self._patiently(url, lambda: sync(system.loop, status, timeout=self.seconds)) == 206

    def ask(
        self,
        url: str,
        call: str,
        *arguments: Any,
        check: Callable[[Any], bool] = lambda answer: True,
        seconds: float = 0.0,
        retries: int | None = None,
        **named: Any,
    ) -> Any:
        """What a method of the file system answers about an address.

        Args:
            check: whether the answer is complete; an incomplete one is asked for again.
        """

        def request() -> Any:
            system = self._system()
            path = system._strip_protocol(url)
            if self._is_asynchronous():
                from fsspec.asyn import sync

                made = getattr(system, f"_{call}")
                answer = sync(system.loop, made, path, *arguments, timeout=seconds or self.seconds, **named)
            else:
                answer = getattr(system, call)(path, *arguments, **named)
            if not check(answer):
                raise OSError("the answer was cut off")
            return answer

        return self._patiently(url, request, retries)

    def _patiently(self, url: str, request: Callable[[], Any], retries: int | None = None) -> Any:
        """The answer to a request, which is repeated with growing delays, and never sent too early."""
        retries = self.retries if retries is None else retries
        for attempt in range(retries + 1):
            self._wait_for_turn()
            try:
                return request()
            except (Unusable, UserError):
                raise
            except Exception as raised:  # every store raises kinds of its own
                # fsspec takes a server that does not answer for a missing file
                cause = raised.__cause__ if isinstance(raised, FileNotFoundError) else None
                error = cause if isinstance(cause, Exception) else raised
                if is_final(error) or attempt == retries:
                    raise self._fault(url, error, attempt + 1) from error
                time.sleep(delay_before(attempt + 1, error))
        raise AssertionError("unreachable")

    def _fault(self, url: str, error: Exception, attempts: int) -> Unusable:
        status, reason = status_of(error), printable(" ".join(str(error).split()) or type(error).__name__, 200)
        if isinstance(error, ImportError):
            return Unusable(f"{shown(url)}: {reason}; {EXTRA}", FAILED)
        if status in (404, 410) or (isinstance(error, FileNotFoundError) and not status):
            return Unusable(f"{shown(url)} does not exist in the store", GONE)
        nobody = type(error).__name__ in UNKNOWN_USER
        if nobody or status in (401, 403) or isinstance(error, PermissionError):
            what = "no credentials were found" if nobody else f"the store denies access ({status or reason})"
            return Unusable(f"{shown(url)}: {what}; {CREDENTIALS[self.family]}", DENIED)
        times = f" in {attempts} attempts" if attempts > 1 else ""
        why = f"{type(error).__name__}: {reason}"
        return Unusable(f"{shown(url)} could not be read{times} ({why}); check the address and the network", FAILED)

    def _wait_for_turn(self) -> None:
        """Wait until the next request may be sent by any process of this machine that shares the folder."""
        if not self.per_second:
            return
        with locked(self.folder / ".requests") as file:
            now = time.time()
            # A clock may have been set back since
            turn = max(now, min(float(os.pread(file, 32, 0) or 0), now + LONGEST_DELAY))
            os.pwrite(file, f"{turn + 1 / self.per_second:031.9f} ".encode(), 0)
        time.sleep(turn - now)

    def _is_asynchronous(self) -> bool:
        return bool(getattr(self._system(), "async_impl", False))

    def _system(self) -> Any:
        """The file system of this process."""
        key = (os.getpid(), self.family, self.seconds)
        if key not in _systems:
            _systems[key] = self._opened()
        return _systems[key]

    def _opened(self) -> Any:
        try:
            import fsspec

            named: dict[str, Any] = {"skip_instance_cache": True}
            if self.family == "http":
                import aiohttp

                timeout = aiohttp.ClientTimeout(total=None, sock_connect=self.seconds, sock_read=self.seconds)
                named["client_kwargs"] = {"timeout": timeout, "trust_env": True}
                named["headers"] = {"Accept-Encoding": "identity"}  # positions are those of the file as it is
            elif self.family == "s3":
                import s3fs  # noqa: F401  its absence is reported here, and not as a failed request

                limits = {"connect_timeout": self.seconds, "read_timeout": self.seconds}
                named["config_kwargs"] = {**limits, "retries": {"max_attempts": 0}}
            elif self.family == "gs":
                import gcsfs  # noqa: F401
            elif self.family == "hf":
                import huggingface_hub  # noqa: F401
            system = fsspec.filesystem(self.family, **named)
        except ImportError as error:
            raise UserError(f"data: {self.family}:// needs {error.name or 'fsspec'}, not installed; {EXTRA}") from error
        if self.family == "s3":
            system.retries = 1  # they are repeated, and counted, here
        return system


def shown(url: str) -> str:
    """An address as messages show it: without its query, which may hold a signature, and without a password."""
    scheme, _, rest = url.partition("?")[0].partition("://")
    host, slash, path = rest.partition("/")
    return printable(f"{scheme}://{host.rpartition('@')[2]}{slash}{path}", 400)


def status_of(error: BaseException | None) -> int:
    """The HTTP status that an error of any store's library stands for, or 0."""
    # A cause may have a status of another kind
    found = [error.status if hasattr(error, "status") else getattr(error, "code", None)]  # type: ignore[union-attr]
    while error is not None:
        response = getattr(error, "response", None)
        found.append(getattr(response, "status_code", None))
        if isinstance(response, dict):
            found.append(response.get("ResponseMetadata", {}).get("HTTPStatusCode"))
        error = error.__cause__
    numbers = (int(str(value)) for value in found if str(value).isdigit())
    return next((number for number in numbers if 100 <= number < 600), 0)


def is_final(error: Exception) -> bool:
    """Whether the same request would fail again."""
    status = status_of(error)
    if status:
        return status < 500 and status not in PASSING
    return isinstance(error, FINAL) or type(error).__name__ in UNKNOWN_USER


def delay_before(attempt: int, error: Exception) -> float:
    """Seconds to wait before attempt number 1, 2, ...: doubled each time, less up to a half by chance.

    The server's own wish (Retry-After) counts if it is longer.
    """
    wanted = str((getattr(error, "headers", None) or {}).get("Retry-After", ""))
    asked = min(float(wanted), LONGEST_ASKED) if wanted.isdigit() else 0.0
    longest = min(FIRST_DELAY * 2 ** (attempt - 1), LONGEST_DELAY)
    return max(asked, longest * _jitter.uniform(0.5, 1.0))


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Inside, no other process or thread is: the open file at a path, which is made if need be."""
    import fcntl

    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        fcntl.flock(handle, fcntl.LOCK_UN)  # a process forked meanwhile has the same lock
        os.close(handle)
