"""A table of runs side by side: the mean over seeds, and the lowest and highest, as Markdown for docs/results.md.

python scripts/results_table.py MCD=runs/tiny-001,runs/tiny-002 CLIP=runs/tiny-clip-001,runs/tiny-clip-002
"""

import json
import sys
from pathlib import Path

ROWS = (
    ("naming, unseen style, top-1", "naming/unseen_style", "top1"),
    ("naming, unseen style, top-5", "naming/unseen_style", "top5"),
    ("naming, unseen concept (Noto), top-1", "naming/unseen_concept", "top1"),
    ("naming, unseen concept (Noto), top-5", "naming/unseen_concept", "top5"),
    ("naming, unseen both (Twemoji), top-1", "naming/unseen_both", "top1"),
    ("naming, unseen both (Twemoji), top-5", "naming/unseen_both", "top5"),
    ("naming, seen both, top-1", "naming/seen_seen", "top1"),
    ("naming, unseen concept among all names, top-1", "naming/unseen_concept/all_names", "top1"),
    ("retrieval, unseen style, image to text, R@1", "retrieval/unseen_style/name", "image_to_text/r@1"),
    ("retrieval, unseen style, text to image, R@1", "retrieval/unseen_style/name", "text_to_image/r@1"),
    ("retrieval, unseen both, image to text, R@5", "retrieval/unseen_both/name", "image_to_text/r@5"),
    ("retrieval, unseen both, text to image, R@5", "retrieval/unseen_both/name", "text_to_image/r@5"),
    ("group, unseen style, top-1", "group/unseen_style", "top1"),
    ("subgroup, unseen style, top-1", "subgroup/unseen_style", "top1"),
    ("scenery, top-1", "scenery", "top1"),
)
COST = (
    ("training, s", "seconds", 0),
    ("samples", "samples", 0),
    ("peak memory of the main process, MB", "peak_memory_mb", 0),
)


def lines(file: Path) -> list[dict]:
    """The objects of a JSONL file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def student(run: Path) -> dict[str, dict[str, float]]:
    """The student's newest result of every task."""
    found = [line for line in lines(run / "results.jsonl") if line["protocol"]["weights"] == "student"]
    return {line["task"]: line["values"] for line in found}


def cell(values: list[float], digits: int) -> str:
    """Mean, and the range where there are several."""
    mean = f"{sum(values) / len(values):,.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def main() -> None:
    """Print the table."""
    columns = {}
    for argument in sys.argv[1:]:
        label, _, runs = argument.partition("=")
        columns[label] = [Path(run) for run in runs.split(",")]
    if not columns:
        sys.exit(__doc__)
    print("| | " + " | ".join(columns) + " |")
    print("|---" + "|---:" * len(columns) + "|")
    scores = {run: student(run) for runs in columns.values() for run in runs}
    for label, task, measure in ROWS:
        cells = [cell([100 * scores[run][task][measure] for run in runs], 1) for runs in columns.values()]
        print(f"| {label} | " + " | ".join(cells) + " |")
    ends = {run: lines(run / "metrics.jsonl")[-1] for run in scores}
    for label, key, digits in COST:
        print(
            f"| {label} | " + " | ".join(cell([ends[r][key] for r in runs], digits) for runs in columns.values()) + " |"
        )


if __name__ == "__main__":
    main()
