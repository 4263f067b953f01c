"""The columns of a table that hold images and captions: found by name, or named by the user."""

import re
from collections.abc import Sequence
from pathlib import Path

from askew.data.sources.base import SourceOptions
from askew.errors import UserError, printable

IMAGE_COLUMNS = (
    *("image", "filepath", "image_path", "path", "file_name", "filename", "jpg", "png", "webp"),
    *("image_name", "image_file", "img", "img_path", "img_name", "file", "file_path", "jpeg"),
)
CAPTION_COLUMNS = (
    *("caption", "title", "text", "captions", "txt"),
    *("comment", "description", "sentence", "sentences", "alt_text", "texts"),
)
NUMBERED_CAPTIONS = re.compile(r"(caption|title|text|sentence|comment|description)s?[ _.-]?\d+")


def pick_columns(
    columns: Sequence[str], options: SourceOptions, path: Path, what: str, images: Sequence[str] = (), about: str = ""
) -> tuple[str, tuple[str, ...]]:
    """The image column and the caption columns: those of the options, or those with a known name, in any case.

    Args:
        what: what the image column holds, for messages.
        images: if any, the only columns among which a known name for images is looked for.
        about: how the columns were found, for messages.

    Raises:
        UserError: columns are missing, or two have one name. It names all that are missing, and those that exist.
    """
    twice = [name for number, name in enumerate(columns) if name and name in columns[:number]]
    if twice:
        raise UserError(f"{path}: two columns are called '{printable(twice[0])}'; rename one of them")
    lowered = {name.strip().lower(): name for name in columns if name}
    shown = {name.strip().lower(): name for name in (images or columns) if name}
    image = options.image_column or next((shown[name] for name in IMAGE_COLUMNS if name in shown), "")
    captions = asked_captions(options, columns) or [lowered[name] for name in CAPTION_COLUMNS if name in lowered][:1]
    captions = captions or [name for name in columns if NUMBERED_CAPTIONS.fullmatch(name.strip().lower())]
    missing = {}
    if image not in columns or not image:
        missing["data.image_column"] = _absent(options.image_column, "data.image_column", f"{what} column")
    unknown = [name for name in captions if name not in columns]
    if unknown or not captions:
        missing["data.caption_column"] = _absent(", ".join(unknown), "data.caption_column", "caption column")
    if missing:
        have = ", ".join(f"'{printable(name)}'" for name in columns if name) or "none"
        named = " ".join(f"--set {key}=NAME" for key in missing)
        remote = next(
            (name for name in columns if name and name.strip().lower() in ("url", "image_url", "img_url")), ""
        )
        hint = (
            f"; {printable(remote)!r} holds addresses, and askew downloads nothing (img2dataset does)" if remote else ""
        )
        raise UserError(
            f"{path}: no {' and no '.join(missing.values())}; the columns are {have}{about}; "
            f"name {'it' if len(missing) == 1 else 'them'} with {named}{hint}"
        )
    return image, tuple(captions)


def asked_captions(options: SourceOptions, columns: Sequence[str]) -> list[str]:
    """The caption columns that the options name: one, or several with commas between them."""
    asked = options.caption_column
    if not asked or asked in columns:
        return [asked] if asked else []
    return [part.strip() for part in asked.split(",")]


def _absent(asked: str, key: str, kind: str) -> str:
    return f"column '{printable(asked)}' ({key})" if asked else kind


def unread_captions(columns: Sequence[str], image: str, captions: Sequence[str], options: SourceOptions) -> list[str]:
    """A line on what was decided about captions, where the table has several columns that could hold them."""
    if options.caption_column:
        return []
    if len(captions) > 1:
        return [f"captions are read from {len(captions)} columns: {', '.join(map(printable, captions))}"]
    known = (*CAPTION_COLUMNS, *captions)
    others = [
        name
        for name in columns
        if name and name not in (image, *captions)
        and (name.strip().lower() in known or NUMBERED_CAPTIONS.fullmatch(name.strip().lower()))
    ]  # fmt: skip
    if not others:
        return []
    both = ",".join([*captions, *others])
    return [
        f"captions are read from {printable(captions[0])!r}; {', '.join(map(printable, others))} may hold captions "
        f"too: data.caption_column={printable(both)} reads all of them"
    ]
