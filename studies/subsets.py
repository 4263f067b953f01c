"""Nested subsets of a Parquet table of pairs, for learning curves: every smaller one is part of every larger one.

    python studies/subsets.py photos/train.parquet subsets 1000 2000 4000

writes subsets/train-1000.parquet and so on. Which rows come first is decided by one seeded permutation; within a subset
they keep the order of the table.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq


def write_subsets(table: Path, out: Path, sizes: list[int], seed: int) -> None:
    """One Parquet file for each size.

    Raises:
        SystemExit: a size exceeds the rows of the table.
    """
    rows = pq.read_table(table)
    order = np.random.default_rng(seed).permutation(len(rows))
    if max(sizes) > len(rows):
        raise SystemExit(f"{table} has {len(rows):,} rows, fewer than {max(sizes):,}")
    out.mkdir(parents=True, exist_ok=True)
    for size in sizes:
        file = out / f"{table.stem}-{size}.parquet"
        pq.write_table(rows.take(np.sort(order[:size])), file, row_group_size=500)
        print(f"{file}: {size:,} of {len(rows):,} rows")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("sizes", type=int, nargs="+", help="rows of each subset")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    write_subsets(given.table, given.out, given.sizes, given.seed)
