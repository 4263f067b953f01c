"""Commands that train: `train`, `study`, and `recipes`, which lists what they train."""

import json
from pathlib import Path
from typing import Annotated

import typer

from askew.cli.app import Sets, app
from askew.errors import UserError


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


@app.command()
def study(
    file: Annotated[Path, typer.Argument(help="A YAML file: recipes with their settings, and seeds.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the runs. Default: runs/study-NAME.")] = None,
) -> None:
    """Run several recipes and seeds, and print one table. Run the same command again to continue after a stop."""
    from askew.report.console import Console
    from askew.runs.studies.run import run_study

    console = Console()
    console.print(run_study(file, out, console))


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
