"""docs/equations.md says what is true: its functions exist and name their equation, its tests exist."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def table():
    """Rows of the table: (number, reading or None, functions, tests, status)."""
    rows = []
    for line in (ROOT / "docs" / "equations.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        number = re.fullmatch(r"\((\d+)\)", cells[0])
        if number:
            _, reading, _, functions, tests, status = cells
            functions, tests = (re.findall(r"`([^`]+)`", cell) for cell in (functions, tests))
            rows.append((int(number[1]), None if reading == "-" else reading, functions, tests, status))
    return rows


ROWS = table()
IDS = [f"{number}-{reading}" if reading else str(number) for number, reading, *_ in ROWS]


def resolve(dotted):
    """The object at the end of a dotted path, whose first part that is no module is an attribute."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        name = ".".join(parts[:end])
        try:
            found = importlib.import_module(name)
        except ModuleNotFoundError as error:
            # A module that is there but lacks one of its own imports must not look like an attribute.
            if error.name is None or not name.startswith(error.name):
                raise
            continue
        for attribute in parts[end:]:
            found = getattr(found, attribute)
        return found
    raise ModuleNotFoundError(dotted)


def names(docstring, number, reading):
    """Whether a docstring says "Eq. (7)", "Eqs. (6)-(8)" or, with a reading, "Eq. (9), own_against_own"."""
    # A line break may fall inside the name.
    docstring = " ".join((docstring or "").split())
    if reading:
        return re.search(rf"Eq\. \({number}\), {re.escape(reading)}\b", docstring) is not None
    singles = {int(found) for found in re.findall(r"Eq\. \((\d+)\)", docstring)}
    spans = re.findall(r"Eqs\. \((\d+)\)(?:-| to )\((\d+)\)", docstring)
    return number in singles or any(int(first) <= number <= int(last) for first, last in spans)


def test_every_equation_of_the_paper_is_in_the_table():
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


def rivals():
    """Rows of the table of SLIP's and DeCLIP's losses: (content, functions, tests)."""
    text = (ROOT / "docs" / "equations.md").read_text(encoding="utf-8").split("## SLIP and DeCLIP")[1]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "`" in line]
    return [
        (row[1], re.findall(r"`([^`]+)`", row[2]), re.findall(r"`([^`]+::[^`]+)`", " ".join(row[3:]))) for row in cells
    ]


@pytest.mark.parametrize(("content", "functions", "tests"), rivals(), ids=[row[0] for row in rivals()])
def test_the_losses_of_other_papers_are_where_the_table_says(content, functions, tests):
    assert all(inspect.getdoc(resolve(function)) for function in functions)
    assert functions
    assert tests
    test_tests_exist(0, None, functions, tests, None)


def test_naming_of_equations_is_understood():
    assert names("Sums the terms, Eq. (10).", 10, None)
    assert names("Eqs. (2)-(4)", 3, None)
    assert not names("Eqs. (2)-(4)", 5, None)
    assert not names("Eq. (13)", 1, None)
    assert names("see Eq. (9),\n    own_against_own.", 9, "own_against_own")
    assert not names("Eq. (9), own_against_other", 9, "own_against_own")
    assert not names(None, 1, None)
