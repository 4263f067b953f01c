"""Some samples of a source as hashes: they tell whether data are still those of before, wherever they lie now."""

import hashlib
import time

from askew.data.sources.base import Source

PROBES = 64  # samples that are read, evenly spaced
SECONDS = 5.0  # for all of them: on slow storage fewer are read


def probed(source: Source) -> list[str | None]:
    """Up to PROBES samples as hashes.

    A hash is over id, match id, captions, tags and the bytes of the image, and not over where they lie. It is None for
    a sample that cannot be read or that there was no time for. A custom source need not give a sample twice the same,
    so its samples are not read.
    """
    number, started = len(source), time.monotonic()
    samples: list[str | None] = []
    for place in range(min(PROBES, number)):
        late = time.monotonic() - started > SECONDS
        samples.append(None if late or _is_custom(source) else _hash_of(source, position(place, number)))
    return samples


def position(place: int, number: int) -> int:
    """The sample that probe number `place` reads, of `number` samples."""
    return place * number // min(PROBES, number)


def _is_custom(source: Source) -> bool:
    return any(not type(part).__module__.startswith("askew.") for part in getattr(source, "sources", (source,)))


def _hash_of(source: Source, index: int) -> str | None:
    try:
        sample = source[index]
    except (OSError, ValueError):  # a bad sample: the loader replaces and counts it
        return None
    made = hashlib.blake2b(digest_size=8)
    for part in (str(sample.id), str(sample.match_id), "\0".join(sample.captions), "\0".join(sample.tags)):
        made.update(part.encode("utf-8", "surrogatepass") + b"\n")
    made.update(sample.image)
    return made.hexdigest()
