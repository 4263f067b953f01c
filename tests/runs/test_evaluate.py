"""`askew eval` and `askew compare` as a user meets them: results, protocol, exit codes, agreement, chance."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import replicas
import torch
from open_clip.model import CustomTextCLIP
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transform import PreprocessCfg, image_transform_v2
from rich.console import Console as RichConsole
from standins import MICRO, embedded, micro_model, pictures

import micro_runs
from askew.errors import UserError
from askew.evaluation.datasets import catalog
from askew.evaluation.datasets.base import Classification, Labelled
from askew.evaluation.model import Encoders
from askew.evaluation.results import Result, load
from askew.evaluation.suite import EvaluationOptions
from askew.evaluation.tasks.zero_shot import zero_shot
from askew.report.console import Console
from askew.runs.compare import compare, compared
from askew.runs.evaluate import evaluate, evaluate_tiny
from askew.runs.request import Request, default_cache
from askew.runs.tables import paper_tables, published
from helpers import write_pairs

SMALL = "pets,flowers102,dtd,flickr30k,sugarcrepe"
QUICK = EvaluationOptions(("zero_shot", "sugarcrepe"))  # the probes of Pets alone take half a second each


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Replicas of some sets, a model, and what a first evaluation left; DTD is missing."""
    root = tmp_path_factory.mktemp("evaluate")
    for write in (replicas.pets, replicas.flowers102, replicas.flickr30k, replicas.sugarcrepe):
        write(root / "data")
    micro_model(root / "model")
    done = micro_runs.askew(
        "eval", f"local-dir:{root / 'model'}", "--suite", SMALL, "--data-root", root / "data",
        "--out", root / "first.jsonl", "--cache", root / "cache",
    )  # fmt: skip
    return root, done


def lines(file: Path) -> dict[str, dict]:
    return {line["task"]: line for line in map(json.loads, file.read_text(encoding="utf-8").splitlines())}


def request(root, name="model", **changes):
    fields = {
        "suite": "pets,sugarcrepe",
        "data_root": root / "data",
        "cache": root / "cache",
        "options": QUICK,
    } | changes
    return Request(name if name.startswith("local") else f"local-dir:{root / name}", **fields)


def test_what_is_there_runs_and_the_exit_code_tells_of_the_rest(here):
    _, done = here
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "dtd is missing; it should hold images/CLASS/*.jpg" in done.stderr
    (last,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "1 of 5 sets could not be evaluated completely: dtd" in last
    assert "pets: test 74 (expected 3,669!), train" in done.stderr  # counts found against expected


def test_the_tables_stand_beside_the_published_ones(here):
    _, done = here
    shown = done.stdout
    for words in ("Table 1", "zero-shot", "linear probe", "Table 2", "Table 3", "UniCLIP", "Flowers", "lexicographic"):
        assert words in shown
    assert "Table 4" not in shown  # ImageNet was not run
    assert "Food-101" not in shown
    assert "Average" not in shown


def test_results_carry_their_protocol_and_outcomes(here):
    root, _ = here
    found = lines(root / "first.jsonl")
    assert {"pets/zero_shot", "pets/linear_probe", "flowers102/zero_shot", "flickr30k/image_to_text",
            "flickr30k/text_to_image", "sugarcrepe", "sugarcrepe/swap_obj"} <= set(found)  # fmt: skip
    pets = found["pets/zero_shot"]["protocol"]
    assert pets["found"]["test"] == 74
    assert pets["expected"]["test"] == 3669
    assert not pets["counts_as_expected"]
    assert pets["templates"] == ["a photo of a {}, a type of pet."]
    assert len(pets["images_sha256"]["test"]) == len(pets["weights_sha256"]) == 64
    assert (pets["activation"], pets["precision"], pets["dataset"], pets["split"]) == ("GELU", "fp32", "pets", "test")
    for key in ("askew", "torch", "open_clip", "numpy", "preprocessing", "resolution", "measure", "ties", "unreadable"):
        assert key in pets
    probe = found["pets/linear_probe"]["protocol"]
    assert probe["layer"] == "before the projection (visual.proj)"
    assert {"C", "C_tried", "validation", "iterations"} <= set(probe)
    assert probe["classifier"] == "logistic regression, preconditioned L-BFGS"
    assert set(probe["images_sha256"]) == {"test", "train"}
    assert found["flickr30k/image_to_text"]["protocol"]["captions"].startswith("all 20, 5 to 5 per image")
    assert found["sugarcrepe"]["values"].keys() >= {"replace/macro", "replace/items", "add/items", "n"}
    for task, line in found.items():
        if task != "sugarcrepe":
            outcomes = load(root / "first-outcomes" / f"{task}.npz")
            for measure, right in outcomes.right.items():
                if measure not in outcomes.classes:
                    assert right.mean() == pytest.approx(line["values"][measure])


def test_a_second_time_every_feature_is_reused(here):
    root, _ = here
    console = Console(quiet=True)
    said = []
    console.say = said.append
    evaluate(request(root, out=root / "second.jsonl"), console)
    assert any("reused" in line and " 80 images" in line for line in said)  # 74 of Pets, 6 of SugarCrepe
    first, second = lines(root / "first.jsonl"), lines(root / "second.jsonl")
    assert {task: line["values"] for task, line in second.items()} == {task: first[task]["values"] for task in second}


def test_only_the_tasks_asked_for_are_run(here):
    root, _ = here
    evaluate(
        request(root, suite="pets", out=root / "zs.jsonl", options=EvaluationOptions(("zero_shot",))),
        Console(quiet=True),
    )
    assert set(lines(root / "zs.jsonl")) == {"pets/zero_shot"}
    with pytest.raises(UserError, match=r"--tasks probe is not known; tasks: zero_shot, linear_probe"):
        evaluate(request(root, options=EvaluationOptions(("probe",))), Console(quiet=True))


def test_unreadable_images_refuse_the_set_or_count_as_wrong(here, tmp_path):
    root, _ = here
    shutil.copytree(root / "data", tmp_path / "data")
    spoilt = sorted((tmp_path / "data" / "oxford-iiit-pet" / "images").glob("*.jpg"))
    for file in spoilt:
        file.write_bytes(b"no image" if file.name.startswith("Abyssinian") else file.read_bytes())
    asked = {"suite": "pets", "data_root": tmp_path / "data", "options": EvaluationOptions(("zero_shot",))}
    console = Console(quiet=True)
    warned = []
    console.warn = warned.append
    with pytest.raises(UserError, match="1 of 1 sets could not be evaluated completely: pets"):
        evaluate(request(root, **asked), console)
    assert "of 74 images cannot be read: " in warned[0]
    assert "--allow-unreadable" in warned[0]
    asked["options"] = EvaluationOptions(("zero_shot",), allow_unreadable=True)
    evaluate(request(root, out=tmp_path / "r.jsonl", **asked), console)
    line = lines(tmp_path / "r.jsonl")["pets/zero_shot"]
    assert line["values"]["n"] == 74
    assert line["protocol"]["unreadable"]
    assert "Abyssinian" in line["protocol"]["unreadable"][0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"suite": "flower102"}, "did you mean 'flowers102'"),
        ({"suite": "paper", "data_root": None}, "needs --data-root DIR"),
        ({"suite": "pets", "data_root": Path("nowhere")}, "pets"),
        ({"suite": "pets", "prompts": "a {}"}, "--prompts belongs to --data"),
        ({"data": "nowhere.csv"}, "nowhere.csv does not exist"),
    ],
)
def test_what_was_typed_wrong_is_one_line(here, changes, words):
    root, _ = here
    with pytest.raises(UserError, match=words):
        evaluate(request(root, **changes), Console(quiet=True))


def test_your_own_folder_and_table_by_one_command(here, tmp_path):
    root, _ = here
    for split, first in (("train", 0), ("test", 100)):
        for label, name in enumerate(("kite", "owl", "red_boat")):
            folder = tmp_path / "local" / split / name
            folder.mkdir(parents=True)
            images = pictures(4, first + 10 * label)
            for index in range(4):
                (folder / f"{index}.png").write_bytes(images.read(index))
    table = write_pairs(tmp_path / "pairs", 6)
    shutil.copy(tmp_path / "pairs" / "0004.png", tmp_path / "local" / "test" / "owl" / "9.png")
    out = tmp_path / "r.jsonl"
    model = ("eval", f"local-dir:{root / 'model'}", "--out", out, "--cache", root / "cache")
    done = micro_runs.askew_here(*model, "--data", tmp_path / "local", "--prompts", "art of {}", "--against", table)
    assert done.returncode == 0, done.stderr
    assert "1 test images are in" in done.stderr
    evaluate(request(root, data=str(table), out=out, options=EvaluationOptions()), Console(quiet=True))
    found = lines(out)
    assert set(found) == {
        "local/zero_shot",
        "local/linear_probe",
        "local/overlap",
        "pairs/image_to_text",
        "pairs/text_to_image",
    }
    assert found["local/zero_shot"]["protocol"]["templates"] == ["art of {}"]
    assert found["local/overlap"]["values"] == {"exact": 1, "near": 0, "n": 13}
    assert found["local/linear_probe"]["protocol"]["trained_on"] == 12


def test_a_run_and_its_local_dir_agree(here, tmp_path):
    """The same weights by two names: every number and every outcome."""
    root, _ = here
    run = micro_runs.train(
        micro_runs.micro_recipe(micro_runs.table_of_25(tmp_path / "pairs"), "clip", max_steps=2), tmp_path / "run"
    )
    evaluate(request(root, f"local-dir:{run / 'model'}", out=tmp_path / "x" / "results.jsonl"), Console(quiet=True))
    asked = Request(str(run), "pets,sugarcrepe", data_root=root / "data", cache=root / "cache", options=QUICK)
    evaluate(asked, Console(quiet=True))
    one, other = lines(run / "results.jsonl"), lines(tmp_path / "x" / "results.jsonl")
    assert {t: line["values"] for t, line in one.items()} == {t: line["values"] for t, line in other.items()}
    assert len(one) == 1 + 8
    differences = compared(str(run), str(tmp_path / "x" / "results.jsonl")).differences
    assert all((d.a, d.low, d.high) == (d.b, 0, 0) for d in differences)


def test_random_weights_are_at_chance():
    """Mean per class of five seeds on 12 classes of pictures: the interval of their mean holds 1 / 12."""
    classes = tuple((f"thing {i}",) for i in range(12))
    images = pictures(240)
    data = Classification("set", "mean_per_class", classes, ("a photo of a {}",), Labelled(images, np.arange(240) % 12))
    preprocess = image_transform_v2(PreprocessCfg(size=32), is_train=False)
    found = []
    for seed in range(5):
        torch.manual_seed(seed)
        model = CustomTextCLIP(**MICRO).eval()
        encoders = Encoders(model, preprocess, SimpleTokenizer(context_length=16), torch.device("cpu"), {})
        found.append(zero_shot(encoders, data, embedded(encoders, images)).values["mean_per_class"])
    half = 2.776 * np.std(found, ddof=1) / np.sqrt(5)  # Student's t, four degrees of freedom
    assert abs(np.mean(found) - 1 / 12) <= half
    assert half < 0.05
    assert len(set(found)) > 1


def test_compare_prints_intervals_and_refuses_other_items(here, tmp_path):
    root, _ = here
    micro_model(root / "other", seed=1)
    evaluate(request(root, "other", out=tmp_path / "b.jsonl"), Console(quiet=True))
    done = micro_runs.askew_here("compare", root / "first.jsonl", tmp_path / "b.jsonl")
    assert done.returncode == 0, done.stderr
    assert "pets/zero_shot" in done.stdout
    assert "95 % interval" in done.stdout
    assert "only on" in done.stderr  # flowers102 and flickr30k were run on one alone
    shutil.copytree(root / "data", tmp_path / "data")
    for file in (tmp_path / "data" / "oxford-iiit-pet" / "images").glob("*.jpg"):
        file.write_bytes(file.read_bytes() + b" ")
    evaluate(request(root, suite="pets", data_root=tmp_path / "data", out=tmp_path / "c.jsonl"), Console(quiet=True))
    with pytest.raises(UserError, match="were not tested on the same items: 74 of 74 only in"):
        compare(str(root / "first.jsonl"), str(tmp_path / "c.jsonl"), Console(quiet=True))
    for wrong in (root / "data", tmp_path / "nowhere"):
        with pytest.raises(UserError, match="contains no outcomes of a model"):
            compare(str(root / "first.jsonl"), str(wrong), Console(quiet=True))


def test_two_runs_of_the_suite_tiny_can_be_compared(here, tmp_path):
    root, _ = here
    for name in ("model", "other"):
        micro_model(root / name, seed=len(name))
        evaluate_tiny(f"local-dir:{root / name}", "student", Console(quiet=True), tmp_path / name / "results.jsonl")
    found = compared(str(tmp_path / "model" / "results.jsonl"), str(tmp_path / "other" / "outcomes")).differences
    tasks = {d.task: d for d in found}
    assert {"naming/unseen_both", "group/unseen_both", "retrieval/unseen_style/tags", "scenery"} <= set(tasks)
    values = lines(tmp_path / "model" / "results.jsonl")["naming/unseen_style"]["values"]
    by_measure = {d.measure: d for d in found if d.task == "naming/unseen_style"}
    assert by_measure["top5"].a == values["top5"]
    assert by_measure["top5"].n == values["n"]


def test_the_published_numbers_are_the_papers():
    """Averages of Table 1 are those of its columns, so no number has slipped; the rest by sample."""
    paper = published()
    for task in ("zero_shot", "linear_probe"):
        for method, numbers in paper["table1"][task].items():
            # UniCLIP's zero-shot row is 37.35 and printed 37.3; MCD's is 40.27 and printed 40.2
            assert np.mean(numbers) == pytest.approx(paper["table1"]["average"][task][method], abs=0.1), method
    mcd = dict(zip(paper["table2"]["columns"], paper["table2"]["zero_shot"]["MCD"], strict=True))
    assert (mcd["flickr30k/image_to_text/r@1"], mcd["coco/text_to_image/r@10"]) == (57.6, 55.3)
    assert paper["table3"]["rows"]["CLIP"] == [73.6, 59.5, 69.4]
    assert paper["table4"]["rows"]["MCD"] == [28.2]
    assert set(paper["table1"]["sets"]) <= set(catalog.names())


def test_a_whole_row_has_its_average_and_names_are_safe():
    results = [Result(f"{s}/zero_shot", {"top1": 0.5, "n": 4, "classes": 2}, {}) for s in published()["table1"]["sets"]]
    console = Console()
    console.out = RichConsole(width=200, record=True, file=io.StringIO(), force_terminal=True)
    for table in paper_tables(results, "[bold]local\x1b[31m"):
        console.table(table)
    text = console.out.export_text()
    assert "Average" in text
    assert "[bold]local\\x1b[31m" in text
    assert "40.2" in text


def test_a_user_without_a_home_has_no_cache_and_the_evaluation_says_so(here, monkeypatch):
    def nobody(uid):
        raise KeyError(uid)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    assert default_cache() is None
    root, _ = here
    console, said = Console(quiet=True), []
    console.say = said.append
    asked = {"suite": "sugarcrepe", "cache": default_cache(), "options": EvaluationOptions(("sugarcrepe",))}
    evaluate(request(root, **asked), console)
    assert "features are not kept: there is no cache folder; name one with --cache DIR" in said


def test_notes_and_warnings_of_class_folders_are_printed_and_stored(here, tmp_path):
    root, _ = here
    for seed, path in enumerate(("train/7/0.png", "train/n0/0.png", "val/7/.x.png", "val/7/0.png", "val/n0/0.png")):
        (tmp_path / "d" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / path).write_bytes(pictures(1, seed).read(0))
    console, said, warned = Console(quiet=True), [], []
    console.say, console.warn = said.append, warned.append
    options = EvaluationOptions(("zero_shot",))
    evaluate(request(root, data=str(tmp_path / "d"), out=tmp_path / "r.jsonl", options=options), console)
    notes = ["hidden files and system files left out: 1, for example 7/.x.png", "no test split: evaluated on val"]
    assert said[0] == "classes  2: 7, n0"
    assert said[1:4] == ["d: test 2, train 2", *(f"d: note: {note}" for note in notes)]
    (warning,) = warned
    assert warning.startswith("d: class folders are called by numbers (7; 1 in all), so prompts read 'a photo of a 7'")
    protocol = lines(tmp_path / "r.jsonl")["d/zero_shot"]["protocol"]
    assert protocol["notes"] == notes
    assert [f"d: {text}" for text in protocol["warnings"]] == warned


def test_bounds_of_an_interval_stand_beside_their_measure():
    values = {"auroc_noise": 0.75, "auroc_noise_low": 0.5, "auroc_noise_high": 1.0, "wrong": 5, "n": 50}
    (table,) = paper_tables([Result("dev/wrong_captions", values, {})], "model")
    assert table.rows[0][:2] == ["dev/wrong_captions", "AUROC by noise 75.0 (50.0 to 100.0)"]
