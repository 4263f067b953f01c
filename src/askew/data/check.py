"""The preflight check: what a source contains, what is bad in it, and how fast this machine can feed a run from it."""

import hashlib
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from askew.data.images import Picture
from askew.data.loader import BadSamples, Loader, cause_of
from askew.data.sources.base import Sample, Source
from askew.data.views import Views
from askew.errors import RunFailed, Unusable, printable

EXAMPLES = 3  # named per cause, and shown as they are trained on
BATCH = 32  # samples per batch while feeding is timed


class EncodedImages(Protocol):
    """Images by index, as evaluation has them: `keys` name them."""

    @property
    def keys(self) -> Sequence[str]: ...

    def read(self, index: int) -> bytes: ...


@dataclass
class Look:
    """What was found in the samples that were looked at."""

    looked_at: int = 0
    unusable: Counter = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    captions: Counter = field(default_factory=Counter)
    images: Counter = field(default_factory=Counter)
    sizes: list[tuple[int, int, int]] = field(default_factory=list)  # width, height, bytes
    captions_of: list[int] = field(default_factory=list)
    shown: list[dict[str, Any]] = field(default_factory=list)  # the first few usable samples
    read_seconds: float = 0.0
    decode_seconds: float = 0.0
    read_bytes: int = 0

    def add(self, source: Source, index: int) -> None:
        """Read and decode one sample as the loader does."""
        self.looked_at += 1
        name = ""
        try:
            started = time.perf_counter()
            try:
                sample: Sample = source[index]
            finally:
                self.read_seconds += time.perf_counter() - started
            name = sample.name
            if not any(caption.strip() for caption in sample.captions):
                raise Unusable("no caption", "no caption")
            started = time.perf_counter()
            image = Picture(sample.image)
            image.pixels()
            self.decode_seconds += time.perf_counter() - started
        except OSError as error:
            self._count(error, name or source.name(index))
            return
        self.read_bytes += len(sample.image)
        self.sizes.append((image.width, image.height, len(sample.image)))
        self.images[hashlib.blake2b(sample.image, digest_size=8).digest()] += 1
        self.captions_of.append(len(sample.captions))
        self.captions.update(sample.captions)
        if len(self.shown) < EXAMPLES:
            size = [image.width, image.height]
            self.shown.append({"name": sample.name, "captions": list(sample.captions), "width_height": size})

    def _count(self, error: OSError, where: str) -> None:
        """Count one sample that cannot be used; the first few of each cause are named."""
        cause = cause_of(error)
        self.unusable[cause] += 1
        if self.unusable[cause] <= EXAMPLES:
            message = printable(error.strerror or str(error), 300)
            self.examples.setdefault(cause, []).append(f"{printable(where)}: {message}")

    def add_image(self, images: EncodedImages, index: int) -> None:
        """Read and decode one image that has no caption."""
        self.looked_at += 1
        try:
            Picture(images.read(index)).pixels()
        except OSError as error:
            self._count(error, str(images.keys[index]))

    def found(self) -> dict[str, Any]:
        """What cannot be used, by cause, with examples."""
        return {c: {"count": n, "examples": self.examples[c]} for c, n in self.unusable.most_common()}


def check(
    source: Source,
    views: Views,
    ranks: int = 1,
    limit: int = 10_000,
    seconds: float = 2.0,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Everything that `askew data check` reports, as plain JSON.

    Args:
        views: the views that a run would make of the samples.
        ranks: processes on this machine that will share it.
        limit: number of samples to look at, spread evenly; of a smaller source, all.
        seconds: how long feeding is timed with each number of workers.
        progress: called with a message about what is being done.
    """
    look = Look()
    indices = np.unique(np.linspace(0, len(source) - 1, min(limit, len(source))).astype(np.int64))
    progress(f"reading {len(indices):,} of {len(source):,} samples")
    for index in indices:
        look.add(source, int(index))
    usable = look.looked_at - look.unusable.total()
    found: dict[str, Any] = {
        "source": source.describe,
        "samples": len(source),
        "looked_at": look.looked_at,
        "usable": usable,
        "unusable": look.found(),
        "notes": list(source.notes),
        "order": {"block": source.block, "window": source.window},
        "examples": [{**one, "trained_at": views.images[0].size} for one in look.shown],
    }
    if usable:
        found |= {"captions": captions_of(look), "images": images_of(look), "reading": rates_of(look)}
    found["feeding"] = dict(feeding(source, views, seconds, progress)) if usable > 1 else {}
    found["ranks"] = ranks
    found["verdict"] = verdict(found)
    return found


def captions_of(look: Look) -> dict[str, Any]:
    """Lengths of captions, and the share of repeated ones."""
    texts = list(look.captions)
    counts = np.array([look.captions[text] for text in texts])
    total = int(counts.sum())
    return {
        "count": total,
        "per_image": round(total / len(look.captions_of), 3),
        "characters": quantiles(np.repeat([len(text) for text in texts], counts)),
        "words": quantiles(np.repeat([len(text.split()) for text in texts], counts)),
        "repeated_share": round(1 - len(texts) / total, 4),
        "most_common": [[printable(text), count] for text, count in look.captions.most_common(3) if count > 1],
    }


def images_of(look: Look) -> dict[str, Any]:
    """Sizes of images, and the share of those that are byte for byte the same as another."""
    width, height, size = np.array(look.sizes).T
    return {
        "width": quantiles(width),
        "height": quantiles(height),
        "bytes": quantiles(size),
        "repeated_share": round(1 - len(look.images) / len(look.sizes), 4),
    }


def rates_of(look: Look) -> dict[str, float]:
    """How fast one core reads and decodes, measured separately."""
    read, decoded = max(look.read_seconds, 1e-9), max(look.decode_seconds, 1e-9)
    return {
        "read_samples_per_second": round(look.looked_at / read, 1),
        "read_mb_per_second": round(look.read_bytes / read / 1e6, 1),
        "decode_samples_per_second": round(len(look.sizes) / decoded, 1),
    }


def quantiles(values: Any) -> dict[str, int]:
    """Minimum, median, 95th percentile and maximum."""
    low, median, high, most = np.quantile(values, [0, 0.5, 0.95, 1], method="nearest")
    return {"min": int(low), "median": int(median), "p95": int(high), "max": int(most)}


def feeding(
    source: Source, views: Views, seconds: float, progress: Callable[[str], None]
) -> Iterator[tuple[str, float]]:
    """Samples per second with 1, 2, 4, ... workers, up to the number of cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = [2**power for power in range(cores.bit_length())]
    size = min(BATCH, len(source))
    for number in dict.fromkeys([w for w in workers if w <= cores] + [cores]):
        progress(f"feeding with {number} worker(s)")
        loader = Loader(source, views, size, seed=0, num_workers=number)
        made, started = 0, 0.0
        for batch in loader.batches(0, 10**6):
            if "failed" in batch:
                return
            now = time.perf_counter()
            if not started:
                started = now  # not counted: the first batch waits for the workers to start
                continue
            made += size
            if now - started >= seconds:
                break
        yield str(number), round(made / (time.perf_counter() - started), 1)


def budget(share: float, samples: int) -> str:
    """What a run does about a share of bad samples, by the rule that it applies itself: see `BadSamples.check`."""
    first = fails_after(share)
    if first is None:
        return "within the budget of max(10, 1 %): they are replaced"
    epoch = -(-first // samples)
    when = f"about {first:,} samples, in epoch {epoch:,}"
    return f"over the budget of max(10, 1 %): a run would fail once it has drawn {when}"


def fails_after(share: float) -> int | None:
    """After how many samples drawn a run is expected to fail; None if it never does.

    Each sample drawn costs share / (1 - share) bad ones, as substitutes may be bad too. The run fails at the first
    number for which `BadSamples.check` does.
    """
    per_sample = share / (1 - share) if share < 1 else math.inf
    if math.isinf(per_sample):
        return 1

    def fails(drawn: int) -> bool:
        try:
            BadSamples(drawn, Counter({"": math.floor(per_sample * drawn)})).check()
        except RunFailed:
            return True
        return False

    drawn = math.ceil(11 / per_sample)
    while not fails(drawn):
        drawn *= 2
        if drawn * per_sample > 1e7:
            return None
    low = drawn // 2
    while drawn - low > 1:
        middle = (low + drawn) // 2
        low, drawn = (low, middle) if fails(middle) else (middle, drawn)
    return drawn


def verdict(found: dict[str, Any]) -> list[str]:
    """The conclusions in plain sentences: whether a run would fail, and how fast it can be fed."""
    bad = found["looked_at"] - found["usable"]
    sentences = []
    if not found["usable"]:
        sentences.append("no sample is usable: a run would fail at once")
    elif not bad:
        sentences.append("every sample looked at can be used")
    else:
        sentences.append(
            f"{bad / found['looked_at']:.2%} of the samples looked at cannot be used: "
            + budget(bad / found["looked_at"], found["samples"])
        )
    captions = found.get("captions")
    if captions and captions["repeated_share"] > 0:
        sentences.append(
            f"{captions['repeated_share']:.1%} of the captions repeat another one. In a batch, equal captions of two "
            "images are negatives of one another; data.equal_captions=positives makes them positives"
        )
    if found["feeding"]:
        workers, rate = max(found["feeding"].items(), key=lambda item: item[1])
        sentences.append(
            f"this machine feeds up to {rate:,.0f} samples/s, with {workers} worker(s); a faster model has to wait"
        )
        if found["ranks"] > 1:
            each = rate / found["ranks"]
            sentences.append(f"{found['ranks']} ranks on this machine share that: {each:,.0f} samples/s each")
    sentences.append(
        "samples are read in random order: every rank gets equal batches from any number of files or shards"
    )
    return sentences
