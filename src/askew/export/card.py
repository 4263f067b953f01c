"""The model card: README.md of an exported directory, with the header that the Hugging Face Hub reads."""

import json
from typing import Any

import torch
import yaml

from askew import __version__
from askew.errors import printable
from askew.export.about import About, without_folders
from askew.export.parity import TOLERANCE, Parity
from askew.export.target import ExportedModel, SourceModel

TASK = "zero-shot-image-classification"
EMBEDDED_LICENCES = (
    "The data that come with askew are works of others under their own licences: Noto Emoji (Apache-2.0), Twemoji "
    "(CC-BY-4.0), Fluent Emoji (MIT), emojibase (MIT) with Unicode CLDR names (Unicode License v3), and public-domain "
    "drawings and photographs. askew's NOTICE files list them."
)
UNKNOWN_LICENCES = (
    "askew does not know the licence of these weights, nor of the data that they were trained on, so the header above "
    "names none. Whoever publishes this directory should add `license:` to it."
)
FACTS = ("dataset", "split", "n", "images_sha256", "captions_sha256", "resolution", "precision", "templates")


def model_card(
    source: SourceModel, exported: ExportedModel, parity: Parity, about: About, files: dict[str, str]
) -> str:
    """The card as Markdown.

    Args:
        files: the sha256 of each file of the directory, by name.
    """
    tags = ["clip", "askew", *([about.method] if about.method not in ("", "clip") else [])]
    header = yaml.safe_dump(
        {"library_name": exported.library, "pipeline_tag": TASK, "tags": tags}, sort_keys=False, allow_unicode=True
    )
    sections = [
        f"---\n{header}---\n\n# {printable(about.name)}\n",
        _what(source, exported, about),
        f"## Use it\n\n```python\n{exported.snippet}```\n",
        _section("What this format keeps", [f"- {note}" for note in exported.notes]),
        _parity(parity, exported),
        _data(about),
        _results(about),
        f"## Recipe\n\nFolders of absolute paths are left out.\n\n```yaml\n{about.recipe}```\n" if about.recipe else "",
        _files(source, files),
    ]
    return "\n".join(section for section in sections if section)


def _section(title: str, lines: list[str]) -> str:
    return f"## {title}\n\n" + "\n".join(lines) + "\n" if lines else ""


def _what(source: SourceModel, exported: ExportedModel, about: About) -> str:
    vision, text, protocol = source.model_cfg["vision_cfg"], source.model_cfg["text_cfg"], source.encoders.protocol
    made_by = f"trained by the method {about.method} of askew" if about.method else "exported by askew"
    image = vision.get("timm_model_name") or f"ViT, depth {vision.get('layers', 12)}, width {vision.get('width', 768)}"
    words = text.get("hf_model_name") or f"transformer, depth {text.get('layers', 12)}, width {text.get('width', 512)}"
    size = sum(tensor.numel() for tensor in source.state.values())
    return "\n".join(
        [
            f"A model of images and texts of the CLIP family, {made_by}. It maps both into one space, in which",
            "an image and its caption are near.\n",
            f"- weights: {protocol['weights']}, {size:,} numbers",
            f"- image tower: {image}, images of {protocol['resolution'].strip('()').replace(', ', ' x ')} pixels",
            f"- text tower: {words}, up to {text.get('context_length', 77)} tokens",
            f"- embeddings: {source.model_cfg['embed_dim']} dimensions; activation {protocol['activation']}",
            f"- made by askew {__version__} with torch {torch.__version__}\n",
        ]
    )


def _parity(parity: Parity, exported: ExportedModel) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in exported.versions.items())
    lines = [
        f"Compared on {without_folders(parity.samples.described)},",
        "from encoded images and strings, in float32 on a CPU,",
        f"read with {versions}: the largest absolute difference of a coordinate of the unit-length embeddings",
        f"is {parity.images:.1e} for images and {parity.texts:.1e} for texts. An export is refused above",
        f"{TOLERANCE:.0e}.",
    ]
    return _section("Same numbers as askew's", lines)


def _data(about: About) -> str:
    lines = [f"- {printable(line, 300)}" for line in about.data]
    lines += [f"- {printable(what, 300)}: `{value}`" for what, value in about.hashes]
    lines += ([""] if lines else []) + ([EMBEDDED_LICENCES, ""] if about.embedded else []) + [UNKNOWN_LICENCES]
    return _section("Data and licences", lines)


def _results(about: About) -> str:
    """Every number of every task, each with the protocol that it was measured under."""
    if not about.results:
        return ""
    lines = ["| task | measures | protocol |", "|---|---|---|"]
    for line in about.results:
        values = ", ".join(f"{name} {_number(value)}" for name, value in line["values"].items())
        protocol = {name: line["protocol"][name] for name in FACTS if name in line["protocol"]}
        told = "; ".join(f"{name}: {_short(value)}" for name, value in protocol.items())
        lines.append(f"| {_cell(line['task'])} | {_cell(values)} | {_cell(told)} |")
    return _section("Results", ["Shares are in [0, 1].\n", *lines])


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) and value != int(value) else f"{value:,.0f}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return printable(text, 120)


def _cell(text: str) -> str:
    return printable(text, 1000).replace("|", "\\|")


def _files(source: SourceModel, files: dict[str, str]) -> str:
    lines = ["| file | sha256 |", "|---|---|", *(f"| {name} | `{value}` |" for name, value in files.items())]
    origin = f"\nsha256 of the weights that were exported: `{source.encoders.protocol['weights_sha256']}`"
    return _section("Files", [*lines, origin])
