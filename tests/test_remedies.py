"""Every remedy that docs/errors.md names works for the command that names it.

For each fault of tests/test_bad_input.py that ends a command: the words of its line that say what to do, and that done.
Then the command must succeed. A command on a model that does not exist must at least get as far as the model.
"""

import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from askew.recipes import find
from askew.recipes.settings import leaves
from helpers import write_pairs
from micro_runs import askew_here, micro_settings
from test_bad_input import DOC, FAULTS, SHORT_TEXT, far_away, line_of, parts, selection, trained, training
from text_folders import edit_json, text_folder

REMEDIES: dict[str, list[tuple[str, Callable[[Path, list], list]]]] = {}


def remedy(fault: str, words: str):
    """Register what does as the words of a fault's line say, and returns the arguments of the next command."""

    def register(apply):
        REMEDIES.setdefault(fault, []).append((words, apply))
        return apply

    return register


def adding(fault: str, words: str, *options: str) -> None:
    """The remedy is to repeat the command with more options."""
    remedy(fault, words)(lambda here, arguments: [*arguments, *options])


def changing(fault: str, words: str, option: str, value: str) -> None:
    """The remedy is another value of an option."""
    remedy(fault, words)(lambda here, arguments: replaced(arguments, option, value))


def running(fault: str, words: str, *command: str) -> None:
    """The remedy is another command."""
    remedy(fault, words)(lambda here, arguments: list(command))


def setting(fault: str, words: str, wrong: str, right: str) -> None:
    """The remedy is a right setting in place of a wrong one."""
    remedy(fault, words)(lambda here, arguments: [*without(arguments, wrong), *(["--set", right] if right else [])])


def drawing(fault: str, words: str, *paths: str) -> None:
    """The remedy is to add pictures."""
    fixing(fault, words, lambda here: pictures(here, *paths))


def called(fault: str, words: str, *folders: str) -> None:
    """The remedy is a file that names these class folders."""
    remedy(fault, words)(lambda here, arguments: [*arguments, *class_names(here, *folders)])


def naming(fault: str, words: str, data: str, prepare: Callable[[Path], object] = lambda here: None) -> None:
    """The remedy is to repeat the command with other data."""

    def apply(here: Path, arguments: list) -> list:
        prepare(here)
        return replaced(arguments, "--data", data)

    remedy(fault, words)(apply)


def fixing(fault: str, words: str, change: Callable[[Path], object]) -> None:
    """The remedy is to change files, and to repeat the command."""

    def apply(here: Path, arguments: list) -> list:
        change(here)
        return arguments

    remedy(fault, words)(apply)


def replaced(arguments: list, option: str, value: str) -> list:
    """The arguments with another value of an option."""
    place = list(map(str, arguments)).index(option) + 1
    return [*arguments[:place], value, *arguments[place + 1 :]]


def without(arguments: list, setting: str) -> list:
    """The arguments without a `--set` whose value begins so."""
    place = next(n for n, value in enumerate(map(str, arguments)) if value.startswith(setting))
    return [*arguments[: place - 1], *arguments[place + 1 :]]


def whole(here: Path) -> None:
    """A good pairs.csv beside its images, in the folder of the command."""
    write_pairs(here, 25)


def as_tar(here: Path, name: str = "pairs.tar") -> None:
    """A good tar."""
    write_pairs(here / "good", 25).unlink()
    with tarfile.open(here / name, "w") as tar:
        for image in sorted((here / "good").glob("*.png")):
            image.with_suffix(".txt").write_text(f"a kite {image.stem}", encoding="utf-8")
            for file in (image, image.with_suffix(".txt")):
                tar.add(file, file.name)


def pictures(here: Path, *paths: str) -> None:
    """Pictures below pets/."""
    for number, path in enumerate(paths):
        file = here / "pets" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (9 * number, 99, 200)).save(file)


def class_names(here: Path, *folders: str) -> tuple[str, str]:
    """A file of class names, and its option."""
    lines = [f"{folder}: the {folder} {number}" for number, folder in enumerate(folders)]
    (here / "names.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return "--class-names", "names.txt"


def edit(path: str, old: str, new: str) -> Callable[[Path], object]:
    """Replace a part of a text file."""

    def apply(here: Path) -> None:
        text = (here / path).read_text(encoding="utf-8")
        assert old in text
        (here / path).write_text(text.replace(old, new), encoding="utf-8")

    return apply


def count_words(here, name, *options):
    assert askew_here("data", "words", "data/pairs.csv", "--out", name, *options, cwd=here).returncode == 0


# Data

for name in ("no_table", "unknown_kind", "empty_folder"):
    naming(name, "give a .csv", "pairs.csv", whole)
    remedy(name, "`embedded`")(
        lambda here, arguments: [*replaced(arguments, "--data", "embedded"), "--set", "train.max_steps=1"]
    )
    naming(name, ".tar shards", "{0..0}.tar", lambda here: as_tar(here, "0.tar"))
remedy("no_source", "add --data SOURCE")(
    lambda here, arguments: [
        *["train", "tiny", "--data", "embedded"],
        *arguments[2:],
        *micro_settings(),
        "--set",
        "train.max_steps=1",
    ]
)
fixing("empty_table", "its first line must name the columns: image,caption", whole)
fixing("header_only", "it needs one line per image-caption pair", whole)


def with_words(here: Path) -> None:
    """A good table whose caption column is called `words`."""
    whole(here)
    edit("pairs.csv", "image,caption", "image,words")(here)


def with_picture_and_words(here: Path) -> None:
    whole(here)
    edit("pairs.csv", "image,caption", "picture,words")(here)


def with_semicolons(here: Path) -> None:
    whole(here)
    text = (
        (here / "pairs.csv")
        .read_text(encoding="utf-8")
        .replace("image,caption", "picture;words")
        .replace(".png,", ".png;")
    )
    (here / "pairs.csv").write_text(text, encoding="utf-8")


CAPTION, IMAGE = ("--set", "data.caption_column=words"), ("--set", "data.image_column=picture")


@remedy("no_captions", "--set data.caption_column=NAME")
def _(here, arguments):
    with_words(here)
    return [*arguments, *CAPTION]


@remedy("no_columns", "--set data.image_column=NAME --set data.caption_column=NAME")
def _(here, arguments):
    with_picture_and_words(here)
    return [*arguments, *IMAGE, *CAPTION]


@remedy("no_columns", "--set data.separator=semicolon")
def _(here, arguments):
    with_semicolons(here)
    return [*arguments, *IMAGE, *CAPTION, "--set", "data.separator=semicolon"]


@remedy("bare_comma", "in quotes, and double the quotes inside it")
def _(here, arguments):
    whole(here)
    text = (here / "pairs.csv").read_text(encoding="utf-8")
    (here / "pairs.csv").write_text(
        re.sub(r"0003\.png,.*", '0003.png,"two ""dogs"", one asleep"', text), encoding="utf-8"
    )
    return arguments


@remedy("open_quote", "--set data.quotes=literal")
def _(here, arguments):
    whole(here)
    edit("pairs.csv", "0003.png,", '0003.png,"')(here)
    return [*arguments, "--set", "data.quotes=literal"]


@remedy("other_encoding", "iconv -t utf-8")
def _(here, arguments):
    whole(here)
    text = (here / "pairs.csv").read_text(encoding="utf-8").replace("0003.png,", "0003.png,Bär ")
    (here / "pairs.csv").write_text(text.encode("latin-1").decode("latin-1"), encoding="utf-8")
    return arguments


naming("no_parquet", "not a readable Parquet file", "parts/a.parquet", lambda here: parts(here, "a"))
adding("outside", "data.allow_outside=true", "--set", "data.allow_outside=true")


@remedy("outside", "move the list to a folder above the images")
def _(here, arguments):
    text = (here / "data" / "lists" / "pairs.csv").read_text(encoding="utf-8").replace("../", "data/")
    (here / "moved.csv").write_text(text, encoding="utf-8")
    return replaced(arguments, "--data", "moved.csv")


naming("compressed_tar", "unpack it to a plain .tar", "pairs.tar", as_tar)
naming("missing_shards", "by a wildcard *", "?.tar", lambda here: as_tar(here, "0.tar"))
fixing("tar_without_pairs", "KEY.jpg (.png, .webp, .tif, ...) and KEY.txt", as_tar)


@remedy("images_without_texts", "put NAME.txt beside NAME.jpg")
def _(here, arguments):
    as_tar(here)  # writes good/, with texts
    return replaced(arguments, "--data", "good")


@remedy("images_without_texts", "list the images in metadata.csv with the columns file_name,text")
def _(here, arguments):
    write_pairs(here / "more", 25)
    text = (here / "more" / "pairs.csv").read_text(encoding="utf-8").replace("image,caption", "file_name,text")
    (here / "more" / "metadata.csv").write_text(text, encoding="utf-8")
    return replaced(arguments, "--data", "more")


@remedy("odd_weight", "write A*1 + B*2")
def _(here, arguments):
    write_pairs(here / "a", 25)
    write_pairs(here / "b", 25)
    return replaced(arguments, "--data", "a/pairs.csv*1 + b/pairs.csv*2")


fixing("all_images_gone", "No such file or directory", lambda here: write_pairs(here / "data", 25))
remedy("many_broken", "start a new run")(
    lambda here, arguments: write_pairs(here / "data", 25) and replaced(arguments, "--out", "another")
)
for name in ("odd_source", "odd_source_in_a_worker"):

    @remedy(name, "a source raises askew.errors.Unusable")
    def _(here, arguments):
        text = (here / "my_source.py").read_text(encoding="utf-8")
        right = text.replace("raise KeyError(", "raise __import__('askew.errors').errors.Unusable('gone', ")
        (here / "right_source.py").write_text(right, encoding="utf-8")
        return replaced(replaced(arguments, "--out", "another"), "--data", "right_source:odd")


# What a source is read as

adding("swallowed", "--set data.quotes=literal", "--set", "data.quotes=literal")


@remedy("no_names", "put a first line before it that names them, for example image,caption")
def _(here, arguments):
    path = here / "data" / "pairs.csv"
    path.write_text("image,caption\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    return arguments


fixing("twice_named", "rename one of them", whole)
naming("addresses", "download the images first", "good", as_tar)
adding("number_captions", "--set data.caption_column=NAME", "--set", "data.caption_column=words")
adding("no_such_split", "--set data.split=NAME", "--set", "data.split=test")
adding("no_such_split", "--set data.split=all", "--set", "data.split=all")
adding("unclear_splits", "--set data.split=all", "--set", "data.split=all")
naming("unclear_splits", "name the files to read by a pattern", "parts/train-*.parquet")
naming("several_kinds", "name those to read by a pattern", "parts/*.parquet")
naming("several_tables", "give one of them as the source", "data/a.csv")
naming("several_tables", "several with + between them", "data/a.csv + data/b.csv")
running("classes_to_train_on", "askew eval MODEL --data", "eval", "local-dir:model", "--data", "pets")
fixing(
    "classes_to_train_on",
    "put NAME.txt beside NAME.jpg",
    lambda here: [
        (pictures(here, f"{folder}/{n}.png"), (here / "pets" / folder / f"{n}.txt").write_text(f"a {folder} {n}"))
        for folder in ("cat", "dog")
        for n in range(8)
    ],
)
for layout in ("pairs", "classes"):
    adding("two_readings", f"--set data.layout={layout}", "--set", f"data.layout={layout}")
adding("no_captions_to_evaluate", "--set data.caption_column=NAME", *CAPTION)
changing("other_setting", "such as data.split", "--set", "data.separator=comma")
fixing("lfs_pointer", "fetch them with git lfs pull", as_tar)

# Settings

remedy("unknown_recipe", "did you mean 'tiny'?")(
    lambda here, arguments: ["train", "tiny", *micro_settings(), "--set", "train.max_steps=1"]
)
setting("misspelt", "did you mean 'train.epochs'?", "train.epoch=2", "train.epochs=1")


@remedy("misspelt_in_file", "did you mean 'train.learning_rate'?")
def _(here, arguments):
    edit("recipe.yaml", "learningrate", "learning_rate")(here)
    table = write_pairs(here / "data", 25).relative_to(here)
    return [*arguments, "--data", table, "--out", "run", *micro_settings()]


setting("wrong_type", "should be a valid number", "train.epochs=many", "train.epochs=1")
adding("batch_too_large", "set loader.batch_size to 25 or less", "--set", "loader.batch_size=25")
adding(
    "batch_of_one", "set loader.batch_size to 2 or more", "--set", "loader.batch_size=2", "--set", "train.max_steps=1"
)
adding("nothing_to_mask", "method.mlm_weight=0", "--set", "method.mlm_weight=0")
setting("means_of_two_sets", "choose another fading", "method.fading=two_sets", "method.fading=unfaded")
setting("muon_on_parts", "set train.parallel=ddp", "train.parallel=fsdp2", "train.parallel=ddp")
setting("compiled_parts", "set train.compile=false", "train.compile=true", "train.compile=false")
setting("muon_on_parts", "or train.optimizer=adamw", "train.optimizer=muon", "train.optimizer=adamw")
adding("no_patches_to_choose", "pool_type=tok", "--set", "towers.vision_cfg.pool_type=tok")
adding("no_patches_to_choose", "or set method.aug_patches=all", "--set", "method.aug_patches=all")
adding("nothing_to_mask", "raise it", "--set", "views.mask_probability=0.2")
adding("no_cuda", "it has cpu", "--set", "train.device=cpu")

# Runs

changing("folder_taken", "choose a new folder", "--out", "another")


@remedy("folder_taken", "--resume --out run")
def _(here, arguments):
    shutil.rmtree(here / "run" / "model")  # of a run that was stopped
    return ["train", "--resume", "--out", "run"]


changing("folder_is_a_file", "choose a new folder", "--out", "another")
running(
    "changed_recipe",
    "start a new run",
    "train",
    "run/recipe.yaml",
    "--out",
    "another",
    "--set",
    "train.learning_rate=0.1",
)


@remedy("data_gone", "askew train --resume --out run --data SOURCE")
def _(here, arguments):
    found = next(path for path in here.rglob("pairs.csv"))
    return ["train", "--resume", "--out", "run", "--data", str(found.relative_to(here))]


running("other_data", "start a new run", "train", "run/recipe.yaml", "--out", "another")
running("finished", "askew eval run", "eval", "run", "--data", "data/pairs.csv")
adding("finished", "--extend-to EPOCHS", "--extend-to", "2")


@remedy("extended_without_resume", "--resume --out RUN --extend-to EPOCHS")
def _(here, arguments):
    trained(here, 3)
    return ["train", "--resume", "--out", "run", "--extend-to", "2"]


changing("extended_to_fewer", "name more", "--extend-to", "2")
running("extended_too_early", "resume it to its end first", "train", "--resume", "--out", "run")


@remedy("extended_past_max_steps", "--set towers.pretrained=RUN")
def _(here, arguments):
    return ["train", "run/recipe.yaml", "--out", "another", "--set", "towers.pretrained=run"]


@remedy("held_out_is_trained_on", "name others")
def _(here, arguments):
    write_pairs(here / "held", 25, seed=1)
    return [*arguments, "--set", "evaluation.held_out=held/pairs.csv"]


@remedy("too_few_held_out", "name more")
def _(here, arguments):
    write_pairs(here / "held", 40, seed=1)
    return [*arguments, "--set", "evaluation.held_out=held/pairs.csv"]


# Weights


@remedy("no_weights", "a folder with open_clip_config.json")
def _(here, arguments):
    arguments = without(arguments, "towers.pretrained")
    assert askew_here(*replaced(arguments, "--out", "first"), cwd=here).returncode == 0
    return [
        "train",
        "tiny",
        "--data",
        "data/pairs.csv",
        "--out",
        "another",
        "--set",
        "towers.pretrained=first/model",
        *SHORT,
    ]


SHORT = ("--set", "train.max_steps=1", "--set", "loader.batch_size=8", "--set", "evaluation.suite=none")
SHORT += ("--set", "evaluation.report=false")
MODEL = "first/model"


def from_model(here: Path, *settings: str) -> list:
    """Train from the weights of the run `first`."""
    options = [part for setting in settings for part in ("--set", setting)]
    return [
        "train",
        "tiny",
        "--data",
        "data/pairs.csv",
        "--out",
        "another",
        *SHORT,
        "--set",
        f"towers.pretrained={MODEL}",
        *options,
    ]


remedy("other_shapes", "does not fit the towers of the recipe")(lambda here, arguments: from_model(here))
setting("other_normalisation", "leave towers.mean out", "towers.mean", "")
remedy("no_network", "give a local file or folder")(
    lambda here, arguments: [*without(without(arguments, "towers.pretrained"), "towers.model"), *SHORT]
)
for fault in ("no_checkpoint_to_start_from", "nothing_to_evaluate"):
    running(fault, "askew train --resume --out first", "train", "--resume", "--out", "first")
adding("unlocked_without_lock", "set towers.lock=image", "--set", "towers.lock=image")
adding("unlocked_too_many", "which has 1", "--set", "towers.unlock_image_blocks=1")
remedy("smaller_than_a_patch", "a patch, 16 px")(
    lambda here, arguments: [
        *without(arguments, "towers.vision_cfg={image"),
        "--set",
        "towers.vision_cfg={image_size: 32}",
    ]
)
remedy("image_too_large_to_evaluate", "--max-megapixels 100")(
    lambda here, arguments: whole_large(here) and [*arguments, "--max-megapixels", "100"]
)
adding("image_too_large_to_evaluate", "--allow-unreadable", "--allow-unreadable")


def whole_large(here: Path) -> bool:
    """In place of a picture that only declares its size, one that has it."""
    file = next((here / "classes").rglob("large.png"))
    Image.new("1", (10_000, 6_500), 1).save(file)
    return True


changing("report_that_is_no_page", "name a file that ends in .html", "--out", "report.html")
running("report_of_one_run_twice", "name different ones", "report", "run")

# Class folders

naming("only_train", "--data pets/train", "pets/train")
drawing("only_train", "add a folder test or val with the same class folders", "val/cat/1.png", "val/dog/1.png")
called("splits_or_classes", "--class-names FILE", "train", "test")


@remedy("splits_or_classes", "put a folder per class into each")
def _(here, arguments):
    shutil.rmtree(here / "pets")
    pictures(here, *(f"{split}/{name}/0.png" for split in ("train", "test") for name in ("cat", "dog")))
    return arguments


@remedy("split_beside_class", "move bird elsewhere")
def _(here, arguments):
    shutil.move(here / "pets" / "bird", here / "bird")
    pictures(here, "test/cat/1.png", "test/dog/1.png")
    return arguments


called("split_beside_class", "--class-names FILE", "train", "bird")


@remedy("unlabelled_test", "put a folder per class into it")
def _(here, arguments):
    (here / "pets" / "test" / "0.png").unlink()
    pictures(here, "test/cat/1.png", "test/dog/1.png")
    return arguments


fixing("split_twice", "keep one folder for each split", lambda here: shutil.rmtree(here / "pets" / "valid"))


@remedy("splits_of_other_names", "call them train, val and test")
def _(here, arguments):
    (here / "pets" / "a").rename(here / "pets" / "train")
    (here / "pets" / "b").rename(here / "pets" / "val")
    return arguments


called("splits_of_other_names", "--class-names FILE", "a", "b")


@remedy("splits_inside_classes", "as in test/cat")
def _(here, arguments):
    shutil.rmtree(here / "pets")
    pictures(here, "test/cat/1.png", "test/dog/1.png")
    return arguments


drawing("one_class", "the class folders, at least two", "cat/0.png", "dog/0.png")
fixing("empty_class", "remove the folder", lambda here: shutil.rmtree(here / "pets" / "owl"))
drawing("empty_class", "add some", "cat/0.png", "dog/0.png", "owl/0.png")
fixing(
    "linked_twice",
    "remove one of them",
    lambda here: (
        [path.unlink() for path in (here / "pets").iterdir() if path.is_symlink()] and pictures(here, "dog/7.png")
    ),
)
called("one_name", "--class-names FILE", "hot dog", "hot_dog")
changing("other_braces", "as in 'a photo of a {}'", "--prompts", "a photo of a {}")
fixing(
    "other_braces_in_a_file", "write {} once", lambda here: (here / "prompts.txt").write_text("a photo of a {}\n{}.\n")
)
changing("an_unknown_solver", "solvers: lbfgs, scikit-learn", "--probe", "scikit-learn")
changing("other_braces_for_captions", "as in 'a photo of a {}'", "--caption-prompt", "a photo of a {}")


@remedy("prompts_for_captions", "a template for captions is --caption-prompt")
def _(here, arguments):
    place = list(map(str, arguments)).index("--prompts")
    return [*arguments[:place], "--caption-prompt", "a photo of {}", *arguments[place + 2 :]]


remedy("other_class_names", "name each class folder once")(
    lambda here, arguments: class_names(here, "cat", "dog") and arguments
)
remedy("malformed_class_names", "write FOLDER: NAME; SYNONYM on each line")(
    lambda here, arguments: class_names(here, "cat", "dog") and arguments
)

# Search and embeddings

adding("no_query", "give a text", "a red bicycle")
adding("no_query", "--image FILE", "--image", "data/0001.png")
remedy("empty_query", "write what to search for")(lambda here, arguments: [*arguments[:-1], "a red bicycle"])
changing("unreadable_query", "give an image that can be read", "--image", "data/0001.png")
changing("unknown_kind_of_result", "use images or captions", "--for", "captions")
fixing("no_folder_for_the_page", "make it", lambda here: (here / "pages").mkdir())
setting("setting_of_a_run", "such as data.split=all", "train.epochs=3", "data.split=all")
fixing("nothing_to_embed", "empty image", lambda here: write_pairs(here / "data", 25))
changing("cache_in_a_file", "name another folder with --cache DIR", "--cache", "another")
changing("embeddings_as_csv", "name a file that ends in .parquet or .npy", "--out", "pairs.parquet")
fixing("no_folder_for_embeddings", "make it", lambda here: (here / "new").mkdir())
changing("embeddings_as_a_folder", "name a file", "--out", "other.npy")
adding("embeddings_are_there", "--overwrite", "--overwrite")
changing("images_in_an_array", "give --out NAME.parquet", "--out", "pairs.parquet")

# Inspecting, and lists of captions

FROM = "say where they are: --set data.selected_from=SOURCE"
adding("selected_data_moved", FROM, "--set", "data.selected_from=moved/pairs.csv")


@remedy("selected_data_changed", FROM)
@remedy("selects_from_itself", FROM)
@remedy("selects_from_code", FROM)
def _(here, arguments):
    write_pairs(here / "copy", 25)
    return [*arguments, "--set", "data.selected_from=copy/pairs.csv"]


@remedy("several_sources_selected", "write one file for each, and mix them by A + B")
def _(here, arguments):
    for name in ("one.parquet", "two.parquet"):
        selection(here, name)
    return replaced(arguments, "--data", "one.parquet + two.parquet")


setting("setting_of_a_selection", "leave out data.caption_column=caption", "data.caption_column", "")
fixing("changed_selection", "keep these columns as they are", selection)
fixing("no_index_in_a_selection", "keep it as it was", selection)
changing("unknown_ranking", "use noise or distance or loss or text_rank", "--by", "distance")
setting("other_setting_to_inspect", "such as data.split=all", "train.epochs", "data.quotes=literal")
adding("inspection_taken", "choose a new folder with --out DIR", "--out", "new")
changing("inspection_into_data", "choose a new folder with --out DIR", "--out", "new")
adding("nothing_to_keep", "rank by distance (--by distance)", "--by", "distance")
remedy("keep_too_little", "name a larger share")(lambda here, arguments: [*arguments[:-1], "0.5"])
remedy("nothing_to_keep", "leave --keep out")(lambda here, arguments: arguments[:-2])

# The test

# Studies

fixing("unknown_baseline", "did you mean 'CLIP'", edit("study.yaml", "baseline: CLPI", "baseline: CLIP"))
fixing("study_of_missing_data", "gone.csv is not there", edit("study.yaml", "gone.csv", "data/pairs.csv"))
fixing("study_evaluated_on_nothing", "give a .csv", edit("study.yaml", "gone.csv", "data/pairs.csv"))
fixing("study_of_few_captions", "name a source with 15 captions or more", edit("study.yaml", "few/", "data/"))
fixing("weights_of_no_difference", "such as 1 and -1", edit("study.yaml", "    CLIP: 1\n", "    CLIP: 1\n    B: -1\n"))
changing("row_of_no_study", "did you mean 'CLIP'", "--row", "CLIP")
changing("seed_of_no_row", "they have 0", "--seed", "0")
remedy("row_of_a_record", "give the study's YAML file")(lambda here, arguments: ["study", "study.yaml", *arguments[2:]])
changing("record_among_data", "choose a new folder", "--record", "kept")
changing("study_without_weights", "choose a new folder with --out DIR", "--out", "again")
remedy("resumed_without_checkpoints", "start a new run")(
    lambda here, arguments: ["train", "run/recipe.yaml", "--out", "new"]
)

# Shortened captions

adding("no_word_counts", "--set views.word_counts=words.json", "--set", "views.word_counts=words.json")
for name, words in (
    ("no_table_of_words", "make it: askew data words"),
    ("damaged_table_of_words", "make one: askew data"),
):
    fixing(name, words, lambda here: count_words(here, "words.json", "--overwrite"))
adding("budget_above_context", "without start and end, 14", "--set", "views.short_tokens=14")
adding("nothing_whole", "leave views.text=whole", "--set", "views.text=whole")
adding("other_words", "name that one", "--set", "views.word_counts=first.json")
remedy("other_words", "start a new run")(
    lambda here, arguments: replaced(training("data/pairs.csv", *SHORT_TEXT), "--out", "new")
)
changing("words_too_rare", "lower --min-count", "--min-count", "2")
adding("words_are_there", "replace it with --overwrite", "--overwrite")
changing("words_as_a_folder", "name a file", "--out", "words.json")
fixing("words_in_no_folder", "make it", lambda here: (here / "tables").mkdir())

setting("unknown_best", "pairs/mean_recall", "evaluation.best", "evaluation.best=pairs/mean_recall")
adding("best_of_nothing", "name it in evaluation.during", "--set", "evaluation.during=dev/pairs.csv")


@remedy("two_sets_of_one_name", "give their files or folders different names")
def other_names(here, arguments):
    (here / "dev" / "pairs.csv").rename(here / "dev" / "dev.csv")
    return [*without(arguments, "evaluation.during"), "--set", "evaluation.during=[dev/dev.csv, data/pairs.csv]"]


@remedy("no_best_model", "it keeps one where evaluation.best names a measure")
def keep_the_best(here, arguments):
    shutil.rmtree(here / "run")
    sets = ["--set", "evaluation.during=data/pairs.csv", "--set", "evaluation.best=pairs/mean_recall"]
    askew_here("train", "tiny", "--data", "data/pairs.csv", "--out", "run", *micro_settings(), *sets, cwd=here)
    return arguments


# Fine-tuning for retrieval

adding("no_validation_images", "or take a share of the training images with --validation 0.1", "--validation", "0.1")


@remedy("no_validation_images", "--validation SOURCE")
def other_images(here, arguments):
    write_pairs(here / "dev", 20, seed=3)
    return [*arguments, "--validation", "dev/pairs.csv"]


changing("share_above_one", "is between 0 and 1", "--validation", "0.1")
adding("no_test_images", "name them with --test SOURCE", "--test", "test/pairs.csv")
remedy("tuned_from_nothing", "neither a run directory")(lambda here, arguments: [arguments[0], "first", *arguments[2:]])
adding("rates_in_words", "1e-5,3e-5", "--rates", "1e-5,3e-5")
adding("tuned_otherwise", "or choose a new folder", "--out", "other")
adding("tuned_otherwise", "repeat its command", "--rates", "1e-4")


@remedy("tuned_on_classes", "name data of your own with --data")
def own_data(here, arguments):
    write_pairs(here / "test", 20, seed=2)
    data = ["--data", "data/pairs.csv", "--validation", "0.2", "--test", "test/pairs.csv", "--rates", "1e-4"]
    sets = ["--set", "loader.batch_size=8", "--set", "loader.num_workers=0", "--set", "train.max_steps=1"]
    return [*arguments[:2], *data, *sets]


changing("export_into_others", "name a new folder", "--out", "new")
changing("unknown_format", "use open_clip", "--to", "open_clip")
changing("inexpressible_towers", "use --to open_clip", "--to", "open_clip")
adding("data_of_the_run_are_gone", "name samples with --data SOURCE", "--data", "moved/pairs.csv")
remedy("int8_of_open_clip", "leave it out")(lambda here, arguments: arguments[:-1])
# A text tower of Hugging Face


def encoder(kind: str = "bert") -> Callable[[Path], object]:
    """The folder as it should be."""
    return lambda here: text_folder(here / "encoder", kind)


adding("no_text_tower", "or give a local folder", "--set", "towers.text_cfg.hf_model_name=encoder")
fixing("other_text_tower", "use one of bert, roberta, xlm-roberta, mt5", encoder())
fixing("no_text_config", "name a folder that save_pretrained has written", encoder())
adding("no_text_weights", "set towers.text_cfg.hf_model_pretrained=false",
       "--set", "towers.text_cfg.hf_model_pretrained=false")  # fmt: skip
adding("no_text_tokenizer", "name a folder that the tokenizer's save_pretrained",
       "--set", "towers.text_cfg.hf_tokenizer_name=encoder")  # fmt: skip
fixing("other_padding", "give both the same id", lambda here: edit_json(here / "encoder/config.json", pad_token_id=1))
fixing("other_text_vocabulary", "name the tokenizer that the encoder was trained with", encoder())
adding("context_above_positions", "lower it", "--set", "towers.text_cfg.context_length=40")
adding("max_pooler", "use one of cls_pooler", "--set", "towers.text_cfg.hf_pooler_type=cls_pooler")
setting("tokenizer_mode", "leave it out", "towers.text_cfg.tokenizer_mode", "")
fixing("left_padding", "padding_side=right", encoder())
adding("words_of_another_tokenizer", "set views.short_strategy=random", "--set", "views.short_strategy=random")
fixing("changed_tokenizer", "put its files back", encoder())


setting("setting_without_effect", "use train.precision", "train.learning_rate", "train.precision=fp32")


def far(pattern: str) -> Callable[[Path, list], list]:
    """Shards at the same server."""

    def apply(here: Path, arguments: list) -> list:
        data = str(arguments[arguments.index("--data") + 1])
        return replaced(arguments, "--data", f"{data.rpartition('/')[0]}/{pattern}")

    return apply


def served(here: Path, arguments: list) -> list:
    """The address of a server that answers."""
    return far_away(here, "{url}/{00..01}.tar")


remedy("web_folder", "s3://BUCKET/{00000..00099}.tar")(far("{00..01}.tar"))
remedy("table_far_away", "only tar shards are read from afar")(far("{00..01}.tar"))
remedy("shards_not_there", "name only shards that exist")(far("{00..01}.tar"))
remedy("no_server", "check the address and the network")(served)
remedy("denied_far_away", "or one that is signed")(far("{00..01}.tar?signature=abc"))
setting("small_cache", "set it higher", "data.remote_cache_gb", "data.remote_cache_gb=0.1")
setting("no_ranges", "leave data.remote_read out", "data.remote_read", "")
setting("far_cache_in_a_file", "name a folder on a local disk", "data.remote_folder=cache.txt", "")
changing("shard_changes", "or start a new run with the new data", "--out", "again")

WITHOUT = {  # lines that name no command to try, and why
    "unknown_tracker": "it names optional packages, which a test may not have",
    "unknown_tower": "the right name is a tower too large for a test",
    "no_weights_inside": "it names the kind of file that is wanted",
    "other_vocabulary": "it names the only vocabulary that such a tower has",
    "another_size_for_timm": "the right size is a tower too large for a test",
    "no_teacher_to_start_from": "the method has none",
    "no_teacher": "the method has none",
    "other_kind_of_directory": "it names what a model may be",
    "no_model": "it names what a model may be",
    "push_without_owner": "a push needs a login; tests/export/test_push.py has one",
    "nothing_to_resume": "there is no run",
    "report_of_no_run": "there is no run",
    "no_step": "there is no run",
    "damaged_step": "there is no run",
    "lost_rank": "there is no run",
    "study_suite_without_folder": "the data sets of the catalogue are not there",
    "tables_of_no_record": "there is no record",
}
CASES = [(name, number) for name, found in REMEDIES.items() for number in range(len(found))]
BY_NAME = {fault.prepare.__name__: fault for fault in FAULTS}


@pytest.fixture(autouse=True)
def no_retries(monkeypatch):
    """The hub's client retries for most of a minute before it reports that there is no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_every_fault_that_ends_a_command_has_a_remedy_that_is_tried():
    ending = {name for name, fault in BY_NAME.items() if fault.code}
    assert REMEDIES.keys() | WITHOUT.keys() == ending
    assert not REMEDIES.keys() & WITHOUT.keys()


@pytest.mark.parametrize(("name", "number"), CASES)
def test_a_remedy_works(name, number, tmp_path):
    fault, (words, apply) = BY_NAME[name], REMEDIES[name][number]
    arguments = fault.prepare(tmp_path)
    line = line_of(askew_here(*arguments, cwd=tmp_path).stderr, fault)
    assert words in line
    done = askew_here(*apply(tmp_path, arguments), cwd=tmp_path)
    no_model = "model: neither a run directory" in done.stderr  # a command that got as far as its model
    assert done.returncode == 0 or no_model, done.stderr
    assert line not in done.stderr


def test_every_setting_that_the_page_names_exists():
    known = leaves(find("tiny").model_dump(mode="json"))
    parts_of_keys = {".".join(key.split(".")[:n]) for key in known for n in range(1, 6)}
    free = ("towers.vision_cfg.", "towers.text_cfg.", "train.epoch", "train.learningrate", "method.")
    named = set(
        re.findall(
            r"\b(?:data|views|loader|train|towers|evaluation)\.[a-z_]+(?:\.[a-z_]+)?\b", DOC.read_text(encoding="utf-8")
        )
    )
    assert named
    unknown = {
        key
        for key in named
        if key not in parts_of_keys and not key.startswith(free) and not key.endswith((".png", ".csv"))
    }
    assert not unknown
