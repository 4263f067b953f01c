"""Does `askew inspect` find wrong captions? Plant some in real data, and see.

    python scripts/planted_errors.py plant PHOTOS.parquet planted
    askew study studies/planted-errors.yaml --out planted/runs
    askew inspect planted/runs/mcd--dirty-seed0 --data planted/dirty.parquet \\
        --out planted/inspect-0 --keep 0.9 --operation-pairs 0
    python scripts/planted_errors.py score planted/dirty.parquet planted/inspect-0 [...]

`plant` exchanges a tenth of the captions among images, with a fixed seed, and writes

    planted/dirty.parquet   all images with their captions; the column `exchanged` says which are wrong
    planted/clean.parquet   the same without the wrong captions: the list that a perfect inspection would keep

PHOTOS.parquet has the columns `id`, `image` (bytes) and `captions` (a list of texts).

`score` prints, for every quantity that an inspection measured of pairs, the area under the ROC curve for the exchanged
captions, with a 95 % interval of a bootstrap over images, and the share of exchanged captions among the tenth with the
largest values; last, the share among the captions that `--keep` kept.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.stats import rankdata

from askew.evaluation.tasks.wrong_captions import SEED, SHARE, draws_of_images, exchanged, roc_area

QUANTITIES = ("noise", "distance", "loss", "text_rank", "image_rank")


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


def score(dirty: Path, inspections: list[Path]) -> None:
    """One line per inspection and quantity."""
    marks = pq.read_table(dirty, columns=["exchanged"])["exchanged"].to_pylist()
    for folder in inspections:
        pairs = pq.read_table(folder / "pairs.parquet")
        where = list(zip(pairs["sample"].to_pylist(), pairs["caption"].to_pylist(), strict=True))
        wrong = np.array([marks[sample][caption] for sample, caption in where])
        _, images = np.unique(np.array(pairs["sample"]), return_inverse=True)
        names = [n for n in (*QUANTITIES, *(f"teacher_{q}" for q in QUANTITIES)) if n in pairs.column_names]
        ranks = {name: rankdata(np.array(pairs[name]), method="dense") for name in names}
        drawn = draws_of_images(images)
        once = np.ones(len(wrong))
        areas = {name: np.array([roc_area(ranks[name], wrong, w) for w in drawn]) for name in names}
        print(f"{folder}: {len(wrong):,} captions, {wrong.mean():.1%} exchanged")
        for name in names:
            low, high = np.quantile(areas[name], (0.025, 0.975))
            less, more = np.quantile(areas[name] - areas["noise"], (0.025, 0.975))
            top = np.argsort(-ranks[name], kind="stable")[: len(wrong) // 10]
            print(
                f"  {name:<18} area {roc_area(ranks[name], wrong, once):.4f} ({low:.4f} to {high:.4f}), minus that of "
                f"noise {less:+.4f} to {more:+.4f}, exchanged in the top tenth {wrong[top].mean():.1%}"
            )
        if (folder / "kept.parquet").exists():
            kept = pq.read_table(folder / "kept.parquet", columns=["sample", "caption"])
            there = zip(kept["sample"].to_pylist(), kept["caption"].to_pylist(), strict=True)
            share = np.mean([marks[sample][caption] for sample, caption in there])
            print(f"  kept {kept.num_rows:,}, of which exchanged {share:.1%}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("plant")
    command.add_argument("photos", type=Path)
    command.add_argument("out", type=Path)
    command.set_defaults(run=lambda asked: plant(asked.photos, asked.out))
    command = commands.add_parser("score")
    command.add_argument("dirty", type=Path)
    command.add_argument("inspections", type=Path, nargs="+")
    command.set_defaults(run=lambda asked: score(asked.dirty, asked.inspections))
    asked = parser.parse_args()
    asked.run(asked)
