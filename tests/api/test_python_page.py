"""The code in docs/python.md runs, from top to bottom, and finds what it says."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from micro_runs import micro_recipe, table_of_25, train

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a run and six photographs, which is the working directory."""
    train(micro_recipe(table_of_25(tmp_path / "data"), "clip", epochs=1), tmp_path / "runs" / "my-run")
    for number, path in enumerate(sorted((tmp_path / "data").glob("*.png"))[:6]):
        photo = tmp_path / "photos" / ("dogs" if number % 2 else "others") / f"{number}.jpg"
        photo.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).save(photo)
    monkeypatch.chdir(tmp_path)


def test_the_page_runs(here, capsys):
    page = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)
    assert len(blocks) == 5
    names: dict = {}
    printed = []
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
        printed.append(capsys.readouterr().out.splitlines())
    assert names["images"].shape == (6, 16)
    assert names["texts"].shape == (2, 16)
    assert np.abs(names["cosines"] - names["model"].similarity(names["paths"], ["a red bicycle"])).max(axis=0)[0] < 1e-6
    scores = [float(line.split()[0]) for line in printed[2]]
    assert len(scores) == 5
    assert scores == sorted(scores, reverse=True)
    assert len(printed[3]) == 6
    assert all(re.fullmatch(r"photos/\w+/\d\.jpg: (dog|cat|bicycle) \(\d+%\)", line) for line in printed[3])
    line, index = printed[4]
    assert f"This prints `{line}` and `{index}`" in " ".join(page.split())
