"""The rules of the house that a machine can check."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "askew"
FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {file: ast.parse(file.read_text(encoding="utf-8")) for file in FILES}
METHOD_FILES = [f for f in FILES if f.parent.name == "methods" and f.stem not in ("__init__", "base")]


def module_of(file):
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(file):
    """Names of the modules that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(TREES[file]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def ours(file):
    modules = {module_of(f) for f in FILES}
    return {name for name in imports(file) if name in modules}


def below(name, *floors):
    return any(name == floor or name.startswith(floor + ".") for floor in floors)


FLOORS = {  # what a floor may import of ours
    "askew.objectives": ("askew.objectives",),
    "askew.nn": ("askew.nn", "askew.objectives"),
    "askew.methods": ("askew.methods", "askew.objectives", "askew.nn"),
    "askew.data": ("askew.data", "askew.errors", "askew.nn", "askew.objectives"),
}


@pytest.mark.parametrize("floor", FLOORS)
def test_a_floor_imports_only_what_is_below_it(floor):
    files = [f for f in FILES if below(module_of(f), floor)]
    assert files
    wrong = {(module_of(f), name) for f in files for name in ours(f) if not below(name, *FLOORS[floor], "askew")}
    wrong |= {(module_of(f), "askew") for f in files if "askew" in imports(f)}
    assert {pair for pair in wrong if not below(pair[1], *FLOORS[floor])} == set()


def test_no_method_imports_another():
    names = {module_of(f) for f in METHOD_FILES}
    assert {(module_of(f), n) for f in METHOD_FILES for n in ours(f) & (names - {module_of(f)})} == set()


def test_the_loop_knows_no_method_by_name():
    assert not {n for n in ours(PACKAGE / "train.py") if below(n, "askew.methods")} - {
        "askew.methods",
        "askew.methods.base",
    }


def test_evaluation_knows_neither_methods_nor_the_loop():
    files = [f for f in FILES if f.parent.name == "evaluation"]
    assert {(f.name, n) for f in files for n in ours(f) if below(n, "askew.methods", "askew.train")} == set()


def test_only_three_files_know_torch_distributed():
    users = {f.name for f in FILES if any(below(n, "torch.distributed") for n in imports(f))}
    users |= {f.name for f in FILES if "torch.distributed" in f.read_text(encoding="utf-8")}
    assert users <= {"distributed.py", "parallel.py", "checkpoint.py"}
    assert "distributed.py" in users


def test_nothing_imports_the_command_line_or_the_console_from_below():
    users = {f.name for f in FILES if "askew.cli" in ours(f)}
    assert users == {"__main__.py"}
    assert {f.name for f in FILES if "askew.console" in ours(f)} == {"assess.py", "cli.py", "run.py", "study.py"}


def test_a_method_is_a_file_under_150_lines():
    sizes = {f.name: len(f.read_text(encoding="utf-8").splitlines()) for f in METHOD_FILES}
    assert {"clip.py", "mcd.py"} <= sizes.keys()
    assert {name: size for name, size in sizes.items() if size >= 150} == {}


def test_files_are_small_enough_to_hold():
    sizes = {f.name: len(f.read_text(encoding="utf-8").splitlines()) for f in FILES}
    assert {name: size for name, size in sizes.items() if size > 320} == {}


def public(node):
    """The functions and classes a reader may call: of a module, and of its public classes."""
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef) and not child.name.startswith("_"):
            yield child
            if isinstance(child, ast.ClassDef):
                yield from public(child)


def test_everything_public_says_what_it_is():
    silent = [file.name for file, tree in TREES.items() if not ast.get_docstring(tree)]
    for file, tree in TREES.items():
        for node in public(tree):
            declared_only = len(node.body) == 1 and isinstance(node.body[0], ast.Expr)  # a protocol's `...`
            if not ast.get_docstring(node) and not declared_only:
                silent.append(f"{file.name}: {node.name}")
    assert silent == []


FORBIDDEN = {
    "unfinished work": r"\bTODO\b|\bFIXME\b|\bXXX\b|NotImplementedError",
    "unpickling": r"\bpickle\b.*\bload|torch\.load\(|yaml\.load\(|(?<![.\w])eval\(|(?<![.\w])exec\(",
    "printing": r"^\s*print\(",
    "a path of one machine": r"[\"'\s](/work/|/home/|/root/|/Users/)",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_the_package_has_none_of(what):
    found = []
    for file in FILES:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            if re.search(FORBIDDEN[what], line) and not line.strip().startswith("def "):
                found.append(f"{file.name}:{number}: {line.strip()}")
    assert found == []


def test_no_module_that_unpickles_is_imported():
    """`pickletools`, which takes a pickle apart without running it, is how CIFAR is read (evaluation/pickled.py)."""
    unpicklers = ("pickle", "dill", "cloudpickle", "shelve", "marshal", "joblib", "jsonpickle")
    assert {(f.name, n) for f in FILES for n in imports(f) if below(n, *unpicklers)} == set()
    assert [f.name for f in FILES if "allow_pickle" in f.read_text(encoding="utf-8")] == []
    assert [f.name for f in FILES if "pickletools" in imports(f)] == ["pickled.py"]


def test_randomness_is_an_argument_of_the_mathematics():
    """Nothing in objectives draws a number; nn draws them only to start weights."""
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        if file.parent.name == "objectives":
            assert not re.search(r"\brand|dropout|bernoulli|multinomial|np\.random", text), file.name


def test_the_readme_names_what_is_there():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = readme.split("## Where things are")[1].split("## ")[0]
    named = [line.split()[0] for line in tree.splitlines() if line.startswith("      ")]
    assert len(named) > 8
    for name in named:
        assert any((folder / name).exists() for folder in (PACKAGE, ROOT / "docs", ROOT)), name
    for link in re.findall(r"\]\((?!http)([^)#]+)", readme):
        assert (ROOT / link).exists(), link
