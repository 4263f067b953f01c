"""A user's mistake costs one clear line: never a traceback, a hang or a lost run.

Every fault is a function that sets it up in an empty folder and returns the command. docs/errors.md lists the lines
that they print, and a test keeps it true. `python -m pytest tests/test_bad_input.py --errors-doc` rewrites it.
"""

import io
import json
import pickle
import re
import shutil
import struct
import subprocess
import sys
import textwrap
import zlib
from collections.abc import Callable
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import open_clip
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from far_away import WebServer, write_shards
from PIL import Image
from safetensors.torch import save_file
from standins import micro_model
from torch.utils.data import DataLoader

from askew.data.loader import Loader
from askew.data.sources import SourceOptions, open_source
from askew.data.sources.recognise import absolute_source
from askew.data.sources.selection import Origin, contents_of_source
from askew.recipes.settings import override
from askew.runs.directory import RunDirectory
from askew.training import checkpoint
from askew.training.build import build_views
from askew.training.towers import resolve
from helpers import write_pairs
from micro_runs import as_options, askew, askew_here, micro_recipe, micro_settings, table_of_25, train, trainer_of
from text_folders import edit_json, text_folder

DOC = Path(__file__).parents[1] / "docs" / "errors.md"


@dataclass(frozen=True)
class Fault:
    """What is wrong, what was typed, and how it must end."""

    topic: str
    what: str
    code: int  # exit code
    words: tuple[str, ...]  # of the one line
    prepare: Callable[[Path], list]


FAULTS: list[Fault] = []


def fault(topic: str, what: str, *words: str, code: int = 2):
    """Register a function that sets a fault up in a folder and returns the arguments of `askew`."""

    def register(prepare):
        FAULTS.append(Fault(topic, what, code, words, prepare))
        return prepare

    return register


def training(table: str | Path, *settings: str) -> list:
    """`askew train tiny` on a table with micro towers."""
    return ["train", "tiny", "--data", table, "--out", "run", *micro_settings(), *as_options(*settings)]


def pairs(here: Path) -> Path:
    """A good table of 25 pairs, with a path relative to the folder that the command runs in."""
    table_of_25(here / "data")
    return Path("data/pairs.csv")


def spoil(here: Path, content: bytes | None, name: str = "0003.png") -> list:
    """One image of 25 holds something else (None: it is missing)."""
    table = pairs(here)
    (here / "data" / name).unlink()
    if content is not None:
        (here / "data" / name).write_bytes(content)
    return training(table)


def png(width: int, height: int) -> bytes:
    """A PNG that declares that size and holds next to nothing."""
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", b"x")):
        content += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return content


# Data that does not exist

DATA = "Data"


@fault(DATA, "a table that does not exist", "nowhere.csv does not exist", "give a .csv")
def no_table(here):
    return training("nowhere.csv")


@fault(DATA, "a recipe of the paper without data", "the recipe names no data: add --data SOURCE; give a .csv")
def no_source(here):
    return ["train", "clip-cc3m-vitb16", "--out", "run"]


@fault(DATA, "a file of an unknown kind", "pairs.xlsx has an unknown file type", ".csv")
def unknown_kind(here):
    (here / "pairs.xlsx").write_bytes(b"PK")
    return training("pairs.xlsx")


@fault(DATA, "a folder without data", "data is an empty folder")
def empty_folder(here):
    (here / "data").mkdir()
    return training("data")


@fault(DATA, "a table of zero bytes", "pairs.csv: the table is empty")
def empty_table(here):
    (here / "pairs.csv").write_bytes(b"")
    return training("pairs.csv")


@fault(DATA, "a table with a header and no rows", "the table has no rows")
def header_only(here):
    (here / "pairs.csv").write_text("image,caption\n", encoding="utf-8")
    return training("pairs.csv")


@fault(DATA, "no caption column", "no caption column; the columns are 'image', 'words'", "data.caption_column=NAME")
def no_captions(here):
    (here / "pairs.csv").write_text("image,words\na.png,b\n", encoding="utf-8")
    return training("pairs.csv")


@fault(
    DATA,
    "no image column and no caption column",
    "pairs.csv: no image path column and no caption column; the columns are 'picture', 'words'",
    "name them with --set data.image_column=NAME --set data.caption_column=NAME",
)
def no_columns(here):
    (here / "pairs.csv").write_text("picture,words\na.png,b\n", encoding="utf-8")
    return training("pairs.csv")


@fault(DATA, "a caption with a comma but no quotes", "line 2: 3 fields under 2 names", "in quotes")
def bare_comma(here):
    (here / "pairs.csv").write_text("image,caption\na.png,two dogs, one asleep\n", encoding="utf-8")
    return training("pairs.csv")


@fault(DATA, "an unclosed quote", "line 3: not a readable table", "double the quotes")
def open_quote(here):
    (here / "pairs.csv").write_text('image,caption\na.png,"Hello he said\nb.png,c\n', encoding="utf-8")
    return training("pairs.csv")


@fault(DATA, "a table in another encoding", "not UTF-8 text", "iconv")
def other_encoding(here):
    (here / "pairs.csv").write_bytes("image,caption\na.png,Bär\n".encode("latin-1"))
    return training("pairs.csv")


@fault(DATA, "a file that only looks like Parquet", "not a readable Parquet file")
def no_parquet(here):
    (here / "pairs.parquet").write_bytes(b"not Parquet")
    return training("pairs.parquet")


@fault(
    DATA,
    "paths that all leave the table's folder",
    "every image path points outside data/lists",
    "data.allow_outside=true",
)
def outside(here):
    table = pairs(here)
    (here / "data" / "lists").mkdir()
    text = (here / table).read_text(encoding="utf-8").replace("\n0", "\n../0")
    (here / "data" / "lists" / "pairs.csv").write_text(text, encoding="utf-8")
    return training("data/lists/pairs.csv")


@fault(DATA, "a compressed tar", "pairs.tar.gz is compressed", "unpack it")
def compressed_tar(here):
    (here / "pairs.tar.gz").write_bytes(b"")
    return training("pairs.tar.gz")


@fault(DATA, "missing tar shards", "3 of the 4 files of {0..3}.tar do not exist: 1.tar, 2.tar, 3.tar")
def missing_shards(here):
    (here / "0.tar").write_bytes(b"")
    return training("{0..3}.tar")


@fault(DATA, "a tar without pairs", "no samples; members are named KEY.jpg")
def tar_without_pairs(here):
    (here / "pairs.tar").write_bytes(bytes(10240))
    return training("pairs.tar")


@fault(DATA, "images without texts", "1 images but no texts; put NAME.txt beside NAME.jpg")
def images_without_texts(here):
    (here / "data").mkdir()
    (here / "data" / "a.png").write_bytes(png(4, 4))
    return training("data")


@fault(DATA, "a weight that is not a whole number", "a weight must be a whole number", "A*1 + B*2")
def odd_weight(here):
    return training("a.csv*0.5 + b.csv")


@fault(DATA, "no image can be found", "in a row could not be used", code=3)
def all_images_gone(here):
    table = pairs(here)
    for file in (here / "data").glob("*.png"):
        file.unlink()
    return training(table)


@fault(DATA, "too many bad images", "over the budget of max(10, 1 %)", "empty image: 1", "start a new run", code=3)
def many_broken(here):
    table = pairs(here)
    for file in sorted((here / "data").glob("*.png"))[:14]:
        file.write_bytes(b"")
    return training(table)


# One bad sample among good ones: replaced, named, counted

SAMPLE = "A sample"


@fault(SAMPLE, "a missing image", "replaced a bad sample (missing file): data/0003.png", code=0)
def image_gone(here):
    return spoil(here, None)


@fault(SAMPLE, "an image that is a folder, a pipe or a device", "(not a regular file): 0003.png", code=0)
def image_unreadable(here):
    arguments = spoil(here, None)
    (here / "data" / "0003.png").mkdir()
    return arguments


@fault(SAMPLE, "a truncated image", "(truncated image): 0003.png", code=0)
def image_truncated(here):
    table_of_25(here / "whole")
    content = (here / "whole" / "0003.png").read_bytes()
    return spoil(here, content[: len(content) // 2])


@fault(SAMPLE, "an image of zero bytes", "(empty image): 0003.png", code=0)
def image_empty(here):
    return spoil(here, b"")


@fault(SAMPLE, "a file that is not an image", "(not an image): 0003.png", code=0)
def not_an_image(here):
    return spoil(here, b"<html>404</html>")


@fault(
    SAMPLE,
    "an image of 100 megapixels",
    "(too many pixels): 0003.png: 10000x10000 pixels",
    "raise it with --set data.max_megapixels=100",
    code=0,
)
def image_too_large(here):
    return spoil(here, png(10_000, 10_000))


@fault(SAMPLE, "floats outside of [0, 1]", "(unsupported pixel range): 0003.png: 32-bit floats from 0 to 99", code=0)
def floats_without_a_range(here):
    content = io.BytesIO()
    Image.fromarray(np.arange(100, dtype=np.float32).reshape(10, 10)).save(content, "TIFF")
    return spoil(here, content.getvalue())


@fault(SAMPLE, "integers of 32 bits", "(unsupported pixel range): 0003.png: signed 32-bit integers need a", code=0)
def integers_without_a_range(here):
    content = io.BytesIO()
    Image.fromarray(np.arange(100, dtype=np.int32).reshape(10, 10)).save(content, "TIFF")
    return spoil(here, content.getvalue())


@fault(SAMPLE, "pixels of a kind that Pillow cannot read", "(unsupported pixel format): 0003.png: a colour PFM", code=0)
def pixels_without_a_rule(here):
    return spoil(here, b"PF\n1 1\n-1.0\n" + bytes(12))


@fault(SAMPLE, "a HEIC image without the extra", "0003.png: a HEIC image: install its reader with pip", code=0)
def heic_without_its_reader(here):
    return spoil(here, b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))


@fault(SAMPLE, "an empty caption", "(no caption): 0003.png: no caption", code=0)
def caption_empty(here):
    table = pairs(here)
    text = (here / table).read_text(encoding="utf-8")
    (here / table).write_text(re.sub(r"(0003\.png),.*", r"\1,   ", text), encoding="utf-8")
    return training(table)


@fault(
    SAMPLE,
    "a caption that is missing (null, NaN, `nan`, `&nbsp;`)",
    "(no caption): pairs.parquet row 3: no caption",
    code=0,
)
def caption_nan(here):
    pairs(here)
    images = [file.read_bytes() for file in sorted((here / "data").glob("*.png"))]
    captions = [None if row == 3 else f"a kite {row}" for row in range(25)]
    pq.write_table(pa.table({"image": images, "caption": captions}), here / "pairs.parquet")
    return training("pairs.parquet")


@fault(SAMPLE, "captions longer than the context", "of the first 25 captions are longer than", "16 tokens", code=0)
def caption_long(here):
    table = pairs(here)
    text = (here / table).read_text(encoding="utf-8")
    (here / table).write_text(text.replace(" number", " very" * 50_000 + " number"), encoding="utf-8")
    return training(table)


@fault(SAMPLE, "control codes in a file name or caption", r"\x1b[31mred\x07.png", code=0)
def control_codes(here):
    arguments = spoil(here, None)
    text = (here / "data" / "pairs.csv").read_text(encoding="utf-8")
    text = text.replace("0003.png", "\x1b[31mred\x07.png").replace("number", "\x1b[2J<b>=1+1</b>")
    (here / "data" / "pairs.csv").write_text(text, encoding="utf-8")
    return arguments


@fault(SAMPLE, "markup in a file name", "[red]<b>0003</b>.png", code=0)
def markup(here):
    arguments = spoil(here, None)
    text = (here / "data" / "pairs.csv").read_text(encoding="utf-8")
    (here / "data" / "pairs.csv").write_text(text.replace("0003.png", "[red]<b>0003</b>.png"), encoding="utf-8")
    return arguments


# A source of one's own

SOURCE = """
from askew.data.sources import SourceOptions, open_source
from askew.data.sources.recognise import absolute_source
from askew.data.sources.selection import Origin, contents_of_source


class Odd:
    def __init__(self):
        self.source = open_source("data/pairs.csv")
        self.describe, self.notes = "pairs", ()
        self.block, self.window = self.source.block, self.source.window

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        if index == 3:
            raise KeyError("no such key")
        return self.source[index]

    def name(self, index):
        return self.source.name(index)


def odd(options):
    return Odd()
"""


def odd(here: Path, *settings: str) -> list:
    """Training on a source from a module, whose sample 3 raises an error of its own."""
    pairs(here)
    (here / "my_source.py").write_text(SOURCE, encoding="utf-8")
    sys.modules.pop("my_source", None)
    return training("my_source:odd", *settings)


@fault(
    DATA, "a source of one's own that raises another error", "sample 3 (0003.png) could not be read: KeyError", code=3
)
def odd_source(here):
    return odd(here)


@fault(DATA, "the same in a worker", "sample 3 (0003.png) could not be read: KeyError: 'no such key' (", code=3)
def odd_source_in_a_worker(here):
    return odd(here, "loader.num_workers=1")


@fault(DATA, "words that are all too rare to be counted", "no word occurs 90 times or more in its 25 captions")
def words_too_rare(here):
    return ["data", "words", pairs(here), "--out", "words.json", "--min-count", "90"]


@fault(DATA, "a table of words that is there", "words.json is there already; replace it with --overwrite")
def words_are_there(here):
    (here / "words.json").write_bytes(b"")
    return ["data", "words", pairs(here), "--out", "words.json"]


@fault(DATA, "a folder in place of the table of words", "--out run.json is a folder; name a file")
def words_as_a_folder(here):
    (here / "run.json").mkdir()
    return ["data", "words", pairs(here), "--out", "run.json"]


@fault(DATA, "a table of words in a folder that is not there", "there is no folder tables; make it")
def words_in_no_folder(here):
    return ["data", "words", pairs(here), "--out", "tables/words.json"]


# Settings

SETTING = "A setting"


@fault(SETTING, "an unknown recipe", "'tyni' is not known; did you mean 'tiny'?")
def unknown_recipe(here):
    return ["train", "tyni"]


@fault(SETTING, "a misspelt key", "unknown key 'train.epoch'; did you mean 'train.epochs'?")
def misspelt(here):
    return training(pairs(here), "train.epoch=2")


@fault(SETTING, "a misspelt key in a recipe file", "recipe.yaml: unknown key 'train.learningrate'; did you mean")
def misspelt_in_file(here):
    (here / "recipe.yaml").write_text(
        "name: local\nmethod: {name: clip}\ntrain: {learningrate: 1.0e-3}\n", encoding="utf-8"
    )
    return ["train", "recipe.yaml"]


@fault(SETTING, "a value of the wrong type", "train.epochs", "valid number", "'many'")
def wrong_type(here):
    return training(pairs(here), "train.epochs=many")


@fault(
    SETTING, "a batch larger than the data", "loader.batch_size=64 is larger than the data (25 samples)", "25 or less"
)
def batch_too_large(here):
    return training(pairs(here), "loader.batch_size=64")


@fault(SETTING, "a batch of 1", "loader.batch_size=1", "nothing to be contrasted with", "2 or more")
def batch_of_one(here):
    return training(pairs(here), "loader.batch_size=1")


@fault(SETTING, "masked language modelling with nothing to mask", "views.mask_probability=0", "method.mlm_weight=0")
def nothing_to_mask(here):
    return training(pairs(here), "views.mask_probability=0")


@fault(SETTING, "patches chosen without a class token", "method.aug_patches=half: the image tower does not pool at")
def no_patches_to_choose(here):
    return training(pairs(here), "method.aug_patches=half", "towers.vision_cfg.pool_type=avg")


@fault(SETTING, "running means of two denominators", "method.fading=two_sets has two denominators", "another fading")
def means_of_two_sets(here):
    return training(pairs(here), "method.normaliser=global", "method.fading=two_sets")


@fault(SETTING, "an optimiser of whole matrices on parts of them", "train.optimizer=muon moves a matrix as a whole")
def muon_on_parts(here):
    return training(pairs(here), "train.parallel=fsdp2", "train.optimizer=muon")


@fault(SETTING, "compiled towers in parts", "compiled towers do not run in parts (train.parallel=fsdp2)")
def compiled_parts(here):
    return training(pairs(here), "train.parallel=fsdp2", "train.compile=true")


SHORT_TEXT = ("views.text=short", "views.word_counts=words.json")


def counted(here: Path, *options: str) -> Path:
    """words.json beside pairs of images and captions."""
    table = pairs(here)
    end(askew_here("data", "words", table, "--out", "words.json", "--min-count", "1", *options, cwd=here), 0)
    return table


@fault(SETTING, "shortened captions without a table of words", "askew data words SOURCE --out words.json, then --set")
def no_word_counts(here):
    return training(counted(here), SHORT_TEXT[0])


@fault(SETTING, "a table of words that does not exist", "views.word_counts: words.json cannot be read (No such file")
def no_table_of_words(here):
    return training(pairs(here), *SHORT_TEXT)


@fault(SETTING, "a table of words that is damaged", "words.json is not a table of word counts, or is damaged")
def damaged_table_of_words(here):
    table = counted(here)
    written = (here / "words.json").read_text(encoding="utf-8")
    (here / "words.json").write_text(written.replace('"number": 25', '"number": 52'), encoding="utf-8")
    return training(table, *SHORT_TEXT)


@fault(
    SETTING, "more tokens than the context has", "views.short_tokens=15 is more than fit into the context", "end, 14"
)
def budget_above_context(here):
    return training(counted(here), *SHORT_TEXT, "views.short_tokens=15")


@fault(SETTING, "shortened captions beside shortened ones", "views.text=short leaves no whole captions")
def nothing_whole(here):
    return training(counted(here), *SHORT_TEXT, "method.contrast_text=short")


@fault(SETTING, "an unknown tracker", "train.track", "'tensorboard', 'wandb' or 'trackio'", "'mlflow'")
def unknown_tracker(here):
    return training(pairs(here), "train.track=tensorboard,mlflow")


@fault(SETTING, "a GPU on a machine without one", "train.device=cuda is not available on this machine; it has")
def no_cuda(here):
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    return training(pairs(here), "train.device=cuda")


@fault(SETTING, "an unknown tower", "towers.model: 'ViT-B32' is not known; did you mean")
def unknown_tower(here):
    return ["train", "tiny", "--set", "towers.model=ViT-B32"]


# Run directories

RUN = "A run"


def trained(here: Path, steps: int) -> list:
    """A user's run, stopped after `steps` of its 3 steps; returns its arguments."""
    arguments = training(pairs(here))
    end(askew_here(*(arguments if steps == 3 else [*arguments, "--set", f"train.max_steps={steps}"]), cwd=here), 0)
    return arguments


@fault(RUN, "an output folder with another run in it", "--out run holds another run", "--resume --out run")
def folder_taken(here):
    return trained(here, 1)


@fault(RUN, "an output folder that is a file", "--out run is a file; choose a new folder")
def folder_is_a_file(here):
    (here / "run").write_text("local", encoding="utf-8")
    return training(pairs(here))


@fault(RUN, "--resume with a changed recipe", "the recipe differs", "train.learning_rate (0.001 -> 0.1)")
def changed_recipe(here):
    trained(here, 3)
    return ["train", "--resume", "--out", "run", "--set", "train.learning_rate=0.1"]


@fault(
    RUN, "--resume where the data are no longer", "data/pairs.csv is not there, seen from", "--out run --data SOURCE"
)
def data_gone(here):
    trained(here, 3)
    shutil.move(here / "data", here / "moved")
    (here / "run" / "model").rename(here / "model")
    return ["train", "--resume", "--out", "run"]


@fault(RUN, "--resume with other data", "the data are not those that the run began with: 0000.png is another image")
def other_data(here):
    trained(here, 3)
    (here / "run" / "model").rename(here / "model")
    table_of_25(here / "other")
    shutil.copy(here / "other" / "0001.png", here / "other" / "0000.png")
    return ["train", "--resume", "--out", "run", "--data", "other/pairs.csv"]


@fault(RUN, "--resume with another table of words", "words.json is not the table that the run began with")
def other_words(here):
    end(askew_here(*training(counted(here), *SHORT_TEXT), cwd=here), 0)
    (here / "run" / "model").rename(here / "model")
    (here / "words.json").rename(here / "first.json")
    counted(here, "--set", "data.caption_column=image", "--overwrite")
    return ["train", "--resume", "--out", "run"]


@fault(RUN, "--resume where there is no run", "run is not a run directory")
def nothing_to_resume(here):
    return ["train", "--resume", "--out", "run"]


@fault(RUN, "--resume of a finished run", "run is finished (3 steps)", "askew eval run")
def finished(here):
    trained(here, 3)
    return ["train", "--resume", "--out", "run"]


@fault(RUN, "--extend-to without --resume", "--extend-to trains a finished run on", "--resume --out RUN")
def extended_without_resume(here):
    return ["train", "--extend-to", "3"]


@fault(RUN, "an extension to fewer epochs", "--extend-to 1 is no more than the 1 epochs (3 steps)", "name more")
def extended_to_fewer(here):
    trained(here, 3)
    return ["train", "--resume", "--out", "run", "--extend-to", "1"]


@fault(RUN, "an extension of a run that was stopped", "the run has taken 2 of its 3 steps", "resume it to its end")
def extended_too_early(here):
    trained(here, 3)
    shutil.rmtree(here / "run" / "checkpoints" / "step-000000003")
    return ["train", "--resume", "--out", "run", "--extend-to", "2"]


@fault(RUN, "an extension of a run with max_steps", "train.max_steps=1 limits this run", "towers.pretrained=RUN")
def extended_past_max_steps(here):
    trained(here, 1)
    return ["train", "--resume", "--out", "run", "--extend-to", "2"]


@fault(RUN, "held-out data that are the training data", "evaluation.held_out names the training data", "another split")
def held_out_is_trained_on(here):
    return training(pairs(here), "evaluation.held_out=data/pairs.csv")


@fault(RUN, "fewer held-out pairs than a batch", "has 25 samples, fewer than loader.batch_size=30", "name more")
def too_few_held_out(here):
    write_pairs(here / "more", 40)
    pairs(here)
    return training(Path("more/pairs.csv"), "loader.batch_size=30", "evaluation.held_out=data/pairs.csv")


@fault(RUN, "the best model by a measure that is not there", "evaluation.best=dev/recall is none of the measures")
def unknown_best(here):
    write_pairs(here / "dev", 20, seed=1)
    return training(pairs(here), "evaluation.during=dev/pairs.csv", "evaluation.best=dev/recall")


@fault(RUN, "the best model of a run that evaluates nothing", "nothing is evaluated; name it in evaluation.during")
def best_of_nothing(here):
    write_pairs(here / "dev", 20, seed=1)
    return training(pairs(here), "evaluation.best=pairs/mean_recall")


@fault(RUN, "two sets of one name to evaluate on", "two data sets are called pairs", "different names")
def two_sets_of_one_name(here):
    write_pairs(here / "dev", 20, seed=1)
    return training(pairs(here), "evaluation.during=[dev/pairs.csv, data/pairs.csv]")


@fault(RUN, "the best model of a run that kept none", "the run has no best/ folder", "where evaluation.best names")
def no_best_model(here):
    trained(here, 1)
    return ["eval", "run", "--data", "data/pairs.csv", "--weights", "best", "--cache", "cache"]


@fault(RUN, "a corrupted checkpoint", "step-000000003 is damaged", "using the one before it", code=0)
def corrupted(here):
    trained(here, 3)
    file = here / "run" / "checkpoints" / "step-000000003" / "method.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    return ["train", "--resume", "--out", "run"]


@fault(RUN, "a truncated checkpoint", "step-000000003 is damaged", "using the one before it", code=0)
def truncated(here):
    trained(here, 3)
    file = here / "run" / "checkpoints" / "step-000000003" / "optimizer.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    return ["train", "--resume", "--out", "run"]


# Pretrained weights


@fault(RUN, "a report of what is no run", "data is not a run directory")
def report_of_no_run(here):
    return ["report", pairs(here).parent]


@fault(RUN, "a report that is no page", "--out report.pdf: a report is a page", "name a file that ends in .html")
def report_that_is_no_page(here):
    return ["report", an_unstarted_run(here), "--out", "report.pdf"]


@fault(RUN, "a report of one run twice", "a run is named twice; name different ones")
def report_of_one_run_twice(here):
    return ["report", an_unstarted_run(here), "run"]


def an_unstarted_run(here: Path) -> str:
    """A run that has a recipe and nothing else."""
    (here / "run").mkdir()
    RunDirectory(here / "run").write_recipe(micro_recipe(here / "pairs.csv"))
    return "run"


REPLAY = "A step that failed"


def failed(here: Path) -> list:
    """A run whose loss was not finite, and the command that takes its last step again."""
    settings = ("train.learning_rate=1e30", "train.grad_clip_norm=0", "train.epochs=20", "method.name=clip")
    end(askew_here(*training(pairs(here), *settings), cwd=here), 3)
    return ["replay", "run"]


def part_of_a_step(here: Path, facts: str) -> list:
    """The part of rank 0 of a step, with this in its file of facts."""
    folder = here / "run" / "fault" / "step-000000001" / "rank-0"
    folder.mkdir(parents=True)
    (folder / "fault.json").write_text(facts, encoding="utf-8")
    save_file({"id": torch.arange(2)}, folder / "batch.safetensors")
    return ["replay", "run"]


@fault(REPLAY, "a run that has none", "run holds no step that failed; name a run that ended with a loss")
def no_step(here):
    (here / "run").mkdir()
    return ["replay", "run"]


@fault(REPLAY, "a damaged one", "run/fault/step-000000001 is damaged (", "resume the run")
def damaged_step(here):
    return part_of_a_step(here, '{"ranks": 1, "recipe"')


@fault(REPLAY, "a rank that has kept nothing", "rank 1 of 2 has kept nothing", "resume the run")
def lost_rank(here):
    return part_of_a_step(here, '{"ranks": 2}')


@fault(REPLAY, "a setting without effect on it", "--set train.learning_rate: the kept step does not depend on it")
def setting_without_effect(here):
    return [*failed(here), "--set", "train.learning_rate=1e-3"]


WEIGHTS = "Pretrained weights"


def pretrained(here: Path) -> Path:
    """The model directory of a micro run."""
    train(micro_recipe(table_of_25(here / "data"), "clip", max_steps=1), here / "first")
    return here / "first" / "model"


@fault(WEIGHTS, "weights that do not exist", "towers.pretrained='nowhere' is neither a file", "nor a tag")
def no_weights(here):
    return training(pairs(here), "towers.pretrained=nowhere")


@fault(WEIGHTS, "a file without weights", "weights.pt is not a file of weights")
def no_weights_inside(here):
    (here / "weights.pt").write_bytes(b"not weights")
    return training(pairs(here), "towers.pretrained=weights.pt")


@fault(WEIGHTS, "weights of other shapes", "does not fit the towers", "size mismatch for visual.proj")
def other_shapes(here):
    shutil.copy(pretrained(here) / "open_clip_model.safetensors", here / "weights.safetensors")
    return training("data/pairs.csv", "towers.pretrained=weights.safetensors", "towers.embed_dim=24")


@fault(WEIGHTS, "weights of another vocabulary", "a native text tower with its own tokenizer (vocabulary 30522)")
def other_vocabulary(here):
    file = pretrained(here) / "open_clip_config.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["model_cfg"]["text_cfg"]["vocab_size"] = 30522
    file.write_text(json.dumps(content), encoding="utf-8")
    return training("data/pairs.csv", "towers.pretrained=first/model")


# A text tower of Hugging Face


def with_text_tower(here: Path, *settings: str, kind: str = "bert") -> list:
    """Train with the encoder and the tokenizer in the folder `encoder`, with random weights."""
    text_folder(here / "encoder", kind)
    chosen = ["hf_model_name=encoder", "hf_model_pretrained=false", "context_length=16"]
    return training(pairs(here), *(f"towers.text_cfg.{setting}" for setting in [*chosen, *settings]))


@fault(WEIGHTS, "a text tower that does not exist", "'nowhere' is neither a folder nor a model of the Hugging Face hub")
def no_text_tower(here):
    return with_text_tower(here, "hf_model_name=nowhere", "hf_tokenizer_name=encoder")


@fault(WEIGHTS, "a text tower of another kind", "of the kind 'distilbert' is not supported", "use one of bert, roberta")
def other_text_tower(here):
    arguments = with_text_tower(here)
    edit_json(here / "encoder" / "config.json", model_type="distilbert")
    return arguments


@fault(
    WEIGHTS, "a text tower without a configuration", "config.json is not the configuration of a Hugging Face encoder"
)
def no_text_config(here):
    arguments = with_text_tower(here)
    (here / "encoder" / "config.json").unlink()
    return arguments


@fault(WEIGHTS, "a text tower without weights", "encoder has no weights", "hf_model_pretrained=false")
def no_text_weights(here):
    return with_text_tower(here, "hf_model_pretrained=true")


@fault(WEIGHTS, "a text tower without a tokenizer", "has no tokenizer that transformers can read")
def no_text_tokenizer(here):
    (here / "empty").mkdir()
    return with_text_tower(here, "hf_tokenizer_name=empty")


@fault(WEIGHTS, "a tokenizer of another padding", "pads with id 1 and the encoder expects 0", "give both the same id")
def other_padding(here):
    text_folder(here / "other", "xlm-roberta")
    edit_json(here / "other" / "config.json", vocab_size=300)
    return with_text_tower(here, "hf_tokenizer_name=other")


@fault(WEIGHTS, "a tokenizer of another vocabulary", "ids and the encoder's embedding 100 rows")
def other_text_vocabulary(here):
    arguments = with_text_tower(here)
    edit_json(here / "encoder" / "config.json", vocab_size=100)
    return arguments


@fault(
    WEIGHTS, "a context that exceeds a text tower", "context_length=41 exceeds the encoder's 40 positions", "lower it"
)
def context_above_positions(here):
    return with_text_tower(here, "context_length=41")


@fault(WEIGHTS, "a pooler that cannot be computed", "hf_pooler_type=max_pooler, which open_clip cannot compute")
def max_pooler(here):
    return with_text_tower(here, "hf_pooler_type=max_pooler")


@fault(WEIGHTS, "a tokenizer mode of open_clip", "towers.text_cfg.tokenizer_mode is not supported; leave it out")
def tokenizer_mode(here):
    return with_text_tower(here, "tokenizer_mode=clips")


@fault(WEIGHTS, "a tokenizer that pads on the left", "does not pad and cut texts on the right", "padding_side=right")
def left_padding(here):
    arguments = with_text_tower(here)
    edit_json(here / "encoder" / "tokenizer_config.json", padding_side="left")
    return arguments


@fault(WEIGHTS, "words by frequency with another tokenizer", "views.short_strategy=frequency takes words apart")
def words_of_another_tokenizer(here):
    return [*with_text_tower(here), *as_options("views.text=short")]


@fault(RUN, "a tokenizer that changed since the run began", "is not the one that the run began with", "put its files")
def changed_tokenizer(here):
    assert askew_here(*with_text_tower(here), "--set", "train.max_steps=1", cwd=here).returncode == 0
    shutil.rmtree(here / "run" / "model")
    edit_json(here / "encoder" / "tokenizer_config.json", model_max_length=99)
    return ["train", "--resume", "--out", "run"]


@fault(
    WEIGHTS,
    "a normalisation that differs from the weights'",
    "towers.mean=(0.5, 0.5, 0.5) does not fit",
    "leave towers.mean",
)
def other_normalisation(here):
    pretrained(here)
    return training("data/pairs.csv", "towers.pretrained=first/model", "towers.mean=[0.5, 0.5, 0.5]")


@fault(WEIGHTS, "weights to download without a network", "could not be downloaded", "give a local file or folder")
def no_network(here):
    settings = ["towers.pretrained=laion2b_s34b_b79k", "towers.model=ViT-B-32"]
    return ["train", "tiny", "--data", pairs(here), *as_options(*settings)]


@fault(WEIGHTS, "a model that does not exist", "nowhere: neither a run directory")
def no_model(here):
    return ["eval", "nowhere"]


@fault(WEIGHTS, "a directory of another kind of model", "config.json has model_type 'bert'", "askew loads clip, siglip")
def other_kind_of_directory(here):
    (here / "bert").mkdir()
    (here / "bert" / "config.json").write_text('{"model_type": "bert"}')
    return ["eval", "bert"]


EXPORT = "Export"


def exporting(here: Path, *options: str) -> list:
    """`askew export` of a small model of open_clip."""
    micro_model(here / "model")
    return ["export", "model", "--to", "open_clip", "--out", "out", "--samples", "2", *options]


@fault(EXPORT, "a folder that is not empty", "--out out is not empty; name a new folder")
def export_into_others(here):
    (here / "out").mkdir()
    (here / "out" / "notes.txt").write_text("keep me")
    return exporting(here)


@fault(EXPORT, "a format that does not exist", "--to 'tflite' is not known; use open_clip or")
def unknown_format(here):
    return replace_option(exporting(here), "--to", "tflite")


@fault(EXPORT, "towers that a format cannot express", "its ViT has pool_type='avg'", "use --to open_clip")
def inexpressible_towers(here):
    command = replace_option(exporting(here), "--to", "transformers")
    micro_model(here / "model", vision_cfg={"pool_type": "avg"})
    return command


@fault(EXPORT, "a run whose data are gone", "cannot be opened (data: ", "name samples with --data SOURCE")
def data_of_the_run_are_gone(here):
    pretrained(here)
    shutil.move(here / "data", here / "moved")
    return ["export", "first", "--to", "open_clip", "--out", "out", "--samples", "2"]


@fault(EXPORT, "8-bit integers for another format", "--int8 belongs to --to onnx, and this is --to open_clip")
def int8_of_open_clip(here):
    return exporting(here, "--int8")


@fault(EXPORT, "a push to a name without an owner", "my-model is no name of a repository", "write OWNER/NAME")
def push_without_owner(here):
    return ["push", "model", "my-model"]


def replace_option(command: list, option: str, value: str) -> list:
    """The command with another value of an option."""
    place = command.index(option) + 1
    return [*command[:place], value, *command[place + 1 :]]


@fault(DATA, "an image of 100 megapixels in an evaluation", "10000x10000 pixels", "raise it with --max-megapixels 100")
def image_too_large_to_evaluate(here):
    pretrained(here)
    for number, name in enumerate(("cat", "dog")):
        (here / "classes" / name).mkdir(parents=True)
        shutil.copy(here / "data" / f"{number:04}.png", here / "classes" / name)
    (here / "classes" / "cat" / "large.png").write_bytes(png(10_000, 10_000))
    return ["eval", "first", "--data", "classes"]


@fault(WEIGHTS, "the teacher of a run without one", "has no teacher/ folder")
def no_teacher(here):
    pretrained(here)
    return ["eval", "first", "--weights", "teacher"]


@fault(WEIGHTS, "blocks unlocked of a tower that is not locked", "the image tower is trained as a whole", "towers.lock")
def unlocked_without_lock(here):
    return training(pairs(here), "towers.unlock_image_blocks=1")


@fault(WEIGHTS, "more blocks unlocked than there are", "unlock_image_blocks=9 asks for more blocks", "which has 1")
def unlocked_too_many(here):
    return training(pairs(here), "towers.lock=image", "towers.unlock_image_blocks=9")


@fault(WEIGHTS, "images smaller than a patch", "image_size=8 is smaller than a patch, 16 px")
def smaller_than_a_patch(here):
    pretrained(here)
    return training("data/pairs.csv", "towers.pretrained=first/model", "towers.vision_cfg={image_size: 8}")


@fault(WEIGHTS, "another image size for a timm ViT", "this timm VisionTransformer takes images of 224 px only")
def another_size_for_timm(here):
    vision = "{timm_model_name: vit_tiny_patch16_224, image_size: 96, timm_pool: avg, timm_proj: linear}"
    return training(pairs(here), f"towers.vision_cfg={vision}")


@fault(WEIGHTS, "a run without a checkpoint to start from", "first: the run has neither a model nor a checkpoint")
def no_checkpoint_to_start_from(here):
    shutil.rmtree(pretrained(here))
    shutil.rmtree(here / "first" / "checkpoints")
    return training("data/pairs.csv", "towers.pretrained=first")


@fault(WEIGHTS, "the teacher of a run without one, to start from", "the method of this run has no teacher")
def no_teacher_to_start_from(here):
    shutil.rmtree(pretrained(here))
    return training("data/pairs.csv", "towers.pretrained=first/teacher")


@fault(WEIGHTS, "a run without a model or a checkpoint", "has neither a model nor a checkpoint", "train --resume --out")
def nothing_to_evaluate(here):
    shutil.rmtree(pretrained(here))
    shutil.rmtree(here / "first" / "checkpoints")
    return ["eval", "first"]


# Evaluation on class folders

CLASSES = "Evaluation on class folders"


def evaluating(here: Path, *paths: str, options: tuple[str, ...] = ()) -> list:
    """`askew eval` on a folder with these images."""
    for path in paths:
        file = here / "pets" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), "red").save(file)
    return ["eval", "local-dir:model", "--data", "pets", *options]


@fault(CLASSES, "a training split alone", "there is a training split and nothing to evaluate on", "--data pets/train")
def only_train(here):
    return evaluating(here, "train/cat/0.png", "train/dog/0.png")


@fault(CLASSES, "images in train/ and test/, without class folders", "they can be classes, or splits without labels")
def splits_or_classes(here):
    return evaluating(here, "train/0.png", "test/0.png")


@fault(CLASSES, "a split beside a class", "train can be splits, or classes beside bird", "--class-names FILE")
def split_beside_class(here):
    return evaluating(here, "train/cat/0.png", "train/dog/0.png", "bird/0.png")


@fault(CLASSES, "a test split without labels", "test holds images without class folders", "or move it elsewhere")
def unlabelled_test(here):
    return evaluating(here, "train/cat/0.png", "train/dog/0.png", "test/0.png")


@fault(CLASSES, "two folders for one split", "val and valid name one split twice; keep one folder for each split")
def split_twice(here):
    return evaluating(here, *(f"{split}/{name}/0.png" for split in ("val", "valid") for name in ("cat", "dog")))


@fault(CLASSES, "splits with names of their own", "a and b hold the same folders, cat and dog", "call them train, val")
def splits_of_other_names(here):
    return evaluating(here, *(f"{split}/{name}/0.png" for split in ("a", "b") for name in ("cat", "dog")))


@fault(CLASSES, "splits inside the classes", "cat/test: a split inside a class", "as in test/cat")
def splits_inside_classes(here):
    return evaluating(here, *(f"{name}/{split}/0.png" for split in ("train", "test") for name in ("cat", "dog")))


@fault(CLASSES, "one class", "there is one class folder, cat", "name the folder that holds the class folders")
def one_class(here):
    return evaluating(here, "cat/0.png", "cat/1.png")


@fault(CLASSES, "a class without an image", "pets/owl: the class has no image", "or remove the folder")
def empty_class(here):
    command = evaluating(here, "cat/0.png", "dog/0.png")
    (here / "pets" / "owl").mkdir()
    return command


@fault(CLASSES, "a link that puts a folder into two classes", "kitten and cat are one folder", "remove one of them")
def linked_twice(here):
    command = evaluating(here, "cat/0.png", "dog/0.png")
    (here / "pets" / "kitten").symlink_to("cat")
    return command


@fault(CLASSES, "two folders of one name in prompts", "hot dog and hot_dog are both called 'hot dog'", "--class-names")
def one_name(here):
    return evaluating(here, "hot_dog/0.png", "hot dog/0.png")


@fault(CLASSES, "a template with another place for the name", "'a photo of a {c}' is not a template; write {} once")
def other_braces(here):
    return evaluating(here, "cat/0.png", "dog/0.png", options=("--prompts", "a photo of a {c}"))


@fault(CLASSES, "the same in a file of templates", "prompts.txt, line 2: '{label}.' is not a template; write {} once")
def other_braces_in_a_file(here):
    (here / "prompts.txt").write_text("a photo of a {}.\n{label}.\n")
    return evaluating(here, "cat/0.png", "dog/0.png", options=("--prompts", "prompts.txt"))


@fault(CLASSES, "the same for captions", "--caption-prompt: 'a photo of {caption}' is not a template; write {} once")
def other_braces_for_captions(here):
    return ["eval", "local-dir:model", "--data", pairs(here), "--caption-prompt", "a photo of {caption}"]


@fault(CLASSES, "a solver that a probe does not have", "--probe sklearn is not known; solvers: lbfgs, scikit-learn")
def an_unknown_solver(here):
    return evaluating(here, "cat/0.png", "dog/0.png", options=("--probe", "sklearn"))


@fault(CLASSES, "prompts for captions", "--prompts belongs to class folders", "a template for captions is")
def prompts_for_captions(here):
    return ["eval", "local-dir:model", "--data", pairs(here), "--prompts", "a photo of {}"]


@fault(CLASSES, "class names that do not fit the folders", "lacks the class folders dog, and names folders", "owl")
def other_class_names(here):
    (here / "names.txt").write_text("cat: tabby; tabby cat\nowl: tawny owl\n")
    return evaluating(here, "cat/0.png", "dog/0.png", options=("--class-names", "names.txt"))


@fault(CLASSES, "a line of class names without a colon", "names.txt, line 2: 'dog spaniel' is not FOLDER: NAME")
def malformed_class_names(here):
    (here / "names.txt").write_text("cat: tabby; tabby cat\ndog spaniel\n")
    return evaluating(here, "cat/0.png", "dog/0.png", options=("--class-names", "names.txt"))


# Data that can be read in more than one way, or in none

READING = "What a source is read as"


@fault(READING, "a table that swallowed rows behind an open quote", "line 2: a quote opens here", "data.quotes=literal")
def swallowed(here):
    pairs(here)
    lines = [f'{n:04d}.png,"open {n}' if n == 0 else f"{n:04d}.png,closed {n}" for n in range(20)]
    lines[19] += '"'
    (here / "data" / "pairs.csv").write_text("\n".join(["image,caption", *lines]) + "\n", encoding="utf-8")
    return training("data/pairs.csv")


@fault(READING, "a first line that is a pair", "the first line holds a pair (0000.png)", "for example image,caption")
def no_names(here):
    table = pairs(here)
    text = (here / table).read_text(encoding="utf-8").partition("\n")[2]
    (here / table).write_text(text, encoding="utf-8")
    return training(table)


@fault(READING, "two columns of one name", "two columns are called 'caption'; rename one of them")
def twice_named(here):
    (here / "pairs.csv").write_text("image,caption,caption\na.png,b,c\n", encoding="utf-8")
    return training("pairs.csv")


@fault(READING, "addresses instead of paths", "the image column holds addresses", "download the images first")
def addresses(here):
    (here / "pairs.csv").write_text("image,caption\nhttps://example.org/a.png,b\n", encoding="utf-8")
    return training("pairs.csv")


@fault(READING, "captions that are numbers", "holds int64, not texts or lists of texts", "data.caption_column=NAME")
def number_captions(here):
    pairs(here)
    images = [file.read_bytes() for file in sorted((here / "data").glob("*.png"))]
    names = [f"a kite {n}" for n in range(25)]
    pq.write_table(pa.table({"image": images, "text": list(range(25)), "words": names}), here / "pairs.parquet")
    return training("pairs.parquet")


def parts(here: Path, *names: str) -> None:
    """25 pairs in each of these Parquet files."""
    pairs(here)
    images = [file.read_bytes() for file in sorted((here / "data").glob("*.png"))]
    (here / "parts").mkdir()
    for name in names:
        captions = [f"{name} {n}" for n in range(25)]
        pq.write_table(pa.table({"image": images, "caption": captions}), here / "parts" / f"{name}.parquet")


@fault(READING, "a split that the data lack", "no split 'train' (data.split); its splits are test", "data.split=NAME")
def no_such_split(here):
    parts(here, "test-0", "validation-0")
    return training("parts")


@fault(READING, "files that name splits beside files that do not", "1 of 3 files name no split", "data.split=all")
def unclear_splits(here):
    parts(here, "train-0", "test-0", "more")
    return training("parts")


@fault(READING, "files of several kinds in a folder", "holds files of several kinds (.tar, .parquet)", "by a pattern")
def several_kinds(here):
    parts(here, "a")
    (here / "parts" / "b.tar").write_bytes(bytes(10240))
    return training("parts")


@fault(READING, "several tables in a folder", "holds 2 tables (a.csv, b.csv)", "give one of them as the source")
def several_tables(here):
    table = pairs(here)
    for name in ("a", "b"):
        shutil.copy(here / table, here / "data" / f"{name}.csv")
    (here / table).unlink()
    return training("data")


@fault(
    READING, "class folders as training data", "look like classes (cat, dog), but no texts", "askew eval MODEL --data"
)
def classes_to_train_on(here):
    evaluating(here, "cat/0.png", "dog/0.png")
    return training("pets")


@fault(READING, "a table above class folders, in an evaluation", "can be read in two ways", "data.layout=classes")
def two_readings(here):
    arguments = evaluating(here, "cat/0.png", "dog/0.png")
    (here / "pets" / "pets.csv").write_text("image,caption\ncat/0.png,a cat\ndog/0.png,a dog\n", encoding="utf-8")
    return arguments


@fault(READING, "unknown columns in an evaluation", "no caption column", "--set data.caption_column=NAME")
def no_captions_to_evaluate(here):
    table = pairs(here)
    text = (here / table).read_text(encoding="utf-8").replace("image,caption", "image,words")
    (here / table).write_text(text, encoding="utf-8")
    return ["eval", "local-dir:model", "--data", table]


@fault(READING, "a setting of training in an evaluation", "takes settings of how --data is read, such as data.split")
def other_setting(here):
    return ["eval", "local-dir:model", "--data", pairs(here), "--set", "train.epochs=2"]


@fault(READING, "a pointer of Git LFS", "is a Git LFS pointer, not the data", "git lfs pull")
def lfs_pointer(here):
    (here / "pairs.tar").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", encoding="utf-8"
    )
    return training("pairs.tar")


# Search and embeddings

SEARCH = "Search and embeddings"


def searching(here: Path, *arguments: str) -> list:
    """`askew search` on 25 pairs."""
    return ["search", "local-dir:model", "--data", pairs(here), "--cache", "cache", *arguments]


def embedding(here: Path, *arguments: str) -> list:
    """`askew embed` of 25 pairs."""
    return ["embed", "local-dir:model", "--data", pairs(here), "--cache", "cache", *arguments]


@fault(SEARCH, "a search for nothing", "nothing to search for: give a text", "--image FILE")
def no_query(here):
    return searching(here)


@fault(SEARCH, "a search for an empty text", "an empty text finds nothing: write what to search for")
def empty_query(here):
    return searching(here, " ")


@fault(SEARCH, "a search with a file that is no image", "--image data/pairs.csv: cannot identify the image")
def unreadable_query(here):
    return searching(here, "--image", "data/pairs.csv")


@fault(SEARCH, "a search among something else", "--for 'people' is not known; use images or captions")
def unknown_kind_of_result(here):
    return searching(here, "a kite", "--for", "people")


@fault(SEARCH, "a page in a folder that is not there", "--html pages/a.html: there is no folder pages; make it")
def no_folder_for_the_page(here):
    return searching(here, "a kite", "--html", "pages/a.html")


@fault(SEARCH, "a setting of a run", "--set train.epochs=3: only settings of how --data is read", "data.split=all")
def setting_of_a_run(here):
    return searching(here, "a kite", "--set", "train.epochs=3")


@fault(SEARCH, "data without a single image", "none of the 25 samples can be used; the first: 0000.png: empty image")
def nothing_to_embed(here):
    micro_model(here / "model")
    arguments = embedding(here, "--out", "pairs.npy")
    for path in (here / "data").glob("*.png"):
        path.write_bytes(b"")
    return arguments


@fault(SEARCH, "a file as the cache folder", "a chunk of embeddings could not be written to", "with --cache DIR")
def cache_in_a_file(here):
    micro_model(here / "model")
    (here / "cache").write_text("")
    return searching(here, "a kite")


@fault(SEARCH, "embeddings as another kind of file", "--out pairs.csv: name a file that ends in .parquet or .npy")
def embeddings_as_csv(here):
    return embedding(here, "--out", "pairs.csv")


@fault(SEARCH, "embeddings in a folder that is not there", "--out new/pairs.npy: there is no folder new; make it")
def no_folder_for_embeddings(here):
    return embedding(here, "--out", "new/pairs.npy")


@fault(SEARCH, "a folder in place of the file", "--out pairs.npy is a folder; name a file")
def embeddings_as_a_folder(here):
    (here / "pairs.npy").mkdir()
    return embedding(here, "--out", "pairs.npy")


@fault(SEARCH, "a file that is there", "pairs.parquet is there already; replace it with --overwrite")
def embeddings_are_there(here):
    (here / "pairs.parquet").write_bytes(b"")
    return embedding(here, "--out", "pairs.parquet")


@fault(SEARCH, "images in an array", "--images: only a .parquet holds images; give --out NAME.parquet")
def images_in_an_array(here):
    return embedding(here, "--out", "pairs.npy", "--images")


# Inspecting, and lists of captions

INSPECTING = "Inspecting, and lists of captions"


def selection(here: Path, name: str = "kept.parquet", data: str = "data/pairs.csv", **changed) -> list:
    """A list of three captions of a table, as `askew inspect` writes it, and the command that reads it."""
    if not (here / data).exists():
        table_of_25((here / data).parent)
    with chdir(here):
        origin = Origin(absolute_source(data), SourceOptions(), contents_of_source(open_source(data), 25))
    columns = {**origin.columns(3), "sample": [0, 1, 2], "caption": [0, 0, 0], **changed}
    pq.write_table(pa.table(columns), here / name)
    return ["inspect", "local-dir:model", "--data", name]


def inspecting(*arguments: str, data: str = "data/pairs.csv") -> list:
    """`askew inspect` of a pretrained model on pairs, without operations."""
    return ["inspect", "first", "--data", data, "--operation-pairs", "0", "--cache", "cache", *arguments]


@fault(INSPECTING, "a list of captions whose data have moved", "kept.parquet selects from", "does not exist")
def selected_data_moved(here):
    arguments = selection(here)
    (here / "data").rename(here / "moved")
    return arguments


@fault(INSPECTING, "a list of captions of data that have changed", "where other data are now (25 samples then, 24 now")
def selected_data_changed(here):
    arguments = selection(here)
    table = here / "data" / "pairs.csv"
    table.write_text("\n".join(table.read_text(encoding="utf-8").splitlines()[:-1]) + "\n", encoding="utf-8")
    return arguments


@fault(INSPECTING, "a list of captions that takes the place of its data", "kept.parquet: selects from itself")
def selects_from_itself(here):
    return selection(here, askew_source=[str(here / "kept.parquet")] * 3)


@fault(INSPECTING, "a list of captions that would run code", "my_module:pairs is code", "if you trust it, name it")
def selects_from_code(here):
    return selection(here, askew_source=["my_module:pairs"] * 3)


@fault(INSPECTING, "lists of several sources in one file", "select from 2 sources", "mix them by A + B")
def several_sources_selected(here):
    return selection(here, askew_source=["data/pairs.csv", "data/pairs.csv", "embedded"])


@fault(INSPECTING, "a setting that a list of captions has already", "leave out data.caption_column=caption")
def setting_of_a_selection(here):
    return [*selection(here), "--set", "data.caption_column=caption"]


@fault(INSPECTING, "a list of captions with changed settings", "not what askew inspect wrote; keep these columns")
def changed_selection(here):
    return selection(here, askew_options=["{"] * 3)


@fault(INSPECTING, "a list of captions without an index", "column caption holds", "keep it as it was")
def no_index_in_a_selection(here):
    return selection(here, caption=[0, None, 0])


@fault(INSPECTING, "a column that pairs are not ranked by", "--by 'size' is not known; use noise or distance")
def unknown_ranking(here):
    return ["inspect", "local-dir:model", "--data", pairs(here), "--by", "size"]


@fault(INSPECTING, "a setting of training in an inspection", "only settings of how --data is read can be changed")
def other_setting_to_inspect(here):
    return ["inspect", "local-dir:model", "--data", pairs(here), "--set", "train.epochs=2"]


@fault(INSPECTING, "a folder with another inspection in it", "holds another inspection (pool: 9, not 8)")
def inspection_taken(here):
    pretrained(here)
    arguments = inspecting("--pool")
    end(askew_here(*arguments, "9", cwd=here), 0)
    return [*arguments, "8"]


@fault(INSPECTING, "a folder with something else in it", "--out data is not empty; choose a new folder with --out DIR")
def inspection_into_data(here):
    pretrained(here)
    return inspecting("--out", "data")


@fault(INSPECTING, "--keep where all captions are alike", "there is nothing to compare with", "leave --keep out")
def nothing_to_keep(here):
    pretrained(here)
    rows = [f"{number:04d}.png,a cat" for number in range(3)]
    (here / "data" / "alike.csv").write_text("\n".join(["image,caption", *rows]) + "\n", encoding="utf-8")
    return inspecting("--keep", "0.5", data="data/alike.csv")


@fault(INSPECTING, "--keep with so small a share that nothing is left", "none would be left; name a larger share")
def keep_too_little(here):
    pretrained(here)
    return inspecting("--keep", "0.01")


# Running them


# Studies

TUNING = "Fine-tuning for retrieval"


def tuning(here: Path, *options: str) -> list:
    """`askew finetune-retrieval` of a micro run."""
    pretrained(here)
    write_pairs(here / "test", 20, seed=2)
    sets = as_options("loader.batch_size=8", "loader.num_workers=0", "train.max_steps=2", "evaluation.report=false")
    return ["finetune-retrieval", "first", "--data", "data/pairs.csv", "--rates", "1e-4", *sets, "--out", "o", *options]


@fault(TUNING, "no validation images", "no validation images", "--validation SOURCE", "--validation 0.1")
def no_validation_images(here):
    return tuning(here, "--test", "test/pairs.csv")


@fault(TUNING, "a share of the training images that is none", "--validation 10: a share of the training images is")
def share_above_one(here):
    return tuning(here, "--test", "test/pairs.csv", "--validation", "10")


@fault(TUNING, "no test images", "no test images", "--test SOURCE")
def no_test_images(here):
    return tuning(here, "--validation", "0.2")


@fault(TUNING, "a set that has no captions", "--suite pets: retrieval is fine-tuned on flickr30k and coco")
def tuned_on_classes(here):
    pretrained(here)
    return ["finetune-retrieval", "first", "--suite", "pets", "--data-root", "data"]


@fault(TUNING, "a model without pretrained weights", "a model without pretrained weights cannot be fine-tuned")
def tuned_from_nothing(here):
    write_pairs(here / "test", 20, seed=2)
    arguments = tuning(here, "--test", "test/pairs.csv", "--validation", "0.2")
    return [arguments[0], "ViT-B-32", *arguments[2:]]


@fault(TUNING, "learning rates that are none", "--rates 'fast': numbers between 0 and 1 are needed")
def rates_in_words(here):
    arguments = tuning(here, "--test", "test/pairs.csv", "--validation", "0.2")
    return [*arguments, "--rates", "fast"]


@fault(TUNING, "other settings in the same folder", "holds a fine-tuning with other settings: rates", "a new folder")
def tuned_otherwise(here):
    arguments = tuning(here, "--test", "test/pairs.csv", "--validation", "0.2")
    askew_here(*arguments, cwd=here)
    return [*arguments, "--rates", "1e-3"]


FAR = "Shards far away"


def far_away(here: Path, data: str, *settings: str, **server) -> list:
    """Training on shards behind a web server, which runs as long as this process. `{url}` in `data` is its address."""
    write_shards(here / "far", 2, 13, "{:02d}.tar")
    web = WebServer(here / "far", **server)
    web.start()
    how = ("data.remote_folder=cache", "data.remote_retries=0", *settings)
    return training(data.replace("{url}", web.url), *how)


@fault(FAR, "a folder of a web server", "a web server cannot be listed", "{00000..00099}.tar")
def web_folder(here):
    return far_away(here, "{url}/shards")


@fault(FAR, "a table far away", "pairs.csv is no .tar; only tar shards are read from afar")
def table_far_away(here):
    return far_away(here, "{url}/pairs.csv")


@fault(FAR, "shards that are not there", "2 of the 4 shards of", "name only shards that exist")
def shards_not_there(here):
    return far_away(here, "{url}/{00..03}.tar")


@fault(FAR, "a server that does not answer", "could not be read in 3 attempts", "check the address and the network")
def no_server(here):
    return training("http://127.0.0.1:9/{00..01}.tar", "data.remote_folder=cache")


@fault(FAR, "a store that denies access", "the store denies access (403)", "or one that is signed")
def denied_far_away(here):
    return far_away(here, "{url}/{00..01}.tar", secret="?signature=abc")


@fault(FAR, "a cache that is too small", "do not fit into data.remote_cache_gb=1e-05; set it higher")
def small_cache(here):
    return far_away(here, "{url}/{00..01}.tar", "data.remote_cache_gb=1e-5")


@fault(FAR, "parts of files from a server that gives none", "gives no parts of files; leave data.remote_read out")
def no_ranges(here):
    return far_away(here, "{url}/{00..01}.tar", "data.remote_read=range", ranges=False)


@fault(FAR, "a cache in a file", "data.remote_folder: cache.txt", "name a folder on a local disk")
def far_cache_in_a_file(here):
    (here / "cache.txt").write_text("", encoding="utf-8")
    return [*far_away(here, "{url}/{00..01}.tar"), "--set", "data.remote_folder=cache.txt"]


@fault(FAR, "a shard that changes during a run", "changed while in use", "or start a new run with the new data", code=3)
def shard_changes(here):
    # Room for one of the two shards; both are indexed, and then read by parts
    return far_away(here, "{url}/{00..01}.tar", "data.remote_cache_gb=7e-5", changed_after=3)


STUDY = "A study"
ANOTHER = {"recipe": "tiny-siglip"}


def studying(here: Path, *options: str | Path, **changes) -> list:
    """`askew study` of one micro run, on a table beside it."""
    settings = [setting for setting in micro_settings() if setting != "--set"]
    fields = {
        "name": "one",
        "set": [*settings, f"data.source={pairs(here)}", "train.max_steps=1"],
        "rows": {"CLIP": {"recipe": "tiny-clip"}},
    }
    (here / "study.yaml").write_text(yaml.safe_dump({**fields, **changes}, sort_keys=False), encoding="utf-8")
    return ["study", "study.yaml", "--out", "runs", *options]


@fault(STUDY, "a study compared with a row that it does not have", "baseline: 'CLPI' is no row; did you mean 'CLIP'")
def unknown_baseline(here):
    return studying(here, baseline="CLPI")


@fault(STUDY, "a study without its training data", "rows: CLIP: data.source: gone.csv is not there")
def study_of_missing_data(here):
    arguments = studying(here)
    text = (here / "study.yaml").read_text(encoding="utf-8")
    (here / "study.yaml").write_text(text.replace("data/pairs.csv", "gone.csv"), encoding="utf-8")
    return arguments


@fault(STUDY, "a study evaluated on data that do not exist", "evaluate.0: data: gone.csv does not exist")
def study_evaluated_on_nothing(here):
    return studying(here, evaluate=[{"data": "gone.csv"}])


@fault(STUDY, "a suite in a study without its folder", "evaluate.0: suite caltech101 needs data_root")
def study_suite_without_folder(here):
    return studying(here, evaluate=[{"suite": "caltech101"}])


@fault(
    STUDY, "wrong captions planted among too few", "cannot be exchanged among images; name a source with 15 captions"
)
def study_of_few_captions(here):
    write_pairs(here / "few", 4)
    return studying(here, evaluate=[{"wrong_captions": "few/pairs.csv"}])


@fault(STUDY, "a difference that is none", "differences: gain: the weights add up to 1; give weights that add up to 0")
def weights_of_no_difference(here):
    return studying(here, differences={"gain": {"CLIP": 1}}, rows={"CLIP": {"recipe": "tiny-clip"}, "B": ANOTHER})


@fault(STUDY, "a row that the study does not have", "--row: 'CLPI' is no row; did you mean 'CLIP'")
def row_of_no_study(here):
    return studying(here, "--row", "CLPI")


@fault(STUDY, "a seed that no row has", "--seed 7: the rows do not have it; they have 0")
def seed_of_no_row(here):
    return studying(here, "--seed", "7")


@fault(STUDY, "a row of a record to be run", "studies/one is a folder", "give the study's YAML file")
def row_of_a_record(here):
    end(askew_here(*studying(here, "--record", "studies/one"), cwd=here), 0)
    return ["study", "studies/one", "--row", "CLIP", "--out", "again"]


@fault(STUDY, "a record in a folder of something else", "--record data holds no record of a study; choose a new folder")
def record_among_data(here):
    return studying(here, "--record", "data")


@fault(STUDY, "an evaluation that comes too late", "weights were removed", "choose a new folder with --out DIR")
def study_without_weights(here):
    end(askew_here(*studying(here, "--keep", "results"), cwd=here), 0)
    return studying(here, evaluate=[{"data": "data/pairs.csv"}])


@fault(STUDY, "tables of a folder that is no record", "data: no record of a study (no study.yaml)")
def tables_of_no_record(here):
    pairs(here)
    return ["study", "data"]


@fault(RUN, "a finished run without checkpoints that is resumed", "is finished, and its checkpoints were removed")
def resumed_without_checkpoints(here):
    trained(here, 3)
    shutil.rmtree(here / "run" / "checkpoints")
    return ["train", "--resume", "--out", "run"]


def end(done: subprocess.CompletedProcess, code: int) -> str:
    """What was printed to a person, after checking how it ended."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", done.stdout + done.stderr), (
        "control codes reach the terminal"
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == (code != 0), done.stderr
    return done.stderr


def line_of(printed: str, case: Fault) -> str:
    """The one line that reports the fault."""
    lines = [line for line in printed.splitlines() if all(word in line for word in case.words)]
    assert lines, printed
    return lines[0]


LINES: dict[str, str] = {}


@pytest.fixture(autouse=True)
def no_retries(monkeypatch):
    """The hub's client retries for most of a minute before it reports that there is no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("case", FAULTS, ids=lambda case: case.prepare.__name__)
def test_a_fault_is_one_clear_line(case, tmp_path):
    arguments = case.prepare(tmp_path)
    line = line_of(end(askew_here(*arguments, cwd=tmp_path), case.code), case)
    line = re.sub(r"127\.0\.0\.1:\d{3,}", "127.0.0.1:8000", line)
    LINES[case.prepare.__name__] = line.replace(str(tmp_path.resolve()), "").replace("/data/", "data/")
    if case.code == 2 and case.topic not in (RUN, REPLAY):
        assert not (tmp_path / "run").exists()  # nothing is left behind
    if case.code == 0:
        assert (tmp_path / "run" / "model" / "open_clip_model.safetensors").is_file()


def document() -> str:
    """docs/errors.md, from the lines that were printed."""
    text = [
        "# What goes wrong, and what askew prints",
        "",
        "Each message below was printed by a test (`tests/test_bad_input.py`, which also writes this page).",
        "Each is a single line; it is wrapped here to fit the page.",
        "",
        "- Exit code 2: the input is wrong. A new run has written nothing; an old one is as it was.",
        "- Exit code 3: the run failed. What it had saved is kept.",
        "- Exit code 0: the run continues. A bad sample is replaced, named and counted.",
        "- Exit codes 130 and 143: Ctrl-C and SIGTERM, after a checkpoint was saved.",
    ]
    for topic in dict.fromkeys(case.topic for case in FAULTS):
        text += ["", f"## {topic}"]
        for case in FAULTS:
            if case.topic == topic:
                line = LINES[case.prepare.__name__]
                wrapped = textwrap.wrap(line, 92, subsequent_indent="  ", break_on_hyphens=False)
                text += ["", f"**{case.what[0].upper()}{case.what[1:]}** (exit code {case.code})", ""]
                text += [f"    {part}" for part in wrapped]
    return "\n".join(text) + "\n"


def test_the_page_of_errors_is_what_is_printed(pytestconfig):
    if LINES.keys() != {case.prepare.__name__ for case in FAULTS}:
        pytest.skip("needs the lines of every fault: run the whole file")
    if pytestconfig.getoption("--errors-doc"):
        DOC.write_text(document(), encoding="utf-8")
    assert DOC.read_text(encoding="utf-8") == document()


# What needs more than a folder


@contextmanager
def small_disk(folder: Path, options: str):
    """A file system of its own at `folder`."""
    folder.mkdir(exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_while_saving_loses_no_checkpoint(tmp_path):
    recipe = override(micro_recipe(table_of_25(tmp_path / "data"), "clip"), ["train.checkpoint_steps=1"])
    size = len(pickle.dumps(trainer_of(recipe).method.state_dict())) // 1024  # of the weights, kB
    with small_disk(tmp_path / "disk", f"size={8 * size}k") as disk:  # a checkpoint takes three times the weights
        settings = ["train.keep_checkpoints=5", "method.name=clip"]
        arguments = training(tmp_path / "data" / "pairs.csv", *settings)
        arguments[arguments.index("run")] = disk / "run"
        printed = end(askew_here(*arguments, cwd=tmp_path), 2)
        assert "step 3: the checkpoint could not be written" in printed
        assert "No space left on device" in printed
        assert "earlier checkpoints are untouched" in printed
        found = checkpoint.latest(disk / "run" / "checkpoints", pytest.fail)
        assert found is not None
        assert found.step == 2
        subprocess.run(["mount", "-o", f"remount,size={40 * size}k", str(disk)], check=True)
        end(askew_here("train", "--resume", "--out", disk / "run", cwd=tmp_path), 0)
        assert (disk / "run" / "model" / "open_clip_model.safetensors").is_file()


def test_a_read_only_output_folder_is_one_line(tmp_path):
    table = table_of_25(tmp_path / "data")
    with small_disk(tmp_path / "disk", "ro") as disk:
        arguments = training(table)
        arguments[arguments.index("run")] = disk / "run"
        assert "the run directory cannot be made" in end(askew_here(*arguments, cwd=tmp_path), 2)


def test_a_read_only_home_is_no_hindrance(tmp_path, monkeypatch):
    table = table_of_25(tmp_path / "data")
    monkeypatch.setenv("HOME", "/proc/1")  # nothing can be written there, by nobody
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "HF_HOME", "TORCH_HOME", "MPLCONFIGDIR"):
        monkeypatch.delenv(name, raising=False)
    done = askew(*training(table), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_no_compiler_is_one_line_before_the_run_starts(tmp_path, monkeypatch):
    table = table_of_25(tmp_path / "data")
    monkeypatch.setenv("CXX", str(tmp_path / "no-compiler"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    done = askew(*training(table, "train.compile=true"), cwd=tmp_path)
    printed = end(done, 2)
    assert "train.compile=true needs a working C++ compiler" in printed
    assert "train.compile=false" in printed
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_may_be_started_afresh(tmp_path, monkeypatch, method):
    """As they are on macOS and Windows, and by Python 3.14: source and views travel whole."""
    recipe = micro_recipe(table_of_25(tmp_path / "data"), "mcd")
    recipe = recipe.model_copy(update={"towers": resolve(recipe.towers)})
    source = open_source(recipe.data.source)
    wanted = ("image", "aug", "text", "masked_text", "mlm_labels")
    loader = Loader(source, build_views(recipe, wanted), 8, seed=0, num_workers=1)
    monkeypatch.setattr("askew.data.loader.DataLoader", partial(DataLoader, multiprocessing_context=method))
    for step, batch in enumerate(loader.batches(0, 2)):
        expected = loader.batch(step)
        assert batch.keys() == expected.keys()
        assert all(torch.equal(batch[key], value) for key, value in expected.items() if key != "bad_samples")


def test_a_batch_in_which_nothing_was_masked_trains_on(tmp_path):
    trainer = trainer_of(micro_recipe(table_of_25(tmp_path / "data"), "mcd"))
    batch = trainer.loader.batch(0)
    batch.pop("bad_samples")
    batch["masked_text"], batch["mlm_labels"] = batch["text"].clone(), torch.full_like(batch["text"], -100)
    line = trainer._one_step(batch)
    assert line["terms"]["mlm"].item() == 0
    assert line["gradient_norm"].isfinite()


def test_the_suite_reaches_no_network():
    with pytest.raises(OSError, match="without a network"):
        torch.hub.download_url_to_file("http://192.0.2.1/weights", "weights")
    assert open_clip.list_models()
