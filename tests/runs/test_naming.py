"""Names of a user's data in results: two data sets never share one, and one data set keeps its own."""

import json
from pathlib import Path

import pytest
from standins import micro_model, png

from askew.evaluation.suite import EvaluationOptions
from askew.report.console import Console
from askew.runs.evaluate import evaluate
from askew.runs.naming import own_name
from askew.runs.request import Request


def line(name: str, **protocol) -> dict:
    return {"task": f"{name}/zero_shot", "protocol": {"dataset": name, **protocol}}


def facts(images: str, captions: str = "") -> dict:
    return {"images_sha256": {"test": images}} | ({"captions_sha256": captions} if captions else {})


MINE = facts("11112222333344445555")


@pytest.mark.parametrize(
    ("earlier", "expected"),
    [
        ([], "pairs"),
        ([{"task": "written by hand"}], "pairs"),
        ([line("other", data="/a/pairs.csv")], "pairs"),
        ([line("pairs", data="/b/pairs.csv", **facts("99"))], "pairs"),  # the same place, after a change
        ([line("pairs", data="/moved/pairs.csv", **MINE)], "pairs"),  # the same content at another place
        ([line("pairs", **MINE)], "pairs"),  # written before places were recorded
        ([line("pairs", data="/a/pairs.csv", **facts("99"))], "b-pairs"),
        ([line("pairs", data="/a/pairs.csv", **facts("99")), line("b-pairs", data="/b/pairs.csv")], "b-pairs"),
        ([line("pairs", data="/a/b/pairs.csv"), line("b-pairs", data="/c/b/pairs.csv")], "pairs-11112222"),
        ([line("pairs", data="/a/pairs.csv", **facts("11112222333344445555", "other captions"))], "b-pairs"),
    ],
)
def test_a_name_is_kept_or_made_different(earlier, expected):
    assert own_name("pairs", "/b/pairs.csv", MINE, earlier, ()) == expected


def test_names_of_the_catalogue_are_reserved():
    assert own_name("imagenet", "/data/imagenet", MINE, [], ("imagenet", "pets")) == "data-imagenet"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return micro_model(tmp_path_factory.mktemp("naming") / "model")


def run(model: Path, data: Path, out: Path, console: Console | None = None) -> None:
    options = EvaluationOptions(("zero_shot", "retrieval"))
    evaluate(Request(f"local-dir:{model}", data=str(data), out=out, options=options), console or Console(quiet=True))


def tasks(file: Path) -> list[str]:
    return [json.loads(text)["task"] for text in file.read_text().splitlines()]


def table(folder: Path, first: int) -> Path:
    folder.mkdir(parents=True)
    for index in range(3):
        (folder / f"{index}.png").write_bytes(png(first + index))
    rows = "".join(f"{index}.png,caption {first + index}\n" for index in range(3))
    (folder / "pairs.csv").write_text(f"filepath,caption\n{rows}")
    return folder / "pairs.csv"


def test_two_tables_named_alike_get_two_names_and_keep_them(model, tmp_path):
    a, b = table(tmp_path / "a", 0), table(tmp_path / "b", 10)
    out, said = tmp_path / "r.jsonl", []
    console = Console(quiet=True)
    console.say = said.append
    for data in (a, b, a, b):
        run(model, data, out, console)
    directions = ("image_to_text", "text_to_image")
    names = ("pairs", "b-pairs", "pairs", "b-pairs")
    assert tasks(out) == [f"{name}/{direction}" for name in names for direction in directions]
    assert "pairs: called b-pairs in the results, because other data in the results file is called pairs" in said
    protocols = [json.loads(text)["protocol"] for text in out.read_text().splitlines()]
    assert [p["dataset"] for p in protocols[::2]] == list(names)
    assert protocols[2]["data"] == str(b)
    assert {p.parent.name for p in (tmp_path / "r-outcomes").rglob("*.npz")} == {"pairs", "b-pairs"}


def test_class_folders_named_like_a_set_of_the_catalogue(model, tmp_path, capsys):
    """They are not that set, so they do not stand beside its published numbers."""
    for seed, name in enumerate(("cat", "dog")):
        (tmp_path / "local" / "imagenet" / name).mkdir(parents=True)
        (tmp_path / "local" / "imagenet" / name / "0.png").write_bytes(png(seed))
    run(model, tmp_path / "local" / "imagenet", tmp_path / "r.jsonl")
    assert tasks(tmp_path / "r.jsonl") == ["local-imagenet/zero_shot"]
    assert "Table 4" not in capsys.readouterr().out
