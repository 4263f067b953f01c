"""Checkpoints that are written while the next steps are taken: the same ones, one at a time, and no error is lost."""

import errno
import os
import signal
import threading

import pytest
import torch
from safetensors.torch import load_file

from askew.errors import Interrupted, RunFailed, UserError
from askew.runs.directory import RunDirectory
from askew.training import checkpoint, saving
from micro_runs import assert_same_state, micro_recipe, trainer_of


def trainer_in(folder, table, hook=None, say=lambda text: None, **settings):
    """A trainer whose run has a directory, and which saves at every second step."""
    recipe = micro_recipe(table, "clip", **{"checkpoint_steps": 2, "keep_checkpoints": 9, **settings})
    RunDirectory(folder).path.mkdir()
    return trainer_of(recipe, folder, say, hooks=(hook,) if hook else ())


def files_of(folder):
    """The bytes of all checkpoints, but for the seconds that the run took."""
    return {path.relative_to(folder): load_file(path) for path in sorted(folder.rglob("*.safetensors"))}


def full(*arguments, **keywords):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_checkpoint_is_that_of_its_step_however_late_it_is_written(table, tmp_path, monkeypatch):
    taken, write, in_flight = threading.Event(), checkpoint.write, []

    def slow(folder, step, *rest):
        in_flight.append(step)
        assert len(in_flight) == 1  # one at a time
        if step == 2:
            assert taken.wait(60), "the loop does not go on"
        write(folder, step, *rest)
        in_flight.remove(step)

    monkeypatch.setattr(checkpoint, "write", slow)

    def after_step(trainer, line):
        if trainer.done == 3:
            taken.set()

    trainer_in(tmp_path / "async", table, after_step).run(until=7)
    assert not in_flight  # the end of the run waits
    monkeypatch.undo()
    trainer_in(tmp_path / "direct", table, checkpoint_async=False).run(until=7)
    found = [files_of(tmp_path / name) for name in ("async", "direct")]
    assert found[0].keys() == found[1].keys()
    assert len(found[0]) == 6
    for file, tensors in found[0].items():
        assert_same_state(tensors, found[1][file])


@pytest.mark.parametrize("until", [3, 5])
def test_an_error_of_the_writer_ends_the_run_at_the_next_contact(table, tmp_path, monkeypatch, until):
    trainer = trainer_in(tmp_path / "run", table)
    monkeypatch.setattr("askew.training.checkpoint.save_file", full)
    with pytest.raises(UserError, match=r"step 2: the checkpoint could not be written .*No space.*--resume"):
        trainer.run(until=until)
    assert trainer.done <= 4  # no later than the next save
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


def test_a_run_that_fails_reports_the_error_of_the_writer_too(table, tmp_path, monkeypatch):
    said = []

    def poison(trainer, line):
        if trainer.done == 2:
            with torch.no_grad():
                next(iter(trainer.method.parameters())).fill_(torch.nan)

    trainer = trainer_in(tmp_path / "run", table, poison, said.append)
    monkeypatch.setattr("askew.training.checkpoint.save_file", full)
    with pytest.raises(RunFailed, match="is not finite"):
        trainer.run()
    assert [text for text in said if "step 2: the checkpoint could not be written" in text]


def test_a_signal_waits_for_the_write_in_flight(table, tmp_path, monkeypatch):
    release, write = threading.Event(), checkpoint.write

    def slow(*arguments):
        assert release.wait(60)
        write(*arguments)

    def stop(trainer, line):
        if trainer.done == 3:
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Timer(0.2, release.set).start()

    monkeypatch.setattr(checkpoint, "write", slow)
    with pytest.raises(Interrupted, match="saved at step 3"):
        trainer_in(tmp_path / "run", table, stop).run()
    assert [path.name for path in checkpoint.checkpoints(tmp_path / "run" / "checkpoints")] == [
        "step-000000002",
        "step-000000003",
    ]


def test_copies_share_no_memory_with_what_is_trained_and_are_used_again():
    state = {"method.safetensors": {"a": torch.arange(6.0).view(2, 3).t(), "b": torch.tensor(3)}}
    first = saving.copied(state, {})
    state["method.safetensors"]["a"].zero_()
    assert first["method.safetensors"]["a"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert first["method.safetensors"]["a"].is_contiguous()
    again = saving.copied(state, first)
    for name, value in first["method.safetensors"].items():
        assert again["method.safetensors"][name].data_ptr() == value.data_ptr()
    wider = saving.copied({"method.safetensors": {"a": torch.ones(4)}}, first)
    assert wider["method.safetensors"]["a"].tolist() == [1, 1, 1, 1]
    assert wider["method.safetensors"].keys() == {"a"}
