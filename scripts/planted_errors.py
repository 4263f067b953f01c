"""Does `askew inspect` find wrong captions? Plant some in real data, and see.

    python scripts/planted_errors.py plant PHOTOS.parquet planted
    askew study studies/planted-errors.yaml --out planted/runs

`plant` exchanges a tenth of the captions among images, with a fixed seed, and writes

    planted/dirty.parquet   all images with their captions; the column `exchanged` says which are wrong
    planted/clean.parquet   the same without the wrong captions: the list that a perfect inspection would keep

PHOTOS.parquet has the columns `id`, `image` (bytes) and `captions` (a list of texts).
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SHARE, SEED = 0.1, 2023


def exchanged(owners: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Where each caption comes from, (n,): a permutation that moves `share` of them, all to other images.

    Args:
        owners: (n,) the image that each caption was written for.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(owners))[: round(share * len(owners))]
    moved = rng.permutation(chosen)
    for _ in range(1000):
        stays = np.flatnonzero(owners[moved] == owners[chosen])
        if not len(stays):
            break
        others = rng.integers(len(chosen), size=len(stays))
        for a, b in zip(stays, others, strict=True):
            moved[[a, b]] = moved[[b, a]]
    assert (owners[moved] != owners[chosen]).all()
    origin = np.arange(len(owners))
    origin[chosen] = moved
    return origin


def plant(photos: Path, out: Path) -> None:
    """Write dirty.parquet and clean.parquet."""
    table = pq.read_table(photos, columns=["id", "image", "captions"])
    lists = table["captions"].to_pylist()
    captions = [caption for one in lists for caption in one]
    owners = np.repeat(np.arange(len(lists)), [len(one) for one in lists])
    origin = exchanged(owners, SHARE, SEED)
    wrong = origin != np.arange(len(origin))
    ends = np.cumsum([len(one) for one in lists])[:-1]
    dirty = [[captions[i] for i in part] for part in np.split(origin, ends)]
    marks = [part.tolist() for part in np.split(wrong, ends)]
    right = [[c for c, bad in zip(*both, strict=True) if not bad] for both in zip(dirty, marks, strict=True)]
    out.mkdir(parents=True, exist_ok=True)
    column = table.column_names.index("captions")
    made = table.set_column(column, "captions", pa.array(dirty)).append_column("exchanged", pa.array(marks))
    pq.write_table(made, out / "dirty.parquet", row_group_size=500)
    kept = table.set_column(column, "captions", pa.array(right)).filter(pa.array([bool(one) for one in right]))
    pq.write_table(kept, out / "clean.parquet", row_group_size=500)
    print(f"{wrong.sum():,} of {len(wrong):,} captions exchanged; {kept.num_rows:,} of {len(lists):,} images keep one")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("plant")
    command.add_argument("photos", type=Path)
    command.add_argument("out", type=Path)
    asked = parser.parse_args()
    plant(asked.photos, asked.out)
