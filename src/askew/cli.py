"""The command line. It parses, calls one function, and turns an outcome into an exit code; heavy imports are lazy.

Exit codes: 0 done; 2 the user can mend it (one line, no traceback); 3 the run failed; 130, 143 after saving on Ctrl-C
and SIGTERM; 1 our fault.
"""

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
    data: Annotated[str | None, typer.Option(help="Table, Parquet, or `embedded`; over the recipe's.")] = None,
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
        chosen = config.override(chosen, [*(sets or []), *([f"data.source={data}"] if data else [])])
    run.train(chosen, out, resume, console)


@app.command(name="eval")
def evaluate(
    model: Annotated[str, typer.Argument(help="A run directory, local-dir:FOLDER, or NAME or NAME/TAG of open_clip.")],
    suite: Annotated[str, typer.Option(help="tiny")] = "tiny",
    weights: Annotated[str, typer.Option(help="student, or the momentum teacher of a run.")] = "student",
    out: Annotated[Path | None, typer.Option(help="Append results here (default: the run's results.jsonl).")] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 256,
) -> None:
    """Evaluate a model and print its table."""
    from askew import run
    from askew.console import Console

    if weights not in ("student", "teacher"):
        raise UserError(f"--weights {weights!r} is not known; use student or teacher")
    run.evaluate(model, suite, weights, Console(), out, batch_size)


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
