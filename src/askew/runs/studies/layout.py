"""How columns become the tables of a study: one as wide as it is, or several that fit the lines of a file."""

from collections.abc import Sequence

from askew.report.table import Table

WIDTH = 100  # characters of a line of Markdown


def table_of(title: str, columns: dict[str, list[str]], caption: str) -> Table:
    """One table of columns of equal lengths; the first is set to the left."""
    rows = [list(cells) for cells in zip(*columns.values(), strict=True)]
    return Table(title, list(columns), rows, left=[next(iter(columns))], caption=caption)


def packed(title: str, columns: dict[str, list[str]], fixed: int, caption: str) -> list[Table]:
    """As few tables as lines of WIDTH need in Markdown, each with the first `fixed` columns, and about equally many."""
    names = list(columns)
    widths = {name: max(len(text) for text in (name, *cells)) + 3 for name, cells in columns.items()}
    room = WIDTH - 1 - sum(widths[name] for name in names[:fixed])
    most = len(names)
    while True:
        parts = _parts(names[fixed:], widths, room, most)
        even = -(-(len(names) - fixed) // max(len(parts), 1))
        if even >= most or len(_parts(names[fixed:], widths, room, even)) > len(parts):
            break
        most = even
    return [table_of(title, {name: columns[name] for name in [*names[:fixed], *part]}, caption) for part in parts]


def _parts(names: Sequence[str], widths: dict[str, int], room: int, most: int) -> list[list[str]]:
    """Names in order, in parts of at most so many and no wider than there is room for."""
    made: list[list[str]] = []
    for name in names:
        if not made or len(made[-1]) == most or sum(widths[one] for one in made[-1]) + widths[name] > room:
            made.append([])
        made[-1].append(name)
    return made
