"""A run resumes with the same data in another place, and with no others."""

import json
import os
import shutil
import signal
from contextlib import chdir
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from formats import FORMATS

from askew.data.sources import open_source
from askew.errors import Interrupted, UserError
from askew.recipes.settings import override
from askew.training.fingerprint import contents_of, refuse_other_data
from micro_runs import askew_here, assert_same_state, metrics_of, micro_recipe, state_of, table_of_25, train, trainer_of


def pairs_of(folder, num=25):
    """Names, bytes and captions of images."""
    table = table_of_25(folder)
    rows = [line.split(",") for line in table.read_text(encoding="utf-8").splitlines()[1 : num + 1]]
    return [(name, (folder / name).read_bytes(), text) for name, text in rows]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return pairs_of(tmp_path_factory.mktemp("pairs"))


def stopped(source, folder, step=2, **train_settings):
    """A run on that source, stopped after a step."""
    recipe = micro_recipe(source, "clip", max_steps=4, **train_settings)

    def progress(line):
        if line["step"] == step:
            os.kill(os.getpid(), signal.SIGINT)

    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json")), encoding="utf-8")
    with pytest.raises(Interrupted):
        trainer_of(recipe, folder, progress=progress).run()
    return folder


@pytest.mark.parametrize("kind", FORMATS)
def test_what_identifies_data_does_not_depend_on_where_they_lie(pairs, tmp_path, kind):
    (tmp_path / "old").mkdir()
    source = FORMATS[kind](tmp_path / "old", pairs)
    before = contents_of(open_source(source))
    assert None not in before["samples"]
    assert len(set(before["samples"])) == 25
    shutil.move(tmp_path / "old", tmp_path / "new" / "deeper")
    assert contents_of(open_source(source.replace("/old", "/new/deeper"))) == before


@pytest.mark.parametrize("kind", ["csv", "folder", "tar", "parquet"])
def test_a_run_ends_bit_equal_after_its_data_moved(pairs, tmp_path, kind):
    (tmp_path / "old").mkdir()
    source = FORMATS[kind](tmp_path / "old", pairs)
    whole = train(micro_recipe(source, "clip", max_steps=4), tmp_path / "whole")
    run = stopped(source, tmp_path / "run")
    shutil.move(tmp_path / "old", tmp_path / "new")
    moved = source.replace("/old", "/new")

    done = askew_here("train", "--resume", "--out", run)
    assert done.returncode == 2
    printed = " ".join(done.stderr.split())
    assert f"{source} is not there; if the data have moved" in printed
    assert f"askew train --resume --out {run} --data SOURCE" in printed

    done = askew_here("train", "--resume", "--out", run, "--data", moved)
    assert done.returncode == 0, done.stderr
    assert "data in a new place, and the same: recipe.yaml now names it" in " ".join(done.stderr.split())
    assert_same_state(state_of(run), state_of(whole))
    recorded = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))
    expected = yaml.safe_load((whole / "recipe.yaml").read_text(encoding="utf-8"))
    assert recorded["data"]["source"] == moved
    assert recorded["train"] == expected["train"]


def test_mixed_sources_and_image_root_move_too(tmp_path):
    """Tables may stay where they are while their images move."""
    table = table_of_25(tmp_path / "a")
    table_of_25(tmp_path / "b")
    tables = tmp_path / "tables"
    tables.mkdir()
    shutil.move(table, tables / "pairs.csv")
    source = f"{tables / 'pairs.csv'} + {tables / 'pairs.csv'}*2"
    recipe = override(micro_recipe(source, "clip", max_steps=3), [f"data.image_root={tmp_path / 'a'}"])
    run = tmp_path / "run"
    train(recipe, run)
    shutil.rmtree(tmp_path / "a")
    again = override(recipe, [f"data.image_root={tmp_path / 'b'}"])
    trainer = trainer_of(again)
    assert trainer.contents == contents_of(trainer.loader.source)
    found = sorted((run / "checkpoints").iterdir())[-1]
    shutil.rmtree(run / "model")
    train(again, run, resume=True)
    assert (run / "model").is_dir()
    assert sorted((run / "checkpoints").iterdir())[-1] == found


@pytest.mark.parametrize("change", ["caption", "image", "name", "order", "fewer"])
@pytest.mark.parametrize("kind", ["csv", "parquet", "tar"])
def test_other_data_in_the_new_place_are_refused(pairs, tmp_path, kind, change):
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    source = FORMATS[kind](tmp_path / "old", pairs)
    run = stopped(source, tmp_path / "run")
    other = list(pairs)
    match change:
        case "caption":
            other[7] = (*pairs[7][:2], "another caption")
        case "image":
            other[7] = (pairs[7][0], pairs[8][1], pairs[7][2])
        case "name":
            other[7] = ("other.png", *pairs[7][1:])
        case "order":
            other = other[::-1]
        case "fewer":
            other = other[:-1]
    moved = FORMATS[kind](tmp_path / "new", other)
    before, recorded = state_of(run), (run / "recipe.yaml").read_bytes()
    done = askew_here("train", "--resume", "--out", run, "--data", moved)
    assert done.returncode == 2
    assert "the data are not those that the run began with" in " ".join(done.stderr.split())
    assert_same_state(state_of(run), before)
    assert (run / "recipe.yaml").read_bytes() == recorded
    assert [line["step"] for line in metrics_of(run)] == [1, 2]


def test_a_relative_path_from_another_folder(pairs, tmp_path):
    """It says where it looked; and other data of the same names there are not taken for the run's own."""
    (tmp_path / "home").mkdir()
    (tmp_path / "elsewhere" / "data").mkdir(parents=True)
    with chdir(tmp_path / "home"):
        Path("data").mkdir()
        FORMATS["csv"](Path("data"), pairs)
        run = stopped("data/pairs.csv", Path("run").absolute())
    done = askew_here("train", "--resume", "--out", run, cwd=tmp_path / "elsewhere")
    assert done.returncode == 2
    printed = " ".join(done.stderr.split())
    assert "data/pairs.csv is not there, seen from the folder that this command runs in; if the data" in printed
    others = [(name, image, f"{text} indeed") for name, image, text in pairs]
    FORMATS["csv"](tmp_path / "elsewhere" / "data", others)
    done = askew_here("train", "--resume", "--out", run, cwd=tmp_path / "elsewhere")
    assert done.returncode == 2
    assert "the data are not those" in " ".join(done.stderr.split())
    done = askew_here("train", "--resume", "--out", run, cwd=tmp_path / "home")
    assert done.returncode == 0, done.stderr


def test_samples_that_cannot_be_read_say_nothing(pairs, tmp_path):
    """A bad sample may be repaired, or be out of reach for a while."""
    source = FORMATS["csv"](tmp_path, pairs)
    (tmp_path / "0003.png").unlink()
    assert contents_of(open_source(source))["samples"].count(None) == 1
    run = stopped(source, tmp_path / "run")
    (tmp_path / "0003.png").write_bytes(pairs[3][1])
    train(micro_recipe(source, "clip", max_steps=4), run, resume=True)


def test_a_checkpoint_of_an_earlier_version_knows_names_only(pairs, tmp_path):
    (tmp_path / "old").mkdir()
    source = FORMATS["csv"](tmp_path / "old", pairs)
    run = stopped(source, tmp_path / "run")
    for file in (run / "checkpoints").glob("*/manifest.json"):
        manifest = json.loads(file.read_text(encoding="utf-8"))
        del manifest["facts"]["contents"], manifest["manifest_sha256"]  # which has neither
        file.write_text(json.dumps(manifest), encoding="utf-8")
    shutil.move(tmp_path / "old", tmp_path / "new")
    train(micro_recipe(source.replace("/old", "/new"), "clip", max_steps=4), run, resume=True)


def test_files_that_are_divided_otherwise_are_other_data(pairs, tmp_path, monkeypatch):
    """The order of a Parquet source that does not fit into memory depends on its row groups."""
    monkeypatch.setattr("askew.data.sources.parquet.IN_MEMORY", 1)
    found = {}
    for size in (5, 7):
        (tmp_path / str(size)).mkdir()
        table = pq.read_table(FORMATS["parquet"](tmp_path, pairs))
        pq.write_table(pa.concat_tables([table] * 50), tmp_path / str(size) / "pairs.parquet", row_group_size=41 * size)
        source = open_source(str(tmp_path / str(size)))
        found[size] = source, contents_of(source)
    assert found[5][1]["samples"] == found[7][1]["samples"]
    refuse_other_data("x", {"contents": found[5][1]}, found[5][0], "", found[5][1])
    with pytest.raises(UserError, match="their files are divided otherwise"):
        refuse_other_data("x", {"contents": found[5][1]}, found[7][0], "", found[7][1])


def test_data_do_not_move_before_the_first_checkpoint(pairs, tmp_path):
    (tmp_path / "new").mkdir()
    source = FORMATS["csv"](tmp_path, pairs)
    run = stopped(source, tmp_path / "run")
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(UserError, match="has no checkpoint that knows its data"):
        train(micro_recipe(FORMATS["csv"](tmp_path / "new", pairs), "clip", max_steps=4), run, resume=True)
