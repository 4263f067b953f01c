"""Tables as Markdown."""

from askew.report.table import Table


def markdown(table: Table) -> str:
    """A Markdown table without its title; emphasized rows are bold. Bars in cells are escaped."""

    def line(cells: list[str]) -> str:
        texts = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
        return "|" + "|".join(f" {text} " if text else " " for text in texts) + "|"

    rule = "".join("|---" if column in table.left else "|---:" for column in table.columns) + "|"
    rows = [
        line([f"**{cell}**" if number in table.emphasized and cell else cell for cell in row])
        for number, row in enumerate(table.rows)
    ]
    return "\n".join([line(list(table.columns)), rule, *rows])
