"""The command line. It parses, calls one function, and turns an outcome into an exit code. Heavy imports are lazy.

Exit codes: 0 done; 2 the user can fix it (one line, no traceback); 3 the run failed; 130 and 143 after saving on Ctrl-C
and SIGTERM; 1 a bug in askew.
"""

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from askew import __version__
from askew.errors import Interrupted, RunFailed, Stopped, UserError, is_launched, printable, stopping
from askew.report.streams import unfailing

app = typer.Typer(
    help="Language-image pretraining that learns from misalignment.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

data_app = typer.Typer(no_args_is_help=True, help="Look at data before training.")
app.add_typer(data_app, name="data")

Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one setting; may be repeated.")
]


def _version(wanted: bool) -> None:
    if wanted:
        from askew.report.console import Console

        Console().print(f"askew {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def train(
    recipe: Annotated[
        str | None, typer.Argument(help="A recipe's name, a YAML file, or module:function. Default: tiny.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="A table, Parquet, tar shards, a folder, `embedded`, or module:function. Default: the recipe's."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run directory. Default: a new runs/RECIPE-NNN.")] = None,
    sets: Sets = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume the run in --out (default: the recipe's newest).")
    ] = False,
    extend_to: Annotated[
        float | None,
        typer.Option(metavar="EPOCHS", help="With --resume: train a finished run on, to so many epochs in all."),
    ] = None,
) -> None:
    """Train a model with a recipe, save it, and evaluate it."""
    from askew import recipes
    from askew.distributed import is_main
    from askew.recipes.settings import override
    from askew.report.console import Console
    from askew.runs.directory import RunDirectory
    from askew.runs.resume import resume as resume_run
    from askew.runs.train import start

    console = Console(quiet=not is_main())
    changes = [*(sets or []), *([f"data.source={json.dumps(data)}"] if data else [])]
    if extend_to is not None and not resume:
        raise UserError("--extend-to trains a finished run on; name it: --resume --out RUN --extend-to EPOCHS")
    if not resume:
        start(override(recipes.find(recipe or "tiny"), changes), out, console)
    elif recipe is None and out is not None:
        recorded = RunDirectory.open(out).read_recipe()
        resume_run(override(recorded, changes) if changes else None, out, console, extend_to)
    else:
        resume_run(override(recipes.find(recipe or "tiny"), changes), out, console, extend_to)


@app.command(name="eval")
def evaluate(
    model: Annotated[str, typer.Argument(help="A run directory, local-dir:FOLDER, or NAME or NAME/TAG of open_clip.")],
    suite: Annotated[
        str, typer.Option(help="tiny, paper, or names of data sets separated by commas; module:ENTRY for one of yours.")
    ] = "tiny",
    data_root: Annotated[Path | None, typer.Option(help="The folder that holds the data sets.")] = None,
    data: Annotated[
        str | None, typer.Option(help="Custom data: a folder of class folders, or a source of images and captions.")
    ] = None,
    prompts: Annotated[
        str, typer.Option(help="For --data: 'a photo of a {}', or a file with one template per line.")
    ] = "",
    class_names: Annotated[
        str,
        typer.Option(metavar="FILE", help="For --data: names of class folders, 'FOLDER: NAME; SYNONYM' on each line."),
    ] = "",
    against: Annotated[
        str, typer.Option(help="For --data: report test images that are also in this training source.")
    ] = "",
    weights: Annotated[str, typer.Option(help="student, or teacher for the momentum teacher of a run.")] = "student",
    out: Annotated[
        Path | None, typer.Option(help="Append results to this file (default: the run's results.jsonl).")
    ] = None,
    tasks: Annotated[str, typer.Option(help="Tasks to run.")] = "zero_shot,linear_probe,retrieval,sugarcrepe",
    batch_size: Annotated[int, typer.Option(min=1, help="Images or texts that are encoded at once.")] = 256,
    precision: Annotated[str, typer.Option(help="fp32 or bf16.")] = "fp32",
    cache: Annotated[
        Path | None, typer.Option(help="Folder of cached features (default: in the user's cache folder).")
    ] = None,
    caption_prompt: Annotated[str, typer.Option(help="Template for captions in retrieval.")] = "{}",
    max_megapixels: Annotated[float, typer.Option(min=0.001, max=4000, help="Larger images cannot be used.")] = 64,
    allow_unreadable: Annotated[
        bool,
        typer.Option(
            "--allow-unreadable", help="Count unreadable images as wrong answers instead of refusing the data set."
        ),
    ] = False,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="For --data: how it is read, such as data.split=test."),
    ] = None,
) -> None:
    """Evaluate a model and print its tables."""
    from askew.distributed import is_main
    from askew.evaluation.suite import EvaluationOptions
    from askew.report.console import Console
    from askew.runs.evaluate import Request, default_cache
    from askew.runs.evaluate import evaluate as evaluate_model

    for option, value, known in (
        ("--weights", weights, ("student", "teacher")),
        ("--precision", precision, ("fp32", "bf16")),
    ):
        if value not in known:
            raise UserError(f"{option} {value!r} is not known; use {' or '.join(known)}")
    options = EvaluationOptions(tuple(tasks.split(",")), allow_unreadable, caption_prompt)
    asked = Request(model, suite, weights, out, batch_size, precision, data_root, data or "", prompts, against,
                    cache or default_cache(), class_names, tuple(sets or ()), options, max_megapixels)  # fmt: skip
    evaluate_model(asked, Console(quiet=not is_main()))


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="An evaluated run, a results file, or a folder of outcomes.")],
    b: Annotated[str, typer.Argument(help="The other.")],
) -> None:
    """Compare two models item by item: paired differences with 95 % intervals."""
    from askew.report.console import Console
    from askew.runs.compare import compare as compare_outcomes

    compare_outcomes(a, b, Console())


@app.command()
def study(
    file: Annotated[Path, typer.Argument(help="A YAML file: recipes with their settings, and seeds.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the runs. Default: runs/study-NAME.")] = None,
) -> None:
    """Run several recipes and seeds, and print one table. Run the same command again to continue after a stop."""
    from askew.report.console import Console
    from askew.runs.study import run_study

    console = Console()
    console.print(run_study(file, out, console))


@data_app.command(name="check")
def data_check(
    source: Annotated[str, typer.Argument(help="As --data of `train`: a table, shards, Parquet, a folder, ...")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    ranks: Annotated[int, typer.Option(min=1, help="Processes that will read it on this machine.")] = 1,
    limit: Annotated[int, typer.Option(min=1, help="Samples to look at, spread evenly.")] = 10_000,
    sets: Sets = None,
) -> None:
    """Show what is in a source, what cannot be used, and how fast this machine can feed a run from it."""
    from askew.report.console import Console
    from askew.runs.check import check_data

    check_data(source, sets or [], ranks, limit, as_json, Console())


@app.command(name="recipes")
def list_recipes(name: Annotated[str | None, typer.Argument(help="Print this recipe as YAML.")] = None) -> None:
    """List the recipes, or print one as YAML."""
    from askew import recipes
    from askew.report.console import Console

    console = Console()
    if name is not None:
        console.print(recipes.shown(name).removesuffix("\n"))
        return
    width = max(map(len, recipes.RECIPES))
    for known, function in recipes.RECIPES.items():
        console.print(f"{known:<{width}}  {(function.__doc__ or '').splitlines()[0]}")


def main() -> None:
    """Run the command line and exit with its code. Nothing that is printed can fail."""
    with unfailing() as out:
        code = _run()
        out.flush()
        if code == 0 and out.lost is not None:
            code = _end(UserError(f"standard output: {out.lost.strerror}; send it where there is room"), 2)
        _end_workers()
    sys.exit(code)


def _run() -> int:
    """The exit code of the command."""
    with stopping():
        try:
            app(standalone_mode=True)
        except SystemExit as done:
            return done.code if isinstance(done.code, int) else int(done.code is not None)
        except UserError as error:
            return _end(error, 2)
        except RunFailed as error:
            return _end(error, 3)
        except (Interrupted, Stopped) as error:
            return _end(error, 128 + error.signal_number, "stopped")
        except RuntimeError as error:
            if not (is_launched() and _lost_others(error)):
                raise
            return _end(error, 3)
    return 0


def _lost_others(error: RuntimeError) -> bool:
    from askew import distributed

    return distributed.lost_others(error)


def _end_workers() -> None:
    """At its end, the interpreter waits for every process that it has started, and one may hang."""
    if "multiprocessing" not in sys.modules:
        return
    children = sys.modules["multiprocessing"].active_children()
    with suppress(RuntimeError):  # PyTorch's, about a worker that was killed
        for child in children:
            child.join(2.0)
            child.kill()


def _end(error: BaseException, code: int, label: str = "error") -> int:
    """Print why the command ends; of several ranks one does. Returns the exit code."""
    text = str(error)
    if is_launched():
        from askew import distributed

        if not distributed.may_report(error):
            return code
        if distributed.lost_others(error):
            text = f"the other ranks are gone ({printable(' '.join(text.split()), 300)})"
        if label == "error" and distributed.hand_to_launcher(f"error: {printable(text, 4000)}"):
            return code
    from askew.report.console import Console

    Console().error(text, label)
    return code
