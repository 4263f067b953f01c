"""The command line. It parses, calls one function, and turns an outcome into an exit code; heavy imports are lazy.

Exit codes: 0 done; 2 the user can mend it (one line, no traceback); 3 the run failed; 130, 143 after saving on Ctrl-C
and SIGTERM; 1 our fault.
"""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from askew import __version__
from askew.errors import Interrupted, RunFailed, UserError

app = typer.Typer(
    help="Language-image pretraining that learns from misalignment.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

data_app = typer.Typer(no_args_is_help=True, help="Look at data before training.")
app.add_typer(data_app, name="data")

Sets = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one field; may repeat.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"askew {__version__}")
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
        str | None, typer.Argument(help="A name, a YAML file, or module:function. Default: tiny.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Table, Parquet, tar shards, folder, or `embedded`; over the recipe's.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run directory. Default: a new runs/RECIPE-NNN.")] = None,
    sets: Sets = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out (default: the newest).")
    ] = False,
) -> None:
    """Train a model by a recipe, save it, evaluate it."""
    from askew import config, recipes, run
    from askew.console import Console
    from askew.distributed import is_main

    console = Console(quiet=not is_main())
    chosen = None
    if recipe is not None or out is None or not resume:
        chosen = recipes.find(recipe or "tiny")
    elif sets or data:
        chosen = config.from_yaml(run.recipe_file(out))
    if chosen is not None:
        chosen = config.override(chosen, [*(sets or []), *([f"data.source={json.dumps(data)}"] if data else [])])
    run.train(chosen, out, resume, console)


@app.command(name="eval")
def evaluate(
    model: Annotated[str, typer.Argument(help="A run directory, local-dir:FOLDER, or NAME or NAME/TAG of open_clip.")],
    suite: Annotated[str, typer.Option(help="tiny, paper, or names of data sets with commas.")] = "tiny",
    data_root: Annotated[Path | None, typer.Option(help="The folder that the data sets lie in.")] = None,
    data: Annotated[
        str | None, typer.Option(help="Your own: a folder of class folders, or a source of images and captions.")
    ] = None,
    prompts: Annotated[str, typer.Option(help="For --data: 'a photo of a {}', or a file of one a line.")] = "",
    against: Annotated[str, typer.Option(help="For --data: name test images that stand in this source too.")] = "",
    weights: Annotated[str, typer.Option(help="student, or the momentum teacher of a run.")] = "student",
    out: Annotated[Path | None, typer.Option(help="Append results here (default: the run's results.jsonl).")] = None,
    tasks: Annotated[str, typer.Option(help="Which tasks.")] = "zero_shot,linear_probe,retrieval,sugarcrepe",
    batch_size: Annotated[int, typer.Option(min=1)] = 256,
    precision: Annotated[str, typer.Option(help="fp32 or bf16.")] = "fp32",
    cache: Annotated[Path | None, typer.Option(help="Folder of features (default: in the user's cache).")] = None,
    caption_prompt: Annotated[str, typer.Option(help="What captions are put into for retrieval.")] = "{}",
    allow_unreadable: Annotated[
        bool, typer.Option("--allow-unreadable", help="Count images that cannot be read as wrong.")
    ] = False,
) -> None:
    """Evaluate a model and print its tables."""
    from askew.assess import Request, assess, default_cache
    from askew.console import Console
    from askew.distributed import is_main
    from askew.evaluation.suite import Options

    for option, value, known in (
        ("--weights", weights, ("student", "teacher")),
        ("--precision", precision, ("fp32", "bf16")),
    ):
        if value not in known:
            raise UserError(f"{option} {value!r} is not known; use {' or '.join(known)}")
    options = Options(tuple(tasks.split(",")), allow_unreadable, caption_prompt)
    asked = Request(model, suite, weights, out, batch_size, precision, data_root, data or "", prompts, against,
                    cache or default_cache(), options)  # fmt: skip
    assess(asked, Console(quiet=not is_main()))


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="An evaluated run, a results file, or a folder of outcomes.")],
    b: Annotated[str, typer.Argument(help="The other.")],
) -> None:
    """Compare two models item by item: paired differences with 95 % intervals."""
    from askew.assess import compare as compare_outcomes
    from askew.console import Console

    compare_outcomes(a, b, Console())


@app.command()
def study(
    file: Annotated[Path, typer.Argument(help="A YAML file of rows: recipes with their settings, and seeds.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the runs. Default: runs/study-NAME.")] = None,
) -> None:
    """Run several recipes and seeds, and print one table; stopped, the same command goes on."""
    from askew.console import Console
    from askew.study import run_study

    typer.echo(run_study(file, out, Console()))


@data_app.command(name="check")
def data_check(
    source: Annotated[str, typer.Argument(help="As --data of `train`: table, shards, Parquet, folder, ...")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object in place of lines.")] = False,
    ranks: Annotated[int, typer.Option(min=1, help="Processes on this machine that will share it.")] = 1,
    limit: Annotated[int, typer.Option(min=1, help="Samples to look at, spread evenly.")] = 10_000,
    sets: Sets = None,
) -> None:
    """Say what is in a source, what is broken, and how fast this machine feeds a run from it."""
    from askew import run
    from askew.console import Console

    run.check_data(source, sets or [], ranks, limit, as_json, Console())


@app.command(name="recipes")
def list_recipes(name: Annotated[str | None, typer.Argument(help="Print this one as YAML.")] = None) -> None:
    """List the recipes, or print one as YAML."""
    from askew import recipes

    if name is not None:
        typer.echo(recipes.shown(name), nl=False)
        return
    width = max(map(len, recipes.RECIPES))
    for known, function in recipes.RECIPES.items():
        typer.echo(f"{known:<{width}}  {(function.__doc__ or '').splitlines()[0]}")


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        app(standalone_mode=True)
    except UserError as error:
        _end(str(error), 2)
    except RunFailed as error:
        _end(str(error), 3)
    except KeyboardInterrupt:
        _end("stopped", 130)
    except Interrupted as error:
        _end(str(error), 128 + error.signal_number, label="stopped")


def _end(text: str, code: int, label: str = "error") -> None:
    from askew.console import Console

    Console().error(text, label)
    sys.exit(code)
