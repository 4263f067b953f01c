"""Write the tables of docs/recipes.md from the recipes.

    python scripts/recipes_page.py

tests/recipes/test_recipes_page.py fails if the page and the recipes differ.
"""

import re
from pathlib import Path

from askew.config import Recipe
from askew.recipes import RECIPES

PAGE = Path(__file__).parents[1] / "docs" / "recipes.md"
GROUPS = {  # heading: the recipes that its table lists
    "On the embedded data": r"tiny.*",
    "On photographs of your own": r"photos.*",
    "Fine-tuning": "finetune",
    "Fine-tuning for retrieval": "finetune-retrieval",
    "The paper's settings on CC3M": r"\w+-cc3m-vitb16(-timm)?",
    "The paper's settings on YFCC15M": r"\w+-yfcc15m-vitb32(-timm)?",
    "A-CLIP's settings on YFCC15M": "aclip-yfcc15m-vitb16",
    "FastCLIP's settings on CC12M": "fastclip-cc12m-vitb32",
    "FastCLIP's settings on LAION400M": "fastclip-laion400m-vitb16",
    "SuperCLIP's settings on DataComp": "superclip-datacomp-vitb16",
}
SIZES = {"ViT-B-32": 224, "ViT-B-16": 224}


def shared(recipe: Recipe) -> tuple[str, ...]:
    """What the recipes of a group have in common, as two lines of a list."""
    vision, train = recipe.towers.vision_cfg, recipe.train
    pixels = vision.get("image_size") or SIZES[recipe.towers.model]
    schedule = f"batches of {recipe.loader.batch_size:,}, {train.epochs:g} epoch{'' if train.epochs == 1 else 's'}"
    return (
        f"Images of {pixels} px, {schedule}.",
        f"Learning rate {train.learning_rate:g}, weight decay {train.weight_decay:g}.",
    )


def tower(recipe: Recipe) -> str:
    """The name of the image tower's architecture, open_clip's or timm's; of a ViT without a name, its sizes."""
    vision = recipe.towers.vision_cfg
    small = f"ViT, patches of {vision.get('patch_size')} px, {vision.get('layers')} layers of {vision.get('width')}"
    return recipe.towers.model or vision.get("timm_model_name", small)


def tables() -> dict[str, str]:
    """Every group's table and what its recipes share, by its heading."""
    made = {}
    for heading, names in GROUPS.items():
        group = {name: make() for name, make in RECIPES.items() if re.fullmatch(names, name)}
        (lines,) = {shared(recipe) for recipe in group.values()}
        rows = [f"| `{name}` | {recipe.method.name} | {tower(recipe)} |" for name, recipe in group.items()]
        head = ["| recipe | method | image tower |", "|---|---|---|"]
        made[heading] = "\n".join([*(f"- {line}" for line in lines), "", *head, *rows])
    return made


def page(text: str) -> str:
    """The page with its tables made again."""
    for heading, table in tables().items():
        pattern = rf"(\n## {re.escape(heading)}\n.*?\n)(- Images.*?\n\n\|.*?)(\n\n|\n?\Z)"
        text, found = re.subn(pattern, lambda m, table=table: m[1] + table + m[3], text, count=1, flags=re.DOTALL)
        assert found, f"{PAGE.name} has no table below {heading!r}"
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
