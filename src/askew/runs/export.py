"""The model of a run that has not written one: made from its newest whole checkpoint."""

from collections.abc import Callable
from pathlib import Path

from askew import distributed
from askew.config import TowerSettings
from askew.data.files import home_path
from askew.devices import choose_device
from askew.errors import UserError, printable, writing
from askew.runs.directory import WEIGHTS, RunDirectory
from askew.training.build import build_method
from askew.training.checkpoint import Checkpoint
from askew.training.export import save_models


def export_checkpoint(
    directory: RunDirectory, into: Callable[[int], Path], warn: Callable[[str], None] = lambda text: None
) -> tuple[Path, Checkpoint]:
    """Write `model/`, and `teacher/` where the method has one, of a run's newest whole checkpoint.

    Args:
        into: the folder to write to, for the step of the checkpoint. What it holds already is left as it is.
        warn: called with the name of every damaged checkpoint.

    Returns:
        The folder, and the checkpoint.

    Raises:
        UserError: there is no whole checkpoint, it does not fit the recorded recipe, or the folder cannot be written.
    """
    if directory.weights_removed:
        raise UserError(
            f"{printable(str(directory.path), 400)}: the weights of this run were removed (askew study --keep "
            "results); train it again in a new folder"
        )
    found = directory.latest_checkpoint(warn)
    if found is None:
        raise UserError(
            f"{printable(str(directory.path), 400)}: the run has neither a model nor a checkpoint to make one from; "
            f"resume it: askew train --resume --out {printable(str(directory.path), 400)}"
        )
    folder = into(found.step)
    if not (folder / WEIGHTS["student"]).is_dir():
        recipe = directory.read_recipe()
        method = build_method(recipe, pretrained=False)
        found.load_method(method)
        with writing("the model", folder):
            save_models(method, recipe.towers, folder)
    return folder, found


def weights_at(weights: str, found: Checkpoint) -> str:
    """What the protocol of a result calls these weights: `student at step 40 of 300`."""
    return f"{weights} at step {found.step} of {found.facts['total']}"


def pretrained_run(towers: TowerSettings, device: str, warn: Callable[[str], None]) -> TowerSettings:
    """`towers.pretrained=RUN` means RUN/model; of a run that is not finished, the model of its newest checkpoint.

    RUN/model and RUN/teacher may be named as well. Every other value is left as it is. Every rank enters.

    Raises:
        UserError: as `export_checkpoint`; or the run has no teacher.
    """
    path = home_path(towers.pretrained)
    directory, weights = RunDirectory(path), "student"
    for kind, name in WEIGHTS.items():
        if path.name == name and not path.exists() and RunDirectory(path.parent).exists:
            directory, weights = RunDirectory(path.parent), kind
    if not (towers.pretrained and directory.exists):
        return towers
    folder = directory.path
    if not directory.model().is_dir():
        distributed.start(choose_device(device))
        folder = distributed.from_main(lambda: export_checkpoint(directory, directory.exported, warn)[0])
    model = folder / WEIGHTS[weights]
    if not model.is_dir():
        raise UserError(f"towers.pretrained={printable(towers.pretrained, 400)}: the method of this run has no teacher")
    return towers.model_copy(update={"pretrained": str(model)})
