"""Whether the data of a resumed run are those that it began with, regardless of where they lie now."""

from typing import Any

from askew.data.sources import Source
from askew.data.sources.probe import position, probed
from askew.errors import UserError, printable


def contents_of(source: Source) -> dict[str, Any]:
    """`num`, the number of samples; `order`, what their order depends on; `samples`: some of them as hashes."""
    return {"num": len(source), "order": [source.block, source.window], "samples": probed(source)}


def refuse_other_data(where: str, facts: dict[str, Any], source: Source, names: str, contents: dict[str, Any]) -> None:
    """Compare what a checkpoint recorded with the data as they are now.

    Args:
        where: the checkpoint, for messages.
        facts: of the checkpoint: `contents`, and the hash `data` of the names of samples. Older ones have only names.
        names: the same hash of the present data.

    Raises:
        UserError: the number of samples, or any sample that both could read, differs.
    """
    then = facts.get("contents", {"num": contents["num"], "samples": []})
    remedy = "resume with the same data, or start a new run"
    if then["num"] != contents["num"]:
        raise UserError(
            f"{where}: the data are not those that the run began with: {then['num']:,} samples then, "
            f"{contents['num']:,} now; {remedy}"
        )
    if then.get("order", contents["order"]) != contents["order"]:
        raise UserError(
            f"{where}: the data are not those that the run began with: their files are divided otherwise (row groups "
            f"of Parquet), which changes the order of samples; {remedy}"
        )
    compared = 0
    for place, (old, new) in enumerate(zip(then["samples"], contents["samples"], strict=False)):
        compared += old is not None and new is not None
        if old is not None and new is not None and old != new:
            name = printable(source.name(position(place, contents["num"])))
            raise UserError(
                f"{where}: the data are not those that the run began with: {name} is another image, or has another "
                f"name or other captions; {remedy}"
            )
    if 2 * compared < len(contents["samples"]) and facts.get("data", names) != names:
        raise UserError(
            f"{where}: the data are not those that the run began with (another number of samples, or other "
            f"samples in their places); {remedy}"
        )
