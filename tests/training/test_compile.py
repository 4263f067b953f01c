"""Compiled towers, in a file of its own: compiling takes longer than all else in the loop's tests."""

import os
import shutil

import pytest
from safetensors.torch import load_file

from micro_runs import metrics_of, micro_recipe, train


def test_compiled_towers_train_alike(table, tmp_path):
    """Texts of other lengths from step to step included."""
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        pytest.skip("torch.compile needs a C++ compiler, and there is none")
    runs = [
        train(micro_recipe(table, "clip", max_steps=3, compile=compiled), tmp_path / str(compiled))
        for compiled in (False, True)
    ]
    eager, quick = ([line["loss"] for line in metrics_of(run)] for run in runs)
    assert quick == pytest.approx(eager, rel=1e-5)
    weights = "model/open_clip_model.safetensors"
    first, second = (load_file(run / weights) for run in runs)
    assert first.keys() == second.keys()
