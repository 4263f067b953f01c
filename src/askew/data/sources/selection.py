"""A selection: some of the captions of another source, listed in a Parquet file.

`askew inspect` writes such files: `pairs.parquet` with every pair, and with --keep the list `kept.parquet`. Any part of
their rows, filtered by any tool, is a selection too. It needs these columns:

    askew_source     where the data are: a text as for `--data`, the same in every row
    askew_options    how they are read: the SourceOptions as JSON, the same in every row
    askew_contents   what they were: number of samples and captions, a hash of names, and hashes of some samples, as
                     JSON; the same in every row
    sample, caption  the index of a sample in that source, and of a caption within the sample
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from askew.data.sources.base import EVALUATED, HOW_FETCHED, Sample, Source, SourceOptions, names_hash
from askew.data.sources.probe import probed
from askew.errors import Unusable, UserError, printable

CONSTANTS = ("askew_source", "askew_options", "askew_contents")
COLUMNS = (*CONSTANTS, "sample", "caption")
OpenSource = Callable[[str, SourceOptions], Source]
MOVED = "if the data have moved, say where they are: --set data.selected_from=SOURCE"


@dataclass(frozen=True)
class Origin:
    """What a selection selects from: the three constant columns."""

    source: str
    options: SourceOptions
    contents: dict[str, Any]

    def columns(self, number: int) -> dict[str, pa.Array]:
        """The constant columns, `number` rows of them; they take next to no space."""
        options = asdict(replace(self.options, selected_from=""))
        texts = (self.source, json.dumps(options), json.dumps(self.contents))
        zeros = pa.array(np.zeros(number, dtype=np.int8))
        return {
            name: pa.DictionaryArray.from_arrays(zeros, pa.array([text]))
            for name, text in zip(CONSTANTS, texts, strict=True)
        }


def contents_of_source(source: Source, num_captions: int) -> dict[str, Any]:
    """What must stay the same for indices into a source to keep their meaning."""
    return {
        "samples": len(source),
        "captions": num_captions,
        "names": names_hash(source),
        "probes": probed(source),
    }


def _differ(then: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether data are others than before. Names count where too few samples could be compared: files move.

    A name such as `photos.parquet row 7` says nothing of what is in the row.
    """
    if then["samples"] != now["samples"]:
        return True
    compared = [old == new for old, new in zip(then["probes"], now["probes"], strict=False) if old and new]
    return not all(compared) or (2 * len(compared) < len(now["probes"]) and then["names"] != now["names"])


class SelectionSource:
    """Some captions of the samples of another source, in its order. Samples without a listed caption are left out.

    Args:
        inner: the source that is selected from.
        samples, captions: (R,) indices of a sample and of a caption within it, in any order; repeats count once.
        origin: what was selected from, as recorded.
        where: the file, for messages.
    """

    def __init__(self, inner: Source, samples: np.ndarray, captions: np.ndarray, origin: Origin, where: str):
        order = np.lexsort((captions, samples))
        samples, captions = samples[order], captions[order]
        new = np.ones(len(samples), dtype=bool)
        new[1:] = (samples[1:] != samples[:-1]) | (captions[1:] != captions[:-1])
        samples, self._captions = samples[new], captions[new].astype(np.int32)
        self._indices, starts = np.unique(samples, return_index=True)
        self._starts = np.append(starts, len(samples))
        self.inner, self.origin, self._where = inner, origin, where
        self.sources = (inner,)  # as a mixture has: whoever asks what this is made of finds it
        share = len(self) / len(inner)
        self.block = max(1, round(inner.block * share))
        self.window = max(1, round(inner.window / inner.block)) * self.block
        self.notes = tuple(inner.notes)
        whole = origin.contents.get("captions", 0)
        self.describe = f"{len(self._captions):,} of {whole:,} captions of {inner.describe}"

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Sample:
        inside, listed = self.selected(index)
        sample = self.inner[inside]
        if listed[-1] >= len(sample.captions):
            raise Unusable(
                f"{sample.name}: has {len(sample.captions)} captions, and {self._where} lists number {listed[-1]}",
                "captions changed",
            )
        return replace(sample, captions=tuple(sample.captions[number] for number in listed.tolist()))

    def name(self, index: int) -> str:
        """The name that the other source gives it."""
        return self.inner.name(self.selected(index)[0])

    def expect(self, starts: np.ndarray, stops: np.ndarray, soon: int, places: np.ndarray | None = None) -> None:
        """Tell a source that reads from afar which of its samples are needed, in this order.

        A range of the selection becomes several where more than a block of the other source is left out.
        """
        expect = getattr(self.inner, "expect", None)
        if expect is None:
            return
        gaps = np.flatnonzero(np.diff(self._indices) > self.inner.block) + 1  # where another range begins
        first, last = np.searchsorted(gaps, starts, side="right"), np.searchsorted(gaps, stops, side="left")
        of_range = np.repeat(np.arange(len(starts)), last - first + 1)
        inside = [gaps[one:other] for one, other in zip(first, last, strict=True)]
        begin = np.concatenate([part for start, gap in zip(starts, inside, strict=True) for part in ([start], gap)])
        end = np.concatenate([part for stop, gap in zip(stops, inside, strict=True) for part in (gap, [stop])])
        places = np.arange(len(starts)) if places is None else places
        expect(self._indices[begin], self._indices[end - 1] + 1, soon, places[of_range])

    def caption_counts(self) -> np.ndarray:
        """(n,) how many captions of each sample are listed."""
        return np.diff(self._starts)

    def selected(self, index: int) -> tuple[int, np.ndarray]:
        """The index of a sample in the other source, and the numbers of its captions that are listed, rising."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        return int(self._indices[index]), self._captions[self._starts[index] : self._starts[index + 1]]


def is_selection(paths: Sequence[Path]) -> bool:
    """Whether every one of these Parquet files has the columns of a selection."""
    try:
        return all(set(COLUMNS) <= set(pq.read_schema(path).names) for path in paths)
    except (OSError, pa.ArrowException):  # whoever reads it next says what is wrong with it
        return False


def open_selection(paths: Sequence[Path], options: SourceOptions, open_source: OpenSource) -> SelectionSource:
    """The captions that these files list.

    Raises:
        UserError: no rows, rows of several sources, a source that is gone or is not the one that was selected from.
    """
    where = str(paths[0])
    _refuse_idle_options(where, options)
    try:
        table = pa.concat_tables(
            [pq.read_table(path, columns=list(COLUMNS)) for path in paths], promote_options="default"
        )
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{where}: not a readable Parquet file ({printable(str(error))})") from error
    if not len(table):
        raise UserError(f"{where}: no rows")
    origin = _origin(table, where)
    samples, captions = (_indices(table, name, where) for name in ("sample", "caption"))
    source = options.selected_from or origin.source
    if any(Path(source) == path.absolute() for path in paths):
        raise UserError(f"{where}: selects from itself; {MOVED}")
    try:
        how = {name: getattr(options, name) for name in HOW_FETCHED}
        inner = open_source(source, replace(origin.options, **how))
    except UserError as error:
        raise UserError(f"{where} selects from {printable(source, 400)}: {error}; {MOVED}") from error
    then, now = origin.contents, contents_of_source(inner, 0)
    if _differ(then, now) or samples.max() >= len(inner):
        raise UserError(
            f"{where} selects from {printable(source, 400)}, where other data are now ({then['samples']:,} "
            f"samples then, {now['samples']:,} now, or others in their places); {MOVED}"
        )
    return SelectionSource(inner, samples, captions, origin, where)


def _refuse_idle_options(where: str, options: SourceOptions) -> None:
    default = SourceOptions()
    idle = [
        f"data.{field.name}={printable(str(getattr(options, field.name)))}"
        for field in fields(SourceOptions)
        if field.name not in ("selected_from", "split", *HOW_FETCHED)
        and getattr(options, field.name) != getattr(default, field.name)
    ]
    idle += [f"data.split={printable(options.split)}"] if options.split not in (default.split, EVALUATED) else []
    if idle:
        raise UserError(
            f"{where}: a selection is read as its data were read when it was made; leave out {' and '.join(idle)}"
        )


def _origin(table: pa.Table, where: str) -> Origin:
    """The constant columns. Raises UserError if they differ from row to row, or were not written by askew."""
    found = []
    for name in CONSTANTS:
        values = table[name].unique().to_pylist()
        if len(values) != 1:
            raise UserError(
                f"{where}: its rows select from {len(values)} sources; write one file for each, and mix them by A + B"
            )
        found += values
    source, options, contents = found
    try:
        known = {field.name for field in fields(SourceOptions)}
        read = {name: value for name, value in json.loads(options).items() if name in known}
        facts = json.loads(contents)
        kept = {"samples": int(facts["samples"]), "captions": int(facts["captions"]), "names": facts["names"]}
        kept["probes"] = list(facts.get("probes", []))  # lists of earlier versions have none
        return Origin(str(source), SourceOptions(**read), kept)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise UserError(
            f"{where}: {' or '.join(CONSTANTS[1:])} is not what askew inspect wrote; keep these columns as they are"
        ) from error


def _indices(table: pa.Table, name: str, where: str) -> np.ndarray:
    column = table[name]
    whole = pa.types.is_integer(column.type) and not column.null_count
    values = column.to_numpy() if whole else np.array([-1])
    if values.min() < 0:
        raise UserError(f"{where}: column {name} holds {column.type}, not an index in every row; keep it as it was")
    return values.astype(np.int64)
