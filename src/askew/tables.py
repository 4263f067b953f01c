"""Results as tables, laid out like the paper's Tables 1 to 4, the published rows above ours."""

import json
from importlib import resources
from typing import Any

from rich.markup import escape
from rich.table import Table

from askew.errors import printable
from askew.evaluation.results import Result
from askew.evaluation.significance import Difference

TITLES = {
    "pets": "Pets", "cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "sun397": "SUN397", "food101": "Food-101",
    "flowers102": "Flowers", "cars": "Cars", "caltech101": "Caltech-101", "aircraft": "Aircraft", "dtd": "DTD",
    "imagenet": "ImageNet", "flickr30k": "Flickr30k", "coco": "COCO", "replace": "Replace", "swap": "Swap",
    "add": "Add",
}  # fmt: skip


def published() -> dict[str, Any]:
    """The numbers of the paper's Tables 1 to 4, in percent, with their source."""
    text = (resources.files("askew") / "assets" / "published.json").read_text(encoding="utf-8")
    return json.loads(text)


def tables(results: list[Result], name: str) -> list[Table]:
    """The paper's tables for what was run, then one of everything that no table of the paper has."""
    by_task = {result.task: result for result in results}
    paper = published()
    made = [
        _classification(paper["table1"], by_task, name, "zero_shot", "zero-shot"),
        _classification(paper["table1"], by_task, name, "linear_probe", "linear probe"),
        _retrieval(paper["table2"], by_task, name),
        _sugarcrepe(paper["table3"], by_task, name),
        _imagenet(paper["table4"], by_task, name),
        _everything(results),
    ]
    return [table for table in made if table is not None]


def _classification(paper: dict, results: dict[str, Result], name: str, task: str, title: str) -> Table | None:
    shown = [s for s in paper["sets"] if f"{s}/{task}" in results]
    if not shown:
        return None
    whole = len(shown) == len(paper["sets"])
    table = _table(f"{paper['title']}; {title}, %", [TITLES[s] for s in shown] + (["Average"] if whole else []))
    for method, numbers in paper[task].items():
        row = [numbers[paper["sets"].index(s)] for s in shown]
        _row(table, method, row + ([paper["average"][task][method]] if whole else []))
    ours = [100 * next(iter(results[f"{s}/{task}"].values.values())) for s in shown]
    _row(table, name, ours + ([sum(ours) / len(ours)] if whole else []), ours=True)
    for s in shown:
        for measure, value in results[f"{s}/{task}"].values.items():
            if "/" in measure:
                order = measure.partition("/")[0]
                table.caption = f"{TITLES[s]} in the {order} class order of the published numbers: {100 * value:.1f}"
    return table


def _retrieval(paper: dict, results: dict[str, Result], name: str) -> Table | None:
    shown = [c for c in paper["columns"] if c.rpartition("/")[0] in results]
    if not shown:
        return None
    table = _table(f"{paper['title']}; zero-shot, %", [_retrieval_title(c) for c in shown])
    for method, numbers in paper["zero_shot"].items():
        _row(table, method, [numbers[paper["columns"].index(c)] for c in shown])
    ours = [results[c.rpartition("/")[0]].values[c.rpartition("/")[2]] for c in shown]
    _row(table, name, [100 * value for value in ours], ours=True)
    return table


def _retrieval_title(column: str) -> str:
    data, direction, k = column.split("/")
    return f"{TITLES[data]} {'i2t' if direction == 'image_to_text' else 't2i'} {k.upper()}"


def _sugarcrepe(paper: dict, results: dict[str, Result], name: str) -> Table | None:
    if "sugarcrepe" not in results:
        return None
    values = results["sugarcrepe"].values
    shown = [c for c in paper["columns"] if f"{c}/macro" in values]
    table = _table(f"{paper['title']}, %", [TITLES[c] for c in shown])
    for method, numbers in paper["rows"].items():
        _row(table, method, [numbers[paper["columns"].index(c)] for c in shown])
    _row(table, f"{name} (mean of subsets)", [100 * values[f"{c}/macro"] for c in shown], ours=True)
    _row(table, f"{name} (over items)", [100 * values[f"{c}/items"] for c in shown], ours=True)
    return table


def _imagenet(paper: dict, results: dict[str, Result], name: str) -> Table | None:
    if "imagenet/zero_shot" not in results:
        return None
    table = _table(f"{paper['title']}, %", ["Top-1"])
    for method, numbers in paper["rows"].items():
        _row(table, method, numbers)
    _row(table, name, [100 * results["imagenet/zero_shot"].values["top1"]], ours=True)
    return table


def _everything(results: list[Result]) -> Table:
    """Every result, both measures, and what it was measured on."""
    table = Table(title="All results, %", title_justify="left")
    justified = (("task", "left"), ("result", "left"), ("chance", "right"), ("queries", "right"), ("counts", "left"))
    for column, justify in justified:
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for result in results:
        shown = [(k, v) for k, v in result.values.items() if k not in ("n", "classes", "candidates", "captions")]
        text = "  ".join(f"{measure_title(k)} {v if isinstance(v, int) else format(100 * v, '.1f')}" for k, v in shown)
        kinds = [f"{result.values[k]:,} {k}" for k in ("classes", "candidates") if k in result.values]
        if not result.protocol.get("counts_as_expected", True):
            kinds.append("not the published counts")
        if result.protocol.get("unreadable"):
            kinds.append(f"{len(result.protocol['unreadable'])} unreadable")
        level = _chance(result)
        chance = "" if level is None else f"{100 * level:.2f}"
        table.add_row(escape(printable(result.task)), text, chance, f"{result.values['n']:,}", ", ".join(kinds))
    return table


def _chance(result: Result) -> float | None:
    """What guessing gets of the first measure: a class, the one image, one of the image's captions, one of two."""
    kind, values = result.task.rpartition("/")[2], result.values
    if "classes" in values:
        return 1 / values["classes"]
    if kind in ("image_to_text", "text_to_image"):
        return 1 / (values["n"] if kind == "image_to_text" else values["candidates"])
    return 0.5 if result.task.startswith("sugarcrepe") else None


def measure_title(measure: str) -> str:
    """How a measure is called in a table."""
    return {"top1": "top-1", "top5": "top-5", "mean_per_class": "mean per class"}.get(measure, measure)


def comparison(found: list[Difference], a: str, b: str) -> Table:
    """A row a task and measure: both models, the difference and its interval."""
    table = Table(title=f"B - A, 95 % intervals of a paired bootstrap\nA {a}\nB {b}", title_justify="left")
    columns = ("task", "measure", "A, %", "B, %", "B - A", "95 % interval", "only A", "only B", "items")
    for column in columns:
        table.add_column(column, justify="left" if column in columns[:2] else "right")
    for d in found:
        interval = f"{100 * d.low:+.1f} to {100 * d.high:+.1f}{' *' if d.clear else '  '}"
        numbers = [f"{100 * d.a:.1f}", f"{100 * d.b:.1f}", f"{100 * (d.b - d.a):+.1f}", interval]
        counts = [f"{d.only_a:,}", f"{d.only_b:,}", f"{d.n:,}"]
        table.add_row(escape(printable(d.task)), measure_title(d.measure), *numbers, *counts)
    table.caption = "* the interval leaves zero out; of 20 such intervals one does so by chance"
    return table


def _table(title: str, columns: list[str]) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.add_column("method")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _row(table: Table, name: str, numbers: list[float], ours: bool = False) -> None:
    style = "[bold]{}[/]" if ours else "{}"
    if ours:
        table.add_section()
    cells = [escape(printable(name, 60)), *(f"{number:.1f}" for number in numbers)]
    table.add_row(*[style.format(cell) for cell in cells])
