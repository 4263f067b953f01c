"""What a fine-tuning shows: the learning rates that were tried, and how each went on the validation images."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from askew.errors import writing
from askew.report.charts import StepCurve, curve_chart
from askew.report.figures import save_svg
from askew.report.table import Table
from askew.runs.tables import percent

Curve = Mapping[float, float]  # mean recall by epoch


def rates_table(name: str, tried: Sequence[tuple[float, Curve]], chosen: float) -> Table:
    """One row per learning rate: mean recall on the validation images, before and after."""
    rows = []
    for rate, curve in tried:
        first, last, best = curve.get(0.0), curve[max(curve)], max(curve, key=lambda epoch: curve[epoch])
        row = [f"{rate:g}", "" if first is None else percent(first), percent(last)]
        rows.append([*row, f"{percent(curve[best])} at epoch {best:g}"])
    columns = ["learning rate", "before", "at the end", "highest"]
    emphasized = [number for number, (rate, _) in enumerate(tried) if rate == chosen]
    caption = "The learning rate with the highest value at the end is the one that is tested."
    title = f"{name}: mean recall on the validation images, %"
    return Table(title, columns, rows, left=columns[:1], emphasized=emphasized, caption=caption)


def draw_curves(tried: Sequence[tuple[str, Curve]], file: Path) -> None:
    """Mean recall on the validation images over epochs, one line per learning rate, as SVG."""
    curves = [
        StepCurve(label, sorted(curve), [100 * curve[epoch] for epoch in sorted(curve)], number)
        for number, (label, curve) in enumerate(tried)
    ]
    with writing("the curves", file):
        save_svg(curve_chart(curves, "mean recall, %", x_label="epoch"), file)
