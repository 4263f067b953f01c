"""docs/scaling.md: the bytes that a sample sends are those of its method."""

import re
from pathlib import Path

import pytest

from askew.config import METHODS
from askew.training.contract.micro import micro_batch, micro_method
from askew.training.step import Step

PAGE = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \| ([\d,]+) \|$", PAGE, re.M)


def number(formula, **letters):
    """The value of a sum of products, such as 8 + 8 D."""
    terms = [term.split() for term in formula.split(" + ")]
    return sum(int(term[0]) * (letters[term[1]] if len(term) > 1 else 1) for term in terms)


def test_the_table_has_the_paper_s_methods():
    assert {row[0] for row in ROWS} == {"clip", "siglip", "slip", "declip", "uniclip", "mcd"}


@pytest.mark.parametrize(("name", "whole", "moved", "wide"), ROWS, ids=[row[0] for row in ROWS])
def test_a_sample_sends_what_the_page_says(name, whole, moved, wide):
    method = micro_method(METHODS[name]())
    sent = Step(method, "fp32").encode(micro_batch(range(4)))
    sizes = {key: value[0].numel() * value.element_size() for key, value in sent.items()}
    letters = {"D": 16, "F": 32}  # of micro towers
    assert sum(sizes.values()) == number(whole, **letters)
    assert sum(sizes[key] for key, value in sent.items() if value.requires_grad) == number(moved, **letters)
    assert number(whole, D=512, F=768) == int(wide.replace(",", ""))
