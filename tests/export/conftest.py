"""One run for all tests of exports."""

import pytest
from exported import micro_run_recipe, photographs

from micro_runs import train


@pytest.fixture(scope="session")
def photo_run(tmp_path_factory):
    """A finished run of MCD on 100 pictures, with native towers."""
    folder = tmp_path_factory.mktemp("exported")
    return train(micro_run_recipe(photographs(folder / "data", 100)), folder / "run")
