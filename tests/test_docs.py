"""docs/equations.md is true: its functions exist and name their equation, and its tests exist."""

import ast
import importlib
import inspect
import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]


class Entry(NamedTuple):
    """An item of a list in docs/equations.md: its bold head, its text, and the names below it."""

    head: str
    text: str
    functions: list[str]
    tests: list[str]
    official: list[str]


def entries(section):
    """The list of one section of the page."""
    page = (ROOT / "docs" / "equations.md").read_text(encoding="utf-8")
    found = []
    for item in page.split(f"\n## {section}\n")[1].split("\n## ")[0].split("\n- **")[1:]:
        head, _, rest = item.partition("**")
        text = rest.split("\n\n")[0]
        names = [re.findall(rf"^  - {kind}: `([^`]+)`$", item, re.M) for kind in ("function", "test", "official code")]
        assert len(re.findall(r"^  - ", item, re.M)) == sum(map(len, names)), f"not understood: {item}"
        found.append(Entry(head, " ".join(text.split()), *names))
    return found


def table():
    """The equations of the paper: (number, reading or None, functions, tests, status)."""
    rows = []
    for entry in entries("MCD"):
        number, reading = re.fullmatch(r"\((\d+)\)(?: (\w+))?", entry.head).groups()
        status = re.match(r"\((\w+)\)\. ", entry.text)[1]
        rows.append((int(number), reading, entry.functions, entry.tests, status))
    return rows


ROWS = table()
IDS = [f"{number}-{reading}" if reading else str(number) for number, reading, *_ in ROWS]


def resolve(dotted):
    """The object at the end of a dotted path. The first part that is not a module is an attribute."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        name = ".".join(parts[:end])
        try:
            found = importlib.import_module(name)
        except ModuleNotFoundError as error:
            # An existing module that lacks one of its own imports must not look like an attribute.
            if error.name is None or not name.startswith(error.name):
                raise
            continue
        for attribute in parts[end:]:
            found = getattr(found, attribute)
        return found
    raise ModuleNotFoundError(dotted)


def names(docstring, number, reading):
    """Whether a docstring has "Eq. (7)", "Eqs. (6)-(8)" or, with a reading, "Eq. (9), own_against_own"."""
    # A line break may fall inside the name.
    docstring = " ".join((docstring or "").split())
    if reading:
        return re.search(rf"Eq\. \({number}\), {re.escape(reading)}\b", docstring) is not None
    singles = {int(found) for found in re.findall(r"Eq\. \((\d+)\)", docstring)}
    spans = re.findall(r"Eqs\. \((\d+)\)(?:-| to )\((\d+)\)", docstring)
    return number in singles or any(int(first) <= number <= int(last) for first, last in spans)


def test_every_equation_of_the_paper_is_on_the_page():
    assert {number for number, *_ in ROWS} == set(range(1, 14))
    assert len(set(IDS)) == len(IDS)
    assert {status for *_, status in ROWS} <= {"confirmed", "reconstructed"}
    assert all(functions and tests for _, _, functions, tests, _ in ROWS)


@pytest.mark.parametrize(("number", "reading", "functions", "tests", "status"), ROWS, ids=IDS)
def test_functions_exist_and_name_their_equation(number, reading, functions, tests, status):
    docstrings = [inspect.getdoc(resolve(function)) for function in functions]
    assert any(names(docstring, number, reading) for docstring in docstrings), f"no docstring of {functions} names it"


@pytest.mark.parametrize(("number", "reading", "functions", "tests", "status"), ROWS, ids=IDS)
def test_tests_exist(number, reading, functions, tests, status):
    for test in tests:
        path, name = test.split("::")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, test


@pytest.mark.parametrize(("number", "reading", "functions", "tests", "status"), ROWS, ids=IDS)
def test_no_two_objectives_claim_one_equation(number, reading, functions, tests, status):
    claims = []
    for path in sorted((ROOT / "src" / "askew" / "objectives").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            if documented and names(ast.get_docstring(node), number, reading):
                claims.append(f"{path.name}: {getattr(node, 'name', 'the module')}")
    in_objectives = any(function.startswith("askew.objectives.") for function in functions)
    assert len(claims) == (1 if in_objectives else 0), claims


SECTIONS = ("SLIP, DeCLIP and ALBEF", "UniCLIP and SigLIP", "FastCLIP", "A-CLIP", "SuperCLIP", "Shortened captions")
OTHERS = [entry for part in SECTIONS for entry in entries(part)]


@pytest.mark.parametrize("entry", OTHERS, ids=[entry.text for entry in OTHERS])
def test_the_losses_of_other_papers_are_where_the_page_says(entry):
    assert all(inspect.getdoc(resolve(function)) for function in entry.functions)
    assert entry.functions
    assert entry.tests
    test_tests_exist(0, None, entry.functions, entry.tests + entry.official, None)


def test_naming_of_equations_is_understood():
    assert names("Sums the terms, Eq. (10).", 10, None)
    assert names("Eqs. (2)-(4)", 3, None)
    assert not names("Eqs. (2)-(4)", 5, None)
    assert not names("Eq. (13)", 1, None)
    assert names("see Eq. (9),\n    own_against_own.", 9, "own_against_own")
    assert not names("Eq. (9), own_against_other", 9, "own_against_own")
    assert not names(None, 1, None)
