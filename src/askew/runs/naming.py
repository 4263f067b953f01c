"""What a user's own data is called in results: two data sets never share a name, so `compare` never mixes them."""

import hashlib
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from askew.data.sources.base import path_bytes
from askew.evaluation.results import Result, ResultsFile
from askew.report.console import Console


def own_name(
    name: str, place: str, protocol: dict[str, Any], earlier: Iterable[dict[str, Any]], reserved: Collection[str]
) -> str:
    """The data set's own name, unless it is reserved or an earlier result has it for other data.

    Then the name of the folder is put in front. If that is taken as well, a hash of the images follows the name. Data
    is the same if it is at the same place, or has the same images and captions.

    Args:
        place: the absolute path of the data.
        protocol: of one of its results.
        earlier: the lines of the results file.
        reserved: names that have a fixed meaning, such as those of the catalogue.
    """
    taken = set(reserved)
    for line in earlier:
        theirs = line.get("protocol", {})
        if not _same_data(theirs, {**protocol, "data": place}):
            taken.add(theirs.get("dataset", ""))
    beside = f"{Path(place).parent.name or 'data'}-{name}"
    images = _test_images(protocol) or hashlib.sha256(path_bytes(place)).hexdigest()
    return next((choice for choice in (name, beside) if choice not in taken), f"{name}-{images[:8]}")


def _same_data(one: dict[str, Any], other: dict[str, Any]) -> bool:
    if one.get("data") == other["data"]:
        return True
    images = _test_images(one)
    same_images = images != "" and images == _test_images(other)
    return same_images and one.get("captions_sha256") == other.get("captions_sha256")


def _test_images(protocol: dict[str, Any]) -> str:
    return (protocol.get("images_sha256") or {}).get("test", "")


@dataclass
class CustomName:
    """Puts the results of `--data` under a name of their own.

    Attributes:
        data: as it was typed.
        target: the results file, whose names are taken; None without one.
    """

    data: str
    target: ResultsFile | None
    console: Console
    _chosen: str = field(default="", init=False)

    def __call__(self, name: str, result: Result) -> Result:
        """The result under the chosen name, and with the place of the data in its protocol."""
        place = os.path.abspath(os.path.expanduser(self.data))
        if not self._chosen:
            from askew.evaluation.datasets import catalog  # the readers of the catalogue take time to import

            earlier = self.target.read() if self.target is not None else []
            self._chosen = own_name(name, place, result.protocol, earlier, catalog.names())
            if self._chosen != name:
                owner = "a set of the catalogue" if name in catalog.names() else "other data in the results file"
                self.console.say(f"{name}: called {self._chosen} in the results, because {owner} is called {name}")
        facts = {"dataset": self._chosen, "data": place}
        task = self._chosen + result.task.removeprefix(name)
        return replace(result, task=task, protocol={**result.protocol, **facts})
