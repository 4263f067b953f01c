"""What a command would print, in a Python program: nothing unless it is asked for, and warnings as Python's own."""

from askew.api.warning import warn
from askew.distributed import is_main
from askew.report.console import Console
from askew.report.table import Table


class ProgramConsole(Console):
    """Prints what a command prints where `verbose`, else nothing.

    Attributes:
        tables: all that were to be printed.
    """

    def __init__(self, verbose: bool):
        super().__init__(quiet=not (verbose and is_main()))
        self.tables: list[Table] = []

    def warn(self, text: str) -> None:
        """A Python warning, printed or not."""
        warn(text)

    def table(self, table: Table) -> None:
        """Keep it, and print it where `verbose`."""
        self.tables.append(table)
        if not self.quiet:
            super().table(table)
