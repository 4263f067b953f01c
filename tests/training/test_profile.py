"""The verdict of a run's first minute: shares of its time, the largest first."""

import pytest

from askew.data.sources import open_source
from askew.training import profile as profile_module
from askew.training.profile import FIRST, Profile, Window
from micro_runs import micro_recipe, table_of_25, trainer_of


class Clock:
    """Time that moves only when it is moved."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(profile_module, "time", made)
    return made


@pytest.mark.parametrize(
    ("data", "saving", "shares", "remedy"),
    [
        (45, 3, "data 75%, compute 20%, saving 5%; the bottleneck is data", "raise loader.num_workers"),
        (3, 12, "compute 75%, saving 20%, data 5%; the bottleneck is compute", "the data keep up"),
        (6, 42, "saving 70%, compute 20%, data 10%; the bottleneck is saving", "train.checkpoint_minutes"),
    ],
)
def test_the_largest_share_is_the_bottleneck(clock, data, saving, shares, remedy):
    profile = Profile()
    for part, seconds in (("data", data), ("saving", saving)):
        with profile.measure(part):
            clock.now += seconds
    assert not profile.is_due
    clock.now = 1000.0 + FIRST
    assert profile.is_due
    verdict = profile.verdict()
    assert verdict.startswith("profile  first 60 s: ")
    assert shares in verdict
    assert remedy in verdict
    clock.now += 100
    assert not profile.is_due  # once


def test_a_window_holds_the_steps_since_the_last_line(clock):
    window = Window()
    for waited in (1.0, 2.0):
        with window.waiting():
            clock.now += waited
        clock.now += 1.0
        window.step()
    assert window.close(batch_size=10) == {"samples_per_second": 4.0, "data_wait": 0.6}
    clock.now += 2.0
    window.step()
    assert window.close(batch_size=10) == {"samples_per_second": 5.0, "data_wait": 0.0}


def test_a_run_reports_it_once(tmp_path, monkeypatch):
    monkeypatch.setattr(profile_module, "FIRST", 0.0)
    said = []
    trainer_of(micro_recipe(table_of_25(tmp_path), "clip", max_steps=3), say=said.append).run()
    assert sum(text.startswith("profile ") for text in said) == 1


def test_a_run_reports_what_opening_found(tmp_path):
    table = table_of_25(tmp_path)
    with table.open("a", encoding="utf-8") as file:
        file.write("../x.png,outside\n")
    said = []
    trainer = trainer_of(micro_recipe(table, "clip"), say=said.append)
    assert said == [f"data     {open_source(str(table)).notes[0]}"]
    assert len(trainer.loader.source) == 26
