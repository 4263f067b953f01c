"""Tables as HTML. Text from data is shown and never interpreted: everything is escaped."""

from html import escape

from askew.report.table import Table


def html_table(table: Table) -> str:
    """A <table> element. Numbers carry the class `number`, emphasized rows the class `emphasized`."""

    def cells(tag: str, texts: list[str]) -> str:
        classes = ["" if column in table.left else ' class="number"' for column in table.columns]
        made = (f"<{tag}{kind}>{escape(text)}</{tag}>" for kind, text in zip(classes, texts, strict=True))
        return "".join(made)

    rows = [
        f'<tr class="emphasized">{cells("td", list(row))}</tr>'
        if number in table.emphasized
        else f"<tr>{cells('td', list(row))}</tr>"
        for number, row in enumerate(table.rows)
    ]
    caption = "<br>".join(escape(text) for text in [*table.title.splitlines(), table.caption] if text)
    return "\n".join(
        [
            "<table>",
            *([f"<caption>{caption}</caption>"] if caption else []),
            f"<thead><tr>{cells('th', list(table.columns))}</tr></thead>",
            "<tbody>",
            *rows,
            "</tbody>",
            "</table>",
        ]
    )
