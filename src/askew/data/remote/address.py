"""What an address names: the tar shards in a store, with their sizes and versions, in order."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from askew.data.remote.store import GONE, RemoteStore, shown
from askew.data.sources import splits
from askew.data.sources.base import SourceOptions
from askew.data.sources.listing import is_left_out
from askew.errors import Unusable, UserError, printable

# What stores call the version of a file, the surest first
VERSIONS = ("ETag", "etag", "md5Hash", "blob_id", "Content-MD5", "Digest", "LastModified", "updated", "Last-Modified")
AT_ONCE = 16  # shards that are asked about at the same time
OPENING_RETRIES = 2  # of the requests that find the shards: a mistyped address should be known soon
ONLY_TAR = "only tar shards are read from afar: s3://BUCKET/{00000..00099}.tar; download other data first"


@dataclass(frozen=True)
class RemoteShard:
    """One tar file in a store.

    Attributes:
        url: its address.
        size: in bytes.
        version: an ETag, a hash or a time of change; "" where the store gives none.
    """

    url: str
    size: int
    version: str

    @property
    def name(self) -> str:
        """The file's name."""
        return shown(self.url).rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """`.tar`."""
        return Path(self.name).suffix

    def __str__(self) -> str:
        return shown(self.url)


def shards_of(
    text: str, named: Sequence[str], options: SourceOptions, store: RemoteStore
) -> tuple[list[RemoteShard], list[str]]:
    """The shards that a text names, and notes on splits and files that were left out.

    Args:
        named: the addresses that its braces expand to.

    Raises:
        UserError: shards that do not exist or cannot be asked about, something else than tar, or a list of files from
            a web server, which has none.
    """
    where = f"data: {shown(text)}"
    found: list[RemoteShard] = []
    said: list[str] = []
    plain = [url for url in named if _is_tar(url) and not _is_pattern(url)]
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        asked = dict(zip(plain, pool.map(lambda url: _asked(url, store), plain), strict=True))
    missing = [shown(url) for url, shard in asked.items() if shard is None]
    if missing:
        raise UserError(
            f"data: {len(missing):,} of the {len(named):,} shards of {shown(text)} do not exist: "
            f"{', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}; name only shards that exist"
        )
    for url in named:
        if url in asked:
            found += [shard for shard in [asked[url]] if shard is not None]
        else:
            listed, notes = _listed(url, options, store, where)
            found, said = found + listed, said + notes
    return list(dict.fromkeys(found)), list(dict.fromkeys(said))


def _is_tar(url: str) -> bool:
    return shown(url).lower().endswith(".tar")


def _is_pattern(url: str) -> bool:
    return not url.startswith("http") and any(sign in url for sign in "*?[")


def _asked(url: str, store: RemoteStore) -> RemoteShard | None:
    """The shard at an address; None if there is none."""
    try:
        return shard_of(url, store.ask(url, "info", retries=OPENING_RETRIES))
    except Unusable as error:
        if error.cause == GONE:
            return None
        raise UserError(f"data: {error}") from error


def shard_of(url: str, info: dict[str, Any]) -> RemoteShard:
    """The shard that a store has told about.

    Raises:
        UserError: it does not tell the size.
    """
    if info.get("size") is None:
        raise UserError(f"data: {shown(url)}: the server does not give its size; download the shards first")
    version = next((str(info[key]) for key in VERSIONS if info.get(key)), "")
    return RemoteShard(url, int(info["size"]), version.strip('"'))


def _listed(url: str, options: SourceOptions, store: RemoteStore, where: str) -> tuple[list[RemoteShard], list[str]]:
    """The tar files that a pattern matches, or that lie in a folder, of the wanted split."""
    if not _is_pattern(url) and (store.family == "http" or Path(shown(url)).suffix):
        what = f"{shown(url)} is no .tar" if Path(shown(url)).suffix else "a web server cannot be listed"
        raise UserError(f"{where}: {what}; {ONLY_TAR}")
    pattern = url if _is_pattern(url) else f"{url.rstrip('/')}/*"
    try:
        answer = store.ask(pattern, "glob", retries=OPENING_RETRIES, detail=True)
    except Unusable as error:
        raise UserError(f"data: {error}") from error
    files = {name: info for name, info in sorted(answer.items()) if info.get("type") == "file"}
    visible = [name for name in files if not is_left_out(name)]
    tars = [Path(name) for name in visible if name.lower().endswith(".tar")]
    if not tars:
        there = ", ".join(printable(name.rpartition("/")[2]) for name in visible[:3])
        raise UserError(f"{where}: no .tar is there{f', but {there}' if there else ''}; {ONLY_TAR}")
    hidden = len(files) - len(visible)
    said = [f"hidden files and system files left out: {hidden:,}"] if hidden else []
    if not splits.splits_in(url.rpartition("/")[2] if _is_pattern(url) else ""):
        tars, split = splits.files_of_split(tars, options, where)
        said = [split, *said] if split else said
    scheme = url.partition("://")[0]
    return [shard_of(f"{scheme}://{path.as_posix()}", files[path.as_posix()]) for path in tars], said
