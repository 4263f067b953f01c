"""Results as tables: of the suite `tiny`, laid out like the paper's Tables 1 to 4, and of a comparison."""

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any

from askew.errors import printable
from askew.evaluation.datasets.whole import words_for_missing
from askew.evaluation.results import Result
from askew.evaluation.significance import Difference
from askew.evaluation.tasks.winoground import CHANCE
from askew.evaluation.tasks.winoground import NAME as WINOGROUND
from askew.report.table import Table

TITLES = {
    "pets": "Pets", "cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "sun397": "SUN397", "food101": "Food-101",
    "flowers102": "Flowers", "cars": "Cars", "caltech101": "Caltech-101", "aircraft": "Aircraft", "dtd": "DTD",
    "imagenet": "ImageNet", "flickr30k": "Flickr30k", "coco": "COCO", "replace": "Replace", "swap": "Swap",
    "add": "Add",
}  # fmt: skip
MEASURES = {
    "top1": "top-1", "top5": "top-5", "mean_per_class": "mean per class", "auroc_distance": "AUROC by distance",
    "auroc_noise": "AUROC by noise",
}  # fmt: skip
FINE_TUNED = "fine_tuned"  # in the protocol of results after fine-tuning on the training split: how it was done
DIRECTIONS = {"image_to_text": "i2t", "text_to_image": "t2i"}
COUNTS = ("n", "classes", "candidates", "captions", "wrong")  # values that are no shares


def measure_title(measure: str) -> str:
    """What a measure is called in a table."""
    return MEASURES.get(measure, measure)


def measure_words(measure: str) -> str:
    """What a measure is called in a sentence or a figure."""
    return measure_title(measure).replace("_", " ").replace("r@", "R@")


def percent(share: float) -> str:
    """A share in percent, with one digit."""
    return f"{100 * share:.1f}"


# The suite tiny


def tiny_table(
    results: Mapping[str, Mapping[str, float]], weights: str, seconds: float, before: Mapping[str, Mapping[str, float]]
) -> Table:
    """Every task of the suite `tiny`, and what guessing would give.

    Args:
        before: the results of the weights that training started from; where there are any, they get a column.
    """
    columns = ["task", "result, %", "queries", "chance, %", *(["before, %"] if before else [])]
    rows = []
    for task, values in results.items():
        text, chance = _tiny_cells(task, values)
        row = [task, text, f"{values['n']:,}", f"{100 * chance:.2f}"]
        if before:
            first = next(measure for measure in values if measure not in COUNTS)
            row.append(percent(before[task][first]) if task in before else "")
        rows.append(row)
    return Table(f"suite tiny ({weights}), {seconds:.0f} s", columns, rows, left=columns[:2])


def _tiny_cells(task: str, values: Mapping[str, float]) -> tuple[str, float]:
    """What was measured, as text, and the share that guessing gives."""
    if task.startswith("retrieval/"):
        text = "  ".join(
            f"{short} R@1/5/10 " + "/".join(percent(values[f"{direction}/r@{k}"]) for k in (1, 5, 10))
            for direction, short in DIRECTIONS.items()
        )
        return text, 1 / values["n"]
    if "low" in values:
        interval = f"95 % interval {percent(values['low'])} to {percent(values['high'])}"
        return f"top-1 {percent(values['top1'])}  ({interval})", 1 / values["classes"]
    shown = (f"{measure_title(key)} {percent(value)}" for key, value in values.items() if key not in COUNTS)
    return "  ".join(shown), 1 / values["classes"]


# The paper's tables


def published() -> dict[str, Any]:
    """The numbers of the paper's Tables 1 to 4, in percent, with their source."""
    text = (resources.files("askew") / "assets" / "published.json").read_text(encoding="utf-8")
    return json.loads(text)


def paper_tables(results: Sequence[Result], name: str) -> list[Table]:
    """The paper's tables for what was run, the published rows above ours, and a table of every result."""
    by_task = {result.task: result for result in results if FINE_TUNED not in result.protocol}
    fine_tuned = {result.task: result for result in results if FINE_TUNED in result.protocol}
    paper = published()
    made = [
        _classification(paper["table1"], by_task, name, "zero_shot", "zero-shot"),
        _classification(paper["table1"], by_task, name, "linear_probe", "linear probe"),
        _classification(paper["table1"], by_task, name, "linear_probe_sgd", "linear probe; ours by SGD"),
        _retrieval(paper["table2"], by_task, name, "zero_shot", "zero-shot"),
        _retrieval(paper["table2"], fine_tuned, name, "fine_tuned", "fine-tuned"),
        _sugarcrepe(paper["table3"], by_task, name),
        _imagenet(paper["table4"], by_task, name),
        _everything(results),
    ]
    return [table for table in made if table is not None]


def _classification(paper: dict, results: dict[str, Result], name: str, task: str, title: str) -> Table | None:
    published_as = "linear_probe" if task.startswith("linear_probe") else task
    shown = [s for s in paper["sets"] if f"{s}/{task}" in results]
    if not shown:
        return None
    whole = len(shown) == len(paper["sets"])
    rows = {}
    for method, numbers in paper[published_as].items():
        row = [numbers[paper["sets"].index(s)] for s in shown]
        rows[method] = row + ([paper["average"][published_as][method]] if whole else [])
    ours = [100 * next(iter(results[f"{s}/{task}"].values.values())) for s in shown]
    rows[name] = ours + ([sum(ours) / len(ours)] if whole else [])
    caption = ""
    for s in shown:
        for measure, value in results[f"{s}/{task}"].values.items():
            if "/" in measure:
                order = measure.partition("/")[0]
                caption = f"{TITLES[s]} in the {order} class order of the published numbers: {100 * value:.1f}"
    caption = "; ".join(filter(None, (caption, _not_whole(results[f"{s}/{task}"] for s in shown))))
    titles = [TITLES[s] for s in shown] + (["Average"] if whole else [])
    return _beside_the_paper(f"{paper['title']}; {title}, %", titles, rows, 1, caption)


def _retrieval(paper: dict, results: dict[str, Result], name: str, kind: str, title: str) -> Table | None:
    shown = [c for c in paper["columns"] if c.rpartition("/")[0] in results]
    if not shown:
        return None
    rows = {method: [numbers[paper["columns"].index(c)] for c in shown] for method, numbers in paper[kind].items()}
    rows[name] = [100 * results[c.rpartition("/")[0]].values[c.rpartition("/")[2]] for c in shown]
    caption = _not_whole({task: results[task] for task in (c.rpartition("/")[0] for c in shown)}.values())
    return _beside_the_paper(f"{paper['title']}; {title}, %", [_retrieval_title(c) for c in shown], rows, 1, caption)


def _retrieval_title(column: str) -> str:
    data, direction, k = column.split("/")
    return f"{TITLES[data]} {DIRECTIONS[direction]} {k.upper()}"


def _sugarcrepe(paper: dict, results: dict[str, Result], name: str) -> Table | None:
    if "sugarcrepe" not in results:
        return None
    values = results["sugarcrepe"].values
    shown = [c for c in paper["columns"] if f"{c}/macro" in values]
    rows = {method: [numbers[paper["columns"].index(c)] for c in shown] for method, numbers in paper["rows"].items()}
    rows[f"{name} (mean of subsets)"] = [100 * values[f"{c}/macro"] for c in shown]
    rows[f"{name} (over items)"] = [100 * values[f"{c}/items"] for c in shown]
    caption = _not_whole([results["sugarcrepe"]])
    return _beside_the_paper(f"{paper['title']}, %", [TITLES[c] for c in shown], rows, 2, caption)


def _imagenet(paper: dict, results: dict[str, Result], name: str) -> Table | None:
    if "imagenet/zero_shot" not in results:
        return None
    found = results["imagenet/zero_shot"]
    rows = {**paper["rows"], name: [100 * found.values["top1"]]}
    return _beside_the_paper(f"{paper['title']}, %", ["Top-1"], rows, 1, _not_whole([found]))


def _not_whole(results: Iterable[Result]) -> str:
    """Which of our results were measured on a part of the images, so that the published rows are of other items."""
    parts = [
        f"{printable(result.task)}: only {', '.join(words_for_missing(result.protocol['missing']))}"
        for result in results
        if result.protocol.get("missing")
    ]
    return "; ".join(parts)


def _beside_the_paper(
    title: str, columns: list[str], rows: dict[str, list[float]], num_ours: int, caption: str = ""
) -> Table:
    """Published rows, and the last `num_ours` rows emphasized as ours."""
    cells = [[printable(method, 60), *(f"{number:.1f}" for number in numbers)] for method, numbers in rows.items()]
    ours = range(len(cells) - num_ours, len(cells))
    return Table(title, ["method", *columns], cells, left=["method"], emphasized=ours, caption=caption)


def _everything(results: Sequence[Result]) -> Table:
    """Every result in all its measures, and what it was measured on."""
    rows = []
    for result in results:
        text = "  ".join(f"{measure_title(key)} {_with_interval(result.values, key)}" for key in _shown(result.values))
        facts = [f"{result.values[k]:,} {k}" for k in ("classes", "candidates", "wrong") if k in result.values]
        facts += words_for_missing(result.protocol.get("missing", {}))
        if not result.protocol.get("counts_as_expected", True):
            facts.append("not the published counts")
        if result.protocol.get("unreadable"):
            facts.append(f"{len(result.protocol['unreadable'])} unreadable")
        level = _chance(result)
        chance = "" if level is None else f"{100 * level:.2f}"
        if WINOGROUND in result.task.split("/")[1:]:
            chance = "  ".join(f"{100 * level:.1f}" for level in CHANCE.values())
        rows.append([printable(result.task), text, chance, f"{result.values['n']:,}", ", ".join(facts)])
    columns = ("task", "result", "chance", "queries", "counts")
    return Table("All results, %", columns, rows, left=("task", "result", "counts"))


def _shown(values: Mapping[str, Any]) -> list[str]:
    """What a table of everything names; bounds stand beside their measure."""
    return [key for key in values if key not in COUNTS and not key.endswith(("_low", "_high"))]


def _with_interval(values: Mapping[str, Any], key: str) -> str:
    """A count as it is, a share in percent, with its interval where there is one."""
    value = values[key]
    text = str(value) if isinstance(value, int) else percent(value)
    if f"{key}_low" in values:
        text += f" ({percent(values[f'{key}_low'])} to {percent(values[f'{key}_high'])})"
    return text


def _chance(result: Result) -> float | None:
    """What guessing gives of the first measure: a class, the one image, one of the image's captions, one of two."""
    kind, values = result.task.rpartition("/")[2], result.values
    if "classes" in values:
        return 1 / values["classes"]
    if kind in DIRECTIONS:
        return 1 / (values["n"] if kind == "image_to_text" else values["candidates"])
    if kind == "word_order":
        return 0.2  # all four other orders lose
    if WINOGROUND in result.task.split("/")[1:]:
        return CHANCE["text"]
    return 0.5 if result.task.startswith("sugarcrepe") or kind == "wrong_captions" else None


def measures_of(values: Mapping[str, Any]) -> list[str]:
    """The measures that are shares, in the order of the results; counts and bounds of intervals are left out."""
    return [
        name
        for name, value in values.items()
        if isinstance(value, float)
        and 0 <= value <= 1
        and name not in (*COUNTS, "low", "high")
        and not name.endswith(("_low", "_high"))
    ]


def chance_of(result: Result, measure: str) -> float | None:
    """What guessing gives of a measure: a share, or None where that is not known."""
    values, kind = result.values, measure.rpartition("/")[2]
    level = _chance(result) if "classes" in values or "/r@" not in measure else 1 / values["n"]
    if level is None:
        return None
    if result.task.endswith("/word_order") and measure != "all":
        return 0.5
    if WINOGROUND in result.task.split("/")[1:]:
        return CHANCE[measure]
    tries = int(kind[len(kind.rstrip("0123456789")) :] or 1) if kind.startswith(("top", "r@")) else 1
    return min(1.0, tries * level)


# A comparison


def star(low: float, high: float) -> str:
    """ " *" for an interval that excludes zero as it is shown: with its ends rounded to a tenth of a point."""
    return " *" if round(100 * low, 1) > 0 or round(100 * high, 1) < 0 else "  "


def comparison_table(found: Sequence[Difference], a: str, b: str) -> Table:
    """One row per task and measure: both models, the difference and its interval."""
    columns = ("task", "measure", "A, %", "B, %", "B - A", "95 % interval", "only A", "only B", "items")
    rows = []
    for d in found:
        interval = f"{100 * d.low:+.1f} to {100 * d.high:+.1f}{star(d.low, d.high)}"
        rows.append(
            [
                printable(d.task),
                measure_title(d.measure),
                percent(d.a),
                percent(d.b),
                f"{100 * (d.b - d.a):+.1f}",
                interval,
                f"{d.only_a:,}",
                f"{d.only_b:,}",
                f"{d.n:,}",
            ]
        )
    title = f"B - A, 95 % intervals of a paired bootstrap\nA {a}\nB {b}"
    caption = "* the interval excludes zero; one in twenty such intervals does so by chance"
    return Table(title, columns, rows, left=columns[:2], caption=caption)
