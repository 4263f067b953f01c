"""`askew export`: whole directories or none, the card, and the open_clip round trip on 100 samples."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from exported import differences, run_snippet, written

from askew import __version__
from askew.data.files import sha256_of
from askew.errors import RunFailed
from askew.export import command, formats
from askew.export.about import without_folders
from askew.export.command import ExportRequest, export
from askew.report.console import Console


@pytest.fixture(scope="module")
def made(photo_run, tmp_path_factory):
    """The exported folder, and what was printed."""
    return written(photo_run, tmp_path_factory.mktemp("open_clip") / "new" / "out", "--to", "open_clip")


def test_open_clip_gives_the_same_embeddings_of_100_real_samples(made):
    out, printed = made
    assert "the first 100 pairs of the run's data" in printed
    assert max(differences(printed)) < 1e-6
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "open_clip_config.json",
        "open_clip_model.safetensors",
    ]
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_the_weights_are_those_of_the_run(made, photo_run):
    from safetensors.torch import load_file

    ours = load_file(photo_run / "model" / "open_clip_model.safetensors")
    theirs = load_file(made[0] / "open_clip_model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_card_says_what_the_model_is(made, photo_run):
    out, printed = made
    card = (out / "README.md").read_text(encoding="utf-8")
    header = yaml.safe_load(card.split("---\n")[1])
    assert header["library_name"] == "open_clip"
    assert header["pipeline_tag"] == "zero-shot-image-classification"
    assert {"askew", "mcd"} <= set(header["tags"])
    assert "license" not in header
    for name in ("open_clip_config.json", "open_clip_model.safetensors"):
        assert f"| {name} | `{sha256_of(out / name)}` |" in card
    table = photo_run.parent / "data" / "pairs.csv"
    assert f"sha256 of pairs.csv: `{sha256_of(table)}`" in card
    assert "over 64 of 100 samples" in card
    assert f"made by askew {__version__}" in card
    assert "name: mcd" in card
    assert "source: pairs.csv" in card
    assert str(photo_run.parent) not in card, "a card shows no folder of its author"
    assert f"{differences(printed)[0]:.1e} for images" in card


def test_the_snippet_of_the_card_runs(made, photo_run):
    found = run_snippet(made[0], photo_run.parent / "data" / "001.jpg")
    import askew

    ours = askew.load(str(made[0]), device="cpu")
    image = ours.encode_images([photo_run.parent / "data" / "001.jpg"])
    assert np.abs(found["image_embedding"].numpy() - image).max() < 1e-6
    assert np.abs(found["text_embedding"].numpy() - ours.encode_texts(["a red bicycle"])).max() < 1e-6


def test_results_of_these_weights_are_on_the_card_and_no_others(photo_run, tmp_path):
    sha256 = sha256_of(photo_run / "teacher" / "open_clip_model.safetensors")
    lines = [
        {"task": "naming", "values": {"top1": 0.125, "n": 8}, "protocol": {"weights": "teacher", "split": "test"}},
        {"task": "old", "values": {"top1": 0.5}, "protocol": {"weights": "teacher", "weights_sha256": "other"}},
        {"task": "same", "values": {"top1": 0.25}, "protocol": {"weights": "teacher", "weights_sha256": sha256}},
        {"task": "student", "values": {"top1": 0.75}, "protocol": {"weights": "student"}},
    ]
    results = photo_run / "results.jsonl"
    results.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    try:
        asked = ExportRequest(str(photo_run), "open_clip", tmp_path / "out", weights="teacher", samples=3)
        export(asked, Console(quiet=True))
    finally:
        results.unlink()
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "| naming | top1 0.125, n 8 | split: test |" in card
    assert re.findall(r"^\| (\w+) \| top1", card, re.MULTILINE) == ["naming", "same"]
    assert sha256 in card


def test_a_difference_over_the_tolerance_leaves_nothing(photo_run, tmp_path, monkeypatch):
    """What is exported is not what was loaded: a tower with one other number."""
    honest = formats.FORMATS["open_clip"]

    def damaged(source, folder):
        other = source.state | {"visual.proj": source.state["visual.proj"] + 0.1}
        return honest(replace(source, state=other), folder)

    monkeypatch.setitem(formats.FORMATS, "open_clip", damaged)
    with pytest.raises(RunFailed, match=r"does not give askew's embeddings, and nothing is written: .*\(images\)"):
        export(ExportRequest(str(photo_run), "open_clip", tmp_path / "out", samples=4), Console(quiet=True))
    assert list(tmp_path.iterdir()) == []


def test_transparent_images_are_passed_over_and_counted(photo_run, tmp_path):
    from PIL import Image

    Image.new("RGBA", (40, 40), (255, 0, 0, 0)).save(tmp_path / "glass.png")
    Image.new("RGB", (40, 40), (255, 0, 0)).save(tmp_path / "red.png")
    (tmp_path / "pairs.csv").write_text("image,caption\nglass.png,glass\nred.png,red\n")
    samples = command._samples(ExportRequest(str(photo_run), "open_clip", tmp_path, data=str(tmp_path / "pairs.csv")))
    assert samples[1].texts == ["red"]
    assert "passing over 1 not opaque RGB" in samples[1].described


def test_folders_of_absolute_paths_are_left_out():
    assert without_folders("source: /data/ab/x.csv*2 + ~/y.csv") == "source: x.csv*2 + y.csv"
    assert without_folders("pairs: data/x.csv, https://a.b/c") == "pairs: data/x.csv, https://a.b/c"
