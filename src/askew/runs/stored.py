"""What `askew embed` and `askew search` have in common: a model and a source brought together in the store."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from askew import distributed
from askew.config import DataSettings, Recipe
from askew.data.images import PixelLimit
from askew.data.sources import open_source
from askew.devices import choose_device
from askew.errors import UserError, printable
from askew.evaluation.model import Encoders
from askew.evaluation.streaming import Embeddings
from askew.methods.mcd import MCD
from askew.recipes.settings import override
from askew.report.console import Console
from askew.runs.evaluate import load_model
from askew.runs.progress import PassProgress
from askew.runs.request import default_cache


@dataclass(frozen=True)
class StoreRequest:
    """What was asked for on the command line.

    Attributes:
        model: a run directory, local-dir:FOLDER, or NAME or NAME/TAG of open_clip.
        data: a source, as `askew train --data` takes it.
        sets: KEY=VALUE settings of how it is read (`data.split=all`).
        cache: the folder of the store; None: in the user's cache folder.
        unchanged: take the embeddings of the last command on these data, and compare some samples only.
    """

    model: str
    data: str
    sets: tuple[str, ...] = ()
    weights: str = "student"
    batch_size: int = 256
    precision: str = "fp32"
    cache: Path | None = None
    unchanged: bool = False


class Store:
    """Inside `with`, a model and a source; `make` then embeds the source. Ranks that torchrun started share the work.

    Attributes:
        embeddings, encoders: of the source, and the model.

    Raises:
        UserError: the source cannot be opened, there is no such model, or no folder for the cache.
    """

    embeddings: Embeddings
    encoders: Encoders

    def __init__(self, asked: StoreRequest, console: Console):
        self.asked, self.console = asked, console

    def __enter__(self) -> "Store":
        settings = data_settings(self.asked.sets)
        PixelLimit(settings.max_megapixels, "--set data.max_megapixels={}").apply()
        folder = self.asked.cache or default_cache()
        if folder is None:
            raise UserError("there is no cache folder for embeddings; name one with --cache DIR")
        source = open_source(self.asked.data, settings.options)  # before the model: what is wrong shows at once
        for note in source.notes:
            self.console.say(f"data     {note}")
        device = choose_device("auto")
        distributed.start(device)
        asked, warn = self.asked, self.console.warn
        try:
            self.encoders = load_model(asked.model, device, asked.weights, asked.batch_size, asked.precision, warn)
        except BaseException:
            distributed.stop()
            raise
        ticks = PassProgress(self.console, "embedding")
        self._called = json.dumps([os.getcwd(), self.asked.data, asdict(settings.options)])
        self.embeddings = Embeddings(source, self.encoders, folder, ticks.tick, warn)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.console.close()
        distributed.stop()

    def make(self) -> None:
        """Embed the source, and say what was done and what cannot be used."""
        made, called = self.embeddings, self._called
        if self.asked.unchanged and distributed.from_main(lambda: made.recall(called)):
            self.console.say(f"embedded {len(made):,} samples, as they were: the data were not read again")
            return
        if self.asked.unchanged:
            self.console.say("data     not embedded yet, or changed since then: all of it is read")
        made.make()
        distributed.on_main(lambda: made.remember(called))
        self.console.close()
        unusable = len(made) - made.readable
        if unusable:
            self.console.warn(f"{unusable:,} of {len(made):,} samples cannot be used; the first: {made.problem}")
        line = f"embedded {len(made):,} samples, {made.reused:,} of them from the cache"
        wait = f"; data wait {made.data_wait:.0%}" if made.reused < len(made) else ""
        self.console.say(f"{line}{wait}")


def data_settings(sets: tuple[str, ...]) -> DataSettings:
    """How `--data` is read, from KEY=VALUE settings.

    Raises:
        UserError: a setting of something else, or one that is wrong.
    """
    for setting in sets:
        key = setting.partition("=")[0].strip()
        if not key.startswith("data.") or key in ("data.source", "data.equal_captions"):
            raise UserError(
                f"--set {printable(setting)}: only settings of how --data is read can be changed here, such as "
                "data.split=all"
            )
    return override(Recipe(name="store", method=MCD.Config()), list(sets)).data
