"""Whole runs as functions that return a Recipe. `askew recipes` lists them."""

import difflib
import importlib
from collections.abc import Callable
from pathlib import Path

from askew.config import Recipe, from_yaml
from askew.errors import UserError, printable
from askew.recipes import ablations
from askew.recipes.finetune import finetune
from askew.recipes.tiny import tiny, tiny_clip

RECIPES: dict[str, Callable[[], Recipe]] = {
    "tiny": tiny,
    "tiny-clip": tiny_clip,
    "finetune": finetune,
    "tiny-uniclip": ablations.tiny_uniclip,
    "tiny-siglip": ablations.tiny_siglip,
    "tiny-clip-aug": ablations.tiny_clip_aug,
    "tiny-ablation-a": ablations.tiny_ablation_a,
    "tiny-ablation-b": ablations.tiny_ablation_b,
    "tiny-ablation-c": ablations.tiny_ablation_c,
    "tiny-ablation-d": ablations.tiny_ablation_d,
    "tiny-ablation-e": ablations.tiny_ablation_e,
    "tiny-ablation-kl": ablations.tiny_ablation_kl,
}


def find(text: str) -> Recipe:
    """A recipe by name, YAML file, or `module:function`.

    Raises:
        UserError: none of these, with the names there are.
    """
    if text in RECIPES:
        return RECIPES[text]()
    if text.endswith((".yaml", ".yml")):
        if not Path(text).is_file():
            raise UserError(f"recipe {printable(text)}: no such file")
        return from_yaml(Path(text))
    module, colon, function = text.partition(":")
    if colon:
        try:
            made = getattr(importlib.import_module(module), function)()
        except (ImportError, AttributeError) as error:
            raise UserError(f"recipe {printable(text)}: {error}") from error
        if not isinstance(made, Recipe):
            raise UserError(f"recipe {printable(text)}: returns {type(made).__name__}, not a Recipe")
        return made
    near = difflib.get_close_matches(text, RECIPES, n=1, cutoff=0.5)
    raise UserError(
        f"recipe {printable(text)!r} is not known"
        + (f"; did you mean {near[0]!r}?" if near else "")
        + f" (recipes: {', '.join(RECIPES)}; or a YAML file, or module:function)"
    )
