"""Write docs/datasets.md from the catalogue: where each evaluation data set belongs, its layout, and its traps.

    python scripts/datasets_page.py

tests/evaluation/datasets/test_readers.py fails if the page and the catalogue differ.
"""

import textwrap
from pathlib import Path

from askew.evaluation.datasets.catalog import ENTRIES, CatalogEntry
from askew.evaluation.datasets.prompts import prompts

PAGE = Path(__file__).parents[1] / "docs" / "datasets.md"
WIDTH = 100
SPLITS = {  # train / validation / test, or the test data of sets without labels
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
    "winoground": "400 items, 800 images",
    "emoji-pairs": "668 items, 983 drawings",
}
METRICS = dict.fromkeys(("pets", "flowers102", "caltech101", "aircraft"), "mean per class")
WITHOUT_CLASSES = {
    "flickr30k": "R@1, R@5, R@10, both directions",
    "coco": "R@1, R@5, R@10, both directions",
    "sugarcrepe": "share preferred, ties lose",
    "winoground": "text, image, group score",
    "emoji-pairs": "text, image, group score",
}

HEAD = """# Evaluation data sets

`askew eval MODEL --suite paper --data-root DIR` reads these data sets from folders of DIR. Nothing
is downloaded: unpack the official archive of each set there. If a set or a part of it is missing, a
message says what is needed, and the other sets are still evaluated.

Files that cannot be right are an error: an unknown class, a class without an image, an image
without a caption, or an image that is listed but does not exist, is listed twice or is in two
splits. The counts found are compared with the published ones, and both are stored.

`scripts/datasets_page.py` writes this page from `src/askew/evaluation/datasets/catalog.py`, and a
test keeps the two equal. The readers are tested on small replicas in the same layouts. To compare
real data sets in a folder DIR with the published counts, run

```sh
ASKEW_DATA_ROOT=DIR python -m pytest tests/evaluation/datasets/test_readers.py
```

## What is measured

The last column gives the images of the training / validation / test split.

| name | classes | templates | metric | images |
|---|---|---|---|---|
"""

LAYOUTS = """
Class names and templates are SLIP's. They equal OpenAI's, except for the templates of ImageNet
([NOTICE](../src/askew/assets/prompts/NOTICE)). A label goes by what the data set itself calls the
class, never by the position of a folder or a line. If a set has no official validation split, the
linear probe holds out a part of the training images.

## Where each set belongs, and its traps

Folders are relative to `--data-root`.
"""

TAIL = """
## Which numbers can be compared

- The paper's Tables 1 and 2 report top-1, or mean per class for Pets, Flowers, Caltech-101 and
  Aircraft. Their "average" is the plain mean of the eleven numbers.
- The paper's zero-shot accuracies on Flowers are 6 to 8 %, while its linear probes reach 93 to
  97 %. Such numbers result from the lexicographic order of the folders (see Flowers above), which
  costs every published average about 4.5 points. askew reports both orders.
- MERU reports mean per class on every set, with its own prompts, so its numbers cannot be compared
  directly.
- In retrieval, a query counts as found if any of its matches is among the first k, and ties lose.
  The images are Karpathy's test images, with all captions, no prompt, and the model's own
  preprocessing. Papers that keep five captions per image have a different set of candidates.
- SugarCrepe's official script prints seven accuracies. Replace, Swap and Add are means over their
  subsets (macro); the means over items are reported beside them.

## Agreement with other tools

The metrics are compared with CLIP_benchmark (48de38c) and SugarCrepe's script (0047054) on the same
embeddings, in `tests/evaluation/test_agreement.py`. Accuracy, mean per class and recall agree for
every sample, and SugarCrepe's seven accuracies are equal. Only the rules for equal scores differ.
CLIP_benchmark counts SugarCrepe's ties as right (a constant encoder gets 100 % there and 0 % here),
and in retrieval it leaves the order of equal scores to `topk`.

## Files and splits in detail

- Not supported: Stanford Cars as one folder (`car_ims/` with `cars_annos.mat`), COCO with five
  captions per image, and webdataset or TFDS copies. If you convert these to a folder with one
  subfolder per class, or to a table, you can evaluate them as custom data
  ([evaluation.md](evaluation.md)).
- CIFAR is distributed as pickles. `pickletools` splits them into opcodes, which
  `src/askew/evaluation/datasets/pickled.py` interprets. Nothing in them is ever called.
- Caltech-101: one `numpy.random.RandomState(0)` goes through the 102 folders, sorted by their names
  as bytes. Of the n sorted file names in a folder (the file `tmp` included) it draws
  `choice(n, size=30, replace=False)` for training. VISSL does the same, but takes the folders in
  the order in which the disk lists them.

## A data set from outside askew

`--suite module:NAME` evaluates a `CatalogEntry` from any module. Its reader receives the data set's
folder, and provides the classes and the prompts; [adding.md](adding.md#an-evaluation-data-set) has
an example. The folder is a `DatasetFolder` (`src/askew/evaluation/datasets/folder.py`). Its methods
make the same checks as the built-in readers: files that are missing or listed twice, unknown
classes, and classes without an image.
"""


def page() -> str:
    """The whole page."""
    rows = []
    for entry in ENTRIES:
        counts, metric = "- | -", WITHOUT_CLASSES.get(entry.name, "")
        if not metric:
            known = prompts(entry.name)
            counts, metric = f"{len(known.classes)} | {len(known.templates)}", METRICS.get(entry.name, "top-1")
        rows.append(f"| `{entry.name}` | {counts} | {metric} | {SPLITS[entry.name]} |\n")
    return HEAD + "".join(rows) + LAYOUTS + "".join(map(section, ENTRIES)) + TAIL


def section(entry: CatalogEntry) -> str:
    """The section of one data set."""
    folders = " or ".join(f"`{folder}/`" for folder in entry.folders) or "none, and no --data-root"
    items = (f"Folder: {folders}", f"Contents: {code(entry.layout)}", f"Traps: {entry.traps}")
    return f"\n### `{entry.name}`: {entry.title}\n\n" + "".join(
        textwrap.fill(
            f"- {item}", WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        ) + "\n" for item in items
    )  # fmt: skip


def code(layout: str) -> str:
    """A layout, with its file names marked as code."""
    words = []
    for word in layout.split(" "):
        bare = word.rstrip(",;")
        is_name = any(c in bare for c in "/_*") or bare.endswith((".txt", ".mat", ".json", ".meta", ".zip"))
        words.append(f"`{bare}`{word[len(bare) :]}" if is_name else word)
    return " ".join(words)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
