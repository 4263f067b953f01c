"""What the template examples.html draws: examples with all that is derived from them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from askew.report import example_figures, joint_map
from askew.report.examples import Examples, Gallery
from askew.report.figures import svg_of
from askew.report.table import Table

if TYPE_CHECKING:
    from markupsafe import Markup

STYLES, SCRIPTS = ("examples.css",), ("examples.js",)  # of a page with examples
BAR = 100.0  # width of a bar, in the units of its drawing


@dataclass(frozen=True)
class RatioBars:
    """Bars of ratios on one logarithmic scale, from the smallest to the largest ratio that is shown.

    Attributes:
        one: where the ratio 1 is, 0 to BAR.
    """

    low: float
    high: float

    @property
    def one(self) -> float:
        """Where a bar begins."""
        return self.at(1.0)

    def at(self, ratio: float) -> float:
        """Where a ratio is, 0 to BAR."""
        span = math.log(self.high / self.low)
        return round(BAR * math.log(max(ratio, self.low) / self.low) / span, 1) if span > 0 else 0.0

    def start(self, ratio: float) -> float:
        """The left end of its bar."""
        return min(self.at(ratio), self.one)

    def width(self, ratio: float) -> float:
        """The width of its bar; no bar is invisible."""
        return max(1.0, round(abs(self.at(ratio) - self.one), 1))


@dataclass(frozen=True)
class ExamplesView:
    """One run's examples, ready to be drawn; see templates/examples.html.

    Attributes:
        prefix: of the ids in the page, different for each run.
        run: the name that is shown where a page has several runs.
    """

    examples: Examples
    prefix: str = "examples"
    run: str = ""

    @property
    def marks(self) -> tuple[joint_map.MapMark, ...]:
        """The points of the map."""
        return joint_map.marks(self.examples.map, self.examples.texts) if self.examples.map else ()

    @property
    def map_size(self) -> tuple[int, int]:
        """Of the map's drawing."""
        return joint_map.WIDTH, joint_map.HEIGHT

    @property
    def map_picture(self) -> int:
        """Side of a small picture of the map."""
        return joint_map.PICTURE

    @property
    def first_pair(self) -> int:
        """The pair that the map shows at first: the nearest."""
        pairs = self.examples.map.pairs if self.examples.map else ()
        return max(range(len(pairs)), key=lambda place: pairs[place].cosine)

    @property
    def bars(self) -> RatioBars:
        """The scale of the gallery's bars."""
        assert self.examples.gallery is not None
        shown = [
            ratio
            for sample in self.examples.gallery.samples
            for view in sample.views
            for ratio in (view.student, view.teacher)
            if ratio is not None
        ]
        return RatioBars(min(1.0, *shown), max(1.0, *shown))

    @property
    def histogram(self) -> "Markup":
        """The ratios of all views."""
        assert self.examples.gallery is not None
        return svg_of(example_figures.histogram(self.examples.gallery))

    @property
    def effects(self) -> "Markup":
        """What goes with large ratios."""
        assert self.examples.gallery is not None
        return svg_of(example_figures.effects(self.examples.gallery))

    @property
    def effects_table(self) -> Table:
        """The numbers behind it."""
        assert self.examples.gallery is not None
        return effects_table(self.examples.gallery)


def views_of(examples: Sequence[tuple[str, Examples]]) -> list[ExamplesView]:
    """The views of several runs on one page: (name, examples) of each."""
    return [ExamplesView(found, f"examples-{number}", name) for number, (name, found) in enumerate(examples)]


def effects_table(gallery: Gallery) -> Table:
    """Operations, how often they happened, and how they go with the student's ratio."""
    rows = [
        (
            effect.name,
            f"{effect.share:.0%}",
            "-" if effect.correlation is None else f"{effect.correlation:+.2f}",
            "-" if effect.low is None or effect.high is None else f"{effect.low:+.2f} to {effect.high:+.2f}",
        )
        for effect in gallery.operations
    ]
    return Table("", ("operation", "views", "rank correlation", "95 % interval"), rows, ("operation",))
