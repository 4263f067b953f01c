"""The code blocks of README.md and docs/, and the commands in them."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
GENERATED = "errors.md"  # lists messages, which a test writes; it has no commands
LANGUAGES = {"sh", "python", "yaml", "csv", "text"}
PLACES = {  # what a reader puts in place of these words, in the folder that commands are run in
    "MODEL": "runs/my-run",
    "RUN": "runs/my-run",
    "RUN_A": "runs/my-run",
    "RUN_B": "runs/my-clip",
    "SOURCE": "pairs.csv",
    "FOLDER": "my_classes",
    "DIR": "sets",
    "RECIPE": "tiny",
}


class Block(NamedTuple):
    """A code block: the page's name, the line it begins at, its language, its text."""

    page: str
    line: int
    language: str
    text: str

    @property
    def where(self) -> str:
        """For messages and ids of tests."""
        return f"{self.page}:{self.line}"


class Command(NamedTuple):
    """A command: where it is written, and its words; variables before it are left out."""

    where: str
    words: tuple[str, ...]

    @property
    def text(self) -> str:
        """The words as one line."""
        return shlex.join(self.words)

    @property
    def askew(self) -> tuple[str, ...] | None:
        """The words behind `askew`, also where torchrun starts it; None for other programs."""
        words = self.words
        if words[0].startswith("--set"):  # a fragment of a page, for `train`
            return ("train", *words)
        if words[0] in ("torchrun", "srun"):
            start = words.index("askew")
            assert words[start - 1] == "-m" or words[0] == "srun", f"{self.where}: torchrun starts askew by -m askew"
            return words[start + 1 :]
        return words[1:] if words[0] == "askew" else None


def blocks() -> list[Block]:
    """Every code block of every page."""
    found = []
    for page in PAGES:
        if page.name != GENERATED:
            for token in MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8")):
                if token.type in ("fence", "code_block"):
                    language = token.info.strip()
                    found.append(Block(page.name, token.map[0] + 1, language, token.content))
    return found


def commands(block: Block) -> list[Command]:
    """The commands of a shell block, with words in place of placeholders."""
    found = []
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words.pop(0)
        if words:
            found.append(Command(block.where, tuple(placed(word) for word in words)))
    return found


def placed(word: str) -> str:
    """A word as it is in the folder of the test: no placeholders, and no absolute path."""
    word = re.sub(r"^/(data|new/place)(/|$)", lambda m: "data" + m[2] if m[1] == "data" else "", word)
    return PLACES.get(word, word).replace("data/yfcc/", "data/")
