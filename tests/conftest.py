"""Shapes in the signatures of askew.objectives and askew.nn are checked whenever a test calls them; no network."""

import multiprocessing
import os
import signal
import sys
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

from offline import sitecustomize

OFFLINE = Path(sitecustomize.__file__).parent
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(OFFLINE), os.environ.get("PYTHONPATH", "")]))

for shared in ("evaluation", "data"):  # their stand-ins and formats serve tests/runs too
    sys.path.append(str(Path(__file__).parent / shared))
install_import_hook(["askew.objectives", "askew.nn"], "beartype.beartype")
# Nothing here loses its power: what is written need not be on the disk before a test goes on
os.fsync = lambda descriptor: None
# A shell that starts the tests in the background lets them, and all that they start, ignore Ctrl-C
signal.signal(signal.SIGINT, signal.default_int_handler)
# Every process of a fork server begins with these imports, in place of making them again
multiprocessing.get_context("forkserver").set_forkserver_preload(["askew.runs.resume"])


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """25 pairs on disk. The import has to wait for the hook above."""
    from micro_runs import table_of_25

    return table_of_25(tmp_path_factory.mktemp("pairs"))


# The slowest files: started last, each would keep one core busy alone, because a file stays on one worker
LONGEST_FIRST = (
    *("test_remedies", "test_pages"),
    *("test_resume", "test_cli", "test_export", "test_finetune", "test_bad_input", "test_kill_drill", "test_contract"),
    *("test_loader", "test_two_ranks", "test_evaluate", "test_loop", "test_schedule", "test_faults", "test_towers"),
    *("test_distributed", "test_adding", "test_wheel", "test_page_runs", "test_few_shot", "test_during_ranks"),
    *("test_signals", "test_pixel_limit", "test_three_ranks", "test_remote", "test_far_run", "test_compile"),
)


def pytest_collection_modifyitems(items):
    """The slowest files first, the others as they were. `--no-loadscope-reorder` keeps this order."""
    place = {name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


def pytest_addoption(parser):
    """`--errors-doc` rewrites docs/errors.md."""
    parser.addoption("--errors-doc", action="store_true", help="write docs/errors.md from the lines printed")
