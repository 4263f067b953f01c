"""A run from an empty directory to a printed table: what `askew train` does."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from askew import distributed, ranks
from askew.config import Recipe, TowerSettings
from askew.data.views import Views
from askew.errors import (
    THEN_RESUME,
    Interrupted,
    RunFailed,
    Stopped,
    UserError,
    place_of,
    printable,
    writing,
)
from askew.report.console import Console
from askew.runs.directory import RunDirectory, ends_with_the_suite
from askew.runs.during import During, open_during
from askew.runs.evaluate import evaluate_tiny
from askew.runs.export import pretrained_run
from askew.runs.facts import facts_of, write_facts
from askew.runs.held_out import evaluate_held_out
from askew.runs.report import write_report
from askew.runs.tracking import Tracking, refuse_missing_packages
from askew.training.build import build
from askew.training.export import Weights, save_models, weights_on_main
from askew.training.interfaces import Reporter
from askew.training.loop import Trainer
from askew.training.schedule import Schedule
from askew.training.towers import changed_sizes, resolve

LOOKED_AT = 200  # samples whose captions are measured before a run


def start(recipe: Recipe, out: Path | None, console: Console) -> RunDirectory:
    """Train a new run to its end.

    Args:
        out: its directory; None takes a new `runs/NAME-NNN`.

    Raises:
        UserError, RunFailed, Interrupted: see the command line's exit codes.
    """
    towers = pretrained_run(recipe.towers, recipe.train.device, console.warn)
    recipe = recipe.model_copy(update={"towers": resolve(towers)})
    refuse_missing_packages(recipe.train.track)
    built = build(recipe, console.say)  # before a directory is made: what cannot be built leaves nothing behind
    sets = open_during(recipe)
    directory = distributed.from_main(lambda: RunDirectory.create(recipe.name, out))
    tracking = Tracking(recipe.train.track, directory, console)
    during = During(recipe, sets, directory, console) if sets else None
    trainer = Trainer(built, directory, reporter_of(console), (tracking,), during)
    starting, launchers = starting_weights(trainer), launchers_of_group()

    def prepare() -> None:
        with writing("the recipe", directory.path):
            directory.write_recipe(built.recipe)
            directory.note_launchers(launchers)
            record_facts(trainer, directory)
        try:
            announce(trainer, directory, console)
            evaluate_before(trainer, starting, directory, console)
            tracking.open(trainer)
        except Stopped:
            tracking.close(failed=True)
            directory.remove_if_unstarted()
            raise

    distributed.on_main(prepare)
    return finish(trainer, directory, console, tracking)


def launchers_of_group() -> list[str]:
    """Those of all ranks, if they start ranks again. Every rank enters."""
    return distributed.all_gather_object(ranks.launcher()) if ranks.may_restart() else []


def finish(trainer: Trainer, directory: RunDirectory, console: Console, tracking: Tracking) -> RunDirectory:
    """Train what is left, save the model, and evaluate it."""
    with tracking:
        _train(trainer, directory, console, tracking)
        weights = weights_on_main(trainer.method)
        distributed.on_main(lambda: _end(trainer, weights, directory, console))
    return directory


def _train(trainer: Trainer, directory: RunDirectory, console: Console, tracking: Tracking) -> None:
    """Train what is left. A failure says how to continue."""
    try:
        with console.training_bar(trainer.done):
            trainer.run()
    except (RunFailed, Interrupted, Stopped) as error:
        if trainer.done == 0 and distributed.is_main():
            tracking.close(failed=True)
            directory.remove_if_unstarted()
        if trainer.done > 0 and isinstance(error, RunFailed):
            raise RunFailed(f"{error}. Resume with --resume --out {directory.path}") from error
        if trainer.done == 0 and isinstance(error, Interrupted):
            how = (
                f"--resume --out {directory.path} starts it"
                if directory.path.exists()
                else "the same command starts it"
            )
            raise Interrupted(error.signal_number, f"{error}; {how} again") from error
        raise


def _end(trainer: Trainer, weights: Weights, directory: RunDirectory, console: Console) -> None:
    """Save the model, and evaluate it where the recipe says so."""
    recipe, suite = trainer.recipe, trainer.recipe.evaluation
    with writing("the model", directory.path, THEN_RESUME):
        save_models(trainer.method, recipe.towers, directory.path, weights=weights)
    if ends_with_the_suite(recipe):
        evaluate_tiny(str(directory.path), "student", console, batch_size=suite.batch_size)
    elif suite.suite != "none":
        console.say(
            "results  none: the suite `tiny` tests training on the data that come with askew; "
            f"askew eval {directory.path} runs it anyway"
        )
    if isinstance(trainer.measuring.evaluation, During):
        trainer.measuring.evaluation.finish(trainer)
    if suite.held_out and suite.held_out_retrieval:
        _retrieval(directory, recipe, console)
    model = directory.model()
    loaded = f'open_clip.create_model_and_transforms("local-dir:{model}")'
    if trainer.method.towers.files:  # open_clip looks for the text tower's files in the working directory
        loaded = f'askew.load("{directory.path}"), or open_clip as docs/languages.md says'
    console.say(f"model    {model}: {loaded}")
    if suite.report:
        _report(directory, console)


def _retrieval(directory: RunDirectory, recipe: Recipe, console: Console) -> None:
    """Measure retrieval on the pairs that were not trained on."""
    again = f"askew eval {directory.path} --data {printable(str(recipe.evaluation.held_out))}"
    _unless_it_fails(
        lambda: evaluate_held_out(directory, recipe, console), "retrieval was not measured", again, console
    )


def _report(directory: RunDirectory, console: Console) -> None:
    """Write the report."""

    def write() -> None:
        write_report([directory], directory.report, console)
        console.say(f"report   {directory.report}")

    _unless_it_fails(write, "the report was not written", f"askew report {directory.path}", console)


def _unless_it_fails(do: Callable[[], None], what: str, again: str, console: Console) -> None:
    """The run is finished and everything of it is kept: nothing that fails here may fail it."""
    try:
        do()
    except Exception as error:
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}{place_of(error)}"
        console.warn(f"{what} ({printable(reason, 400)}); try again: {again}")


def reporter_of(console: Console) -> Reporter:
    """What the loop reports, shown on a console."""
    return Reporter(console.say, console.progress)


def starting_weights(trainer: Trainer) -> Weights | None:
    """What `evaluate_before` evaluates; None where the recipe does not ask for it. Every rank enters."""
    suite = trainer.recipe.evaluation
    is_asked = suite.before and suite.suite != "none" and trainer.done == 0
    return weights_on_main(trainer.method) if is_asked else None


def evaluate_before(trainer: Trainer, weights: Weights | None, directory: RunDirectory, console: Console) -> None:
    """Run the suite on the weights that training starts from, where the recipe asks for it (`evaluation.before`)."""
    if weights is None:
        return
    suite, start = trainer.recipe.evaluation, directory.starting_model
    start.mkdir(exist_ok=True)
    with writing("the starting model", start):
        save_models(trainer.method, trainer.recipe.towers, start, weights=weights)
    directory.results_before.path.unlink(missing_ok=True)  # of a run that was stopped before its first checkpoint
    console.say("before   the weights that training starts from:")
    model = f"local-dir:{start / directory.model().name}"
    evaluate_tiny(model, "student", console, directory.results_before.path, suite.batch_size)
    shutil.rmtree(start)


def record_facts(trainer: Trainer, directory: RunDirectory) -> None:
    """Keep what the run found at its start, for its report."""
    write_facts(directory, facts_of(trainer, _towers(trainer.recipe.towers, trainer.loader.views)))


def announce(trainer: Trainer, directory: RunDirectory, console: Console) -> None:
    """Say what is about to happen, and what a loss at chance level is."""
    recipe, loader, schedule = trainer.recipe, trainer.loader, trainer.schedule
    parameters = sum(p.numel() for p in trainer.method.parameters() if p.requires_grad) / 1e6
    resumed = f" (from step {trainer.done})" if trainer.done else ""
    samples = loader.batch_size * (schedule.total - trainer.done)
    levels = ", ".join(f"{k} {v:.3f}" for k, v in trainer.method.loss_at_chance(loader.batch_size).items())
    lines = [
        f"run      {directory.path}",
        f"data     {loader.source.describe}",
        f"method   {recipe.method.name}, {parameters:.1f} M trained parameters, {trainer.device}, "
        f"{recipe.train.precision}",
        f"towers   {_towers(recipe.towers, loader.views)}",
        f"plan     {schedule.total:,} steps of {loader.batch_size}{resumed}, {samples:,} samples, "
        f"{schedule.total / loader.steps_per_epoch:.1f} epochs",
    ]
    if schedule.is_open:
        lines.append(
            f"plan     fewer steps if these do not fit into train.minutes={recipe.train.minutes:g}: "
            "the first steps are timed"
        )
    elif schedule.extended_at:
        lines.append(_extension(schedule))
    elif schedule.settled_at:
        lines.append(f"plan     settled by train.minutes={recipe.train.minutes:g} at step {schedule.settled_at}")
    elif schedule.total < schedule.requested:
        lines.append(
            f"plan     train.max_steps={schedule.total} ends before the {schedule.requested:,} steps of train.epochs"
        )
    if trainer.measuring.held_out is not None:
        lines.append(f"held-out {trainer.measuring.held_out.describe}")
    if isinstance(trainer.measuring.evaluation, During):
        lines.append(f"eval     {trainer.measuring.evaluation.describe}")
    lines.append(f"chance   {levels} (the loss of a model that has learned nothing)")
    for line in lines:
        console.say(line)
    _warn_of_long_captions(trainer, console)


def _extension(schedule: Schedule) -> str:
    """What an extension does to all that depends on the schedule."""
    start, config = schedule.extended_at, schedule.config
    rise = (
        f"rises again to {config.learning_rate:g} over {schedule.warmup:,} steps"
        if schedule.warmup
        else (f"starts again at {config.learning_rate:g}")
    )
    return (
        f"plan     extended at step {start:,}: the learning rate {rise} and falls to {config.min_learning_rate:g} at "
        f"step {schedule.total:,}; what a method does by k / T (MCD's fading, a teacher's momentum) continues from "
        f"{start:,} / {schedule.total:,} = {start / schedule.total:.2f}, not from 1"
    )


def _towers(towers: TowerSettings, views: Views) -> str:
    """Which towers are trained, and from what."""
    name = towers.model or towers.vision_cfg.get("timm_model_name", "a ViT given in full")
    if text := towers.text_cfg.get("hf_model_name"):
        name += f" with the text tower {printable(text, 400)}"
    start = f"the weights of {towers.pretrained}" if towers.pretrained else "random weights"
    if towers.text_cfg.get("hf_model_pretrained") and not towers.pretrained:
        start += " and the text tower's own"
    if towers.pretrained and towers.token_std != TowerSettings().token_std:
        start += ", token embeddings included: towers.token_std is not used"
    if changed := changed_sizes(towers):
        interpolated = "timm_model_name" not in towers.vision_cfg or any("tokens" in text for text in changed)
        start += f" (another size: {', '.join(changed)}{'; positions are interpolated' if interpolated else ''})"
    lock = ""
    for side, blocks in (("image", towers.unlock_image_blocks), ("text", towers.unlock_text_blocks)):
        if towers.lock in (side, "both"):
            last = f", except its last {blocks} blocks and what follows them" if blocks else ""
            lock += f"; the {side} tower keeps its weights{last}"
    size, context = views.images[0].size, views.tokens.context_length
    return f"{name}, images of {size} px, captions of {context} tokens, from {start}{lock}"


def _warn_of_long_captions(trainer: Trainer, console: Console) -> None:
    """Warn where captions are too long for the text tower, judging by the first ones."""
    source, tokens = trainer.loader.source, trainer.loader.views.tokens
    captions: list[str] = []
    for index in range(min(LOOKED_AT, len(source))):
        with suppress(Exception):  # what is wrong with a sample is for the loader to report
            captions += source[index].captions
    cut = sum(tokens.cuts(caption) for caption in captions)
    if cut:
        console.warn(
            f"{cut} of the first {len(captions)} captions are longer than the text tower's context of "
            f"{tokens.context_length} tokens and are cut off there; raise towers.text_cfg.context_length"
        )
