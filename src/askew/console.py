"""What a person sees: progress, tables, messages. Plain lines where the output is not a terminal."""

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console as RichConsole
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from askew.errors import printable

SHOWN_TERMS = ("contrast", "simclr", "nns", "simsiam", "positive", "negative", "noisy", "soft_alignment", "mlm")


class Console:
    """Messages go to standard error, results to standard output. `quiet` leaves warnings only (ranks other than 0)."""

    def __init__(self, quiet: bool = False):
        self.out, self.err = RichConsole(highlight=False), RichConsole(stderr=True, highlight=False)
        self.quiet = quiet
        self._bar: Progress | None = None
        self._task: Any = None
        self._total = 0
        self._said = time.monotonic()

    def say(self, text: str) -> None:
        """One line of information."""
        if not self.quiet:
            self.err.print(escape(printable(text, 2000)), soft_wrap=True)

    def warn(self, text: str) -> None:
        """One line that a user should not miss."""
        self.err.print(f"[yellow]warning:[/] {escape(printable(text, 2000))}", soft_wrap=True)

    def error(self, text: str, label: str = "error") -> None:
        """The one line that says what went wrong."""
        self.close()
        self.err.print(f"[red]{label}:[/] {escape(printable(text, 4000))}", soft_wrap=True)

    def run_starts(self, recipe: Any, trainer: Any, folder: Path) -> None:
        """What is about to happen, and what chance level is."""
        samples = trainer.loader.batch_size * (trainer.total - trainer.done)
        parameters = sum(p.numel() for p in trainer.method.parameters() if p.requires_grad) / 1e6
        self.say(f"run      {folder}")
        self.say(f"data     {trainer.loader.source.describe}")
        self.say(
            f"method   {recipe.method.name}, {parameters:.1f} M trained parameters, {trainer.device}, "
            f"{recipe.train.precision}"
        )
        self._towers(recipe.towers, trainer.loader.views)
        start = f" (from step {trainer.done})" if trainer.done else ""
        self.say(
            f"plan     {trainer.total:,} steps of {trainer.loader.batch_size}{start}, {samples:,} samples, "
            f"{trainer.total / trainer.loader.steps_per_epoch:.1f} epochs"
        )
        if trainer.cut_from:
            self.say(
                f"plan     cut from {trainer.cut_from:,} steps: more do not fit into train.minutes="
                f"{recipe.train.minutes:g} here; train.minutes=0 takes them all, and "
                f"train.max_steps={trainer.total} gives any method as many as this run has"
            )
        elif trainer.total < trainer.asked:
            self.say(
                f"plan     train.max_steps={trainer.total} leaves off before the {trainer.asked:,} steps of "
                "train.epochs"
            )
        levels = ", ".join(f"{k} {v:.3f}" for k, v in trainer.method.chance(trainer.loader.batch_size).items())
        self.say(f"chance   {levels} (a loss that stays there has learned nothing)")
        self._total = trainer.total
        if self.err.is_terminal and not self.quiet:
            self._bar = Progress(BarColumn(), TextColumn("{task.description}"), console=self.err, transient=True)
            self._task = self._bar.add_task("starting", total=trainer.total, completed=trainer.done)
            self._bar.start()

    def _towers(self, towers: Any, views: Any) -> None:
        """Which towers are trained, and from what."""
        name = towers.model or towers.vision_cfg.get("timm_model_name", "a ViT given whole")
        start = f"the weights of {towers.pretrained}" if towers.pretrained else "random weights"
        if towers.pretrained and towers.token_std != type(towers)().token_std:
            start += ", those of tokens too: towers.token_std is not used"
        lock = f"; the {towers.lock} tower keeps its weights" if towers.lock != "none" else ""
        self.say(
            f"towers   {name}, images of {views.images[0].size} px, captions of {views.tokens.context_length} tokens, "
            f"from {start}{lock}"
        )

    def progress(self, line: dict[str, Any]) -> None:
        """One logged step."""
        if self.quiet:
            return
        left = (self._total - line["step"]) * line["samples"] / line["step"] / line["samples_per_second"]
        terms = "  ".join(f"{name} {line[name]:.3g}" for name in SHOWN_TERMS if name in line)
        text = (
            f"step {line['step']}/{self._total}  loss {line['loss']:.3f}  {terms}  "
            f"{line['samples_per_second']:.0f} samples/s  data wait {line['data_wait']:.0%}  {clock(left)} left"
        )
        if self._bar is not None:
            self._bar.update(self._task, completed=line["step"], description=text)
        else:
            self.err.print(escape(text), soft_wrap=True)

    def run_ends(self, folder: Path) -> None:
        """Where everything is, and how to use it."""
        self.close()
        self.say(f'model    {folder / "model"}: open_clip.create_model_and_transforms("local-dir:{folder / "model"}")')

    def checked(self, found: dict[str, Any], as_json: bool) -> None:
        """What `askew data check` found, on standard output."""
        if as_json:
            self.out.print(json.dumps(found, ensure_ascii=True), markup=False, soft_wrap=True)
            return
        lines = [f"source   {found['source']}", f"samples  {found['samples']:,}, looked at {found['looked_at']:,}"]
        lines += [f"note     {note}" for note in found["notes"]]
        for cause, seen in found["unusable"].items():
            lines.append(f"unusable {cause}: {seen['count']:,}; {'; '.join(seen['examples'])}")
        if found["usable"]:
            captions, images, rates = found["captions"], found["images"], found["reading"]
            spread = {name: " ".join(map("{:,}".format, values.values())) for name, values in (
                ("words", captions["words"]), ("width", images["width"]), ("height", images["height"]),
                ("bytes", images["bytes"]))}  # fmt: skip
            lines += [
                f"captions {captions['per_image']:g} an image, {captions['repeated_share']:.1%} repeat another; "
                f"words (least, median, 95 %, most) {spread['words']}",
                f"images   {images['repeated_share']:.1%} repeat another; width {spread['width']}, height "
                f"{spread['height']}, bytes {spread['bytes']}",
                f"one core reads {rates['read_samples_per_second']:,.0f} samples/s ({rates['read_mb_per_second']:,.0f} "
                f"MB/s), decodes {rates['decode_samples_per_second']:,.0f} samples/s",
            ]
        fed = ", ".join(f"{workers}: {rate:,.0f}" for workers, rate in found["feeding"].items())
        lines += [f"feeding  samples/s by number of workers: {fed}"] if fed else []
        lines += [f"verdict  {sentence}" for sentence in found["verdict"]]
        for line in lines:
            self.out.print(escape(printable(line, 2000)), soft_wrap=True)

    def close(self) -> None:
        """Take the progress bar down."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def results(
        self,
        results: dict[str, dict[str, float]],
        weights: str,
        seconds: float,
        target: Path | None,
        before: dict[str, dict[str, float]],
    ) -> None:
        """The suite's table, on standard output; with a column for what the starting weights had, where it is known."""
        self.close()
        table = Table(title=f"suite tiny ({weights}), {seconds:.0f} s", title_justify="left")
        for name, justify in (("task", "left"), ("result, %", "left"), ("queries", "right"), ("chance, %", "right")) + (
            (("before, %", "right"),) if before else ()
        ):
            table.add_column(name, justify=justify)  # type: ignore[arg-type]
        for task, values in results.items():
            counts = {k: values[k] for k in ("n", "classes") if k in values}
            shown = {k: v for k, v in values.items() if k not in counts}
            if task.startswith("retrieval/"):
                text = "  ".join(
                    f"{short} R@1/5/10 " + "/".join(f"{100 * values[f'{direction}/r@{k}']:.1f}" for k in (1, 5, 10))
                    for direction, short in (("image_to_text", "i2t"), ("text_to_image", "t2i"))
                )
                chance = 1 / counts["n"]
            elif "low" in values:
                low, high = 100 * values["low"], 100 * values["high"]
                text = f"top-1 {100 * values['top1']:.1f}  (95 % interval {low:.1f} to {high:.1f})"
                chance = 1 / counts["classes"]
            else:
                names = {"top1": "top-1", "top5": "top-5", "mean_per_class": "mean per class"}
                text = "  ".join(f"{names[k]} {100 * v:.1f}" for k, v in shown.items())
                chance = 1 / counts["classes"]
            row = [task, text, f"{counts['n']:,}", f"{100 * chance:.2f}"]
            if before:
                first = next(iter(shown))
                row.append(f"{100 * before[task][first]:.1f}" if task in before else "")
            table.add_row(*row)
        self.tables([table], 120)
        if target is not None:
            self.say(f"results  {target}")

    def tables(self, tables: Sequence[Table], width: int = 180) -> None:
        """Tables on standard output. A pipe has no width: a table is then printed whole, never cut to 80 columns."""
        self.close()
        out = self.out if self.out.is_terminal else RichConsole(width=width, highlight=False)
        for table in tables:
            out.print(table)

    def pass_over(self, name: str, done: int, total: int, rate: float) -> None:
        """How far a pass over images is: a bar on a terminal, else a line every ten seconds and at the end."""
        text = f"{name}: {done:,} of {total:,} images" + (f", {rate:.0f} images/s" if rate else "")
        if self.err.is_terminal and not self.quiet:
            if self._bar is None:
                self._bar = Progress(BarColumn(), TextColumn("{task.description}"), console=self.err, transient=True)
                self._task = self._bar.add_task(escape(text), total=total)
                self._bar.start()
            self._bar.update(self._task, completed=done, total=total, description=escape(text))
        elif done >= total or time.monotonic() - self._said > 10:
            self._said = time.monotonic()
            self.say(text)


def clock(seconds: float) -> str:
    """Hours, minutes, seconds."""
    if not math.isfinite(seconds):
        return "?"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
