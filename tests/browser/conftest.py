"""One Chromium for each file of tests: playwright's loop must not stay behind for the files that follow."""

from collections.abc import Iterator

import pytest
from opened import Reader, launched


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    """Chromium, started once."""
    with launched() as browser:
        yield Reader(browser)
