"""What `askew embed` does: the embeddings of a source as a Parquet table or as NumPy arrays, in flat memory."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from askew import distributed
from askew.data.files import check_output_file, replacing_file
from askew.errors import UserError, printable, writing
from askew.evaluation.chunks import Chunk
from askew.evaluation.projection import PrincipalPlane, plane_of
from askew.evaluation.streaming import Embeddings
from askew.report.console import Console
from askew.runs.stored import Store, StoreRequest

SUFFIXES = (".parquet", ".npy")
SAMPLE = 16  # chunks from which the two axes of the map are computed


@dataclass(frozen=True)
class EmbedRequest:
    """What was asked for on the command line.

    Attributes:
        out: NAME.parquet or NAME.npy.
        images: whether the table holds the encoded images too.
        overwrite: whether files that are there are replaced.
    """

    store: StoreRequest
    out: Path
    images: bool = False
    overwrite: bool = False


def embed(asked: EmbedRequest, console: Console) -> None:
    """Embed a source and write the file, or the three files of NAME.npy.

    Raises:
        UserError: at once for an `out` that cannot be written; see also `Store` and `Embeddings.make`.
    """
    targets = _targets(asked)
    with Store(asked.store, console) as store:
        store.make()
        if not distributed.is_main():
            return
        with writing("the embeddings", asked.out):
            if len(targets) == 1:
                rows = _write_table(asked, store.embeddings, store.encoders.protocol)
                console.say(f"written  {asked.out}: {rows:,} pairs")
            else:
                _write_arrays(targets, store.embeddings)
                console.say(f"written  {', '.join(str(path) for path in targets)}")


def _targets(asked: EmbedRequest) -> list[Path]:
    """The files to write."""
    out = asked.out
    if out.suffix.lower() not in SUFFIXES:
        raise UserError(f"--out {printable(str(out), 400)}: name a file that ends in .parquet or .npy")
    table = out.suffix.lower() == ".parquet"
    if asked.images and not table:
        raise UserError("--images: only a .parquet holds images; give --out NAME.parquet")
    beside = [] if table else [out.with_name(f"{out.stem}-{part}{out.suffix}") for part in ("texts", "samples")]
    for path in (out, *beside):
        check_output_file(path, asked.overwrite)
    return [out, *beside]


# A table


def _write_table(asked: EmbedRequest, embeddings: Embeddings, protocol: dict[str, str]) -> int:
    """One row per caption, one row group per chunk. Returns the number of rows."""
    plane = plane_of(embeddings.chunks(_spread(embeddings.num_chunks)))
    rows, writer = 0, None
    with replacing_file(asked.out) as temporary:
        try:
            for chunk in embeddings.chunks():
                table = _table(chunk, plane)
                if asked.images:
                    table = table.append_column("image", _images(embeddings, table))
                if writer is None:
                    about = {"askew": json.dumps(protocol), "data": printable(asked.store.data, 400)}
                    schema = table.schema.with_metadata(about)
                    writer = pq.ParquetWriter(temporary, schema, use_dictionary=["name", "caption"])  # type: ignore[arg-type]
                if len(table):
                    writer.write_table(table.cast(writer.schema))
                    rows += len(table)
        finally:
            if writer is not None:
                writer.close()
    return rows


def _spread(num_chunks: int) -> list[int]:
    """Up to SAMPLE chunks, evenly spread."""
    return np.unique(np.linspace(0, num_chunks - 1, min(SAMPLE, num_chunks)).astype(int)).tolist()


def _table(chunk: Chunk, plane: PrincipalPlane) -> pa.Table:
    """The pairs of a chunk that can be used."""
    local = chunk.owner - chunk.first
    rows = np.flatnonzero(chunk.readable[local])
    samples = local[rows]
    image, text = chunk.image[samples], chunk.text[rows]
    x, y = plane.project(image).T
    return pa.table(
        {
            "id": chunk.ids[samples],
            "sample": chunk.owner[rows],
            "name": pa.array([_encodable(chunk.names[sample]) for sample in samples], pa.string()),
            "caption": pa.array([chunk.captions[row] for row in rows], pa.string()),
            "similarity": (image * text).sum(axis=1),
            "x": x,
            "y": y,
            "image_embedding": _vectors(image),
            "text_embedding": _vectors(text),
        }
    )


def _encodable(name: str) -> str:
    """A name as UTF-8 can hold it: bytes of a file's name that are no text are escaped."""
    return name.encode("utf-8", "backslashreplace").decode()


def _vectors(values: np.ndarray) -> pa.Array:
    """(n, D) as n lists of D."""
    flat = pa.array(np.ascontiguousarray(values, dtype=np.float32).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _images(embeddings: Embeddings, table: pa.Table) -> pa.Array:
    """The encoded images of the rows, as Hugging Face's datasets write them."""
    made: list[dict[str, bytes | str]] = []
    before, image = -1, b""
    for sample, name in zip(table["sample"].to_pylist(), table["name"].to_pylist(), strict=True):
        if sample != before:
            try:
                before, image = sample, embeddings.source[sample].image
            except OSError as error:
                raise UserError(
                    f"{printable(name, 300)} could be read a moment ago ({error.strerror or error}); start again when "
                    "the data rest: what was embedded is kept"
                ) from error
        made.append({"bytes": image, "path": name})
    return pa.array(made, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))


# Arrays


def _write_arrays(targets: list[Path], embeddings: Embeddings) -> None:
    """Images (n, D), texts (m, D), and the sample of each text (m,), each file streamed from the chunks."""
    num_texts, width = 0, 0
    for chunk in embeddings.chunks():
        num_texts, width = num_texts + len(chunk.text), chunk.image.shape[1]
    images, texts, samples = targets
    _write_array(images, (len(embeddings), width), np.float32, (chunk.image for chunk in embeddings.chunks()))
    _write_array(texts, (num_texts, width), np.float32, (chunk.text for chunk in embeddings.chunks()))
    _write_array(samples, (num_texts,), np.int64, (chunk.owner for chunk in embeddings.chunks()))


def _write_array(path: Path, shape: tuple[int, ...], kind: type[np.generic], parts: Iterator[np.ndarray]) -> None:
    """A .npy file from consecutive parts of an array."""
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(kind)), "fortran_order": False, "shape": shape}
    with replacing_file(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(np.ascontiguousarray(part, dtype=kind).data)
