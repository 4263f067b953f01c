"""`import askew` is light, and its names are there."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import askew

PROBE = """
import sys
before = set(sys.modules)
import askew
print(*sorted(name for name in set(sys.modules) - before if name.startswith("askew")))
assert {"load", "Model", "UserError", "__version__"} <= set(dir(askew))
assert issubclass(askew.UserError, ValueError)
heavy = {"torch", "numpy", "PIL", "open_clip", "pydantic", "rich"}
print(*sorted(heavy & set(sys.modules)))
assert len(set(sys.modules) - before) < 60  # some of the standard library: milliseconds
"""


def test_the_import_is_light():
    """What is heavy is imported when it is used; the errors need none of it."""
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["askew", ""]


def test_type_checkers_see_what_there_is():
    """The imports under TYPE_CHECKING give the same objects as the lazy ones."""
    tree = ast.parse(Path(askew.__file__).read_text(encoding="utf-8"))
    imported = {
        alias.name: node.module
        for branch in tree.body
        if isinstance(branch, ast.If)
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported.keys() | {"__version__"} == set(askew.__all__)
    for name, module in imported.items():
        assert getattr(askew, name) is getattr(import_module(module), name)
    assert Path(askew.__file__).with_name("py.typed").exists()


def test_other_names_are_not_there():
    with pytest.raises(AttributeError, match="module 'askew' has no attribute 'laod'"):
        getattr(askew, "laod")  # noqa: B009
    from askew import errors  # a submodule, although the package has a __getattr__

    assert errors.UserError is askew.UserError
