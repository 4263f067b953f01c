"""The suite `tiny` has the queries and candidates that it claims."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from askew.evaluation.tasks import tiny as suite

TEXT = ("caption", "source", "style", "concept", "group", "subgroup", "family", "concept_split", "cell")
SPLITS = ["train"] * 5 + ["validation", "test", "test"]


def picture(number):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (number, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def rows():
    made = []
    for concept, split in enumerate(SPLITS):
        for style in ("noto", "fluent-emoji", "twemoji"):
            new_style, new_concept = style == "twemoji", split != "train"
            cell = {(0, 0): "train", (1, 0): "unseen_style", (0, 1): "unseen_concept", (1, 1): "unseen_both"}
            cell = "seen_seen" if concept == 0 and style == "noto" else cell[new_style, new_concept]
            made.append({"image": picture(concept), "caption": f"name {concept}", "tags": [f"tag {concept // 2}"],
                         "source": "emoji", "style": style, "concept": f"c{concept}", "group": f"group {concept % 2}",
                         "subgroup": f"subgroup {concept % 4}", "family": f"f{concept}", "concept_split": split,
                         "cell": cell})  # fmt: skip
    for scene in range(4):
        name, trained = f"scene {scene % 2}", scene < 2
        made.append({"image": picture(100 + scene % 2), "caption": name, "tags": [], "source": "scenery",
                     "style": "photo", "concept": name, "group": "scenery", "subgroup": "x", "family": f"s{scene}",
                     "concept_split": "train" if trained else "test",
                     "cell": "train" if trained else "unseen_concept"})  # fmt: skip
    return [{"id": index, **row} for index, row in enumerate(made)]


@pytest.fixture
def files(tmp_path, monkeypatch):
    schema = pa.schema([("id", pa.int64()), ("image", pa.binary()), ("tags", pa.list_(pa.string()))])
    for name in TEXT:
        schema = schema.append(pa.field(name, pa.string()))
    for source in ("emoji", "scenery"):
        table = pa.Table.from_pylist([row for row in rows() if row["source"] == source], schema=schema)
        pq.write_table(table, tmp_path / f"{source}.parquet")
    monkeypatch.setattr(suite, "embedded_files", lambda: sorted(tmp_path.glob("*.parquet")))
    return tmp_path


class Oracle:
    """A model that recognises the number in a name and in a picture's red."""

    def image(self, images):
        return self.unit([image.getpixel((0, 0))[0] for image in images])

    def text(self, texts):
        numbers = [int(text.split()[-1]) for text in texts]
        return self.unit([n + 100 if "scene" in text else n for n, text in zip(numbers, texts, strict=True)])

    def unit(self, numbers):
        return np.eye(128, dtype=np.float32)[numbers]


class Constant(Oracle):
    """A model that gives everything the same vector."""

    def unit(self, numbers):
        return np.eye(128, dtype=np.float32)[np.zeros(len(numbers), dtype=int)]


def test_an_oracle_names_everything(files):
    results = suite.tiny(Oracle())
    for task, values in results.items():
        if task.startswith("naming/"):
            assert values["top1"] == values["top5"] == 1.0, task
        if task.endswith("/name"):
            assert all(v == 1.0 for k, v in values.items() if "r@" in k), task
    assert results["scenery"] | {"low": 0} == {"top1": 1.0, "low": 0, "high": 1.0, "n": 2, "classes": 2}


def test_cells_have_the_right_drawings_and_the_right_names(files):
    results = suite.tiny(Oracle())
    asked = {task.removeprefix("naming/"): (v["n"], v["classes"]) for task, v in results.items() if "naming" in task}
    assert asked == {
        "seen_seen": (1, 8),
        "unseen_style": (5, 8),
        "unseen_concept": (3, 3),  # only Noto, among held-out names
        "unseen_both": (3, 3),
        "unseen_concept/validation": (1, 1),
        "unseen_both/validation": (1, 1),
        "unseen_concept/test": (2, 2),
        "unseen_both/test": (2, 2),
        "unseen_concept/all_names": (3, 8),
        "unseen_both/all_names": (3, 8),
    }
    assert results["group/unseen_style"]["classes"] == 2
    assert results["subgroup/unseen_both"]["classes"] == 4
    assert results["retrieval/unseen_style/name"]["n"] == 5


def test_a_constant_encoder_gets_the_first_name_and_retrieves_nothing(files):
    results = suite.tiny(Constant())
    assert results["naming/unseen_style"]["top1"] == pytest.approx(1 / 5)  # concept 0 is the first name
    assert results["naming/unseen_both"]["top1"] == pytest.approx(1 / 3)
    assert results["naming/unseen_both/all_names"]["top1"] == 0.0
    for task, values in results.items():
        if task.startswith("retrieval/") and task.endswith("/name"):
            assert all(v == 0.0 for k, v in values.items() if k.endswith("r@1")), task


def test_equal_texts_are_equally_right(files):
    class ByTag(Oracle):
        def image(self, images):
            return self.unit([image.getpixel((0, 0))[0] // 2 for image in images])

    values = suite.tiny(ByTag())["retrieval/unseen_style/tags"]
    assert values["n"] == 5
    assert all(v == 1.0 for k, v in values.items() if "r@" in k)  # drawings 0 and 1 share "tag 0"


def test_the_protocol_changes_with_the_data(files):
    before = suite.data_protocol()
    assert before["suite"] == "tiny"
    table = pq.read_table(files / "emoji.parquet")
    pq.write_table(table.slice(1), files / "emoji.parquet")
    assert suite.data_protocol()["data_sha256"] != before["data_sha256"]
