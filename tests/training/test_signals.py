"""A signal ends a wait for data at once, and what there is is saved."""

import os
import signal
import threading
import time
from dataclasses import replace

import pytest

from askew.errors import Interrupted, Stopped
from askew.recipes.settings import override
from askew.training import checkpoint
from askew.training.loop import Trainer
from askew.training.signals import SignalGuard, StopWaiting
from micro_runs import (
    askew_here,
    assert_same_state,
    micro_recipe,
    micro_settings,
    state_of,
    table_of_25,
    train,
    trainer_of,
)

NEVER = 60.0  # seconds


class Blocked:
    """A source of which everything after the first `good` reads is on a disk that does not respond."""

    def __init__(self, source, good, begins=lambda: None):
        self.source, self.good, self.reads, self.begins = source, good, 0, begins
        self.describe, self.notes, self.block, self.window = source.describe, (), source.block, source.window

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        self.reads += 1
        if self.reads > self.good:
            self.begins()
            try:
                time.sleep(NEVER)
            except Exception as error:  # a source that takes what it does not know for a bad sample
                raise OSError("not readable") from error
        return self.source[index]

    def name(self, index):
        return self.source.name(index)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return micro_recipe(table_of_25(tmp_path_factory.mktemp("pairs")), "clip", max_steps=4)


def signalled(number, after=1.5):
    """Send a signal to this process in a while; a list that then has the time of it."""
    sent = []

    def send():
        sent.append(time.monotonic())
        os.kill(os.getpid(), number)

    threading.Timer(after, send).start()
    return sent


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("steps", [0, 2])
def test_a_signal_ends_a_wait_and_saves_the_last_step(recipe, tmp_path, workers, number, steps):
    said = []
    trainer = trainer_of(override(recipe, [f"loader.num_workers={workers}"]), tmp_path, say=said.append)
    trainer.loader.source = Blocked(trainer.loader.source, 8 * steps)
    sent = signalled(number)
    where = f"saved at step {steps}; resume with --resume" if steps else "before the first step, so there is nothing"
    with pytest.raises(Interrupted, match=where) as raised:
        trainer.run()
    assert time.monotonic() - sent[0] < 3
    assert raised.value.signal_number == number
    assert said[-1].startswith(f"{number.name}: ending the wait for data")
    found = checkpoint.latest(tmp_path / "checkpoints", pytest.fail)
    assert (found.step if found else 0) == steps


def test_a_run_stopped_in_a_wait_is_resumed_as_if_it_had_not_been(recipe, tmp_path):
    whole = train(recipe, tmp_path / "whole")
    (tmp_path / "run").mkdir()
    trainer = trainer_of(recipe, tmp_path / "run")
    trainer.storage.write_recipe(trainer.recipe)
    trainer.loader.source = Blocked(trainer.loader.source, 16)
    signalled(signal.SIGTERM)
    with pytest.raises(Interrupted, match="saved at step 2"):
        trainer.run()
    train(recipe, tmp_path / "run", resume=True)
    assert_same_state(state_of(tmp_path / "run"), state_of(whole))


def test_a_signal_before_the_wait_ends_it_as_it_begins():
    with SignalGuard(lambda text: None) as guard:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(StopWaiting), guard.waiting():
            pytest.fail("nothing is waited for")
        assert guard.received == signal.SIGTERM


def test_a_second_signal_stops_at_once_but_not_the_same_one_passed_on(monkeypatch):
    """torchrun passes on a Ctrl-C that the terminal has sent to all already."""
    with SignalGuard(lambda text: None) as guard:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)
        monkeypatch.setattr("askew.training.signals.REPEATED", 0.0)
        with pytest.raises(Stopped) as raised:
            os.kill(os.getpid(), signal.SIGTERM)
        assert (guard.received, raised.value.signal_number) == (signal.SIGINT, signal.SIGTERM)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("where", ["the announcement", "the first batch"])
def test_the_command_ends_with_the_signals_code_and_leaves_nothing(tmp_path, monkeypatch, number, code, where):
    table, sent = table_of_25(tmp_path / "data"), []

    def begins():
        sent.append(signalled(number, 0.5))

    def announce(trainer, console):
        begins()
        time.sleep(NEVER)

    if where == "the announcement":
        monkeypatch.setattr("askew.runs.train._warn_of_long_captions", announce)
    made = Trainer.__init__

    def blocked(self, built, *arguments, **named):
        built = replace(built, loader=replace(built.loader, source=Blocked(built.loader.source, 25, begins)))
        made(self, built, *arguments, **named)

    monkeypatch.setattr(Trainer, "__init__", blocked)
    arguments = ["train", "tiny", "--data", table, "--out", tmp_path / "run", *micro_settings()]
    done = askew_here(*arguments, "--set", "method.name=clip")
    assert time.monotonic() - sent[0][0] < 4
    assert done.returncode == code, done.stderr
    assert sum(line.startswith("stopped:") for line in done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
