"""`askew.evaluate` gives the numbers of `askew eval`, bit for bit, as values."""

import json
import pickle

import pytest
import replicas
from standins import micro_model

import askew
from helpers import write_pairs
from micro_runs import askew_here


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A model, pairs, and one data set of two; the cache of features is in the same folder."""
    folder = tmp_path_factory.mktemp("evaluate")
    micro_model(folder / "model")
    write_pairs(folder / "data", 16)
    replicas.sugarcrepe(folder / "sets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield folder


@pytest.fixture(scope="module")
def model(here):
    return askew.load(here / "model", device="cpu")


def same_as_the_command(found, here, *options):
    """The results and the tables of `askew eval` with these options."""
    (here / "results.jsonl").unlink(missing_ok=True)
    done = askew_here("eval", f"local-dir:{here / 'model'}", *options, "--out", here / "results.jsonl")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (here / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["task"] for line in lines] == list(found)
    assert [line["values"] for line in lines] == [one.values for one in found.tasks]
    theirs = [{key: value for key, value in line["protocol"].items() if key != "model"} for line in lines]
    ours = [{key: value for key, value in one.protocol.items() if key != "model"} for one in found.tasks]
    assert theirs == json.loads(json.dumps(ours))
    return done.stdout.splitlines()


def test_custom_data_give_the_numbers_of_the_command(model, here, capfd):
    data, tasks = here / "data" / "pairs.csv", ["retrieval", "word_order", "wrong_captions"]
    found = askew.evaluate(f"local-dir:{here / 'model'}", data=data, tasks=tasks)
    assert capfd.readouterr() == ("", "")
    printed = same_as_the_command(found, here, "--data", data, "--tasks", ",".join(tasks))
    assert str(found).splitlines() == printed
    loaded = askew.evaluate(model, data=data, tasks=tasks)
    assert [one.values for one in loaded.tasks] == [one.values for one in found.tasks]
    assert not (here / "model" / "results.jsonl").exists()


def test_the_suite_tiny_gives_the_numbers_of_the_command(model, here):
    found = askew.evaluate(model)
    printed = same_as_the_command(found, here)
    assert str(found).splitlines()[1:] == printed[1:]  # the title has the seconds
    scenery = found["scenery"]
    assert scenery.intervals["top1"] == (scenery.values["low"], scenery.values["high"])
    assert scenery.chance["top1"] == 1 / scenery.values["classes"]
    naming = found["naming/unseen_style"]
    assert naming.chance["top5"] == 5 / naming.values["classes"]
    low, high = naming.intervals["top1"]
    assert low <= naming.values["top1"] <= high


def test_results_are_a_mapping(model, here):
    found = askew.evaluate(model, data=here / "data" / "pairs.csv", out=here / "kept.jsonl")
    assert len(found) == 2
    assert [task for task, _ in found.items()] == ["pairs/image_to_text", "pairs/text_to_image"]
    with pytest.raises(KeyError, match="pairs/zero_shot"):
        found["pairs/zero_shot"]
    assert len((here / "kept.jsonl").read_text(encoding="utf-8").splitlines()) == 2


def test_a_set_that_fails_does_not_cost_the_others(model, here):
    with (
        pytest.raises(askew.EvaluationError) as caught,
        pytest.warns(UserWarning, match="not evaluated: .*dtd is missing"),
    ):
        askew.evaluate(model, suite=["sugarcrepe", "dtd"], data_root=here / "sets", tasks="zero_shot,sugarcrepe")
    assert str(caught.value).startswith(f"not evaluated: dtd: {here / 'sets' / 'dtd'} is missing; it should hold")
    assert len(str(caught.value).splitlines()) == 1
    assert "sugarcrepe" in caught.value.results
    assert "Table 3" in str(caught.value.results)
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), askew.EvaluationError)


def test_verbose_prints_what_the_command_prints(model, here, capfd):
    found = askew.evaluate(model, data=here / "data" / "pairs.csv", verbose=True)
    out, err = capfd.readouterr()
    assert out == f"{found}\n"
    assert "captions 16 images, 16 captions" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"tasks": "zero_shots"}, "--tasks zero_shots is not known; tasks: zero_shot, linear_probe"),
        ({"tasks": []}, "tasks: there are none; name one, or leave the argument out"),
        ({"suite": "nowhere"}, "nowhere"),
        ({"suite": "pets"}, "--suite pets needs --data-root DIR"),
        ({"data": "nowhere.csv"}, "nowhere.csv does not exist"),
        ({"data": "empty"}, "empty"),
        ({"prompts": "a {}"}, "the suite tiny takes no --prompts"),
        ({"weights": "teacher"}, "weights='teacher': the model is loaded already; give it to askew.load"),
        ({"batch_size": 0}, "batch_size=0: give a whole number of at least 1"),
        ({"caption_prompt": "a photo"}, "--caption-prompt"),
        ({"model": "ViT-B-33", "data": "a.csv"}, "ViT-B-33: neither a run directory, nor a folder"),
        ({"model": "ViT-B-32", "weights": "other"}, "weights 'other' is not known; use student or teacher or best"),
        ({"data": "a.csv", "overrides": {"train.epochs": 2}}, "takes settings of how --data is read"),
    ],
)
def test_what_is_wrong_is_one_line(model, arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path, 3).rename("a.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(askew.UserError) as caught:
        askew.evaluate(**{"model": model, **arguments})
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
