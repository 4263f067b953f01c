"""Commands that train: `train`, `study`, `replay`, and `recipes`, which lists what they train."""

from pathlib import Path
from typing import Annotated

import typer

from askew.cli.app import WEIGHTS, Sets, app, check_choice
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
    from askew.distributed import is_main
    from askew.recipes.settings import parsed
    from askew.report.console import Console
    from askew.runs.launch import launch

    settings = [*map(parsed, sets or []), *([("data.source", data)] if data else [])]
    launch(recipe, "tiny", settings, out, Console(quiet=not is_main()), resume, extend_to)


@app.command(name="finetune-retrieval")
def finetune_retrieval(
    model: Annotated[str, typer.Argument(help="A run directory, local-dir:FOLDER, or NAME/TAG of open_clip.")],
    suite: Annotated[str, typer.Option(help="flickr30k, coco, or both with a comma.")] = "",
    data_root: Annotated[Path | None, typer.Option(help="The folder that holds the data sets of --suite.")] = None,
    data: Annotated[str, typer.Option(help="Captioned images of your own to train on, or data that name splits.")] = "",
    validation: Annotated[
        str, typer.Option(help="For --data: others to choose the learning rate on, or a share of them, such as 0.1.")
    ] = "",
    test: Annotated[str, typer.Option(help="For --data: others to test on. Default: the split test.")] = "",
    out: Annotated[
        Path | None, typer.Option(help="Folder of the runs. Default: a new runs/finetune-retrieval-NNN.")
    ] = None,
    rates: Annotated[str, typer.Option(help="Learning rates to try.")] = "1e-5,3e-5,5e-5",
    weights: Annotated[str, typer.Option(help="Of a run: student, teacher, or best (the best student).")] = "student",
    sets: Sets = None,
) -> None:
    """Fine-tune a model for retrieval, choose its learning rate on validation images, and test it.

    Run the same command again, with the same --out, to continue after a stop.
    """
    from askew.distributed import is_main
    from askew.report.console import Console
    from askew.runs.finetuning.run import FineTuneRequest
    from askew.runs.finetuning.run import finetune_retrieval as fine_tune

    check_choice("--weights", weights, WEIGHTS)
    asked = FineTuneRequest(model, suite, data_root, data, validation, test, weights, _rates(rates), tuple(sets or ()))
    fine_tune(asked, out, Console(quiet=not is_main()))


@app.command()
def replay(
    path: Annotated[Path, typer.Argument(metavar="RUN", help="A run that failed, its folder `fault`, or one step.")],
    sets: Sets = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or mps.")] = "cpu",
) -> None:
    """Take the step again at which a run ended with a loss or gradient that is not finite, and say where it began."""
    from askew.report.console import Console
    from askew.runs.replay import replay as take_again

    check_choice("--device", device, ("cpu", "cuda", "mps"))
    take_again(path, sets or [], device, Console())


def _rates(text: str) -> tuple[float, ...]:
    """Learning rates, separated by commas."""
    try:
        found = tuple({f"{float(part):g}": float(part) for part in text.split(",")}.values())  # folders are named so
    except ValueError:
        found = ()
    if not found or not all(0 < rate < 1 for rate in found):
        raise UserError(f"--rates {text!r}: numbers between 0 and 1 are needed, with commas between them: 1e-5,3e-5")
    return found


@app.command()
def study(
    file: Annotated[
        Path, typer.Argument(metavar="FILE|DIR", help="A YAML file: recipes, settings, seeds; or a record of a study.")
    ],
    out: Annotated[Path | None, typer.Option(help="Folder of the runs. Default: runs/study-NAME.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time, each on its share of the cores.")] = 1,
    record: Annotated[
        Path | None, typer.Option(help="Folder of the record, which tables are made of. Default: record in --out.")
    ] = None,
    keep: Annotated[str, typer.Option(help="What stays of finished runs: all, models, or results.")] = "models",
    row: Annotated[
        list[str] | None, typer.Option(metavar="ROW", help="Run this row alone. Can be given several times.")
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option(metavar="N", help="Run this seed alone. Can be given several times.")
    ] = None,
    only: Annotated[str, typer.Option(hidden=True, help="One run, for --jobs; it ends with standard input.")] = "",
) -> None:
    """Run several recipes and seeds, and print tables of them. Run the same command again to continue after a stop.

    Of the folder of a record, print the tables again, and run nothing.
    """
    from askew.report.console import Console
    from askew.runs.studies.jobs import run_child
    from askew.runs.studies.one import KEEP
    from askew.runs.studies.run import run_study, tabulate

    check_choice("--keep", keep, KEEP)
    if only:
        run_child(file, out or file.parent, only, keep, Console())
    elif not file.is_dir():
        run_study(file, out, Console(), jobs, record, keep, row or (), seed or ())
    elif out is not None or record is not None or jobs > 1 or row or seed:
        raise UserError(
            f"{file} is a folder: its tables are made again, and --out, --record, --jobs, --row and --seed belong to "
            "runs; give the study's YAML file"
        )
    else:
        tabulate(file, Console())


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
