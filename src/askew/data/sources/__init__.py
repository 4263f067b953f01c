"""Where samples come from. `open_source` recognises what a user named. Every kind of source gives random access."""

from askew.data.sources.arrow import ArrowSource
from askew.data.sources.base import Sample, Source, SourceOptions, stable_id
from askew.data.sources.files import FileSource
from askew.data.sources.folders import FolderSource
from askew.data.sources.mixed import MixedSource
from askew.data.sources.parquet import EmbeddedSource, ParquetSource, embedded_files
from askew.data.sources.recognise import EMBEDDED, folder_reading, open_source
from askew.data.sources.selection import SelectionSource
from askew.data.sources.shards import TarSource
from askew.data.sources.tables import TableSource

__all__ = [
    "EMBEDDED",
    "ArrowSource",
    "EmbeddedSource",
    "FileSource",
    "FolderSource",
    "MixedSource",
    "ParquetSource",
    "Sample",
    "SelectionSource",
    "Source",
    "SourceOptions",
    "TableSource",
    "TarSource",
    "embedded_files",
    "folder_reading",
    "open_source",
    "stable_id",
]
