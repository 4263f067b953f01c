"""Retrieval after fine-tuning: a run for each learning rate, a choice on validation images, one test."""

import csv
import json
import os
import shutil
import signal

import numpy as np
import pyarrow.parquet as pq
import pytest

from askew.data.sources import open_source
from askew.errors import Interrupted, UserError
from askew.evaluation.results import Result, ResultsFile
from askew.recipes.settings import override
from askew.report.console import Console
from askew.runs.directory import RunDirectory
from askew.runs.evaluate import evaluate
from askew.runs.finetuning import run as finetuning
from askew.runs.finetuning.run import FineTuneRequest, finetune_retrieval
from askew.runs.finetuning.splits import of_custom, of_suite
from askew.runs.request import Request
from askew.runs.tables import paper_tables
from askew.training.loop import Trainer
from evaluation import replicas
from helpers import write_pairs
from micro_runs import assert_same_state, metrics_of, micro_recipe, state_of, train

MICRO = ("loader.batch_size=16", "train.epochs=2", "loader.num_workers=0", "train.precision=fp32")
QUICK = (*MICRO, "evaluation.report=false", "train.log_every=1")
RATES = (1e-3, 3e-3)


def write_split(folder, name, num, seed):
    """`num` images, each with three captions."""
    write_pairs(folder / name, num, seed=seed)
    rows = list(csv.DictReader((folder / name / "pairs.csv").open()))
    with (folder / f"{name}.csv").open("w", newline="") as file:
        lines = [[f"{name}/{row['image']}", f"{row['caption']} take {k}"] for row in rows for k in range(3)]
        csv.writer(file).writerows([["image", "caption"], *lines])
    return folder / f"{name}.csv"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    sizes = {"train": 24, "validation": 10, "test": 12}
    return {name: write_split(folder, name, num, seed) for seed, (name, num) in enumerate(sizes.items())}


@pytest.fixture(scope="module")
def pretrained(data, tmp_path_factory):
    recipe = override(micro_recipe(data["train"], "clip"), ["train.epochs=1"])
    return RunDirectory(train(recipe, tmp_path_factory.mktemp("model") / "run"))


def asked_of(sources, pretrained, **changes):
    known = {
        "model": str(pretrained.path), "data": str(sources["train"]), "validation": str(sources["validation"]),
        "test": str(sources["test"]), "rates": RATES, "sets": QUICK,
    }  # fmt: skip
    return FineTuneRequest(**{**known, **changes})


@pytest.fixture(scope="module")
def tuned(data, pretrained, tmp_path_factory):
    out = tmp_path_factory.mktemp("tuned") / "out"
    finetune_retrieval(asked_of(data, pretrained), out, Console(quiet=True))
    return out


def values_of(file):
    return {line["task"]: line["values"] for line in ResultsFile(file).read()}


def recalls(run):
    lines = [line for line in metrics_of(run) if "eval/validation/mean_recall" in line]
    return {line["epoch"]: line["eval/validation/mean_recall"] for line in lines}


def test_the_learning_rate_is_chosen_on_the_validation_images_at_the_end(tuned):
    ends = {rate: recalls(tuned / "test" / f"lr-{rate:g}")[2] for rate in RATES}
    facts = [line["protocol"]["fine_tuned"] for line in ResultsFile(tuned / "results.jsonl").read()]
    assert len(facts) == 2
    for one in facts:
        assert one["tried"] == {f"{rate:g}": value for rate, value in ends.items()}
        assert one["learning_rate"] == max(RATES, key=lambda rate: ends[rate])
    assert len(set(ends.values())) == 2  # otherwise there was nothing to choose


def test_every_run_is_evaluated_before_and_after_every_epoch(tuned):
    for rate in RATES:
        assert list(recalls(tuned / "test" / f"lr-{rate:g}")) == [0, 1, 2]


@pytest.mark.parametrize("which", ["zero-shot", "fine-tuned"])
def test_the_test_is_that_of_askew_eval(tuned, pretrained, data, tmp_path, which):
    facts = ResultsFile(tuned / "results.jsonl").read()[0]["protocol"]["fine_tuned"]
    model, file = {
        "zero-shot": (pretrained.path, tuned / "test" / "zero-shot" / "results.jsonl"),
        "fine-tuned": (tuned / "test" / f"lr-{facts['learning_rate']:g}", tuned / "results.jsonl"),
    }[which]
    out = tmp_path / "results.jsonl"
    evaluate(Request(str(model), data=str(data["test"]), out=out, cache=tmp_path / "c"), Console(quiet=True))
    assert values_of(file) == values_of(out)
    assert len(values_of(out)) == 2


def test_the_training_is_that_of_the_recipe(tuned, pretrained):
    recipe = RunDirectory(tuned / "test" / "lr-0.001").read_recipe()
    assert recipe.data.captions == "each"
    assert recipe.method.name == "clip"
    assert recipe.views.image_flip == 0.5
    assert recipe.towers.pretrained == str(pretrained.model())
    assert (recipe.train.learning_rate, recipe.train.min_learning_rate, recipe.train.weight_decay) == (1e-3, 0, 0.1)
    last = metrics_of(tuned / "test" / "lr-0.001")[-1]
    assert last["samples"] == 2 * (24 * 3 // 16) * 16  # every caption of every image, twice; the rest of an epoch drops


def test_the_same_command_again_trains_nothing(tuned, data, pretrained, capsys):
    before = {file: file.stat().st_mtime_ns for file in tuned.rglob("*") if file.suffix in (".jsonl", ".safetensors")}
    finetune_retrieval(asked_of(data, pretrained), tuned, Console())
    after = {file: file.stat().st_mtime_ns for file in tuned.rglob("*") if file.suffix in (".jsonl", ".safetensors")}
    assert before == after
    printed = capsys.readouterr()
    assert printed.err.count("is finished") == 2
    assert "mean recall on the validation images" in printed.out
    assert "fine-tuned" in printed.out


def test_a_fine_tuning_that_was_stopped_ends_the_same(tuned, data, pretrained, tmp_path, monkeypatch):
    """The first run is stopped after two steps, the second within an evaluation of the validation images."""
    step, steps = Trainer._one_step, []

    def stopping(trainer, batch):
        steps.append(trainer.done)
        if len(steps) in (2, 9 + 4):  # of nine steps in each run: eight, and one that is taken again
            os.kill(os.getpid(), signal.SIGTERM)
        return step(trainer, batch)

    monkeypatch.setattr(Trainer, "_one_step", stopping)
    out = tmp_path / "out"
    for _ in range(2):
        with pytest.raises(Interrupted) as stopped:
            finetune_retrieval(asked_of(data, pretrained), out, Console(quiet=True))
        assert str(stopped.value) == f"stopped; the same command with --out {out} goes on"
    finetune_retrieval(asked_of(data, pretrained), out, Console(quiet=True))
    assert values_of(out / "results.jsonl") == values_of(tuned / "results.jsonl")
    for rate in RATES:
        name = f"test/lr-{rate:g}"
        assert_same_state(state_of(out / name), state_of(tuned / name))
        assert recalls(out / name) == recalls(tuned / name)


# Splits


def test_a_share_of_the_training_images_is_set_aside(data, tmp_path):
    found = of_custom(str(data["train"]), "0.25", str(data["test"]), (), tmp_path, lambda text: None)
    train_list, kept = open_source(str(tmp_path / "train.parquet")), open_source(str(tmp_path / "validation.parquet"))
    assert (len(train_list), len(kept)) == (18, 6)
    images = [{source[i].image for i in range(len(source))} for source in (train_list, kept)]
    assert not images[0] & images[1]
    assert all(len(kept[i].captions) == 3 for i in range(6))
    assert found.validation.data == str(tmp_path / "validation.parquet")
    assert found.train == (f'data.source="{tmp_path / "train.parquet"}"',)
    again = {name: pq.read_table(tmp_path / f"{name}.parquet") for name in ("train", "validation")}
    of_custom(str(data["train"]), "0.25", str(data["test"]), (), tmp_path, lambda text: None)
    assert all(pq.read_table(tmp_path / f"{name}.parquet").equals(table) for name, table in again.items())


def test_copies_of_an_image_are_on_one_side(data, tmp_path):
    folder = tmp_path / "twice"
    shutil.copytree(data["train"].parent / "train", folder / "train")
    names = sorted(file.name for file in (folder / "train").glob("*.png"))
    for name in names:
        shutil.copy(folder / "train" / name, folder / "train" / f"copy-{name}")
    rows = [[f"train/{one}", f"a picture {one}"] for name in names for one in (name, f"copy-{name}")]
    with (folder / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image", "caption"], *rows])
    of_custom(str(folder / "train.csv"), "0.5", str(data["test"]), (), tmp_path, lambda text: None)
    sides = [open_source(str(tmp_path / f"{name}.parquet")) for name in ("train", "validation")]
    images = [{source[i].image for i in range(len(source))} for source in sides]
    assert [len(side) for side in sides] == [24, 24]
    assert not images[0] & images[1]


def test_one_source_with_splits(data, tmp_path):
    folder = data["train"].parent
    with (tmp_path / "all.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "caption", "split"])
        for split, name in (("train", "train"), ("val", "validation"), ("test", "test")):
            writer.writerows(
                [row["image"], row["caption"], split] for row in csv.DictReader((folder / f"{name}.csv").open())
            )
    sets = (f"data.image_root={folder}",)
    found = of_custom(str(tmp_path / "all.csv"), "", "", sets, tmp_path, lambda text: None)
    assert len(found.test.images) == 12
    assert "data.split=train" in found.train
    assert found.validation.settings == [*sets, "data.split=validation"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Flickr30k and COCO in Karpathy's layout, all splits."""
    root = tmp_path_factory.mktemp("root")
    for name, places in (("flickr30k", ("flickr30k-images",)), ("coco", ("train2014", "val2014"))):
        entries = []
        for number in range(60):
            split = ("train", "train", "train", "restval" if name == "coco" else "train", "val", "test")[number % 6]
            place = places[0] if split == "train" else places[-1]
            file = f"{number}.jpg"
            (root / name / place).mkdir(parents=True, exist_ok=True)
            (root / name / place / file).write_bytes(replicas.jpeg(number))
            sentences = [{"raw": f"shade {number}, {k}"} for k in range(5)]
            filepath = {"filepath": place} if name == "coco" else {}
            entries.append({"filename": file, "split": split, "sentences": sentences, **filepath})
        (root / name / f"dataset_{name}.json").write_text(json.dumps({"images": entries}))
    return root


def test_the_sets_of_the_paper(root, pretrained, tmp_path, capsys):
    out = tmp_path / "out"
    asked = FineTuneRequest(
        str(pretrained.path), "flickr30k,coco", root, rates=(1e-3,), sets=(*QUICK, "loader.batch_size=40")
    )
    finetune_retrieval(asked, out, Console())
    printed = capsys.readouterr().out
    assert "Table 2: retrieval, ViT-B/32 on YFCC15M; fine-tuned, %" in printed
    assert "79.3" in printed  # of the paper's MCD
    for name in ("flickr30k", "coco"):
        run = RunDirectory(out / name / "lr-0.001")
        assert metrics_of(run.path)[-1]["samples"] == 2 * 5 * 40  # of 40 training images, restval included
        assert values_of(out / name / "zero-shot" / "results.jsonl")[f"{name}/image_to_text"]["n"] == 10
    assert sorted(values_of(out / "results.jsonl")) == [
        "coco/image_to_text", "coco/text_to_image", "flickr30k/image_to_text", "flickr30k/text_to_image",
    ]  # fmt: skip


def test_how_long_each_set_is_trained(root):
    assert [(one.name, one.epochs) for one in of_suite("flickr30k,coco", root)] == [("flickr30k", 10), ("coco", 5)]


def test_results_after_fine_tuning_are_not_taken_for_zero_shot_ones():
    values = {"r@1": 0.5, "r@5": 0.6, "r@10": 0.7, "n": 10, "candidates": 50}
    results = [Result("coco/image_to_text", values, {}), Result("coco/image_to_text", values, {"fine_tuned": {}})]
    titles = [table.title for table in paper_tables(results, "a model")]
    assert titles[:2] == [f"Table 2: retrieval, ViT-B/32 on YFCC15M; {how}, %" for how in ("zero-shot", "fine-tuned")]


def with_splits(data, folder):
    """One table of all three splits, with a column of captions that is not found by its name."""
    with (folder / "all.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "told", "split"])
        for split, name in (("train", "train"), ("val", "validation"), ("test", "test")):
            rows = csv.DictReader(data[name].open())
            writer.writerows([row["image"], row["caption"], split] for row in rows)
    return folder / "all.csv", (f"data.image_root={data['train'].parent}", "data.caption_column=told")


def test_other_data_are_read_by_the_split_that_is_wanted(data, tmp_path):
    """Never the test split for the choice of a learning rate."""
    table, sets = with_splits(data, tmp_path)
    other = tmp_path / "other.csv"
    shutil.copy(table, other)
    found = of_custom(str(table), str(other), str(other), sets, tmp_path, lambda text: None)
    assert found.validation.settings[-1] == "data.split=validation"
    assert len(found.test.images) == 12


def test_a_share_of_data_that_need_settings_to_be_read(data, pretrained, tmp_path):
    table, sets = with_splits(data, tmp_path)
    asked = asked_of(data, pretrained, data=str(table), validation="0.25", test="", rates=(1e-3,), sets=(*QUICK, *sets))
    finetune_retrieval(asked, tmp_path / "out", Console(quiet=True))
    run = RunDirectory(tmp_path / "out" / "all" / "lr-0.001")
    assert metrics_of(run.path)[-1]["samples"] == 2 * 3 * 16  # of 18 images with three captions each
    assert values_of(tmp_path / "out" / "results.jsonl")["all/image_to_text"]["n"] == 12


def test_a_run_whose_last_evaluation_failed_is_not_chosen_by_an_earlier_one(tuned, tmp_path):
    run = RunDirectory.create("run", tmp_path / "run")
    for line in metrics_of(tuned / "test" / "lr-0.001"):
        last = line["epoch"] == 2
        run.append_metrics({name: value for name, value in line.items() if not (last and name.startswith("eval/"))})
    with pytest.raises(UserError, match="could not be evaluated at the end of the run"):
        finetuning.validation_curve(run)


# Refused


def test_another_request_in_the_same_folder(tuned, data, pretrained):
    with pytest.raises(
        UserError, match=r"holds a fine-tuning with other settings: rates \(\[0.001, 0.003\] -> \[0.01\]\)"
    ):
        finetune_retrieval(asked_of(data, pretrained, rates=(0.01,)), tuned, Console(quiet=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": ""}, "name either --suite with --data-root, or --data"),
        ({"data": "", "suite": "coco"}, "--validation and --test belong to --data"),
        ({"data": "", "suite": "pets", "validation": "", "test": ""}, "--suite pets: retrieval is fine-tuned on"),
        ({"data": "", "suite": "coco", "validation": "", "test": ""}, "--suite coco needs --data-root DIR"),
        ({"validation": ""}, "no validation images (data: "),
        ({"validation": "1.5"}, "--validation 1.5: a share of the training images is between 0 and 1"),
        ({"validation": "0.001"}, "--validation 0.001: of 24 images this leaves none on one side"),
        ({"model": "ViT-B-32"}, "a model without pretrained weights cannot be fine-tuned"),
        ({"weights": "teacher"}, "the run has no teacher/ folder"),
        ({"sets": ("train.learning_rate=1e-4",)}, "this is decided by --rates; leave it out"),
        ({"sets": ("evaluation.during=x.csv",)}, "this is decided by --validation; leave it out"),
        ({"sets": ("train.epochs=many",)}, "--set: train.epochs: "),
        ({"sets": ("data.split=test",)}, "the splits train, validation and test are read"),
        ({"test": None}, "--test names the training data"),
        ({"validation": None}, "--validation names the training data"),
        ({"model": "local-dir:nowhere"}, "neither a run directory, nor a folder with open_clip_config.json"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_one_line(data, pretrained, tmp_path, changes, message):
    changes = {key: str(data["train"]) if value is None else value for key, value in changes.items()}
    with pytest.raises(UserError) as refused:
        finetune_retrieval(asked_of(data, pretrained, **changes), tmp_path / "out", Console(quiet=True))
    assert message in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_karpathys_file_is_needed(tmp_path):
    replicas.flickr30k(tmp_path, token=True)
    with pytest.raises(UserError, match="fine-tuning needs Karpathy's file"):
        of_suite("flickr30k", tmp_path)


def test_validation_images_that_cannot_be_evaluated(tuned, tmp_path):
    run = RunDirectory.create("run", tmp_path / "run")
    for line in metrics_of(tuned / "test" / "lr-0.001"):
        run.append_metrics({name: value for name, value in line.items() if not name.startswith("eval/")})
    with pytest.raises(UserError, match="the validation images could not be evaluated"):
        finetuning.validation_curve(run)
    assert np.isfinite(list(finetuning.validation_curve(RunDirectory(tuned / "test" / "lr-0.001")).values())).all()
