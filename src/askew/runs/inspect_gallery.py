"""The pairs that the page of an inspection shows, and the better captions that the data set has for them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from askew.data.images import decode
from askew.data.sources import Source
from askew.errors import printable
from askew.evaluation.misalignment.pairs import ROUNDING
from askew.evaluation.misalignment.parts import MEASURES, PREFIX, PairParts
from askew.report.inspect import PairCard
from askew.report.page import thumbnail
from askew.runs.inspect_pairs import rows_of_parts

NAMES = {"noise": "noise", "distance": "distance", "text_rank": "rank", "loss": "loss"}  # on a card
PICTURE = 160  # pixels per side


@dataclass
class GalleryPair:
    """One pair that is shown.

    Attributes:
        sample: index in the source. name, caption: texts.
        numbers: every column of it.
        image: (D,) its embedding. match: of its image.
        better, better_distance: the nearest other caption of the data set and its distance, if it is nearer.
        better_of: the sample that has that caption; same_image: whether that is the same image.
    """

    sample: int
    name: str
    caption: str
    numbers: dict[str, float]
    image: np.ndarray
    match: int
    better: str = ""
    better_distance: float = field(default=np.nan)
    better_of: str = ""
    same_image: bool = False


def gallery_pairs(parts: PairParts, rows: Sequence[int]) -> list[GalleryPair]:
    """The pairs with these numbers, in this order, each with the better caption that any sample has."""
    wanted = np.array(rows, dtype=np.int64)
    found: dict[int, GalleryPair] = {}
    for first, chunk, part in rows_of_parts(parts):
        for row in wanted[(wanted >= first) & (wanted < first + len(part["sample"]))].tolist():
            inside = row - first
            sample, caption = int(part["sample"][inside]), int(part["row"][inside])
            place = sample - chunk.first
            names = [PREFIX[weights] + name for weights in parts.stores for name in MEASURES]
            numbers = {name: float(part[name][inside]) for name in names}
            found[row] = GalleryPair(
                sample,
                chunk.names[place],
                chunk.captions[caption],
                numbers,
                chunk.image[place],
                int(chunk.match[place]),
            )
    pairs = [found[row] for row in rows]
    find_better(parts, pairs)
    return pairs


def find_better(parts: PairParts, pairs: list[GalleryPair]) -> None:
    """Look among all captions of the data set, chunk by chunk, for the one that is nearest to each pair's image."""
    store = next(iter(parts.stores.values()))
    images = np.stack([pair.image for pair in pairs])
    first = PREFIX[next(iter(parts.stores))]
    best = np.array([pair.numbers[f"{first}cosine"] for pair in pairs]) + ROUNDING
    for chunk in store.chunks():
        cosines = images @ chunk.text.T  # (pairs, m)
        for place, pair in enumerate(pairs):
            nearer = np.flatnonzero(cosines[place] > best[place])
            others = [row for row in nearer.tolist() if chunk.captions[row] != pair.caption]
            if not others:
                continue
            row = others[int(cosines[place][others].argmax())]
            owner = chunk.owner[row] - chunk.first
            best[place] = cosines[place, row]
            pair.better, pair.better_of = chunk.captions[row], chunk.names[owner]
            pair.better_distance = float(max(2 - 2 * best[place], 0) ** 0.5)
            pair.same_image = int(chunk.match[owner]) == pair.match


def card_of(pair: GalleryPair, source: Source, prefix: str) -> PairCard:
    """A pair as the page draws it."""
    try:
        picture = thumbnail(decode(source[pair.sample].image), PICTURE)
    except OSError:  # it was read before, so that this is rare; the card stays without a picture
        picture = ""
    numbers = [
        (label, "none" if np.isnan(value) else f"{value:,.0f}" if label == "rank" else f"{value:.3f}")
        for label, value in ((label, pair.numbers[prefix + name]) for name, label in NAMES.items())
    ]
    of = "of the same image" if pair.same_image else f"of {printable(pair.better_of, 80)}"
    where = f"{of}, distance {pair.better_distance:.3f}" if pair.better else ""
    return PairCard(picture, pair.name, pair.caption, numbers, pair.better, where)
