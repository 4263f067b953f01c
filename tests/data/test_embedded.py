"""The embedded data separate held-out from training data, in every way that a name or picture could leak."""

import hashlib
import io
import re
from collections import defaultdict

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from askew.data.sources import EmbeddedSource, embedded_files, stable_id

LABELS = ["source", "style", "concept", "group", "subgroup", "family", "concept_split", "cell"]
COLUMNS = ["id", "image", "caption", "tags", *LABELS]
STYLES = {"noto", "twemoji", "fluent-emoji-flat", "fluent-emoji"}


@pytest.fixture(scope="module")
def rows():
    return [row for path in embedded_files() for row in pq.read_table(path).to_pylist()]


@pytest.fixture(scope="module")
def emoji(rows):
    return [row for row in rows if row["source"] == "emoji"]


def words(text):
    """Lower-case words without a plural s: coarser than the rule that made the split."""
    return {w[:-1] if w.endswith("s") and len(w) > 3 else w for w in re.findall(r"[a-z0-9]+", text.lower())}


def test_files_are_small_and_complete(rows):
    assert [path.stem for path in embedded_files()] == ["clipart", "emoji", "scenery"]
    assert sum(path.stat().st_size for path in embedded_files()) <= 8 * 2**20
    assert (embedded_files()[0].parent / "NOTICE").is_file()
    assert all(list(row) == COLUMNS for row in rows)
    assert len({row["id"] for row in rows}) == len(rows)
    assert all(row["caption"].strip() and row["image"] for row in rows)


def test_every_image_decodes_to_its_size(rows):
    for row in rows:
        image = Image.open(io.BytesIO(row["image"]))
        assert image.format == "WEBP"
        assert image.mode == "RGB"
        assert image.size == ((96, 96) if row["source"] == "scenery" else (64, 64))


def test_every_emoji_concept_is_drawn_once_in_every_style(emoji):
    styles = defaultdict(list)
    for row in emoji:
        styles[row["concept"]].append(row["style"])
    assert len(styles) == 1554
    assert all(sorted(drawn) == sorted(STYLES) for drawn in styles.values())
    assert len({row["group"] for row in emoji}) == 8


def test_cells_follow_from_style_and_split(rows):
    for row in rows:
        if row["cell"] == "train":
            assert row["concept_split"] == "train"
            assert row["style"] != "twemoji"
        elif row["source"] != "emoji":
            assert (row["cell"], row["concept_split"] == "train") == ("unseen_concept", False)
        else:
            new_style, new_concept = row["style"] == "twemoji", row["concept_split"] != "train"
            expected = {
                (False, False): "seen_seen",
                (True, False): "unseen_style",
                (False, True): "unseen_concept",
                (True, True): "unseen_both",
            }[new_style, new_concept]
            assert row["cell"] == expected


def test_a_tenth_of_families_is_validation_and_a_tenth_test(emoji):
    split_of = {row["family"]: row["concept_split"] for row in emoji}
    shares = {split: list(split_of.values()).count(split) / len(split_of) for split in set(split_of.values())}
    assert shares["validation"] == pytest.approx(0.1, abs=0.03)
    assert shares["test"] == pytest.approx(0.1, abs=0.03)
    seen = [row for row in emoji if row["style"] == "noto" and row["concept_split"] == "train"]
    held = [row for row in seen if row["cell"] == "seen_seen"]
    assert len(held) / len(seen) == pytest.approx(0.1, abs=0.03)


def test_no_family_is_in_two_splits(rows):
    sides = defaultdict(set)
    for row in rows:
        sides[row["source"], row["family"]].add(row["concept_split"])
    assert [family for family, splits in sides.items() if len(splits) > 1] == []


@pytest.mark.parametrize(
    "family",
    [
        ("man cook", "woman cook", "cook"),
        ("one o’clock", "two o’clock", "two-thirty"),
        ("red heart", "blue heart", "light blue heart"),
        ("person running", "man running: facing right"),
        ("left arrow", "right arrow", "up-right arrow"),
        ("prince", "princess"),
        ("1st place medal", "2nd place medal"),
        ("musical note", "musical notes"),
        ("black large square", "white small square"),
        ("rightwards hand", "leftwards hand"),
        ("keycap: 1", "keycap: 2"),
    ],
)  # fmt: skip
def test_names_that_differ_in_gender_colour_hour_direction_or_number_are_one_family(emoji, family):
    family_of = {row["caption"]: row["family"] for row in emoji}
    assert len({family_of[name] for name in family}) == 1


def test_no_training_caption_of_clipart_contains_a_held_out_name(rows, emoji):
    held_out = [words(row["caption"]) for row in emoji if row["concept_split"] != "train" and row["style"] == "noto"]
    trained = [row for row in rows if row["source"] == "clipart" and row["cell"] == "train"]
    leaks = [(row["caption"], name) for row in trained for name in held_out if name <= words(row["caption"])]
    assert leaks == []
    assert [row["tags"] for row in trained if any(words(tag) in held_out for tag in row["tags"])] == []


def test_as_many_held_out_names_are_keywords_of_trained_emoji_as_the_docs_say(rows, emoji):
    """Their drawings are unseen, their words are not. No other keyword is a held-out name."""
    held_out = {row["caption"].lower() for row in emoji if row["concept_split"] != "train"}
    keywords = defaultdict(set)
    for row in (row for row in rows if row["cell"] == "train"):
        keywords[row["source"]] |= {tag.lower() for tag in row["tags"]} & held_out
    assert {source: len(found) for source, found in keywords.items()} == {"emoji": 35, "clipart": 0, "scenery": 0}


def test_no_held_out_name_is_a_trained_name(emoji):
    names = defaultdict(set)
    for row in emoji:
        names[row["caption"].lower()].add(row["concept_split"])
    assert all(len(splits) == 1 for splits in names.values())


def test_no_picture_is_both_trained_and_held_out(rows):
    cells = defaultdict(set)
    for row in rows:
        pixels = np.asarray(Image.open(io.BytesIO(row["image"])).convert("L").resize((16, 16))) // 8
        cells[hashlib.sha256(pixels.tobytes()).hexdigest()].add(row["cell"] == "train")
    assert [key for key, sides in cells.items() if len(sides) > 1] == []


def test_the_source_gives_training_rows_only(rows):
    source = EmbeddedSource()
    trained = {row["id"]: row for row in rows if row["cell"] == "train"}
    samples = [source[index] for index in range(len(source))]
    assert {sample.id for sample in samples} == set(trained)
    for sample in samples:
        row = trained[sample.id]
        assert (sample.image, sample.captions, list(sample.tags)) == (row["image"], (row["caption"],), row["tags"])
        assert sample.match_id == stable_id(row["concept"])


def test_drawings_of_one_concept_are_positives():
    source = EmbeddedSource()
    groups = defaultdict(set)
    for index in range(len(source)):
        groups[source[index].match_id].add(source[index].captions[0].lower())
    assert max(map(len, groups.values())) <= 2
