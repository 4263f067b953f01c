"""The table of a study's runs: one row per measure, one column per label."""

from askew.report.table import Table
from askew.runs.directory import RunDirectory

COST = (  # of the last logged step
    ("samples seen", "samples", 0),
    ("training, s", "seconds", 0),
    ("peak memory of the main process, MB", "peak_memory_mb", 0),
)
MEASURES = {
    "top1": "top-1",
    "top5": "top-5",
    "mean_per_class": "mean per class",
    "image_to_text/r@1": "image to text, R@1",
    "image_to_text/r@5": "image to text, R@5",
    "image_to_text/r@10": "image to text, R@10",
    "text_to_image/r@1": "text to image, R@1",
    "text_to_image/r@5": "text to image, R@5",
    "text_to_image/r@10": "text to image, R@10",
}


def tabulate(runs: dict[str, list[RunDirectory]]) -> Table:
    """One row per measure of the runs' results, one column per label: mean (lowest to highest)."""
    scores = {directory: _student(directory) for directories in runs.values() for directory in directories}
    rows = []
    for task, values in next(iter(scores.values())).items():
        for measure in (m for m in MEASURES if m in values):
            cells = [_cell([100 * scores[d][task][measure] for d in directories], 1) for directories in runs.values()]
            rows.append([f"{task}, {MEASURES[measure]}", *cells])
    ends = {directory: directory.read_metrics()[-1] for directory in scores}
    for label, key, digits in COST:
        cells = [_cell([ends[d][key] for d in directories], digits) for directories in runs.values()]
        rows.append([label, *cells])
    return Table("", ["", *runs], rows, left=[""])


def _student(directory: RunDirectory) -> dict[str, dict[str, float]]:
    """The student's newest result of every task; none where a run ends without an evaluation."""
    lines = directory.results.read()
    return {line["task"]: line["values"] for line in lines if line["protocol"]["weights"] == "student"}


def _cell(values: list[float], digits: int) -> str:
    """The mean, and the range where there are several."""
    mean = f"{sum(values) / len(values):,.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"
