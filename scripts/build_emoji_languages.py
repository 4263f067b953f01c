"""Build pairs of drawings and their names in five languages, for a smoke run of a multilingual text tower.

    npm pack emojibase-data@17.0.0
    python scripts/build_emoji_languages.py --packages . --out emoji-languages

The drawings are those that come with askew. The names are of Unicode CLDR, from the package emojibase-data (MIT), and
are not part of askew. Three files are written: `train.parquet` and `test.parquet` with the columns image, concept, en,
de, ja, hi and ru, and `names.txt`, the names of the trained drawings, to train a tokenizer on. What is trained on has
other styles of drawing than what is tested: every concept of `test.parquet` occurs in `train.parquet`.
"""

import argparse
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from build_embedded import find, members

EMOJI = Path(__file__).parents[1] / "src" / "askew" / "assets" / "embedded" / "emoji.parquet"
PACKAGE = "emojibase-data-17.0.0.tgz"
LANGUAGES = ("en", "de", "ja", "hi", "ru")
CELLS = {"train": "train", "test": "unseen_style"}


def names_by_language(package: Path) -> dict[str, dict[str, str]]:
    """For each English name, the name in every language."""
    wanted = {f"package/{language}/data.json": language for language in LANGUAGES}
    found = {
        wanted[name]: {entry["hexcode"]: entry["label"] for entry in json.loads(content)}
        for name, content in members(package)
        if name in wanted
    }
    english = {label: code for code, label in found["en"].items()}
    return {
        label: {language: found[language][code] for language in LANGUAGES}
        for label, code in english.items()
        if all(code in found[language] for language in LANGUAGES)
    }


def build(package: Path, cell: str) -> pa.Table:
    """The drawings of one cell of the embedded data that have a name in every language."""
    names = names_by_language(package)
    rows = pq.read_table(EMOJI, columns=["image", "caption", "concept", "cell"]).to_pylist()
    return pa.Table.from_pylist(
        [
            {"image": row["image"], "concept": row["concept"], **names[row["caption"]]}
            for row in rows
            if row["cell"] == cell and row["caption"] in names
        ]
    )


def main() -> None:
    """Write the three files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packages", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    tables = {name: build(find(arguments.packages, PACKAGE), cell) for name, cell in CELLS.items()}
    for name, table in tables.items():
        pq.write_table(table, arguments.out / f"{name}.parquet", compression="zstd")
    names = sorted({row[language] for row in tables["train"].to_pylist() for language in LANGUAGES})
    (arguments.out / "names.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    print(f"{len(tables['train']):,} drawings to train on, {len(tables['test']):,} to test, {len(names):,} names")


if __name__ == "__main__":
    main()
