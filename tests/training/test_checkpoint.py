"""A checkpoint is whole or not there."""

import ast
import errno
import json
from pathlib import Path

import pytest
import torch

from askew.data.files import sha256_of
from askew.errors import UserError
from askew.methods.mcd import MCD
from askew.training import checkpoint
from helpers import micro_method
from micro_runs import micro_recipe, state_of, table_of_25, trainer_of

FACTS = {"total": 9, "seconds": 1.5}


@pytest.fixture
def trained():
    """A method and its optimiser with state."""
    method = micro_method(MCD.Config())
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad])
    for parameter in method.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return method, optimizer


def save(folder, step, trained, keep=2):
    checkpoint.save(folder, step, *trained, FACTS, keep)


def test_state_comes_back_bit_for_bit(tmp_path, trained):
    save(tmp_path, 3, trained)
    found = checkpoint.latest(tmp_path, pytest.fail)
    assert (found.step, found.facts) == (3, FACTS)
    method = micro_method(MCD.Config())
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad])
    found.load(method, optimizer)
    for name, value in trained[0].state_dict().items():
        assert torch.equal(method.state_dict()[name], value), name
    for (index, old), (_, new) in zip(
        trained[1].state_dict()["state"].items(), optimizer.state_dict()["state"].items(), strict=True
    ):
        assert all(torch.equal(old[slot], new[slot]) for slot in old), index


def test_the_newest_are_kept(tmp_path, trained):
    for step in (1, 5, 20, 100):
        save(tmp_path, step, trained, keep=2)
    assert [p.name for p in checkpoint.checkpoints(tmp_path)] == ["step-000000020", "step-000000100"]


def test_the_manifest_has_the_sha256_of_every_file(tmp_path, trained):
    save(tmp_path, 1, trained)
    path = tmp_path / "step-000000001"
    manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    files = {p.name for p in path.iterdir()} - {"manifest.json"}
    assert manifest["sha256"].keys() == files == {"method.safetensors", "optimizer.safetensors"}
    assert all(sha256_of(path / name) == value for name, value in manifest["sha256"].items())


@pytest.mark.parametrize("where", ["training.checkpoint.save_file", "data.files.os.replace"])
def test_a_crash_while_saving_leaves_the_one_before(tmp_path, trained, monkeypatch, where):
    save(tmp_path, 1, trained)

    def crash(*arguments, **keywords):
        raise RuntimeError("power cut")

    monkeypatch.setattr(f"askew.{where}", crash)
    with pytest.raises(RuntimeError, match="power cut"):
        save(tmp_path, 2, trained)
    monkeypatch.undo()
    assert checkpoint.latest(tmp_path, pytest.fail).step == 1
    save(tmp_path, 2, trained)  # what the crash left behind is no hindrance
    assert checkpoint.latest(tmp_path, pytest.fail).step == 2
    assert not list(tmp_path.glob("*.tmp"))


def test_a_full_disk_is_one_clear_error_and_loses_nothing(tmp_path, monkeypatch):
    trainer = trainer_of(micro_recipe(table_of_25(tmp_path / "pairs"), "clip"), tmp_path / "run")
    (tmp_path / "run").mkdir()
    trainer.run(until=1)
    trainer.save()
    before = state_of(tmp_path / "run")

    def full(*arguments, **keywords):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("askew.training.checkpoint.save_file", full)
    with pytest.raises(UserError, match=r"No space left on device.*earlier checkpoints are untouched"):
        trainer.save()
    assert checkpoint.latest(tmp_path / "run" / "checkpoints", pytest.fail).step == 1
    assert all(torch.equal(before[key], value) for key, value in state_of(tmp_path / "run").items())


def test_a_checkpoint_of_another_method_is_refused(tmp_path, trained):
    save(tmp_path, 1, trained)
    other = micro_method(MCD.Config(mlm_weight=0))
    with pytest.raises(UserError, match="does not fit the recipe"):
        checkpoint.latest(tmp_path, pytest.fail).load(other, torch.optim.AdamW(other.parameters()))


def test_nothing_is_unpickled():
    tree = ast.parse(Path(checkpoint.__file__).read_text(encoding="utf-8"))
    imported = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom) for a in n.names}
    assert not imported & {"pickle", "torch", "load"}


@pytest.mark.parametrize(
    ("old", "new"), [('"total": 9', '"total": 8'), ('"step": 2', '"step": 3'), ("manifest_sha256", "manifest_sha257")]
)
def test_a_manifest_that_says_something_else_is_damaged(tmp_path, trained, old, new):
    for step in (1, 2):
        save(tmp_path, step, trained)
    file, warned = tmp_path / "step-000000002" / "manifest.json", []
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    assert checkpoint.latest(tmp_path, warned.append).step == 1
    assert "manifest.json does not have the recorded sha256" in warned[0]


def test_checkpoints_of_earlier_versions_are_read(tmp_path, trained):
    save(tmp_path, 2, trained)
    file = tmp_path / "step-000000002" / "manifest.json"
    manifest = json.loads(file.read_text(encoding="utf-8"))
    del manifest["manifest_sha256"]
    file.write_text(json.dumps(manifest), encoding="utf-8")
    assert checkpoint.latest(tmp_path, pytest.fail).step == 2
