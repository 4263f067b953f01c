"""Whole runs, as functions that return a Recipe. `askew recipes` lists them."""

import difflib
import functools
import re
from collections.abc import Callable
from pathlib import Path

from askew.config import Recipe
from askew.errors import UserError, imported, printable
from askew.recipes import ablations, photos
from askew.recipes.cc3m import (
    clip_cc3m_vitb16,
    declip_cc3m_vitb16,
    mcd_cc3m_vitb16,
    slip_cc3m_vitb16,
    uniclip_cc3m_vitb16,
)
from askew.recipes.finetune import finetune, finetune_retrieval
from askew.recipes.paper import sources, with_slips_towers
from askew.recipes.published import PUBLISHED, sources_of_published
from askew.recipes.settings import from_yaml, to_yaml
from askew.recipes.tiny import tiny, tiny_clip
from askew.recipes.yfcc15m import (
    clip_yfcc15m_vitb32,
    declip_yfcc15m_vitb32,
    mcd_yfcc15m_vitb32,
    slip_yfcc15m_vitb32,
    uniclip_yfcc15m_vitb32,
)

PAPER: dict[str, Callable[[], Recipe]] = {
    "clip-cc3m-vitb16": clip_cc3m_vitb16,
    "slip-cc3m-vitb16": slip_cc3m_vitb16,
    "declip-cc3m-vitb16": declip_cc3m_vitb16,
    "uniclip-cc3m-vitb16": uniclip_cc3m_vitb16,
    "mcd-cc3m-vitb16": mcd_cc3m_vitb16,
    "clip-yfcc15m-vitb32": clip_yfcc15m_vitb32,
    "slip-yfcc15m-vitb32": slip_yfcc15m_vitb32,
    "declip-yfcc15m-vitb32": declip_yfcc15m_vitb32,
    "uniclip-yfcc15m-vitb32": uniclip_yfcc15m_vitb32,
    "mcd-yfcc15m-vitb32": mcd_yfcc15m_vitb32,
}


def _timm(make: Callable[[], Recipe]) -> Callable[[], Recipe]:
    """The variant of one of the paper's recipes with the towers of SLIP's code."""

    @functools.wraps(make)
    def made() -> Recipe:
        return with_slips_towers(make())

    made.__doc__ = f"{(make.__doc__ or '').rstrip('.')}, on the towers of SLIP's code."
    return made


PAPER |= {f"{name}-timm": _timm(make) for name, make in PAPER.items()}
RECIPES: dict[str, Callable[[], Recipe]] = {
    "tiny": tiny,
    "tiny-clip": tiny_clip,
    "tiny-slip": ablations.tiny_slip,
    "tiny-declip": ablations.tiny_declip,
    "tiny-uniclip": ablations.tiny_uniclip,
    "tiny-siglip": ablations.tiny_siglip,
    "tiny-albef": ablations.tiny_albef,
    "tiny-clip-aug": ablations.tiny_clip_aug,
    "tiny-ablation-a": ablations.tiny_ablation_a,
    "tiny-ablation-b": ablations.tiny_ablation_b,
    "tiny-ablation-c": ablations.tiny_ablation_c,
    "tiny-ablation-d": ablations.tiny_ablation_d,
    "tiny-ablation-e": ablations.tiny_ablation_e,
    "tiny-ablation-kl": ablations.tiny_ablation_kl,
    "photos": photos.photos,
    "photos-clip": photos.photos_clip,
    "photos-clip-aug": photos.photos_clip_aug,
    "photos-slip": photos.photos_slip,
    "photos-declip": photos.photos_declip,
    "photos-uniclip": photos.photos_uniclip,
    "photos-siglip": photos.photos_siglip,
    "photos-fastclip": photos.photos_fastclip,
    "photos-albef": photos.photos_albef,
    "photos-aclip": photos.photos_aclip,
    "finetune": finetune,
    "finetune-retrieval": finetune_retrieval,
    **PAPER,
    **PUBLISHED,
}


def find(text: str) -> Recipe:
    """A recipe by name, YAML file, or `module:function`.

    Raises:
        UserError: it is none of these; the message lists the names.
    """
    if text in RECIPES:
        return RECIPES[text]()
    if text.endswith((".yaml", ".yml")):
        if not Path(text).is_file():
            raise UserError(f"recipe {printable(text)}: no such file")
        return from_yaml(Path(text))
    if ":" in text:
        make = imported(text, "recipe")
        made = make() if callable(make) else make
        if not isinstance(made, Recipe):
            raise UserError(f"recipe {printable(text)}: returns {type(made).__name__}, not a Recipe")
        return made
    alike = [name for name in RECIPES if name.count("-") == text.count("-")]  # a typing error keeps the hyphens
    near = difflib.get_close_matches(text, alike, n=1, cutoff=0.5)
    near = near or difflib.get_close_matches(text, RECIPES, n=1, cutoff=0.5)
    raise UserError(
        f"recipe {printable(text)!r} is not known"
        + (f"; did you mean {near[0]!r}?" if near else "")
        + " (`askew recipes` lists them; a YAML file or module:function is a recipe too)"
    )


def shown(text: str) -> str:
    """A recipe as YAML. Recipes of papers have the source of every setting beside it.

    Raises:
        UserError: as `find`.
    """
    recipe = find(text)
    if text in PUBLISHED:
        return annotated(to_yaml(recipe), sources_of_published(recipe))
    return annotated(to_yaml(recipe), sources(recipe)) if text in PAPER else to_yaml(recipe)


def annotated(text: str, comments: dict[str, str]) -> str:
    """YAML of nested mappings with a comment at the key of each leaf: dotted key -> comment."""
    parents: list[str] = []
    lines = []
    for line in text.splitlines():
        key = re.match(r"( *)(\w+):", line)
        if key is not None:
            parents = [*parents[: len(key[1]) // 2], key[2]]
        comment = comments.get(".".join(parents)) if key is not None else None
        lines.append(f"{line}  # {comment}" if comment else line)
    return "\n".join(lines) + "\n"
