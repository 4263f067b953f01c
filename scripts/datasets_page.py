"""Write docs/datasets.md from the catalogue: where each evaluation data set lies, how it is laid out, what goes wrong.

    python scripts/datasets_page.py

tests/evaluation/test_readers.py fails when the page and the catalogue differ.
"""

from pathlib import Path

from askew.evaluation.catalog import ROWS
from askew.evaluation.prompts import prompts

PAGE = Path(__file__).parents[1] / "docs" / "datasets.md"
SPLITS = {  # what is trained on, validated on and tested on
    "pets": "3,680 (trainval) / - / 3,669",
    "cifar10": "50,000 / - / 10,000",
    "cifar100": "50,000 / - / 10,000",
    "sun397": "19,850 / - / 19,850",
    "food101": "75,750 / - / 25,250",
    "flowers102": "1,020 / 1,020 / 6,149",
    "cars": "8,144 / - / 8,041",
    "caltech101": "3,060 / - / 6,085",
    "aircraft": "3,334 / 3,333 / 3,333",
    "dtd": "1,880 / 1,880 / 1,880",
    "imagenet": "1,281,167 / - / 50,000",
    "imagenet-80": "1,281,167 / - / 50,000",
    "flickr30k": "1,000 test images, 5,000 captions",
    "coco": "5,000 test images, 25,010 captions",
    "sugarcrepe": "7,511 items in seven subsets, 1,560 images",
}
METRICS = dict.fromkeys(("pets", "flowers102", "caltech101", "aircraft"), "mean per class")
HEAD = """# Evaluation data sets

`askew eval MODEL --suite paper --data-root DIR` reads the data sets below from folders of DIR. Nothing is downloaded:
unpack each set's official archive there. A set that is missing, or lacks a part, is reported with what is needed.
Files that cannot be right are an error in one line: a class too many, a class without an image, an image that is
listed and not there, listed twice or in two splits, an image without a caption. Counts found are compared with the
published ones and both are stored.

This page is written by `scripts/datasets_page.py` from `askew/evaluation/catalog.py`; a test keeps them equal.

## Where they lie

| name | set | folder under `--data-root` | what it holds |
|---|---|---|---|
"""
PROTOCOL = """
## What is measured

| name | classes | templates | metric | train / validation / test |
|---|---|---|---|---|
"""
TAIL = """
Class names and templates are SLIP's, which are OpenAI's; only ImageNet's templates differ
([NOTICE](../src/askew/assets/prompts/NOTICE)). A label goes by what the set itself calls the class, never by the
position of a folder or a line. Where a set has no official validation split, the probe keeps a part of the training
images aside.

## What is compared with what

- The paper's Tables 1 and 2 report top-1, or mean per class for Pets, Flowers, Caltech-101 and Aircraft; "average" is
  the plain mean over the eleven numbers.
- Zero-shot numbers of 6 to 8 % on Flowers in the paper stand beside linear probes of 93 to 97 %: they fit the
  lexicographic order of folders, and about 4.5 points of every published average with them. Both orders are reported.
- MERU reports mean per class on every set, with prompts of its own: other numbers by construction.
- Retrieval counts a query as found when any of its matches is among the first k, and ties lose. Karpathy's test
  images, all captions, no prompt, the model's own preprocessing; papers that keep five captions an image have other
  pools.
- SugarCrepe's official script prints seven accuracies. Replace, Swap and Add are means over their subsets (macro);
  the item-weighted means stand beside them.

## Other layouts and other people's tools

- The metrics are compared with CLIP_benchmark's (48de38c) and with SugarCrepe's script (0047054) on the same
  embeddings in `tests/evaluation/test_agreement.py`: accuracy, mean per class and recall agree to the last sample,
  and SugarCrepe's seven shares are equal. Where scores are equal, CLIP_benchmark counts SugarCrepe's ties as right (a
  constant encoder has 100 % there, 0 % here) and leaves the order of equals in retrieval to `topk`.
- Not taken: Stanford Cars as one folder (`car_ims/` with `cars_annos.mat`), COCO as five captions an image,
  webdataset and TFDS copies. A folder of classes or a table can be evaluated as your own data.
- CIFAR is distributed as pickles. They are taken apart by `pickletools` and interpreted
  (`askew/evaluation/pickled.py`); nothing in them is ever called.
- Caltech-101's thirty images a class: `numpy.random.RandomState(0)`, the 102 folders in the order of their names as
  bytes, of each the sorted file names (n with the file `tmp`), `choice(n, size=30, replace=False)`; one generator for
  all folders. This is VISSL's draw but for the order of folders, which there is that of the disk.
"""


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for row in ROWS:
        folders = " or ".join(f"`{folder}/`" for folder in row.folders)
        lines.append(f"| `{row.name}` | {row.title} | {folders} | {code(row.layout)} |\n")
    lines.append(PROTOCOL)
    for row in ROWS:
        if row.name in ("flickr30k", "coco", "sugarcrepe"):
            metric = "share preferred, ties lose" if row.name == "sugarcrepe" else "R@1, R@5, R@10, both directions"
            lines.append(f"| `{row.name}` | - | - | {metric} | {SPLITS[row.name]} |\n")
        else:
            known = prompts(row.name)
            metric = METRICS.get(row.name, "top-1")
            counts = f"{len(known.classes)} | {len(known.templates)}"
            lines.append(f"| `{row.name}` | {counts} | {metric} | {SPLITS[row.name]} |\n")
    lines.append("\n## Traps, and what is done\n\n| name | |\n|---|---|\n")
    lines += [f"| `{row.name}` | {row.traps} |\n" for row in ROWS]
    lines.append(TAIL)
    return "".join(lines)


def code(layout: str) -> str:
    """A layout with its file names set as code."""
    words = []
    for word in layout.split(" "):
        bare = word.rstrip(",;")
        is_name = any(c in bare for c in "/_*") or bare.endswith((".txt", ".mat", ".json"))
        words.append(f"`{bare}`{word[len(bare) :]}" if is_name else word)
    return " ".join(words)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
