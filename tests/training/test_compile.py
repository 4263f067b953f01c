"""Compiled towers, in a file of its own: compiling takes longer than all else in the loop's tests."""

import copy
import os
import shutil
from functools import partial

import pytest
import torch
from safetensors.torch import load_file
from torch._dynamo.utils import counters

from askew.methods.clip import CLIP
from askew.nn.text_towers import END_TOKEN
from helpers import micro_method
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


def test_one_graph_serves_texts_of_every_length(monkeypatch):
    """A graph for each length would take minutes, and after eight of them nothing more is compiled."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    text = micro_method(CLIP.Config()).towers.text
    batches = [torch.randint(1, 500, (5, length)) for length in (9, 7, 12, 8, 11)]
    for batch in batches:
        batch[:, -1] = END_TOKEN
    expected = [text(batch).embedding for batch in batches]
    copied = copy.deepcopy(text)  # as a teacher of texts is
    text.compile_trunk()
    counters.clear()
    found = [text(batch).embedding for batch in batches]
    assert counters["stats"]["unique_graphs"] == 1
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    with torch.no_grad():
        copied.trunk.ln_final.bias.add_(1)  # its own, and not the first one's
    assert not torch.allclose(copied(batches[0]).embedding, expected[0])
    torch.testing.assert_close(text(batches[0]).embedding, expected[0])
