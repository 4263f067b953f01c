"""What a run is recorded with beside its own files: TensorBoard, Weights & Biases, trackio.

Each is a thin adapter around an optional package (`pip install 'askew[wandb]'`). They may raise anything at any call:
runs/tracking.py reports it and leaves the tracker out. All of them write from threads or processes of their own, so a
step does not wait for a network.
"""

import io
import netrc
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol
from urllib.parse import urlsplit
from uuid import uuid4

from askew.config import Recipe
from askew.data.files import write_text
from askew.recipes.settings import to_yaml
from askew.runs.directory import RunDirectory

PROJECT = "askew"  # under which the trackers that know projects list a run
FLUSH_SECONDS = 10  # until TensorBoard sees a logged line
LONGEST_WAIT = 30.0  # seconds for the network of Weights & Biases, before the first step and after the last
WANDB_HOST = "api.wandb.ai"


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is made for: a run, its recipe, and the steps that were taken before this session."""

    directory: RunDirectory
    recipe: Recipe
    done: int

    @property
    def config(self) -> dict[str, Any]:
        """The recipe as plain data."""
        return self.recipe.model_dump(mode="json")


class Tracker(Protocol):
    """One of the packages, open for one run."""

    how_to_look: str  # in one line

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Record the numbers of a step."""
        ...

    def finish(self, step: int, summary: Mapping[str, float], failed: bool) -> None:
        """Write what is left, and the results of a run that ended after `step` steps."""
        ...


class TensorBoard:
    """Event files in RUN/tensorboard. A resumed run continues there: steps that are taken again replace the old."""

    def __init__(self, record: TrackedRun):
        from torch.utils.tensorboard import SummaryWriter

        folder = record.directory.tracked("tensorboard")
        purged = record.done + 1 if folder.exists() else None
        self._writer = SummaryWriter(str(folder), purge_step=purged, flush_secs=FLUSH_SECONDS)
        code = "".join(f"    {line}\n" for line in to_yaml(record.recipe).splitlines())
        self._writer.add_text("recipe", code, record.done)
        self.how_to_look = f"tensorboard --logdir {folder}"

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """One scalar per number."""
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def finish(self, step: int, summary: Mapping[str, float], failed: bool) -> None:
        """Results are scalars of the last step."""
        self.log(step, summary)
        self._writer.close()


class WeightsAndBiases:
    """A run of Weights & Biases, whose files are in RUN/wandb. It is recorded offline where nobody is logged in.

    WANDB_MODE, WANDB_PROJECT, WANDB_ENTITY and a login by `wandb login` are read as always. The run's id is kept, so a
    resumed run continues the same record.
    """

    def __init__(self, record: TrackedRun):
        wandb = import_module("wandb")
        directory = record.directory
        offline = not _logged_in_to_wandb(wandb.setup().settings)
        settings = wandb.Settings(
            silent=True, console="off", save_code=False, init_timeout=LONGEST_WAIT, finish_timeout=LONGEST_WAIT
        )
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=directory.path.name,
            id=_id_of(directory),
            resume="allow",
            dir=str(directory.path),
            config=record.config,
            allow_val_change=True,
            mode="offline" if offline and os.environ.get("WANDB_MODE") != "disabled" else None,  # never ask for a key
            settings=settings,
        )
        sync = f"recorded offline; upload it by `wandb sync {directory.tracked('wandb')}/*-run-*`"
        self.how_to_look = sync if self._run.offline else self._run.url or "WANDB_MODE=disabled records nothing"

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """One row."""
        self._run.log(dict(numbers), step=step)

    def finish(self, step: int, summary: Mapping[str, float], failed: bool) -> None:
        """Results go to the summary."""
        self._run.summary.update(dict(summary))
        self._run.finish(exit_code=int(failed))


class Trackio:
    """A run in the local database of trackio: in TRACKIO_DIR, or in RUN/trackio if it is not set."""

    def __init__(self, record: TrackedRun):
        directory = record.directory
        folder = os.environ.get("TRACKIO_DIR") or str(directory.tracked("trackio").resolve())
        with _environment("TRACKIO_DIR", folder), _as_errors():
            # It reads TRACKIO_DIR when it is imported, and a study has several runs in one process
            for module in [name for name in sys.modules if name == "trackio" or name.startswith("trackio.")]:
                del sys.modules[module]
            self._trackio = import_module("trackio")
            self._run = self._trackio.init(
                PROJECT,
                name=directory.path.name,
                config=record.config,
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        self.how_to_look = f"TRACKIO_DIR={folder} trackio show --project {PROJECT}"

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """One row."""
        with _as_errors():
            self._run.log(dict(numbers), step=step)

    def finish(self, step: int, summary: Mapping[str, float], failed: bool) -> None:
        """Results are numbers of the last step."""
        if summary:
            self.log(step, summary)
        with _as_errors():
            self._trackio.finish()  # and not the run's, which would be finished again when the process ends


TRACKERS: dict[str, Callable[[TrackedRun], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "trackio": Trackio,
}


def _id_of(directory: RunDirectory) -> str:
    """The run's id at Weights & Biases: the one that was kept, or a new one, which is kept."""
    file = directory.wandb_id
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        write_text(file, uuid4().hex[:8])
    return file.read_text(encoding="utf-8").strip()


def _logged_in_to_wandb(settings: Any) -> bool:
    """Whether there is a key or token in the environment, or in the .netrc that `wandb login` writes."""
    if getattr(settings, "api_key", None) or getattr(settings, "identity_token_file", None):
        return True
    path = os.environ.get("NETRC") or os.path.expanduser("~/.netrc")
    try:
        known = netrc.netrc(path)
    except (OSError, netrc.NetrcParseError):
        return False
    hosts = (urlsplit(str(getattr(settings, "base_url", ""))).netloc, WANDB_HOST)
    return any(known.authenticators(host) for host in hosts if host)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Inside, an environment variable has this value."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextmanager
def _as_errors() -> Iterator[None]:
    """Inside, nothing is printed, and a warning is raised when the block ends: trackio only warns of what it lost."""
    with warnings.catch_warnings(record=True) as caught, redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        yield
    if caught:
        raise RuntimeError(str(caught[0].message))
