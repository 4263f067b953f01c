"""A step that was not finite is kept whole, and taken again with the same numbers."""

import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from askew.errors import RunFailed
from askew.runs.directory import RunDirectory
from askew.training import faults
from askew.training.replay import Fault, replayed
from micro_runs import askew_here, micro_recipe, trainer_of

POISONED = "towers.text.projection.weight"


@pytest.fixture(scope="module")
def run(table, tmp_path_factory):
    """A run that fails at step 2, because of a weight, and the line that says so."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    RunDirectory(folder).path.mkdir()
    trainer = trainer_of(micro_recipe(table, "mcd"), folder)
    trainer.run(until=2)
    trainer.method.get_parameter(POISONED).data[0, 0] = math.nan
    with pytest.raises(RunFailed, match="the step is kept") as error:
        trainer.run()
    return folder, str(error.value)


@pytest.fixture(scope="module")
def healthy(table, tmp_path_factory):
    """A step that went well, kept as if it had not, in micro-batches; and what it gave."""
    folder = tmp_path_factory.mktemp("healthy") / "run"
    RunDirectory(folder).path.mkdir()
    trainer, given = trainer_of(micro_recipe(table, "clip"), folder), {}
    trainer.run(until=1)
    backward = trainer.backward

    def kept(batch, progress):
        taken = backward(batch, progress)
        gradients = [p.grad for p in trainer.method.parameters() if p.grad is not None]
        given["norm"] = torch.nn.utils.get_total_norm(gradients)
        batch = trainer.loader.batch(1)
        batch.pop("bad_samples")
        faults.kept_step(trainer, batch, *taken[:2], given["norm"])
        return taken

    trainer.backward = kept
    trainer.run(until=2)
    return folder


def printed(*arguments, code=0):
    done = askew_here("replay", *arguments)
    assert done.returncode == code, done.stderr
    return " ".join((done.stdout + done.stderr).split())


def test_a_fault_is_reproduced_bit_for_bit_and_its_place_named(run):
    folder, line = run
    step = folder / "fault" / "step-000000002"
    assert f"take it again: askew replay {step}" in line
    for path in (folder, folder / "fault", step):
        shown = printed(path)
        assert "reproduced: every number is that of the run, bit for bit" in shown
        assert f"weights {POISONED} is not finite before the step" in shown
        assert "module the first output that is not finite: towers.text.projection (Projection)" in shown
        assert "gradient the first that is not finite: " in shown


def test_what_is_kept_is_bounded_and_says_how_large_it_is(run):
    folder, line = run
    kept = sorted(path.name for path in (folder / "fault" / "step-000000002" / "rank-0").iterdir())
    assert kept == ["batch.safetensors", "fault.json", "method.safetensors", "optimizer.safetensors"]
    size = sum(p.stat().st_size for p in (folder / "fault").rglob("*.*") if p.is_file()) / 1e6
    assert f"({size:.0f} MB)" in line
    text = (folder / "fault" / "step-000000002" / "rank-0" / "fault.json").read_text(encoding="utf-8")
    json.loads(text, parse_constant=pytest.fail)  # plain JSON: no NaN


def test_a_newer_fault_takes_the_place_of_an_older_one(run, tmp_path):
    shutil.copytree(run[0] / "fault" / "step-000000002", tmp_path / "run" / "fault" / "step-000000001")
    trainer = trainer_of(Fault.read(run[0] / "fault" / "step-000000002").recipe, tmp_path / "run")
    batch = trainer.loader.batch(0)
    batch.pop("bad_samples")
    trainer.done = 3
    faults.kept_step(trainer, batch, torch.tensor(1.0), {}, torch.tensor(2.0))
    assert [path.name for path in (tmp_path / "run" / "fault").iterdir()] == ["step-000000003"]


def test_other_settings_can_be_tried(run, healthy):
    shown = printed(run[0], "--set", "loader.micro_batch_size=4")
    assert "with loader.micro_batch_size=4, not finite: loss, contrast" in shown
    shown = printed(healthy, "--set", "train.precision=bf16")
    assert "with train.precision=bf16, all is finite" in shown
    assert "every output is finite" in shown


def test_a_fault_that_is_gone_is_said_to_be_gone(healthy):
    shown = printed(healthy, code=3)
    assert "not reproduced: all is finite now" in shown


def test_the_step_is_the_same_to_the_last_bit(healthy):
    fault = Fault.read(faults.folder_of(healthy, RunDirectory(healthy).faults))
    found = replayed(fault, fault.recipe, torch.device("cpu"))
    assert found.values == fault.recorded
    assert (found.weight, found.module, found.gradient) == ("", "", "")


def test_the_ranks_of_a_step_are_compared_all_at_once(healthy, tmp_path):
    """Halves of a batch on two ranks are the whole batch on one."""
    step = tmp_path / "fault" / "step-000000001"
    whole = faults.folder_of(healthy, RunDirectory(healthy).faults) / "rank-0"
    for rank in range(2):
        shutil.copytree(whole, step / f"rank-{rank}")
        facts = json.loads((whole / "fault.json").read_text(encoding="utf-8")) | {"rank": rank, "ranks": 2}
        (step / f"rank-{rank}" / "fault.json").write_text(json.dumps(facts), encoding="utf-8")
        half = {key: value.chunk(2)[rank].contiguous() for key, value in load_file(whole / "batch.safetensors").items()}
        save_file(half, step / f"rank-{rank}" / "batch.safetensors")
    fault = Fault.read(step)
    found = replayed(fault, fault.recipe, torch.device("cpu"))
    for name, value in fault.recorded.items():
        assert found.values[name] == pytest.approx(value, rel=1e-5), name


def test_a_full_disk_does_not_hide_why_the_run_failed(healthy, table, tmp_path, monkeypatch):
    trainer = trainer_of(micro_recipe(table, "clip"), tmp_path)

    def full(*arguments, **keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("askew.training.faults.save_file", full)
    text = faults.kept_step(trainer, {}, torch.tensor(1.0), {}, torch.tensor(2.0))
    assert "could not be kept" in text
    assert "No space left on device" in text
