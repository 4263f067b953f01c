"""The code in docs/python.md runs, from top to bottom, and finds what it says."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import askew
from askew import recipes
from micro_runs import micro_recipe, table_of_25, train

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
SCRIPTS = "## Three scripts\n"


def blocks_of(page):
    return re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A run, six photographs, ten with a text each, and a table of these, in the working directory.

    The recipe `photos` has micro towers.
    """
    recipe = micro_recipe(table_of_25(tmp_path / "data"), "clip", epochs=1)
    monkeypatch.setitem(recipes.RECIPES, "photos", lambda: recipe.model_copy(update={"name": "photos"}))
    train(recipe, tmp_path / "runs" / "my-run")
    (tmp_path / "my-photos").mkdir()
    captions = {}
    for number, path in enumerate(sorted((tmp_path / "data").glob("*.png"))[:16]):
        photo = tmp_path / "photos" / ("dogs" if number % 2 else "others") / f"{number}.jpg"
        if number >= 6:
            photo = tmp_path / "my-photos" / f"{number - 6}.jpg"
            captions[photo] = f"picture number {number} of my house"
            photo.with_suffix(".txt").write_text(captions[photo], encoding="utf-8")
        photo.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).save(photo)
    with (tmp_path / "captions.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [(path.relative_to(tmp_path).as_posix(), caption) for path, caption in captions.items()]
        csv.writer(file).writerows([("image", "caption"), *rows])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_the_page_runs(here, capsys):
    page = PAGE.read_text(encoding="utf-8")
    names: dict = {"__name__": "__main__"}
    printed, scripts = [], []
    own = set(blocks_of(page.split(SCRIPTS)[1].split("\n## ")[0]))
    assert (len(blocks_of(page)), len(own)) == (10, 3)
    for block in blocks_of(page):
        if block in own:
            scripts.append({"__name__": "__main__"})
            assert len([line for line in block.splitlines() if line]) <= 10
        exec(compile(block, str(PAGE), "exec"), scripts[-1] if block in own else names)
        printed.append(capsys.readouterr().out.splitlines())
    model = askew.load("runs/my-run")
    assert names["images"].shape == (6, 16)
    assert names["texts"].shape == (2, 16)
    assert np.abs(names["cosines"] - model.similarity(names["paths"], ["a red bicycle"])).max(axis=0)[0] < 1e-6
    scores = [float(line.split()[0]) for line in printed[2]]
    assert len(scores) == 5
    assert scores == sorted(scores, reverse=True)
    assert len(printed[3]) == 6
    assert all(re.fullmatch(r"photos/\w+/\d\.jpg: (dog|cat|bicycle) \(\d+%\)", line) for line in printed[3])
    assert re.fullmatch(r"runs/photos-001 \d\.\d{3}", printed[4][0])
    assert printed[5][1].strip() == "All results, %"
    line, index = printed[9]
    assert f"This prints `{line}` and `{index}`" in " ".join(page.split())
    check_scripts(scripts, printed[6:9])


def check_scripts(scripts, printed):
    trained = askew.load("runs/my-photos")
    assert len(printed[0]) == 2 * 3
    assert all(re.fullmatch(r"(a red|two dogs).*: -?\d\.\d\d  my-photos/\d\.jpg", line) for line in printed[0])
    scores = [float(line.split()[0]) for line in printed[1]]
    assert len(scores) == 5
    assert scores == sorted(scores)
    paths, texts = [Path("my-photos/0.jpg")], ["a dog", "a cat"]
    replaced = scripts[2]
    for theirs, ours in (
        (replaced["image_features"], trained.encode_images(paths)),
        (replaced["text_features"], trained.encode_texts(texts)),
    ):
        unit = theirs.numpy() / np.linalg.norm(theirs.numpy(), axis=1, keepdims=True)
        assert np.abs(unit - ours).max() < 1e-5
