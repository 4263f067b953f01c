"""The commands and Python examples of README.md and docs/ run, in this process, on micro data.

PARSED_ONLY has the reason for every command that does not; tests/test_commands.py parses those too.
"""

import csv
import io
import os
import re
import shutil
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from askew.data import check
from helpers import write_pairs
from micro_runs import askew_here, micro_recipe, micro_settings, train
from page_commands import Block, Command, blocks, commands

PARSED_ONLY = {  # a pattern of a command: why it is not run
    r"^askew replay": "it needs a step that failed; tests/training/test_replay.py",
    r"s3://": "no bucket is there; tests/data/test_remote.py has a stand-in",
    r"^torchrun": "it starts processes; tests/training/test_two_ranks.py runs several ranks",
    r"^srun": "it is a program of SLURM; tests/test_distributed.py sets its variables",
    r"--resume": "it needs a run that was stopped; tests/runs/test_resume.py and test_extend.py",
    r"^askew finetune-retrieval": "it trains once for each rate; tests/runs/test_finetuning.py",
    r"^askew study": "it trains many runs; tests/runs/studies/ runs small ones",
    r"-cc3m-|-yfcc15m-": "the paper's towers and batches; tests/recipes/test_recipes.py",
    r"ViT-B-32": "it downloads weights, or trains a large tower",
    r"^askew train finetune --data pairs.csv$": "it downloads weights",
    r"towers\.(lock|vision_cfg)": "tests/training/test_finetune.py has such towers",
    r"--suite ": "the data sets are not there, or take long; tests/evaluation/ has replicas",
    r"--weights teacher$": "the suite `tiny` takes long; tests/runs/test_evaluate.py",
    r"my_module:": "a file of the reader's; tests/test_adding.py runs those of docs/adding.md",
    r"my_(sets|operations|source|recipes):|superclip:": "files of docs/adding.md; tests/test_adding.py runs them",
    r"runs/gentle-001": "of a recipe of docs/adding.md; tests/test_adding.py runs it",
    r"train\.track": "packages of extras; tests/runs/test_tracking.py",
    r"aug_patches": "it needs a transformer; tests/methods/test_mcd_patches.py",
    r"PHOTOS|planted/|photos/|subsets/|ft/|studies/|caltech101": "photographs that are not there",
    r"^askew train good\.parquet|good\.parquet": "written by the pandas example above it",
    r"--data embedded": "minutes; tests/runs/test_run_inspect.py",
    r"inspect \S+ --data photos\.parquet": "the run has an inspection of pairs.csv, which the other pages make",
    r"^askew (export|push)": "tests/export/ runs them",
    r"some-clip-directory": "tests/evaluation/test_transformers_directory.py makes one",
    r"hf_model_name|emoji-languages": "tests/training/test_text_towers.py trains such towers",
    r"^--set": "a fragment of a command",
    r"train\.minutes": "the run would time itself; tests/training/test_schedule.py",
}
NOT_RUN = {  # a page whose Python is not run here: why
    "adding.md": "tests/test_adding.py runs it",
    "python.md": "tests/api/test_python_page.py runs it",
    "inspect.md": "it needs pandas, which is no dependency",
}
BLOCKS = blocks()
SHELL = [block for block in BLOCKS if block.language == "sh"]
PYTHON = [block for block in BLOCKS if block.language == "python"]
ALL = [command for block in SHELL for command in commands(block)]
ALIASES = {"first": "my-run", "tiny-001": "my-run", "mcd-001": "my-run", "clip": "my-clip", "tiny-clip-001": "my-clip"}
RUN: set[str] = set()  # what has been run: a command that several pages have runs once


def only_parsed(command: Command) -> str | None:
    """Why a command is not run, or None."""
    reasons = (reason for pattern, reason in PARSED_ONLY.items() if re.search(pattern, command.text))
    return next(reasons, None)


def test_every_reason_is_needed():
    unused = [pattern for pattern in PARSED_ONLY if not any(re.search(pattern, command.text) for command in ALL)]
    assert unused == []
    assert {block.page for block in PYTHON} >= NOT_RUN.keys()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Two evaluated micro runs on one micro data set, as every page has them, by the names of the pages."""
    folder = tmp_path_factory.mktemp("pages")
    data = write_pairs(folder, 40)
    rows = list(csv.reader(data.read_text(encoding="utf-8").splitlines()))[1:]
    lines = [f"{image},{text},{text},{'validation' if n % 4 == 0 else 'train'}" for n, (image, text) in enumerate(rows)]
    data.write_text("\n".join(["image,caption,title,split", *lines]) + "\n", encoding="utf-8")
    photos = folder / "photos"
    photos.mkdir()
    for number, image in enumerate(sorted(folder.glob("*.png"))[:2], 1):
        Image.open(image).save(photos / f"000{number}.jpg")
    shutil.copy(photos / "0001.jpg", folder / "photo.jpg")
    for seed, name in enumerate(("others", "dev", "train"), 1):
        other = write_pairs(folder / name, 20, seed=seed)
        lines = other.read_text(encoding="utf-8").splitlines()
        lines[1:] = [f"{name}/{line}" for line in lines[1:]]
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_shards_and_tables(folder)
    for number, image in enumerate(sorted((folder / "dev").glob("*.png"))):
        split, name = ("train", "test")[number % 4 // 2], ("cat", "dog")[number % 2]
        place = folder / "my_classes" / split / name / image.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, place)
    (folder / "names.txt").write_text("cat: cat\ndog: dog; hound\n", encoding="utf-8")
    for method, name in (("mcd", "my-run"), ("clip", "my-clip")):
        run = train(micro_recipe(data, method, epochs=1), folder / "runs" / name)
        done = askew_here("eval", run, "--data", folder / "others.csv", "--cache", folder / "cache")
        assert done.returncode == 0, done.stderr
    for name, run in ALIASES.items():
        (folder / "runs" / name).symlink_to(run)
    return folder


def write_shards_and_tables(folder: Path) -> None:
    """data/00000.tar and 00001.tar, and pairs.parquet with the same pairs."""
    pictures = [path.read_bytes() for path in sorted(folder.glob("*.png"))]
    captions = [f"a picture of thing {number % 7}" for number in range(len(pictures))]
    table = pa.table({"image": pictures, "caption": captions})
    for name in ("pairs.parquet", "photos.parquet"):
        pq.write_table(table, folder / name)
    (folder / "data").mkdir()
    for shard in range(2):
        with tarfile.open(folder / "data" / f"0000{shard}.tar", "w") as tar:
            for number in range(shard, len(pictures), 2):
                for suffix, content in (("png", pictures[number]), ("txt", captions[number].encode())):
                    member = tarfile.TarInfo(f"{number:05}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))


@pytest.fixture
def here(prepared, monkeypatch):
    """The prepared folder as the working directory, with a cache of its own and a check that does not time long."""
    feeding = check.feeding
    monkeypatch.setattr(check, "feeding", lambda source, views, seconds, say: feeding(source, views, 0.01, say))
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(prepared / "cache"))
    monkeypatch.chdir(prepared)
    return prepared


def micro(command: Command) -> list[str]:
    """The command at micro size. What it makes goes to a folder of its own: the pages' runs and data are there."""
    words = list(command.askew or ())
    if words[0] == "train":
        if "--out" in words:
            place = words.index("--out")
            del words[place : place + 2]
        if "--data" not in words and not any(word.endswith(".yaml") for word in words):
            words += ["--data", "pairs.csv"]
        words += micro_settings()
    elif words[0] == "embed":
        words[words.index("--out") + 1] = f"{len(RUN)}-{words[words.index('--out') + 1]}"
    return words


@pytest.mark.parametrize("page", sorted({block.page for block in SHELL}))
def test_the_commands_of_a_page_run(page, here):
    for command in (command for block in SHELL if block.page == page for command in commands(block)):
        same = re.sub(r"runs/[\w-]+", lambda run: f"runs/{ALIASES.get(run[0][5:], run[0][5:])}", command.text)
        if command.askew is not None and only_parsed(command) is None and same not in RUN:
            done = askew_here(*micro(command))
            assert done.returncode == 0, f"{command.where}: {command.text}\n{done.stdout[-2000:]}{done.stderr}"
            RUN.add(same)


@pytest.mark.parametrize("block", PYTHON, ids=[block.where for block in PYTHON])
def test_python_runs(block: Block, here, capsys):
    if block.page not in NOT_RUN:
        exec(compile(block.text, block.where, "exec"), {"__name__": "page"})
        assert "Traceback" not in capsys.readouterr().err
