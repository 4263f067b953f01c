"""Every command of README.md, CONTRIBUTING.md and docs/ parses: its program, options, recipe, settings and files exist.

The command line parses it, and the recipe takes its settings. tests/test_page_runs.py runs what it can.
"""

import ast
import re
import tomllib

import pytest
import typer

from askew.cli import app
from askew.errors import UserError
from askew.recipes import RECIPES, find
from askew.recipes.settings import override
from page_commands import LANGUAGES, ROOT, Command, blocks, commands

COMMANDS = typer.main.get_command(app)
BLOCKS = blocks()
PYTHON = [block for block in BLOCKS if block.language == "python"]
ALL = [command for block in BLOCKS if block.language == "sh" for command in commands(block)]
WRITTEN = {"example.py": "src/askew/export/onnx_reader.py"}  # scripts that askew writes
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]


def parse(command: Command) -> None:
    """Fails if a command names a program, file, option, recipe or setting that is not there."""
    if command.askew is not None:
        parse_askew(command)
        return
    program, *rest = command.words
    if program == "make":
        assert re.search(rf"^{rest[0]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M), command
    elif program == "pip":
        extras = re.findall(r"askew\[(\w+)\]", command.text)
        assert extras, command
        assert set(extras) <= EXTRAS.keys(), command
    elif program == "python":
        parse_python(command, rest)
    else:
        assert program in (".", ".venv/bin/pre-commit", "embedding-atlas", "hf", "npm"), (
            f"{command.where}: {program} is not known"
        )


def parse_python(command: Command, words: list[str]) -> None:
    """A script is in the repository, and its text has every option."""
    if words[0] == "-m":
        assert words[1] == "pytest", command
        assert all((ROOT / word).exists() for word in words[2:]), command
        return
    text = (ROOT / WRITTEN.get(words[0], words[0])).read_text(encoding="utf-8")
    for option in (word for word in words[1:] if word.startswith("--") and word != "--set"):
        assert f'"{option}"' in text, f"{command.where}: {words[0]} has no {option}"


def parse_askew(command: Command) -> None:
    """The command line parses it, and the recipe takes its settings."""
    words = list(command.askew or ())
    group, name = COMMANDS, words.pop(0)
    if name == "--version":
        return
    assert name in group.commands, f"{command.where}: askew has no command {name}"
    found = group.commands[name]
    if name == "data":
        found = found.commands[words.pop(0)]
    try:
        given = found.make_context(name, list(words)).params
    except Exception as error:  # click's UsageError, of which newer releases of typer have a copy of their own
        raise AssertionError(f"{command.where}: {command.text}: {error}") from error
    settings = list(given.get("sets") or ())
    recipe = given.get("recipe") if name == "train" else None
    settings = [setting for setting in settings if "my_module" not in setting and "superclip" not in setting]
    override(find(recipe) if recipe in RECIPES else find("photos"), [s for s in settings if "words_weight" not in s])


def test_every_block_says_its_language():
    silent = [block.where for block in BLOCKS if block.language not in LANGUAGES]
    assert silent == [], f"begin a block with ``` and one of {sorted(LANGUAGES)}"
    assert len(ALL) > 100
    assert {command.words[0] for command in ALL} >= {"askew", "torchrun", "make", "pip", "python"}


@pytest.mark.parametrize("command", ALL, ids=[f"{command.where}-{n}" for n, command in enumerate(ALL)])
def test_a_command_parses(command):
    parse(command)


@pytest.mark.parametrize(
    "wrong",
    [
        ("askew", "train", "--epochs", "3"),
        ("askew", "trian", "tiny"),
        ("askew", "train", "photos", "--set", "train.epoch=3"),
        ("askew", "train", "photos", "--set", "train.epochs=many"),
        ("askew", "eval", "runs/my-run", "--suit", "tiny"),
        ("askew", "data", "chek", "pairs.csv"),
        ("torchrun", "--nproc-per-node", "8", "-m", "askew", "train", "tiny", "--outs", "x"),
        ("make", "trian"),
        ("pip", "install", "askew[fast]"),
        ("python", "benchmarks/steps.py", "--without"),
        ("python", "benchmarks/nothing.py"),
        ("askwe", "train"),
    ],
)
def test_a_wrong_command_does_not(wrong):
    with pytest.raises((AssertionError, UserError, OSError, KeyError)):
        parse(Command("nowhere.md:1", wrong))


@pytest.mark.parametrize("block", PYTHON, ids=[block.where for block in PYTHON])
def test_python_parses(block):
    assert ast.parse(block.text).body
