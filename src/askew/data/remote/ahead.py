"""The parts of shards that the order of samples needs next are fetched before they are needed.

Which parts are needed, and in which order, is known: the order is a pure function. So those that fit into the cache
are exactly the first ones that are needed, and what makes room for them is needed later than any of them.
"""

import os
import threading
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from askew.data.remote.cache import PartCache, ShardPart

Fill = Callable[[ShardPart, Path], None]
Needed = tuple[int, ShardPart, Fill]  # the place of its block in the order, the part, and what fetches it
_by_folder: "weakref.WeakValueDictionary[tuple[int, Path], FetchAhead]" = weakref.WeakValueDictionary()


class FetchAhead:
    """Fetches parts in a thread, for all sources of this process that share a folder.

    What a source needs goes with it: neither the plan nor the thread keeps it alive.

    Every worker has one. They take different parts, since a part that is being fetched is passed over.
    """

    def __init__(self, cache: PartCache):
        self.cache = cache
        self.keep: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        self._plans: weakref.WeakKeyDictionary[Any, tuple[list[Needed], int]] = weakref.WeakKeyDictionary()
        self._queue: list[Needed] = []
        self._thread: threading.Thread | None = None

    def expect(self, source: Any, needed: Iterable[Needed], soon: int) -> None:
        """Replace what a source needs, in the order in which it needs it.

        Args:
            soon: parts of blocks before this place in the order are fetched now. Later ones are only kept.
        """
        with self._lock:
            self._plans[source] = (self._fitting(needed), soon)
            merged = sorted((one for plan, _ in self._plans.values() for one in plan), key=lambda one: one[0])
            kept = self._fitting(merged)
            self.keep = frozenset(part.name for _, part, _ in kept)
            until = max(soon for _, soon in self._plans.values())
            self._queue = [one for one in reversed(kept) if one[0] < until]
            if self._thread is None and self._queue:
                self._thread = threading.Thread(target=_fetch_all, args=(weakref.ref(self),), daemon=True)
                self._thread.start()

    def _fitting(self, needed: Iterable[Needed]) -> list[Needed]:
        """The first ones, as many as fit into the cache."""
        kept: dict[str, Needed] = {}
        size = 0
        for one in needed:
            if one[1].name not in kept:
                size += one[1].size
                if size > self.cache.limit:
                    break
                kept[one[1].name] = one
        return list(kept.values())

    def fetch_next(self) -> bool:
        """Fetch one part; False if there is none left."""
        with self._lock:
            if not self._queue:
                self._thread = None
                return False
            _, part, fill = self._queue.pop()
        with suppress(Exception):  # whoever reads the sample asks for it alone, and reports what is wrong
            self.cache.fetch(part, fill, self.keep, wait=False)
        return True


def _fetch_all(reference: "weakref.ref[FetchAhead]") -> None:
    """Fetch part after part, until none is left or nobody needs them."""
    while (ahead := reference()) is not None and ahead.fetch_next():
        del ahead


def ahead_of(cache: PartCache) -> FetchAhead:
    """The one of this process for a folder."""
    key = (os.getpid(), cache.folder)
    found = _by_folder.get(key)
    if found is None:
        found = _by_folder[key] = FetchAhead(cache)
    return found
