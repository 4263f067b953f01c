"""Replicas of the data sets, made once per session. A test that damages one repairs it afterwards."""

from pathlib import Path

import pytest
import replicas

VARIANTS = {
    "devkit": lambda root: replicas.imagenet(root, "devkit", train=False),
    "kaggle": lambda root: replicas.imagenet(root, "kaggle", train=False),
    "token": lambda root: replicas.flickr30k(root, token=True),
}


@pytest.fixture(scope="session")
def replica(tmp_path_factory):
    """A function that returns a data root: of every set for "", or of one variant by its name."""
    made: dict[str, Path] = {}

    def root(variant: str = "") -> Path:
        if variant not in made:
            made[variant] = tmp_path_factory.mktemp("sets")
            VARIANTS.get(variant, replicas.everything)(made[variant])
        return made[variant]

    return root


@pytest.fixture
def root(replica):
    """A data root that holds every set."""
    return replica()
