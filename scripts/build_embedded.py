"""Build the embedded data from pinned packages: drawings and photographs with names written by people, as Parquet.

    python scripts/build_embedded.py --packages DIR            write src/askew/assets/embedded
    python scripts/build_embedded.py --packages DIR --check    compare the committed files with what the script builds
    python scripts/build_embedded.py --packages DIR --sheets DIR    also draw contact sheets of the clip-art to inspect

DIR holds the packages listed in PACKAGES. Fetch them by

    npm pack @iconify/json@2.2.535 emojibase-data@17.0.0
    apt-get download openclipart-svg openclipart-png endless-sky-data        (1:0.18+dfsg-19, 0.9.8-1.2)

The rasteriser comes with `pip install 'askew[data]'`. docs/data.md describes the result.
"""

import argparse
import fnmatch
import hashlib
import html
import io
import json
import lzma
import re
import sys
import tarfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import resvg_py
from PIL import Image, ImageDraw, ImageOps

ROOT = Path(__file__).parents[1]
OUT = ROOT / "src" / "askew" / "assets" / "embedded"
REJECTS = ROOT / "scripts" / "embedded_rejects.txt"

PACKAGES = {  # file name pattern -> sha256
    "iconify-json-2.2.535.tgz": "1a545f86fa224d6531d8fb101dcbe83aac2b28689a21cbed6fc68318a5af4d91",
    "emojibase-data-17.0.0.tgz": "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
    "openclipart-svg_*0.18*.deb": "989712d90d57dfa3230049f553bb43b76c30ee4d4b8c5f6e106e33f7db5cbdc5",
    "openclipart-png_*0.18*.deb": "f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02",
    "endless-sky-data_0.9.8*.deb": "e45835e05a11e84bb1a890a0ded390246a53b8318f21a25925aa70fa54f80c13",
}
STYLES = ("noto", "twemoji", "fluent-emoji-flat", "fluent-emoji")
HELD_OUT_STYLE = "twemoji"
FLAGS = 9  # emojibase's group
SIZE, PHOTO_SIZE, QUALITY = 64, 96, 80

# Words that distinguish members of one family: "man cook" and "woman cook", "one o'clock" and "two o'clock"
GENDER = "man men woman women person people boy girl male female child older old mr mrs mx santa"
COLOUR = "red orange yellow green blue purple brown black white grey gray pink light dark"
NUMBER = "zero one two three four five six seven eight nine ten eleven twelve 1st 2nd 3rd first second third last"
DIRECTION = (
    "up down left right upward upwards downward downwards rightward rightwards leftward leftwards facing pointing "
    "pointed tilted clockwise counterclockwise curving vertical horizontal oncoming front raised lowered"
)
SIZE_OR_STATE = "small medium large heavy open closed big waxing waning crescent gibbous quarter full new"
MARKERS = frozenset(" ".join((GENDER, COLOUR, NUMBER, DIRECTION, SIZE_OR_STATE)).split())
SAME_FAMILY = {"princess": "prince", "thirty": "o'clock"}

# Clip-art that does not show what its title says, or that we have no right to show
SKIPPED_FOLDERS = frozenset(("special", "shapes", "unsorted", "logos", "flags"))
STOP = re.compile(
    r"theme|logo|flag|\bled\b|pattern|various|iconset|icon set|collection|\bpack\b|road signs|aiga|clip ?art|hash\(|"
    r"untitled|unnamed|semaphore|banner|template|symbol signs|\btux\b|linux|windows|microsoft|firefox|mozilla|debian|"
    r"gnu\b|ubuntu|gnome|\bkde\b|openoffice|inkscape|\bphp\b|mysql|apache|java\b|blueman|signal|nazi|swastika|tasto|"
    r"\bicon\b.*\d|https?:|www\.|copyright|\btest\b|example|drawing|^image|^picture|^svg|\.svg|background|texture|"
    r"etiquette|[@|]|^map symbols|"
    r"^(simple|ornate|white|red|blue|green|yellow|black)$|hakenkreuz|button|wireframe|^rpg|roadsign|traffic sign",
    re.IGNORECASE,
)
NO_SUBJECT = re.compile(
    r"hash|unsorted|clip ?art|remix|svg|externalsource|inkscape|public domain|\bpd\b", re.IGNORECASE
)
Image.MAX_IMAGE_PIXELS = None  # the limits below are checked before decoding
MAX_PNG_BYTES, MAX_PNG_PIXELS, MAX_ASPECT, MAX_A_TITLE = 3_000_000, 16_000_000, 2.5, 2
# What photographs with these file names show; "" leaves them out
SCENES = {"loc": "", "earthrise": "", "nasa": "rocket launch", "station": "spacecraft", "space": "spacecraft"}

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("image", pa.binary()),
        ("caption", pa.string()),
        ("tags", pa.list_(pa.string())),
        *((name, pa.string()) for name in (
            "source", "style", "concept", "group", "subgroup", "family", "concept_split", "cell")),
    ]
)  # fmt: skip


# Splits


def number_of(key: str) -> int:
    """A 63-bit integer that depends only on the key."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") >> 1


def split_of(family: str) -> str:
    """The split of a family, 80/10/10 by hash."""
    return {8: "validation", 9: "test"}.get(number_of(f"family/{family}") % 10, "train")


def lemma(word: str) -> str:
    """A word without its plural ending. Crude, but both sides of a comparison are treated alike."""
    for ending, stem in (("ies", "y"), ("sses", "ss"), ("shes", "sh"), ("ches", "ch"), ("xes", "x")):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            return word[: -len(ending)] + stem
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > 3 else word


def lemmas(text: str) -> list[str]:
    """Lower-case lemmas of a text, in order."""
    return [lemma(word) for word in re.findall(r"[a-z0-9']+", text.lower().replace("’", "'"))]


def family_of(label: str) -> str:
    """What is left of a name without the words that distinguish members of a family."""
    words = [w for w in lemmas(label.replace("-", " ")) if not (w.isdigit() or w in MARKERS)]
    return " ".join(sorted({SAME_FAMILY.get(w, w) for w in words})) or "person"


def contains(text: list[str], label: list[str]) -> bool:
    """Whether a text contains all lemmas of a label."""
    return set(label) <= set(text)


# Packages


def find(folder: Path, pattern: str) -> Path:
    """The one package that matches a pattern, with its sha256 checked."""
    found = sorted(p for p in folder.iterdir() if fnmatch.fnmatch(p.name.replace("%3a", ":"), pattern))
    if len(found) != 1:
        sys.exit(
            f"{folder}: {len(found)} files match {pattern}; fetch the packages as described at the top of this script"
        )
    digest = hashlib.sha256(found[0].read_bytes()).hexdigest()
    if digest != PACKAGES[pattern]:
        sys.exit(f"{found[0]}: sha256 {digest} is not the pinned {PACKAGES[pattern]}")
    return found[0]


def members(package: Path) -> Iterator[tuple[str, bytes]]:
    """The files in an npm tarball or a Debian package."""
    if package.suffix == ".tgz":
        stream = package.open("rb")
    else:
        stream = io.BytesIO(lzma.decompress(debian_data(package.read_bytes())))
    with stream, tarfile.open(fileobj=stream) as archive:
        for member in archive:
            if member.isfile():
                yield member.name.removeprefix("./"), archive.extractfile(member).read()


def debian_data(content: bytes) -> bytes:
    """`data.tar.xz` of a .deb, which is an `ar` archive."""
    offset = 8
    while offset < len(content):
        name, size = content[offset : offset + 16].decode().strip(" /"), int(content[offset + 48 : offset + 58])
        if name == "data.tar.xz":
            return content[offset + 60 : offset + 60 + size]
        offset += 60 + size + size % 2
    sys.exit("a Debian package without data.tar.xz")


# Images


def encoded(image: Image.Image) -> bytes:
    """WebP of an RGB image."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=QUALITY, method=6)
    return buffer.getvalue()


def on_white(image: Image.Image) -> Image.Image:
    """RGB, with white behind transparent pixels."""
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def rasterise(svg: str) -> Image.Image:
    """A drawing in the middle of a white square at SIZE."""
    image = on_white(Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=SIZE, height=SIZE)))))
    square = Image.new("RGB", (SIZE, SIZE), "white")
    square.paste(image, ((SIZE - image.width) // 2, (SIZE - image.height) // 2))
    return square


def padded(image: Image.Image) -> Image.Image:
    """The drawing without its white margin, in the middle of a white square at SIZE."""
    image = on_white(image)
    image = image.crop(ImageOps.invert(image.convert("L")).point(lambda v: 255 * (v > 8)).getbbox())
    side = round(1.06 * max(image.size))
    square = Image.new("RGB", (side, side), "white")
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


# Parts


def emoji_rows(packages: dict[str, Path]) -> list[dict]:
    """The concepts that are drawn in all four styles, with CLDR names and keywords."""
    icons = {}
    for name, content in members(packages["iconify-json-2.2.535.tgz"]):
        style = name.removeprefix("package/json/").removesuffix(".json")
        if style in STYLES:
            icons[style] = json.loads(content)
    texts = {n: c for n, c in members(packages["emojibase-data-17.0.0.tgz"]) if n.startswith("package/en/")}
    emoji = json.loads(texts["package/en/data.json"])
    messages = json.loads(texts["package/en/messages.json"])
    groups = {g["order"]: g["message"] for g in messages["groups"]}
    subgroups = {g["order"]: g["message"] for g in messages["subgroups"]}

    by_code = {
        style: {without_variant(code): name for code, name in reversed(data.get("chars", {}).items())}
        for style, data in icons.items()
    }
    rows = []
    for entry in emoji:
        if entry.get("group", FLAGS) == FLAGS:
            continue
        code, label = without_variant(entry["hexcode"]), entry["label"]
        slug = re.sub(r"[^a-z0-9]+", "-", re.sub("[’']", "", label.lower())).strip("-")
        names = {style: by_code[style].get(code, slug) for style in STYLES}
        if any(names[style] not in icons[style]["icons"] for style in STYLES):
            continue
        family = family_of(label)
        split = split_of(family)
        for style in STYLES:
            data = icons[style]
            icon = data["icons"][names[style]]
            box = (icon.get("width", data.get("width", 16)), icon.get("height", data.get("height", 16)))
            svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {box[0]} {box[1]}">{icon["body"]}</svg>'
            new_style, new_concept = style == HELD_OUT_STYLE, split != "train"
            if new_style:
                cell = "unseen_both" if new_concept else "unseen_style"
            elif new_concept:
                cell = "unseen_concept"
            else:
                held = style == "noto" and number_of(f"seen/{family}") % 10 == 0
                cell = "seen_seen" if held else "train"
            rows.append(
                row(f"emoji/{code}/{style}", encoded(rasterise(svg)), label, entry.get("tags", []), "emoji", style,
                    code, groups[entry["group"]], subgroups[entry["subgroup"]], family, split, cell)
            )  # fmt: skip
    return rows


def without_variant(code: str) -> str:
    """A code point sequence without the variation selector."""
    return "-".join(part for part in code.upper().split("-") if part != "FE0F")


def clipart_rows(packages: dict[str, Path], held_out: list[list[str]], sheets: Path | None) -> list[dict]:
    """Public-domain clip-art with titles and keywords. `held_out`: lemmas of names that training must not see."""
    rejected = [line.split("\t")[0] for line in REJECTS.read_text(encoding="utf-8").splitlines() if "\t" in line]
    texts = {}
    for name, content in members(packages["openclipart-svg_*0.18*.deb"]):
        if name.endswith(".svg"):
            path = name.split("/svg/", 1)[1].removesuffix(".svg")
            if SKIPPED_FOLDERS.isdisjoint(path.split("/")):
                found = title_and_subjects(content)
                if found and not any(fnmatch.fnmatch(path, pattern) for pattern in rejected):
                    texts[path] = found
    images = {}
    for name, content in members(packages["openclipart-png_*0.18*.deb"]):
        path = name.split("/png/", 1)[-1].removesuffix(".png")
        if path in texts and len(content) <= MAX_PNG_BYTES:
            picture = Image.open(io.BytesIO(content))
            ratio = max(picture.size) / min(picture.size)
            if picture.width * picture.height <= MAX_PNG_PIXELS and ratio <= MAX_ASPECT:
                images[path] = padded(picture)

    rows, titles, seen = [], Counter(), set()
    for path in sorted(images):
        title, subjects = texts[path]
        image, concept = images[path], " ".join(sorted(set(lemmas(title))))
        pixels = np.asarray(image.convert("L").resize((16, 16))) // 8
        if pixels.std() < 1.0 or pixels.tobytes() in seen or titles[concept] >= MAX_A_TITLE:
            continue  # blank, a repeated picture, or enough with this title
        split = split_of(f"clipart/{concept}")
        if split == "train" and any(contains(lemmas(title), label) for label in held_out):
            continue
        seen.add(pixels.tobytes())
        titles[concept] += 1
        tags = [s for s in subjects if split != "train" or lemmas(s) not in held_out]
        rows.append(
            row(f"clipart/{path}", encoded(image), title, tags, "clipart", "clipart", concept,
                path.split("/")[0].replace("_", " "), path.split("/")[-2].replace("_", " "), f"clipart/{concept}",
                split, "train" if split == "train" else "unseen_concept")
        )  # fmt: skip
        rows[-1]["_path"] = path
    if sheets:
        contact_sheets(rows, sheets)
    for entry in rows:
        del entry["_path"]
    return rows


def title_and_subjects(svg: bytes) -> tuple[str, list[str]] | None:
    """Title and keywords of a public-domain drawing; None if it is not one, or has no usable title."""
    try:
        root = ElementTree.fromstring(svg)
    except ElementTree.ParseError:
        return None
    dc, rdf = "{http://purl.org/dc/elements/1.1/}", "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
    work = next((element for element in root.iter() if element.tag.endswith("}Work")), None)
    if work is None:
        return None
    licences = [e.attrib.get(f"{rdf}resource", "") for e in work if e.tag.endswith("}license")]
    if not licences or not all("publicdomain" in url.lower() for url in licences):
        return None
    title = plain(work.findtext(f"{dc}title") or "")
    title = re.sub(r"\b(?:architetto|francesco|rollandin|r\.)\b|-aj\b|\(email.*", " ", title, flags=re.IGNORECASE)
    title = re.sub(r"[\s_#-]*(?:\d+|\(\d+\)|\bver\b.*|\bv\d.*)$", "", " ".join(title.replace("_", " ").split())).strip(
        " -,."
    )
    words = re.findall(r"[A-Za-z]{3,}", title)
    if STOP.search(title) or not words or len(title) > 60 or re.search(r"[A-Za-z]\d|\d{2}|[^ -~]", title):
        return None
    subjects = [plain(s.text or "").replace("_", " ").lower() for s in work.iter(f"{rdf}li")]
    subjects = [s for s in subjects if 2 < len(s) < 25 and not NO_SUBJECT.search(s) and re.fullmatch(r"[a-z '-]+", s)]
    return title, list(dict.fromkeys(s for s in subjects if s != title.lower()))


def plain(text: str) -> str:
    """Text without markup and repeated blanks."""
    return " ".join(re.sub(r"<[^>]*>", " ", html.unescape(html.unescape(text))).split())


def scenery_rows(packages: dict[str, Path]) -> list[dict]:
    """Photographs that the package's copyright file lists as public domain. Their text is the scene class."""
    photos, stanzas = {}, []
    for name, content in members(packages["endless-sky-data_0.9.8*.deb"]):
        if "/images/land/" in name and name.endswith(".jpg"):
            photos["images/land/" + name.rsplit("/", 1)[1]] = content
        elif name.endswith("/copyright"):
            for stanza in re.split(r"\n\s*\n", content.decode()):
                files = re.search(r"^Files:(.*?)^\S", stanza, re.MULTILINE | re.DOTALL)
                licence = re.search(r"^License:\s*(\S+)", stanza, re.MULTILINE)
                if files and licence:
                    stanzas.append((files[1].split(), licence[1]))
    rows = []
    for path in sorted(photos):
        # The last stanza that matches applies (Debian's machine-readable copyright format)
        licence = [found for patterns, found in stanzas if any(fnmatch.fnmatch(path, p) for p in patterns)][-1]
        scene = re.match(r"[a-z]+", path.rsplit("/", 1)[1])[0]
        scene = SCENES.get(scene, scene)
        if licence != "public-domain" or not scene:
            continue
        photo = Image.open(io.BytesIO(photos[path])).convert("RGB")
        side = min(photo.size)
        left, top = (photo.width - side) // 2, (photo.height - side) // 2
        photo = photo.crop((left, top, left + side, top + side)).resize(
            (PHOTO_SIZE, PHOTO_SIZE), Image.Resampling.LANCZOS
        )
        split = split_of(f"scenery/{path}")
        cell = "train" if split == "train" else "unseen_concept"
        rows.append(
            row(path, encoded(photo), scene, [], "scenery", "photo", scene, "scenery", scene, f"scenery/{path}", split,
                cell)
        )  # fmt: skip
    return rows


def row(key: str, image: bytes, caption: str, tags: list[str], *labels: str) -> dict:
    """One row of SCHEMA."""
    return dict(zip(SCHEMA.names, (number_of(key), image, caption, tags, *labels), strict=True))


def contact_sheets(rows: list[dict], folder: Path, columns: int = 16, lines: int = 10) -> None:
    """Draw pages of pictures with their titles, for inspection by eye, and a listing of them."""
    folder.mkdir(parents=True, exist_ok=True)
    cell, count = 112, columns * lines
    for page in range(0, len(rows), count):
        sheet = Image.new("RGB", (columns * cell, lines * (cell - 8)), "white")
        draw = ImageDraw.Draw(sheet)
        for index, entry in enumerate(rows[page : page + count]):
            x, y = index % columns * cell, index // columns * (cell - 8)
            sheet.paste(Image.open(io.BytesIO(entry["image"])), (x + 20, y))
            title = entry["caption"]
            for line, start in enumerate(range(0, min(len(title), 36), 18)):
                draw.text((x + 1, y + SIZE + 2 + 11 * line), title[start : start + 18], fill="black")
            draw.text((x + 1, y + SIZE + 26), str(page + index), fill="red")
        sheet.save(folder / f"sheet-{page // count:02d}.png")
    listing = "".join(f"{i}\t{entry['_path']}\t{entry['caption']}\n" for i, entry in enumerate(rows))
    (folder / "listing.tsv").write_text(listing, encoding="utf-8")


# Everything


def build(packages: Path, sheets: Path | None) -> dict[str, pa.Table]:
    """The three tables."""
    found = {pattern: find(packages, pattern) for pattern in PACKAGES}
    emoji = emoji_rows(found)
    held_out = [
        list(label) for label in sorted({tuple(lemmas(r["caption"])) for r in emoji if r["concept_split"] != "train"})
    ]
    parts = {"emoji": emoji, "clipart": clipart_rows(found, held_out, sheets), "scenery": scenery_rows(found)}
    return {name: pa.Table.from_pylist(rows, schema=SCHEMA) for name, rows in parts.items()}


def compare(committed: pa.Table, built: pa.Table, name: str) -> None:
    """Exit unless rows are equal, and decoded pixels are too, except for what another release of a codec changes."""
    images = [field.name for field in built.schema if field.type == pa.binary()]
    labels = [column for column in built.schema.names if column not in images]
    if not committed.select(labels).equals(built.select(labels)):
        sys.exit(f"{name}: rows differ from what the script builds")
    worst = 0.0
    pairs = [pair for image in images for pair in zip(*(t[image].to_pylist() for t in (committed, built)), strict=True)]
    for ours, theirs in pairs:
        a, b = (np.asarray(Image.open(io.BytesIO(i)).convert("RGB"), dtype=np.int16) for i in (ours, theirs))
        worst = max(worst, float(np.abs(a - b).mean()) if a.shape == b.shape else 255.0)
    if worst > 2.0:
        sys.exit(f"{name}: pixels differ by up to {worst:.2f} of 255 on average over an image")
    print(f"{name}: {len(built):,} rows equal; largest mean difference of an image's pixels {worst:.2f} of 255")


def main() -> None:
    """Build the files, or check the committed ones."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packages", type=Path, required=True)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--sheets", type=Path)
    arguments = parser.parse_args()
    tables = build(arguments.packages, arguments.sheets)
    if arguments.check:
        for name, table in tables.items():
            compare(pq.read_table(OUT / f"{name}.parquet"), table, name)
        return
    OUT.mkdir(parents=True, exist_ok=True)
    total = 0
    for name, table in tables.items():
        pq.write_table(table, OUT / f"{name}.parquet", compression="zstd", row_group_size=512)
        total += (OUT / f"{name}.parquet").stat().st_size
        print(f"{name}: {len(table):,} rows, cells {dict(Counter(table['cell'].to_pylist()))}")
    families = defaultdict(set)
    for family, concept in zip(*(tables["emoji"][c].to_pylist() for c in ("family", "concept")), strict=True):
        families[family].add(concept)
    print(
        f"{sum(map(len, families.values())):,} concepts in {len(families):,} families; {total / 2**20:.2f} MiB in all"
    )


if __name__ == "__main__":
    main()
