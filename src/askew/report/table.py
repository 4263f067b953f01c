"""A table as plain data: any code with numbers makes one, and console.py, markdown.py and pages draw it."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Table:
    """Rows of text under named columns.

    Attributes:
        title: one or more lines above the table.
        columns: the names of the columns.
        rows: as many cells per row as there are columns.
        left: columns that are aligned left: words. All others are aligned right: numbers.
        emphasized: numbers of the rows that stand out, counted from 0; the first one is set apart from the row above.
        caption: a line below the table.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: Sequence[str] = field(default=())
    emphasized: Sequence[int] = field(default=())
    caption: str = ""

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.columns) for row in self.rows), "every row needs a cell for every column"
        assert set(self.left) <= set(self.columns), "only columns can be aligned"
