"""Class names and templates: as many as published, and each next to the class that it names."""

import numpy as np
import pytest
from standins import Colours, pictures
from timm.data import ImageNetInfo
from torchvision.datasets import Flowers102

from askew.errors import UserError
from askew.evaluation.datasets.base import Classification, Labelled
from askew.evaluation.datasets.prompts import prompts, read_prompts
from askew.evaluation.features import Extractor
from askew.evaluation.suite import EvaluationOptions, run_set

COUNTS = {  # classes, templates
    "pets": (37, 1), "cifar10": (10, 18), "cifar100": (100, 18), "sun397": (397, 2), "food101": (101, 1),
    "flowers102": (102, 1), "cars": (196, 8), "caltech101": (102, 34), "aircraft": (100, 2), "dtd": (47, 8),
    "imagenet": (1000, 7), "imagenet-80": (1000, 80),
}  # fmt: skip


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name):
    known = prompts(name)
    assert (len(known.classes), len(known.templates)) == COUNTS[name]
    assert len(known.keys) == len(set(known.keys)) == len(known.classes)
    assert all(template.count("{}") == 1 for template in known.templates)
    assert len(set(known.templates)) == len(known.templates)
    assert all(names and all(names) for names in known.classes)


def test_the_templates_of_the_paper_word_by_word():
    assert prompts("pets").templates == ("a photo of a {}, a type of pet.",)
    assert prompts("food101").templates == ("a photo of {}, a type of food.",)
    assert prompts("flowers102").templates == ("a photo of a {}, a type of flower.",)
    assert prompts("cifar10").templates == prompts("cifar100").templates
    assert set(prompts("imagenet").templates) < set(prompts("imagenet-80").templates)
    assert "itap of a {}." in prompts("imagenet").templates


@pytest.mark.parametrize("name", ["pets", "cifar10", "cifar100", "food101", "dtd", "sun397", "aircraft", "cars"])
def test_a_class_is_called_as_in_its_set(name):
    known = prompts(name)
    for key, names in zip(known.keys, known.classes, strict=True):
        assert names == (key.replace("_", " "),)


def test_caltech_names_are_next_to_their_folders():
    """Thirteen are renamed, the others are named as their folders, so a permutation would fail at a folder."""
    known = prompts("caltech101")
    other = {k: n[0] for k, n in zip(known.keys, known.classes, strict=True) if n[0] != k.replace("_", " ")}
    assert other == {
        "BACKGROUND_Google": "background", "Faces": "off-center face", "Faces_easy": "centered face",
        "Leopards": "leopard", "Motorbikes": "motorbike", "airplanes": "airplane", "car_side": "side of a car",
        "cougar_body": "body of a cougar cat", "cougar_face": "face of a cougar cat",
        "crocodile_head": "head of a  crocodile", "flamingo_head": "head of a flamingo",
        "snoopy": "snoopy (cartoon beagle)", "yin_yang": "yin and yang symbol",
    }  # fmt: skip
    assert list(known.keys) == sorted(known.keys)


def test_flowers_are_in_the_order_of_the_official_numbers():
    """torchvision has the list in the order of the numbers; a few spellings differ."""
    known = prompts("flowers102")
    assert known.keys == tuple(str(number) for number in range(1, 103))
    same = [ours[0] == theirs for ours, theirs in zip(known.classes, Flowers102.classes, strict=True)]
    assert sum(same) == 99
    assert known.classes[17] == ("peruvian lily",)


def test_imagenet_names_are_those_of_their_wordnet_ids():
    """timm has WordNet's words for each id. Nearly every name shares one; shifted by one class, hardly any does."""
    known, info = prompts("imagenet"), ImageNetInfo("imagenet1k")
    assert list(known.keys) == info.label_names() == sorted(known.keys)
    words = [set(text.lower().replace(",", "").replace("-", " ").split()) for text in info.label_descriptions()]
    names = [set(names[0].lower().replace("-", " ").split()) for names in known.classes]
    shared = [bool(a & b) for a, b in zip(names, words, strict=True)]
    shifted = [bool(a & b) for a, b in zip(names, words[1:] + words[:1], strict=True)]
    assert sum(shared) > 900
    assert sum(shifted) < 250
    assert known.classes[0] == ("tench",)
    assert known.classes[999] == ("toilet paper",)


# A user's own templates

WRONG = ["a photo of a {c}", "{label}", "a {0}", "{class}", "a {{}}", "a { }", "a photo of a %s", "{} and {}", "a }{}"]


@pytest.mark.parametrize("text", WRONG)
def test_other_braces_are_one_line_that_says_what_to_write(text, tmp_path):
    file = tmp_path / "p.txt"
    file.write_text(f"a drawing of a {{}}\n\n{text}\n")
    for opened, where in (
        (lambda: read_prompts(text), "--prompts: "),
        (lambda: read_prompts(str(file)), "p.txt, line 3: "),
        (lambda: EvaluationOptions(caption_prompt=text), "--caption-prompt: "),
    ):
        with pytest.raises(UserError) as caught:
            opened()
        message = str(caught.value)
        assert where in message
        assert f"{text!r} is not a template; write {{}} once, where the name goes, as in 'a photo of a {{}}'" in message
        assert "\n" not in message


def test_text_without_braces_is_neither_a_template_nor_a_file():
    for text in ("a photo of a cat", "prompts.txt", "~nobody/prompts.txt", "a" * 5000):
        with pytest.raises(UserError, match=r"neither a template nor a file of templates; write \{\} once"):
            read_prompts(text)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a photo of a {}.\n\nart of {}\n", ("a photo of a {}.", "art of {}")),
        (b"\xef\xbb\xbfa {}\r\n  the {}  \r\n", ("a {}", "the {}")),
        (b"# from CLIP\n#{} on a wall\na {}\na {}\n", ("#{} on a wall", "a {}")),
        ("une photo d'un {}\u2028\n".encode(), ("une photo d'un {}",)),
    ],
    ids=["plain", "BOM and CRLF", "comments and repetitions", "other letters"],
)
def test_files_of_templates(content, expected, tmp_path):
    (tmp_path / "p{c}.txt").write_bytes(content)
    assert read_prompts(str(tmp_path / "p{c}.txt")) == expected


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a {}\n'a photo of a {}',\n", "line 2: .* has quotes around it"),
        (b'"a {}"\n', "line 1: .* has quotes around it"),
        ("\u201ca {}\u201d\n".encode(), "line 1: .* has quotes around it"),
        (b"[\n", r"line 1: '\[' is not a template"),
        (b"    lambda c: f'itap of a {c}.',\n", "line 1: .*{c}.* is not a template"),
        (b"\n# nothing\n", "the file has no template"),
        ("a {}".encode("utf-16"), "not a readable text file .it is not UTF-8"),
    ],
)  # fmt: skip
def test_files_of_something_else_are_one_line(content, words, tmp_path):
    (tmp_path / "p.txt").write_bytes(content)
    with pytest.raises(UserError, match=rf"p\.txt.*{words}"):
        read_prompts(str(tmp_path / "p.txt"))
    with pytest.raises(UserError, match="neither a template nor a file"):
        read_prompts(str(tmp_path))


def test_templates_of_a_reader_from_outside_are_checked():
    data = Classification("set", "top1", (("a",), ("b",)), ("a {c}",), Labelled(pictures(2), np.array([0, 1])))
    results = run_set("set", data, Colours(), Extractor(Colours()), EvaluationOptions(), print)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"set: its templates: 'a \{c\}' is not a template; write"):
        next(results)
