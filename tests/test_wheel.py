"""What is uploaded: wheel and sdist hold what they should, and work anywhere with their dependencies alone."""

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from askew import __version__
from helpers import write_pairs
from micro_runs import as_options, micro_settings

ROOT = Path(__file__).parents[1]
LARGEST = 12_000_000  # bytes of the wheel
NOT_SHIPPED = {
    ".git",
    ".venv",
    ".hypothesis",
    ".pytest_cache",
    ".ruff_cache",
    "__pycache__",
    "build",
    "dist",
    "runs",
    "site",
}

# The console script three times in one process, as its imports are what takes time
COMMANDS = """
import runpy, sys
script, *commands = sys.argv[1:]
import askew
print(askew.__version__, askew.__file__)
for command in commands:
    sys.argv = [script, *command.split("\\t")]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        assert not end.code, end.code
print("late", *{"sklearn", "scipy.stats"} & set(sys.modules))
"""


def run(*command, cwd=None):
    """Its output; it has to succeed."""
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with an sdist, and a wheel that was built from it."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT)
    return out


@pytest.fixture(scope="module")
def wheel(built):
    return next(built.glob("*.whl"))


@pytest.fixture(scope="module")
def sdist(built):
    return next(built.glob("*.tar.gz"))


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
    assert {name.partition("/")[0] for name in inside} == {"askew", f"askew-{__version__}.dist-info"}


def test_the_files_are_named_by_the_version_and_the_wheel_is_small(wheel, sdist):
    assert wheel.name == f"askew-{__version__}-py3-none-any.whl"
    assert sdist.name == f"askew-{__version__}.tar.gz"
    assert 1_000_000 < wheel.stat().st_size < LARGEST


def test_twine_and_check_wheel_contents_find_nothing(wheel, sdist):
    assert run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist).count("PASSED") == 2
    run(sys.executable, "-m", "check_wheel_contents", wheel, cwd=ROOT)


def test_the_tests_run_from_the_sdist(sdist, tmp_path):
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    [folder] = tmp_path.iterdir()
    shipped = {path.relative_to(ROOT).as_posix() for path in files(ROOT)}
    assert shipped - {path.relative_to(folder).as_posix() for path in files(folder)} == set()
    environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
    tests = ["tests/test_house.py", "tests/report/test_tables.py"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:xdist", "-p", "no:cacheprovider", *tests],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def files(folder):
    """What a checkout has without what commands make there."""
    for place, folders, found in os.walk(folder):
        folders[:] = [name for name in folders if name not in NOT_SHIPPED and not name.endswith(".egg-info")]
        yield from (Path(place, name) for name in found if name not in NOT_SHIPPED and not name.endswith(".pyc"))


def needed(requirements, found=None):
    """The distributions that the requirements bring, by name."""
    found = {} if found is None else found
    for text in requirements:
        requirement = Requirement(text)
        extras = [*requirement.extras, ""]
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": one}) for one in extras):
            installed = distribution(requirement.name)
            if installed.name not in found:
                found[installed.name] = installed
                needed([one for one in installed.requires or () if "extra ==" not in one], found)
    return found


def link(installed: Distribution, place: Path) -> None:
    """Put an installed distribution into another environment without a copy: links to what it has at the top."""
    for top in {file.parts[0] for file in installed.files or () if file.parts[0] not in ("..", "__pycache__")}:
        source, target = Path(str(installed.locate_file(top))), place / top
        if source.exists() and not target.exists():
            target.symlink_to(source)


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The folder of programs of a new environment, with the wheel and its dependencies, and no other package."""
    folder = tmp_path_factory.mktemp("environment") / "new"
    venv.create(folder, symlinks=True)
    [place] = (folder / "lib").glob("python*/site-packages")
    run(
        sys.executable, "-m", "pip", "--python", folder / "bin" / "python",
        "install", "--no-deps", "--no-index", "--no-compile", wheel,
    )  # fmt: skip
    [ours] = Distribution.discover(name="askew", path=[str(place)])
    requirements = [one for one in ours.requires or () if "extra ==" not in one]
    for one in needed(requirements).values():
        link(one, place)
    return folder / "bin"


def test_an_installed_askew_trains_evaluates_and_reports(installed, tmp_path):
    table = write_pairs(tmp_path / "pairs", 25)
    settings = as_options("train.max_steps=2", "train.device=cpu", "evaluation.report=true")
    commands = [
        ["train", "tiny", "--data", table, "--out", "run", *micro_settings(), *settings],
        ["eval", "run", "--data", table, "--out", "results.jsonl"],
        ["report", "run", "--out", "page.html"],
    ]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [installed / "python", "-P", "-c", COMMANDS, installed / "askew", *("\t".join(map(str, c)) for c in commands)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    version, place = done.stdout.splitlines()[0].split(" ", 1)
    assert version == __version__
    assert place.startswith(str(installed.parent))
    assert (tmp_path / "run" / "model" / "open_clip_config.json").is_file()
    assert (tmp_path / "results.jsonl").read_text(encoding="utf-8").count("\n") >= 2
    for page in ("run/report.html", "page.html"):
        assert "</html>" in (tmp_path / page).read_text(encoding="utf-8")
    assert "warning" not in done.stderr
    assert done.stdout.splitlines()[-1] == "late"  # what takes long to import, and only some tasks need
