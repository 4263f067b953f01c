"""The curves of a report: which logged values share a panel, what its axis says, and how to read it."""

from collections.abc import Sequence
from dataclasses import dataclass

from askew.methods.base import RESERVED
from askew.report.charts import DrawnFigure, StepCurve, curve_chart
from askew.runs.reporting.read import ReadRun
from askew.runs.tables import measure_words
from askew.training.held_out import PREFIX
from askew.training.interfaces import EVALUATED

SCHEDULES = ("alpha", "momentum")  # logged like terms of the loss, and none
TERMS = {  # of the methods that come with askew
    "contrast": "Contrast of images and texts: the loss of picking the partner of each sample among those of the "
    "batch. Far below chance is good.",
    "positive": "Distillation, Eq. (7) of the paper: how far the student's ratios of distances within pairs are from "
    "the teacher's. It starts near zero, where nothing is known yet, and weighs alpha.",
    "negative": "Distillation, Eq. (8): the same for captions of other samples.",
    "noisy": "Distillation, Eq. (9): the same for pairs whose captions may fit one another's images.",
    "text_positive": "Distillation, Eq. (7) of texts: own image, with and without the words that shortening drops.",
    "text_negative": "Distillation, Eq. (8) of texts: the same for the images of others.",
    "soft_alignment": "The student's similarities against the teacher's, as soft targets.",
    "mlm": "Masked language modelling: predicting hidden words of the caption, out of the whole vocabulary.",
    "simclr": "Contrast of two views of the same image.",
    "simsiam": "Agreement of two views of the same image; lower is better.",
    "nns": "Contrast of images and the nearest earlier text of each caption.",
}


@dataclass(frozen=True)
class Panel:
    """What one figure shows.

    Attributes:
        keys: logged values, and what tells them apart where there are several.
        unit: of the axis, with the value's name.
        levels: named values that are drawn across.
        factor: that values are multiplied by: 100 for a share in percent.
    """

    name: str
    title: str
    keys: tuple[tuple[str, str], ...]
    unit: str
    caption: str = ""
    log: bool = False
    bottom: float | None = 0.0
    levels: tuple[tuple[str, float], ...] = ()
    factor: float = 1.0


SCHEDULE_PANELS = (
    Panel("alpha", "Fading: alpha", (("alpha", ""),), "alpha",
          "The weight of distillation. As it rises to 1, the contrast of augmented views fades."),
    Panel("momentum", "Momentum of the teacher", (("momentum", ""),), "m",
          "The share of itself that the teacher keeps in each step. At 1 it stands still.", bottom=None),
)  # fmt: skip
OPTIMISATION_PANELS = (
    Panel("learning_rate", "Learning rate", (("learning_rate", ""),), "learning rate",
          "It rises during warm-up, then falls along a cosine."),
    Panel("logit_scale", "Logit scale", (("logit_scale", ""),), "scale",
          "The factor before the softmax, 1 / temperature. It rises as pairs are told apart with more certainty; "
          "methods stop it at 100.", bottom=None),
    Panel("gradient_norm", "Gradient norm", (("gradient_norm", ""),), "norm",
          "Before clipping. Single peaks do no harm; a norm that climbs step by step ends badly.", log=True),
)  # fmt: skip
SPEED_PANELS = (
    Panel("samples_per_second", "Throughput", (("samples_per_second", ""),), "samples/s",
          "Pairs per second over all processes, since the line before."),
    Panel("data_wait", "Wait for data", (("data_wait", ""),), "% of the time",
          "The share of the time in which training waited for images. Above some 10 %, more workers "
          "(loader.num_workers) help.", factor=100),
    Panel("peak_memory_mb", "Peak memory", (("peak_memory_mb", ""),), "MB",
          "Of the GPU where there is one, otherwise of the main process."),
    Panel("skipped", "Samples replaced", (("skipped", ""),), "samples",
          "Samples that could not be used, counted from the start. The terminal named the first of each cause."),
)  # fmt: skip
COLLAPSE_PANELS = (
    Panel("rank", "Effective rank", (("image_rank", "images"), ("text_rank", "texts")), "dimensions",
          "How many directions the embeddings of a batch make use of, at most one fewer than its samples. A fall to a "
          "few means collapse: everything looks alike to the model."),
    Panel("modality_gap", "Modality gap", (("modality_gap", ""),), "distance",
          "The distance between the mean image and the mean text, from 0 to 2. Some gap is normal. One that grows "
          "while the loss falls means that the model tells images from texts, not what they show."),
    Panel("uniformity", "Uniformity", (("image_uniformity", "images"), ("text_uniformity", "texts")), "uniformity",
          "How evenly embeddings cover the sphere; lower is more even, near -4 at best. A rise to 0 means collapse.",
          bottom=None),
    Panel("alignment", "Alignment", (("alignment", ""),), "mean squared distance",
          "The squared distance between an image and its own caption, from 0 to 4. Lower is better, as long as "
          "uniformity stays low too."),
)  # fmt: skip


def term_panels(runs: Sequence[ReadRun]) -> list[Panel]:
    """The loss and each of its terms, with the value that a model which has learned nothing has."""
    chance = {name: value for run in runs if run.facts is not None for name, value in run.facts.chance.items()}
    logged: dict[str, None] = {}
    for run in runs:
        for line in (run.lines[0], run.lines[-1]) if run.lines else ():
            logged |= dict.fromkeys(line)
    others = [name for name in logged if name not in (*RESERVED, *SCHEDULES, *COLLAPSE) and not _is_evaluated(name)]
    panels = []
    for name in ("loss", *others):
        keys = ((name, "training"), (PREFIX + name, "held-out")) if PREFIX + name in logged else ((name, ""),)
        levels = _levels(name, runs, chance)
        text = "The whole loss, as it is minimised." if name == "loss" else TERMS.get(name, "A term of the loss.")
        if len(keys) > 1:
            text += " The held-out curve is that of pairs which are not trained on; where it turns up, stop."
        if levels:
            text += " The dashed line is the value of a model that has learned nothing."
        log = not levels and name != "loss"
        panels.append(Panel(name, name.replace("_", " "), keys, name.replace("_", " "), text, log, None, levels))
    return panels


COLLAPSE = tuple(key for panel in COLLAPSE_PANELS for key, _ in panel.keys)


def _is_evaluated(name: str) -> bool:
    return name.startswith((PREFIX, EVALUATED))


def evaluation_panels(runs: Sequence[ReadRun]) -> list[Panel]:
    """One panel for each task that was evaluated while training went on, with its measures in percent."""
    logged = dict.fromkeys(key for run in runs for line in run.lines for key in line if key.startswith(EVALUATED))
    tasks: dict[str, list[str]] = {}
    for key in logged:
        tasks.setdefault(key.removeprefix(EVALUATED).rpartition("/")[0], []).append(key)
    return [
        Panel(
            f"eval-{task}", task.replace("_", " ").replace("/", ": "),
            tuple((key, measure_words(key.rpartition("/")[2])) for key in keys), "%",
            "As askew eval would measure the model of that step.", factor=100,
        )
        for task, keys in sorted(tasks.items(), key=lambda item: f"eval/{item[0]}/mean_recall" not in item[1])
    ]  # fmt: skip


def _levels(name: str, runs: Sequence[ReadRun], chance: dict[str, float]) -> tuple[tuple[str, float], ...]:
    """One level where all runs agree on it; otherwise one per run that knows its own."""
    own = {run.label: run.facts.chance[name] for run in runs if run.facts is not None and name in run.facts.chance}
    if len({round(value, 6) for value in own.values()}) == 1:
        return (("chance", chance[name]),)
    return tuple((f"chance {label}", value) for label, value in own.items())


def draw(panels: Sequence[Panel], runs: Sequence[ReadRun]) -> list[DrawnFigure]:
    """The panels of which something was logged, as figures."""
    found = []
    for panel in panels:
        curves = [
            curve
            for place, run in enumerate(runs)
            for number, (key, text) in enumerate(panel.keys)
            if (curve := _curve(panel, run, place, number, key, text)) is not None
        ]
        if curves and (panel.name != "skipped" or any(any(curve.values) for curve in curves)):
            made = curve_chart(curves, panel.unit, panel.levels, panel.log, panel.bottom)
            found.append(DrawnFigure(_file_name(panel.name), panel.title, panel.caption, made))
    return found


def _curve(panel: Panel, run: ReadRun, place: int, number: int, key: str, text: str) -> StepCurve | None:
    steps = [line["step"] for line in run.lines if key in line]
    if not steps:
        return None
    values = [panel.factor * line[key] for line in run.lines if key in line]
    alone = not run.label
    label = text if alone else " ".join(part for part in (run.label, text) if part)
    return StepCurve(label, steps, values, number if alone else place, dashed=number > 0 and not alone)


def _file_name(name: str) -> str:
    """A name for a file, of a term that a method may have named in any way."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in name)[:60] or "term"
