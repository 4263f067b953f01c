"""The wheel holds everything: it works outside the tree, embedded data inside."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from askew import __version__

ROOT = Path(__file__).parents[1]

PROBE = """
import sys
sys.path.insert(0, sys.argv[1])
import askew
assert askew.__file__.startswith(sys.argv[1]), askew.__file__
from askew.data.sources import EmbeddedSource
print(askew.__version__, len(EmbeddedSource()))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("*.whl"))


def test_every_file_of_the_package_is_inside(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    package = ROOT / "src"
    expected = {
        str(file.relative_to(package))
        for file in (package / "askew").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert expected <= inside
    assert {name for name in expected if name.startswith("askew/assets/embedded/")} >= {
        f"askew/assets/embedded/{name}" for name in ("NOTICE", "clipart.parquet", "emoji.parquet", "scenery.parquet")
    }
    assert not any(name.startswith(("tests/", "docs/")) for name in inside)


def test_it_works_away_from_the_tree(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    done = subprocess.run(
        [sys.executable, "-I", "-c", PROBE, str(tmp_path / "site")],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    version, samples = done.stdout.split()
    assert version == __version__
    assert int(samples) == 5162
