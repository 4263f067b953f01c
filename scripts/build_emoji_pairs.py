"""Build the pairs of drawings that differ in one word of their names, or in the order of two, as one Parquet file.

    python scripts/build_emoji_pairs.py --packages DIR            write src/askew/assets/emoji_pairs
    python scripts/build_emoji_pairs.py --packages DIR --check    compare the committed file with what the script builds
    python scripts/build_emoji_pairs.py --packages DIR --sheets DIR    also draw the pairs to inspect

DIR holds the two npm packages of build_embedded.py. A row is a pair: two images (WebP), two captions, what differs.
The drawings are Twemoji's, the style that no model of askew is trained on; the captions are the names of Unicode CLDR.
docs/data.md describes the result.
"""

import argparse
import io
import itertools
import json
import re
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from build_embedded import (
    FLAGS,
    HELD_OUT_STYLE,
    compare,
    encoded,
    find,
    members,
    number_of,
    rasterise,
    without_variant,
)

OUT = Path(__file__).parents[1] / "src" / "askew" / "assets" / "emoji_pairs" / "pairs.parquet"
TONES = ("light", "medium-light", "medium", "medium-dark", "dark")
APART = 2  # tones of a pair of the kind skin_tone are at least so many steps apart
TONED = 150  # pairs of the kind skin_tone, of as many names

# Words of which one stands for another in the names of a pair
WORDS = {
    "gender": (("man", "woman"), ("men", "women"), ("boy", "girl"), ("merman", "mermaid"), ("prince", "princess")),
    "colour": (
        ("red", "orange", "yellow", "green", "blue", "light blue", "purple", "brown", "black", "white", "grey", "pink"),
    ),
    "direction": (
        ("left", "right", "up", "down"), ("leftwards", "rightwards"), ("upwards", "downwards"),
        ("left-facing", "right-facing"), ("up-left", "up-right", "down-left", "down-right"),
        ("left-right", "up-down"), ("clockwise", "counterclockwise"),
    ),
    "state": (
        ("open", "closed"), ("locked", "unlocked"), ("low", "medium", "high"), ("raised", "lowered"), ("first", "last"),
        ("waxing", "waning"), ("full", "new"), ("small", "large"), ("black", "white"), ("sunrise", "sunset"),
    ),
    "hair": (("red hair", "curly hair", "white hair", "blond hair", "bald", "beard"),),
}  # fmt: skip
KINDS = ("skin_tone", "skin_tones_swapped", *WORDS)

SCHEMA = pa.schema(
    [("kind", pa.string())]
    + [(f"{name}_{side}", pa.binary() if name == "image" else pa.string())
       for side in (0, 1) for name in ("key", "caption", "image")]
)  # fmt: skip


def drawings(packages: dict[str, Path]) -> tuple[dict[str, str], dict[str, str]]:
    """The code point sequence of each name, without flags, and the SVG of each sequence that is drawn."""
    icons = next(
        json.loads(content)
        for name, content in members(packages["iconify-json-2.2.535.tgz"])
        if name == f"package/json/{HELD_OUT_STYLE}.json"
    )
    names = next(
        json.loads(content)
        for name, content in members(packages["emojibase-data-17.0.0.tgz"])
        if name == "package/en/data.json"
    )
    box = f"0 0 {icons.get('width', 16)} {icons.get('height', 16)}"
    drawn = {
        without_variant(code): f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">'
        f"{icons['icons'][icon]['body']}</svg>"
        for code, icon in reversed(icons["chars"].items())
    }
    codes = {
        form["label"]: without_variant(form["hexcode"])
        for entry in names
        if entry.get("group", FLAGS) != FLAGS
        for form in (entry, *entry.get("skins", ()))
    }
    return {label: code for label, code in codes.items() if code in drawn}, drawn


def one_tone(codes: dict[str, str]) -> list[tuple[str, str]]:
    """One pair of tones of each of TONED names, drawn by hash."""
    names = [label for label in codes if f"{label}: {TONES[0]} skin tone" in codes and "," not in label]
    chosen = sorted(names, key=lambda label: number_of(f"tones/{label}"))[:TONED]
    apart = [(a, b) for i, a in enumerate(TONES) for b in TONES[i + APART :]]
    drawn = {label: apart[number_of(f"tones of/{label}") % len(apart)] for label in chosen}
    return [(f"{name}: {a} skin tone", f"{name}: {b} skin tone") for name, (a, b) in drawn.items()]


def swapped_tones(codes: dict[str, str]) -> list[tuple[str, str]]:
    """Two people with two tones, and the same tones the other way round: the same words in another order."""
    found = []
    for label in codes:
        parts = re.fullmatch(r"(.*[:,]) (\S+) skin tone, (\S+) skin tone", label)
        if parts and TONES.index(parts[2]) < TONES.index(parts[3]):
            other = f"{parts[1]} {parts[3]} skin tone, {parts[2]} skin tone"
            if other in codes:
                found.append((label, other))
    return found


def replaced(codes: dict[str, str], groups: tuple[tuple[str, ...], ...]) -> list[tuple[str, str]]:
    """Names that differ in one word, wherever it stands in them."""
    found = {}
    plain = [label for label in codes if "skin tone" not in label]
    for words in groups:
        for label in plain:
            for a, b in itertools.permutations(words, 2):
                other = re.sub(rf"(?<![\w-]){re.escape(a)}(?![\w-])", b, label)
                if other != label and other in codes and frozenset((label, other)) not in found:
                    found[frozenset((label, other))] = (label, other)
    return list(found.values())


def build(folder: Path) -> pa.Table:
    """The table of all pairs. Pairs whose drawings are the same picture are left out."""
    names = ("iconify-json-2.2.535.tgz", "emojibase-data-17.0.0.tgz")
    codes, drawn = drawings({name: find(folder, name) for name in names})
    pairs = {"skin_tone": one_tone(codes), "skin_tones_swapped": swapped_tones(codes)}
    pairs |= {kind: replaced(codes, groups) for kind, groups in WORDS.items()}
    images: dict[str, bytes] = {}
    rows, seen = [], set()
    for kind in KINDS:
        for captions in pairs[kind]:
            keys = [codes[caption] for caption in captions]
            for key in keys:
                images.setdefault(key, encoded(rasterise(drawn[key])))
            if drawn[keys[0]] == drawn[keys[1]] or frozenset(keys) in seen:
                continue
            seen.add(frozenset(keys))
            sides = [(key, caption, images[key]) for key, caption in zip(keys, captions, strict=True)]
            rows.append(dict(zip(SCHEMA.names, (kind, *sides[0], *sides[1]), strict=True)))
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def sheets(table: pa.Table, folder: Path, columns: int = 7, lines: int = 12) -> None:
    """Draw pages of pairs with their captions, for inspection by eye."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = table.to_pylist()
    for page in range(0, len(rows), columns * lines):
        sheet = Image.new("RGB", (columns * 230, lines * 110), "white")
        draw = ImageDraw.Draw(sheet)
        for index, entry in enumerate(rows[page : page + columns * lines]):
            x, y = index % columns * 230, index // columns * 110
            for side in (0, 1):
                sheet.paste(Image.open(io.BytesIO(entry[f"image_{side}"])), (x + 70 * side, y))
                draw.text((x, y + 66 + 14 * side), entry[f"caption_{side}"][:38], fill="black")
            draw.text((x + 140, y + 20), entry["kind"][:14], fill="red")
        sheet.save(folder / f"pairs-{page // (columns * lines):02d}.png")


def main() -> None:
    """Build the file, or check the committed one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packages", type=Path, required=True)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--sheets", type=Path)
    arguments = parser.parse_args()
    table = build(arguments.packages)
    if arguments.sheets:
        sheets(table, arguments.sheets)
    if arguments.check:
        compare(pq.read_table(OUT), table, "emoji pairs")
        return
    OUT.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, OUT, compression="zstd")
    images = {key for side in (0, 1) for key in table[f"key_{side}"].to_pylist()}
    print(
        f"{len(table):,} pairs of {len(images):,} drawings {dict(Counter(table['kind'].to_pylist()))}; "
        f"{OUT.stat().st_size / 2**20:.2f} MiB"
    )


if __name__ == "__main__":
    main()
