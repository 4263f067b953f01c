"""Whether the data of a resumed run are those that it began with, regardless of where they lie now."""

import hashlib
import time
from typing import Any

from askew.data.sources import Source
from askew.errors import UserError, printable

PROBES = 64  # samples that are read, evenly spaced
SECONDS = 5.0  # for all of them: on slow storage fewer are read


def contents_of(source: Source) -> dict[str, Any]:
    """`num`, the number of samples; `order`, what their order depends on; `samples`: up to PROBES of them as hashes.

    A hash is over id, match id, captions, tags and the bytes of the image, and not over where they lie. It is None for
    a sample that cannot be read or that there was no time for. A custom source need not give a sample twice the same,
    so its samples are not read.
    """
    number, started = len(source), time.monotonic()
    samples: list[str | None] = []
    for place in range(min(PROBES, number)):
        late = time.monotonic() - started > SECONDS
        samples.append(None if late or _is_custom(source) else _hash_of(source, position(place, number)))
    return {"num": number, "order": [source.block, source.window], "samples": samples}


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


def refuse_other_data(where: str, facts: dict[str, Any], source: Source, names: str, contents: dict[str, Any]) -> None:
    """Compare what a checkpoint recorded with the data as they are now.

    Args:
        where: the checkpoint, for messages.
        facts: of the checkpoint: `contents`, and the hash `data` of the names of samples. Older ones have only names.
        names: the same hash of the present data.

    Raises:
        UserError: the number of samples, or any sample that both could read, differs.
    """
    then = facts.get("contents", {"num": contents["num"], "samples": []})
    remedy = "resume with the same data, or start a new run"
    if then["num"] != contents["num"]:
        raise UserError(
            f"{where}: the data are not those that the run began with: {then['num']:,} samples then, "
            f"{contents['num']:,} now; {remedy}"
        )
    if then.get("order", contents["order"]) != contents["order"]:
        raise UserError(
            f"{where}: the data are not those that the run began with: their files are divided otherwise (row groups "
            f"of Parquet), which changes the order of samples; {remedy}"
        )
    compared = 0
    for place, (old, new) in enumerate(zip(then["samples"], contents["samples"], strict=False)):
        compared += old is not None and new is not None
        if old is not None and new is not None and old != new:
            name = printable(source.name(position(place, contents["num"])))
            raise UserError(
                f"{where}: the data are not those that the run began with: {name} is another image, or has another "
                f"name or other captions; {remedy}"
            )
    if 2 * compared < len(contents["samples"]) and facts.get("data", names) != names:
        raise UserError(
            f"{where}: the data are not those that the run began with (another number of samples, or other "
            f"samples in their places); {remedy}"
        )
