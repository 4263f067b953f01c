"""Shapes in the signatures of askew.objectives and askew.nn are checked whenever a test calls them; no network."""

import os
from pathlib import Path

from jaxtyping import install_import_hook

from offline import sitecustomize

OFFLINE = Path(sitecustomize.__file__).parent
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(OFFLINE), os.environ.get("PYTHONPATH", "")]))

install_import_hook(["askew.objectives", "askew.nn"], "beartype.beartype")


def pytest_addoption(parser):
    """`--errors-doc` writes docs/errors.md anew."""
    parser.addoption("--errors-doc", action="store_true", help="write docs/errors.md from the lines printed")
