"""`askew inspect` from a source to tables, a page and a list that `askew train` takes."""

import csv
import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from askew import distributed
from askew.data.sources import SelectionSource, open_source
from askew.evaluation.misalignment import parts as parts_module
from askew.evaluation.misalignment.draws import draw_pairs
from askew.evaluation.misalignment.operations import Condition
from askew.evaluation.misalignment.pairs import measure
from askew.runs.inspect_effects import effects_of, operations_table
from helpers import write_pairs
from micro_runs import askew_here, micro_recipe, micro_settings, train

HOSTILE = ("=1+1", "@SUM(A1)", "<script>alert(1)</script>", "\x1b[31mred\u202e", '-2 dogs, "two"')


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with 25 pairs, a run of MCD and one of CLIP."""
    here = tmp_path_factory.mktemp("inspect")
    table = write_pairs(here / "data", 25)
    for method in ("mcd", "clip"):
        train(micro_recipe(table, method, max_steps=1), here / method)
    return here


def inspected(folder, out, *options, model="mcd", data="data/pairs.csv", code=0, drawn=False):
    """Run the command; returns what it printed. Figures and operations, which take most of its time, are asked for."""
    few = [] if "--operation-pairs" in options else ["--operation-pairs", "0"]
    command = ["inspect", model, "--data", data, "--out", out, "--cache", folder / "cache", *few, *options]
    with pytest.MonkeyPatch.context() as patch:
        if not drawn:
            patch.setattr("askew.report.inspect.drawn", lambda page: {})
        done = askew_here(*command, cwd=folder)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def table_of(folder, rows):
    """A table of captions with pictures of the folder `data`, the same picture where the number is the same."""
    folder.mkdir(exist_ok=True)
    for number in {number for number, _ in rows}:
        shutil.copy(folder.parent / "data" / f"{number:04d}.png", folder / f"{number}.png")
    with (folder / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "caption"), *((f"{number}.png", text) for number, text in rows)])
    return folder / "pairs.csv"


@pytest.fixture(scope="module")
def whole(folder):
    """One inspection of both models, with a list to train on."""
    return folder / "whole", inspected(
        folder, folder / "whole", "--keep", "0.8", "--neighbours", "3", "--operation-pairs", "3", drawn=True
    )


def test_everything_is_written_and_named(whole):
    out, printed = whole
    names = {path.name for path in out.iterdir()}
    wanted = {"pairs.parquet", "pairs.csv", "operations.csv", "words.csv", "kept.parquet", "inspect.json"}
    assert names == wanted | {"inspect.html", "noise.svg", "operations.svg", "parts"}
    assert "the most misaligned of 25 pairs" in printed
    assert "mean misalignment by operation" in printed
    assert f"kept     20 of 25 captions: askew train --data {out}" in printed.replace("\n", "")
    facts = json.loads((out / "inspect.json").read_text(encoding="utf-8"))
    assert (facts["samples"], facts["pairs"], facts["kept"], facts["unusable"]) == (25, 25, 20, 0)
    page = (out / "inspect.html").read_text(encoding="utf-8")
    assert page.count('<div class="card ') == 48
    assert "data:image/webp" in page


def test_the_tables_hold_what_was_measured(whole):
    out, _ = whole
    table = pq.read_table(out / "pairs.parquet")
    noise = np.array(table["noise"])
    assert sorted(table["place"].to_pylist()) == list(range(1, 26))
    assert noise.argmax() == table["place"].to_pylist().index(1)
    assert {"teacher_noise", "teacher_loss", "text_rank", "nearest_caption"} <= set(table.column_names)
    assert table["pool"].to_pylist() == [24] * 25
    with (out / "pairs.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["text"] for row in rows] == table["text"].to_pylist()
    assert [float(row["noise"]) for row in rows] == pytest.approx(noise.tolist(), rel=1e-5)
    assert not any(name.startswith("askew_") for name in rows[0])


def test_the_list_is_a_source_of_the_best_aligned(whole, folder):
    out, _ = whole
    table, kept = pq.read_table(out / "pairs.parquet"), open_source(str(out / "kept.parquet"))
    assert isinstance(kept, SelectionSource)
    best = sorted(zip(table["noise"].to_pylist(), table["text"].to_pylist(), strict=True))[:20]
    captions = [caption for index in range(len(kept)) for caption in kept[index].captions]
    assert sorted(captions) == sorted(text for _, text in best)
    assert kept.describe.startswith("20 of 25 captions of table pairs.csv")


def test_askew_train_and_data_check_take_the_list(whole, folder):
    out, _ = whole
    done = askew_here("data", "check", out / "kept.parquet", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "20 of 25 captions" in done.stdout
    steps = ["--set", "train.max_steps=1"]
    done = askew_here(
        "train", "tiny", "--data", out / "kept.parquet", "--out", "kept-run", *micro_settings(), *steps, cwd=folder
    )
    assert done.returncode == 0, done.stderr


def test_all_pairs_filtered_by_hand_are_a_source_too(whole, folder):
    out, _ = whole
    table = pq.read_table(out / "pairs.parquet")
    pq.write_table(table.filter(np.array(table["text_rank"]) == 1), folder / "first.parquet")
    assert len(open_source(str(folder / "first.parquet"))) == (np.array(table["text_rank"]) == 1).sum()


def test_an_inspection_of_a_selection_selects_from_the_same_data(whole, folder):
    out, _ = whole
    inspected(folder, folder / "again", data=out / "kept.parquet")
    once, again = (open_source(str(path)) for path in (out / "kept.parquet", folder / "again" / "pairs.parquet"))
    assert [once[index] for index in range(len(once))] == [again[index] for index in range(len(again))]
    assert pq.read_table(folder / "again" / "pairs.parquet")["askew_source"][0].as_py() == str(
        folder / "data/pairs.csv"
    )


def test_the_same_inspection_again_computes_nothing(whole, folder, monkeypatch):
    out, _ = whole
    before = pq.read_table(out / "pairs.parquet")
    monkeypatch.delattr("askew.evaluation.misalignment.parts.measure")
    monkeypatch.delattr("askew.evaluation.misalignment.parts.Operator")
    inspected(folder, out, "--keep", "0.5", "--neighbours", "3", "--by", "loss", "--operation-pairs", "3")
    assert len(open_source(str(out / "kept.parquet"))) == 12
    table = pq.read_table(out / "pairs.parquet")
    assert table.drop_columns("place") == before.drop_columns("place")


def test_a_killed_inspection_continues(folder, monkeypatch):
    """Killed after the first of four parts: the other three are made, and the result is that of one go."""
    monkeypatch.setattr("askew.evaluation.chunks.SIZE", 7)
    monkeypatch.setattr("askew.evaluation.streaming.SIZE", 7)
    calls = []

    def counted(*arguments):
        calls.append(len(arguments[0]))
        if calls == [7, 7]:
            raise KeyboardInterrupt
        return measure(*arguments)

    monkeypatch.setattr(parts_module, "measure", counted)
    inspected(folder, folder / "killed", "--weights", "student", code=130)
    inspected(folder, folder / "killed", "--weights", "student")
    assert calls == [7, 7, 7, 7, 4]
    monkeypatch.undo()
    inspected(folder, folder / "in-one-go", "--weights", "student")
    one, other = (pq.read_table(folder / name / "pairs.parquet") for name in ("killed", "in-one-go"))
    assert one.num_rows == other.num_rows == 25
    np.testing.assert_allclose(one["distance"], other["distance"], atol=1e-6)


def test_ranks_share_the_parts(folder, monkeypatch):
    class Store:
        num_chunks = 5

        def __len__(self):
            return 4 * 1024 + 10

    made, ticks = [], []
    pairs = parts_module.PairParts({"student": Store()}, {}, {}, 1, folder)
    monkeypatch.setattr(pairs, "part", made.append)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        pairs.make(lambda done, total: ticks.append((done, total)))
    assert made == [0, 2, 4, 1, 3]
    assert ticks == [(1024, 2058), (2048, 2058), (2058, 2058), (1024, 2048), (2048, 2048)]


def test_another_inspection_is_not_overwritten(whole, folder):
    out, _ = whole
    printed = inspected(folder, out, "--neighbours", "4", "--operation-pairs", "3", code=2)
    assert "holds another inspection (neighbours: 3, not 4); choose a new folder" in printed
    (folder / "notes").mkdir()
    (folder / "notes" / "notes.txt").write_text("a list", encoding="utf-8")
    assert "is not empty; choose a new folder" in inspected(folder, folder / "notes", code=2)


def test_a_run_has_its_own_place(folder):
    command = ["inspect", "clip", "--data", "data/pairs.csv", "--cache", "cache", "--operation-pairs", "0"]
    done = askew_here(*command, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "clip" / "inspect" / "inspect.html").exists()
    assert not (folder / "clip" / "inspect" / "operations.csv").exists()
    assert "only the student is shown" in done.stderr


def test_a_run_without_a_teacher_cannot_show_one(folder):
    assert "its method has none" in inspected(folder, folder / "none", "--weights", "teacher", model="clip", code=2)


def test_the_teacher_alone(folder):
    inspected(folder, folder / "teacher", "--weights", "teacher", "--keep", "0.5")
    table = pq.read_table(folder / "teacher" / "pairs.parquet")
    assert "teacher_noise" in table.column_names
    assert "noise" not in table.column_names
    assert np.array(table["teacher_noise"]).argmax() == table["place"].to_pylist().index(1)


def test_one_pair(folder):
    data = table_of(folder / "one", [(0, "a cat")])
    printed = inspected(folder, folder / "out-one", data=data)
    assert "the most misaligned of 1 pairs" in printed
    assert "pairs: 1 of 1 images" in printed
    assert "nan" not in printed
    table = pq.read_table(folder / "out-one" / "pairs.parquet")
    assert table["noise"].to_pylist() == [None]
    assert "nothing to compare pairs with" in (folder / "out-one" / "inspect.html").read_text(encoding="utf-8")
    assert "--keep: every pair" in inspected(folder, folder / "out-one", "--keep", "0.5", data=data, code=2)


def test_the_mean_of_one_pair_has_no_interval():
    condition = Condition("flip", 1.0, "", True)
    table = operations_table(effects_of(["student"], [condition], np.full((1, 1, 1), 0.25, np.float32)))
    assert table.rows == [["flip", "1", "+0.250"]]


def test_ten_identical_captions(folder):
    data = table_of(folder / "same", [(number, "a cat") for number in range(10)])
    inspected(folder, folder / "out-same", "--keep", "0.5", "--by", "distance", data=data)
    table = pq.read_table(folder / "out-same" / "pairs.parquet")
    assert table["noise"].null_count == 10
    assert set(table["text_rank"].to_pylist()) == {1}
    assert len(open_source(str(folder / "out-same" / "kept.parquet"))) == 5


def test_unreadable_images_are_counted(folder):
    data = table_of(folder / "bad", [(0, "a cat"), (1, "a dog"), (2, "a bird")])
    (folder / "bad" / "1.png").write_bytes(b"nothing")
    printed = inspected(folder, folder / "out-bad", data=data)
    assert "1 of 3 samples cannot be used; the first: " in printed
    facts = json.loads((folder / "out-bad" / "inspect.json").read_text(encoding="utf-8"))
    assert (facts["samples"], facts["usable"], facts["pairs"], len(facts["problems"])) == (3, 2, 2, 1)
    assert pq.read_table(folder / "out-bad" / "pairs.parquet")["sample"].to_pylist() == [0, 2]


def test_nothing_but_unreadable_images_is_refused(folder):
    data = table_of(folder / "worse", [(0, "a cat")])
    (folder / "worse" / "0.png").write_bytes(b"nothing")
    assert "none of the 1 samples can be used" in inspected(folder, folder / "out-worse", data=data, code=2)


def test_text_from_data_is_shown_and_never_interpreted(folder):
    data = table_of(folder / "hostile", list(enumerate(HOSTILE)))
    printed = inspected(folder, folder / "out-hostile", data=data)
    assert "\x1b[31mred" not in printed
    with (folder / "out-hostile" / "pairs.csv").open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    assert texts == ["'=1+1", "'@SUM(A1)", HOSTILE[2], "\\x1b[31mred\\u202e", f"'{HOSTILE[4]}"]
    assert pq.read_table(folder / "out-hostile" / "pairs.parquet")["text"].to_pylist() == list(HOSTILE)
    page = (folder / "out-hostile" / "inspect.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "\u202e" not in page


def test_a_better_caption_is_found_anywhere_in_the_data(folder):
    """The pool holds one pair, so that the better captions come from the rest of the data."""
    inspected(folder, folder / "small-pool", "--pool", "1")
    table = pq.read_table(folder / "small-pool" / "pairs.parquet")
    assert set(table["pool"].to_pylist()) == {0, 1}
    assert (folder / "small-pool" / "inspect.html").read_text(encoding="utf-8").count("Nearer: ") > 12


def test_larger_draws_hold_smaller_ones():

    from askew.evaluation.chunks import Chunk

    rng = np.random.default_rng(0)
    chunks = []
    for first in (0, 10, 20):
        counts = rng.integers(1, 4, 10)
        owner = first + np.repeat(np.arange(10), counts)
        image, text = (rng.normal(size=(rows, 3)).astype(np.float32) for rows in (10, len(owner)))
        readable = rng.random(10) < 0.8
        chunks.append(
            Chunk(
                first, image, text, owner, np.arange(10), np.arange(10) + first, np.arange(10), readable,
                [f"caption {row} of {first}" for row in range(len(owner))], [""] * 10, (),
            )
        )  # fmt: skip
    usable = {chunk.first + place for chunk in chunks for place in np.flatnonzero(chunk.readable)}
    large, small = draw_pairs(chunks, 99), draw_pairs(iter(chunks), 4)
    assert set(large.sample.tolist()) == usable
    assert len(set(large.sample.tolist())) == len(large)
    assert small.sample.tolist() == large.sample[:4].tolist()
    assert small.captions == large.captions[:4]
    for row, sample in enumerate(large.sample):
        chunk = chunks[sample // 10]
        place = int(np.searchsorted(chunk.owner, sample) + large.caption[row])
        assert chunk.owner[place] == sample
        assert chunk.captions[place] == large.captions[row]
        np.testing.assert_array_equal(large.text[row], chunk.text[place])
        np.testing.assert_array_equal(large.image[row], chunk.image[sample % 10])
