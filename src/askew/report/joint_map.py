"""The map of images and texts as positions in a drawing: which images are small pictures, which texts have labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from askew.report.examples import JointMap, Point

WIDTH, HEIGHT, MARGIN = 640, 460, 24
PICTURE = 28  # side of a small picture
LABELS, LETTERS = 28, 22  # most labels, and letters of one
LETTER, LINE = 5.4, 10  # width and height of a letter
POINT = 3.5  # half of the side of a point
Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class MapMark:
    """A point of the drawing.

    Attributes:
        pair: its pair's place in the map.
        kind: "image" or "text".
        x, y: in the drawing's units, from its top left corner.
        large: whether an image is shown as a small picture.
        label: of a text; "" where there is no room for one.
    """

    pair: int
    kind: str
    x: float
    y: float
    large: bool = False
    label: str = ""


def marks(drawn: "JointMap", texts: Sequence[str]) -> tuple[MapMark, ...]:
    """All points: small pictures, then dots of images, then texts, each kind in front of those before.

    One scale serves both axes, so that distances in the drawing are those in the plane. Pictures and labels are given
    to those that come first and have room; a label covers no point. The second axis points up.
    """
    place = _placing([point for pair in drawn.pairs for point in (pair.image_at, pair.text_at)])
    taken: list[Box] = []
    images, words = [], []
    for number, pair in enumerate(drawn.pairs):
        x, y = place(pair.image_at)
        box = (x - PICTURE / 2, y - PICTURE / 2, x + PICTURE / 2, y + PICTURE / 2)
        free = _is_free(box, taken)
        taken += [box] if free else []
        images.append(MapMark(number, "image", x, y, large=free))
    points = [*((mark.x, mark.y) for mark in images), *(place(pair.text_at) for pair in drawn.pairs)]
    taken += [(x - POINT, y - POINT, x + POINT, y + POINT) for x, y in points]
    for number, pair in enumerate(drawn.pairs):
        x, y = place(pair.text_at)
        label = texts[pair.text]
        label = label if len(label) <= LETTERS else f"{label[: LETTERS - 1]}\N{HORIZONTAL ELLIPSIS}"
        box = (x + POINT, y - LINE / 2, x + 8 + LETTER * len(label), y + LINE / 2)
        free = sum(bool(mark.label) for mark in words) < LABELS and box[2] < WIDTH and _is_free(box, taken)
        taken += [box] if free else []
        words.append(MapMark(number, "text", x, y, label=label if free else ""))
    return (*sorted(images, key=lambda mark: not mark.large), *words)


def _placing(points: Sequence["Point"]):
    """From the plane to the drawing, rounded to a tenth."""
    lows, highs = ([pick(point[axis] for point in points) for axis in (0, 1)] for pick in (min, max))
    spans = [high - low for low, high in zip(lows, highs, strict=True)]
    room = (WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN)
    scale = min(side / span if span > 1e-9 else 1e9 for side, span in zip(room, spans, strict=True))
    middle = [(low + high) / 2 for low, high in zip(lows, highs, strict=True)]
    scale = 0.0 if scale >= 1e9 else scale  # all points are one

    def place(point: "Point") -> "Point":
        return (
            round(WIDTH / 2 + scale * (point[0] - middle[0]), 1),
            round(HEIGHT / 2 - scale * (point[1] - middle[1]), 1),
        )

    return place


def _is_free(box: Box, taken: Sequence[Box]) -> bool:
    left, top, right, bottom = box
    return all(right <= a or c <= left or bottom <= b or d <= top for a, b, c, d in taken)
