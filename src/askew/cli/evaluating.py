"""Commands that measure models: `eval` and `compare`."""

from pathlib import Path
from typing import Annotated

import typer

from askew.cli.app import PRECISIONS, WEIGHTS, BatchSize, DataSets, Model, Precision, app, check_choice


@app.command(name="eval")
def evaluate(
    model: Model,
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
    weights: Annotated[str, typer.Option(help="Of a run: student, teacher, or best (the best student).")] = "student",
    out: Annotated[
        Path | None, typer.Option(help="Append results to this file (default: the run's results.jsonl).")
    ] = None,
    tasks: Annotated[
        str, typer.Option(help="Tasks to run; there are also linear_probe_sgd, few_shot, word_order, wrong_captions.")
    ] = "zero_shot,linear_probe,retrieval,sugarcrepe,winoground",
    batch_size: BatchSize = 256,
    precision: Precision = "fp32",
    cache: Annotated[
        Path | None, typer.Option(help="Folder of cached features (default: in the user's cache folder).")
    ] = None,
    caption_prompt: Annotated[str, typer.Option(help="Template for captions in retrieval.")] = "{}",
    probe: Annotated[str, typer.Option(help="Solver of the linear probe: lbfgs or scikit-learn.")] = "lbfgs",
    max_megapixels: Annotated[float, typer.Option(min=0.001, max=4000, help="Larger images cannot be used.")] = 64,
    allow_unreadable: Annotated[
        bool,
        typer.Option(
            "--allow-unreadable", help="Count unreadable images as wrong answers instead of refusing the data set."
        ),
    ] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Leave out images that a set lists and that are not there.")
    ] = False,
    sets: DataSets = None,
) -> None:
    """Evaluate a model and print its tables."""
    from askew.distributed import is_main
    from askew.evaluation.suite import EvaluationOptions
    from askew.report.console import Console
    from askew.runs.evaluate import evaluate as evaluate_model
    from askew.runs.request import Request, default_cache

    check_choice("--weights", weights, WEIGHTS)
    check_choice("--precision", precision, PRECISIONS)
    options = EvaluationOptions(tuple(tasks.split(",")), allow_unreadable, caption_prompt, probe, allow_missing)
    asked = Request(model, suite, weights, out, batch_size, precision, data_root, data or "", prompts, against,
                    cache or default_cache(), class_names, tuple(sets or ()), options, max_megapixels)  # fmt: skip
    evaluate_model(asked, Console(quiet=not is_main()))


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="An evaluated run, a results file, or a folder of outcomes.")],
    b: Annotated[str, typer.Argument(help="The other. Several seeds: A0,A1,A2 B0,B1,B2.")],
) -> None:
    """Compare two models item by item: paired differences with 95 % intervals, across seeds if there are several."""
    from askew.report.console import Console
    from askew.runs.compare import compare as compare_outcomes

    compare_outcomes(a, b, Console())
