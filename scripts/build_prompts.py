"""Build src/askew/assets/prompts/prompts.json: class names and prompt templates of the evaluation data sets.

    python scripts/build_prompts.py SLIP CLIP

SLIP and CLIP are checkouts of facebookresearch/SLIP (labels.json, templates.json) and openai/CLIP (data/prompts.md and
the ImageNet notebook), both MIT. Names and templates are SLIP's, which the paper follows. If OpenAI publishes the same
list, the two must be equal. The exception is ImageNet's templates: SLIP uses seven, and OpenAI's eighty are stored
beside them. The WordNet ids of the ImageNet classes come from timm (Apache-2.0), in the order of the ids.

Each class is stored as [what the set itself calls it, name, further names...]. The first item decides which label an
image gets, so that no reader depends on the order of folders or files.
"""

import argparse
import ast
import json
import re
from pathlib import Path

from timm.data import ImageNetInfo

OUT = Path(__file__).parents[1] / "src" / "askew" / "assets" / "prompts" / "prompts.json"

SLIP_NAMES = {
    "pets": "pets", "cifar10": "cifar10", "cifar100": "cifar100", "sun397": "sun397", "food101": "food101",
    "flowers102": "flowers", "cars": "cars", "caltech101": "caltech101", "aircraft": "aircraft", "dtd": "dtd",
    "imagenet": "imagenet",
}  # fmt: skip
OPENAI_SECTIONS = {
    "pets": "OxfordPets", "cifar10": "CIFAR10", "cifar100": "CIFAR100", "sun397": "SUN397", "food101": "Food101",
    "flowers102": "Flowers102", "cars": "StanfordCars", "caltech101": "Caltech101", "aircraft": "FGVCAircraft",
    "dtd": "DescribableTextures",
}  # fmt: skip
CALTECH_FOLDERS = {
    "background": "BACKGROUND_Google", "off-center face": "Faces", "centered face": "Faces_easy",
    "leopard": "Leopards", "motorbike": "Motorbikes", "airplane": "airplanes", "side of a car": "car_side",
    "body of a cougar cat": "cougar_body", "face of a cougar cat": "cougar_face",
    "head of a  crocodile": "crocodile_head", "head of a flamingo": "flamingo_head",
    "snoopy (cartoon beagle)": "snoopy", "yin and yang symbol": "yin_yang",
}  # fmt: skip


def openai_lists(checkout: Path) -> dict[str, tuple[list, list]]:
    """(class names, templates) of every section of data/prompts.md, and those of the notebook as "ImageNet"."""
    found = {}
    text = (checkout / "data" / "prompts.md").read_text(encoding="utf-8")
    for section in text.split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        code = re.search(r"```bash\n(.*?)```", body, re.DOTALL)
        if code:
            found[title.strip()] = assigned(code[1], "classes", "templates")
    notebook = json.loads((checkout / "notebooks" / "Prompt_Engineering_for_ImageNet.ipynb").read_text("utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    code = "\n".join(c.split("print(")[0] for c in cells if c.startswith(("imagenet_classes", "imagenet_templates")))
    found["ImageNet"] = assigned(code, "imagenet_classes", "imagenet_templates")
    return found


def assigned(code: str, *names: str) -> tuple[list, ...]:
    """The literal lists that a piece of Python assigns to these names."""
    values = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(code).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in names
    }
    return tuple(values[name] for name in names)


def keys(name: str, classes: list[str]) -> list[str]:
    """What the set itself calls each class: its folder, its label, its number or its WordNet id."""
    if name == "imagenet":
        return list(ImageNetInfo("imagenet1k").label_names())
    if name == "flowers102":
        return [str(number) for number in range(1, len(classes) + 1)]
    if name in ("cars", "aircraft", "sun397"):
        return list(classes)
    return [CALTECH_FOLDERS.get(c, c.replace(" ", "_")) if name == "caltech101" else c.replace(" ", "_")
            for c in classes]  # fmt: skip


def main() -> None:
    """Write the file, one line per data set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slip", type=Path)
    parser.add_argument("clip", type=Path)
    arguments = parser.parse_args()
    labels = json.loads((arguments.slip / "labels.json").read_text(encoding="utf-8"))
    templates = json.loads((arguments.slip / "templates.json").read_text(encoding="utf-8"))
    openai = openai_lists(arguments.clip)

    built = {}
    for name, slip_name in SLIP_NAMES.items():
        classes, prompts = labels[slip_name], templates[slip_name]
        their_classes, their_prompts = openai[OPENAI_SECTIONS.get(name, "ImageNet")]
        assert classes == their_classes, f"{name}: SLIP and OpenAI differ in a class name"
        if name == "imagenet":
            assert set(prompts) <= set(their_prompts), "SLIP's seven are among OpenAI's eighty"
            built["imagenet-80"] = {"templates": their_prompts}
        else:
            assert prompts == their_prompts, f"{name}: SLIP and OpenAI differ in a template"
        names = [c if isinstance(c, list) else [c] for c in classes]
        built[name] = {
            "templates": prompts,
            "classes": [[k, *n] for k, n in zip(keys(name, classes), names, strict=True)],
        }
    lines = [f"{json.dumps(name)}: {json.dumps(entry, ensure_ascii=False)}" for name, entry in sorted(built.items())]
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"{OUT}: {OUT.stat().st_size:,} bytes, {len(built)} entries")


if __name__ == "__main__":
    main()
