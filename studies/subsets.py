"""Nested subsets of a Parquet table of pairs, for learning curves: every smaller one is part of every larger one.

    python studies/subsets.py photos/train.parquet subsets 1000 2000 4000

writes subsets/train-1000.parquet and so on. `--after 4000` also writes subsets/train-after-4000.parquet, the rows that
are not in the first 4,000. Which rows come first is decided by one seeded permutation; within a subset
they keep the order of the table.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq


def write_subsets(table: Path, out: Path, sizes: list[int], after: list[int], seed: int) -> None:
    """One Parquet file for each size, and one for the rows after each of `after`.

    Raises:
        SystemExit: a size exceeds the rows of the table.
    """
    rows = pq.read_table(table)
    order = np.random.default_rng(seed).permutation(len(rows))
    if max(sizes + after) > len(rows):
        raise SystemExit(f"{table} has {len(rows):,} rows, fewer than {max(sizes + after):,}")
    out.mkdir(parents=True, exist_ok=True)
    parts = {f"{size}": order[:size] for size in sizes} | {f"after-{size}": order[size:] for size in after}
    for name, part in parts.items():
        file = out / f"{table.stem}-{name}.parquet"
        pq.write_table(rows.take(np.sort(part)), file, row_group_size=500)
        print(f"{file}: {len(part):,} of {len(rows):,} rows")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("sizes", type=int, nargs="+", help="rows of each subset")
    parser.add_argument("--after", type=int, nargs="*", default=[], help="also write the rows after so many")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    write_subsets(given.table, given.out, given.sizes, given.after, given.seed)
