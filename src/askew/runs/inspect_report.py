"""The end of an inspection, on rank 0: all files are written, and the terminal shows the most important rows."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import numpy as np

from askew.data.sources import Source
from askew.data.sources.selection import Origin
from askew.errors import UserError, printable, writing
from askew.evaluation.misalignment.parts import PREFIX, OperationParts, PairParts
from askew.evaluation.misalignment.words import WordEffect
from askew.report.console import Console
from askew.report.inspect import InspectionPage, OperationEffect, write_inspection
from askew.report.table import Table
from askew.runs.inspect_effects import (
    EFFECT_COLUMNS,
    WORD_COLUMNS,
    effects_of,
    operations_table,
    word_rows,
    word_table,
    words_of_models,
)
from askew.runs.inspect_gallery import GalleryPair, card_of, gallery_pairs
from askew.runs.inspect_pairs import Ranking, SelectedFrom, write_kept, write_pairs, write_rows
from askew.runs.inspection import InspectionFolder

SHOWN = 24  # pairs at each end, on the page
PRINTED = 6  # the same, in the terminal
BINS = 60  # of the figure of noise
PROBLEMS = 20  # samples that cannot be used, named in inspect.json
READABLE = {"noise": "noise", "distance": "distance", "loss": "loss", "text_rank": "rank among captions"}


@dataclass(frozen=True)
class Inspected:
    """What was measured, and where it goes.

    Attributes:
        model: as it was named.
        origin: what the rows of pairs.parquet select from.
        settings: all that decides the numbers.
    """

    model: str
    source: Source
    folder: InspectionFolder
    pairs: PairParts
    operations: OperationParts | None
    origin: Origin
    settings: dict[str, Any]

    @property
    def models(self) -> list[str]:
        """student, teacher, or both."""
        return list(self.pairs.stores)

    @property
    def prefix(self) -> str:
        """Of the columns that pairs are ranked by: the student's, where it is there."""
        return PREFIX[self.models[0]]


def report_inspection(done: Inspected, by: str, keep: float, console: Console) -> None:
    """Write every file of the inspection and print the tables.

    Raises:
        UserError: the folder cannot be written to, or --keep has nothing to rank by.
    """
    ranking = Ranking.of(done.pairs, done.prefix + by)
    if keep and np.isnan(ranking.values).all():
        raise UserError(
            "--keep: every pair has the same image or the same caption, so that there is nothing to compare with; "
            "rank by distance (--by distance), or leave --keep out"
        )
    if keep and not ranking.kept(keep).any():
        raise UserError(f"--keep {keep:g}: of {len(ranking):,} captions, none would be left; name a larger share")
    where = SelectedFrom(done.source, done.origin)
    with writing("the inspection", done.folder.path, ", and repeat the command: what was computed is kept"):
        write_pairs(done.folder, done.pairs, ranking, where)
        num_kept = write_kept(done.folder, done.pairs, ranking.kept(keep), where) if keep else 0
        effects, words = _effects(done)
        worst = gallery_pairs(done.pairs, ranking.order[::-1][:SHOWN].tolist())
        best = gallery_pairs(done.pairs, ranking.order[:SHOWN].tolist())
        counts = _counts(done, ranking, num_kept)
        page = _page(done, ranking, worst, best, effects, words, counts)
        paths = write_inspection(page, done.folder.page)
    done.folder.finish(done.settings, {"model": printable(done.model, 400), "by": ranking.by, "keep": keep, **counts})
    _print(done, by, worst, effects, counts, console)
    files = [done.folder.pairs, done.folder.pairs_csv, *paths[1:]]
    if done.operations is not None:
        files += [done.folder.operations, done.folder.words]
    console.say(f"page     {paths[0]}")
    console.say(f"files    {', '.join(file.name for file in files)} in {done.folder.path}")
    if keep:
        console.say(f"kept     {num_kept:,} of {len(ranking):,} captions: askew train --data {done.folder.kept}")


def _effects(done: Inspected) -> tuple[list[OperationEffect], dict[str, list[WordEffect]]]:
    """What operations do, written as two tables."""
    if done.operations is None:
        return [], {}
    measured, listed = done.operations.whole(), done.operations.conditions
    captions = next(iter(done.operations.drawn.values())).captions
    effects = effects_of(done.models, listed, measured)
    words = words_of_models(done.models, listed, measured, captions)
    write_rows(done.folder.operations, [asdict(effect) for effect in effects], EFFECT_COLUMNS)
    write_rows(done.folder.words, word_rows(words), WORD_COLUMNS)
    return effects, words


def _counts(done: Inspected, ranking: Ranking, num_kept: int) -> dict[str, Any]:
    """What inspect.json says of the data."""
    store = next(iter(done.pairs.stores.values()))
    problems = list(chain.from_iterable(chunk.problems for chunk in store.chunks()))
    return {
        "source": printable(done.source.describe, 400),
        "samples": len(store),
        "usable": len(store) - len(problems),
        "pairs": len(ranking),
        "without_comparison": int(np.isnan(ranking.values).sum()),
        "median_rank": float(np.median(Ranking.of(done.pairs, f"{done.prefix}text_rank").values)),
        "kept": num_kept,
        "unusable": len(problems),
        "problems": [printable(problem, 300) for problem in problems[:PROBLEMS]],
    }


def _page(
    done: Inspected,
    ranking: Ranking,
    worst: Sequence[GalleryPair],
    best: Sequence[GalleryPair],
    effects: list[OperationEffect],
    words: dict[str, list[WordEffect]],
    counts: dict[str, Any],
) -> InspectionPage:
    pool = len(next(iter(done.pairs.drawn.values())))
    first = next(iter(done.pairs.stores.values()))
    stats = [("pairs", f"{counts['pairs']:,}", f"of {counts['usable']:,} samples")]
    stats.append(("median rank", f"{counts['median_rank']:,.0f}", f"of a caption among {pool:,}, seen from its image"))
    if counts["kept"]:
        stats.append(("kept", f"{counts['kept']:,}", f"of {counts['pairs']:,} captions"))
    facts = [
        ("Model", printable(done.model, 400)),
        ("Weights", ", ".join(done.settings["weights"].values())),
        ("Data", counts["source"]),
        ("Pool", f"each pair is compared with up to {pool:,} others, one caption of each of {pool:,} samples"),
        ("Noise", f"Eq. (9) of the paper for one model: the mean log-ratio of its own distance to those of its "
         f"{done.settings['neighbours']} nearest neighbours, half over images and half over captions"),
        ("Embeddings", f"of width {first.chunk(0).image.shape[1]}, {done.settings['precision']}"),
    ]  # fmt: skip
    notes = []
    if counts["unusable"]:
        example = counts["problems"][0]
        notes.append(f"{counts['unusable']:,} of {counts['samples']:,} samples cannot be used; the first: {example}")
    if counts["without_comparison"]:
        notes.append(f"{counts['without_comparison']:,} pairs have nothing to be compared with")
    return InspectionPage(
        model=printable(done.model, 200),
        data=printable(done.settings["data"], 200),
        stats=stats,
        facts=facts,
        noise={model: _histogram(done, model) for model in done.models} if np.isfinite(ranking.values).any() else {},
        ranked_by=f"{READABLE[ranking.by.removeprefix('teacher_')]} under the {done.models[0]}",
        worst=[card_of(pair, done.source, done.prefix) for pair in worst],
        best=[card_of(pair, done.source, done.prefix) for pair in best],
        effects=effects,
        words=[word_table(done.models[0], words[done.models[0]])] if words.get(done.models[0]) else [],
        notes=notes,
    )


def _histogram(done: Inspected, model: str) -> tuple[list[float], list[int]]:
    values = Ranking.of(done.pairs, f"{PREFIX[model]}noise").values
    counts, edges = np.histogram(values[np.isfinite(values)], bins=BINS)
    return edges.tolist(), counts.tolist()


def _number(value: float) -> str:
    return "none" if np.isnan(value) else f"{value:.3f}"


def _print(
    done: Inspected,
    by: str,
    worst: Sequence[GalleryPair],
    effects: Sequence[OperationEffect],
    counts: dict[str, Any],
    console: Console,
) -> None:
    """The most misaligned pairs, and operations from the worst to the most harmless."""
    rows = [
        [_number(pair.numbers[done.prefix + by]), printable(pair.name, 40), printable(pair.caption, 60),
         printable(pair.better, 60)]
        for pair in worst[:PRINTED]
    ]  # fmt: skip
    title = f"the most misaligned of {counts['pairs']:,} pairs of {counts['source']}"
    console.table(Table(title, [READABLE[by], "sample", "caption", "nearer caption of the data"], rows,
                        left=("sample", "caption", "nearer caption of the data")))  # fmt: skip
    if effects:
        console.table(operations_table(effects))
    if counts["unusable"]:
        unusable = f"{counts['unusable']:,} of {counts['samples']:,} samples cannot be used"
        console.warn(f"{unusable}; the first: {counts['problems'][0]}")
