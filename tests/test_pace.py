"""The verdict of a run's first minute: shares of its time, the largest first."""

import pytest

from askew import pace as pace_module
from askew.data.sources import open_source
from askew.pace import FIRST, Pace
from askew.train import Reporter, Trainer
from runs import micro_recipe, table_of_25


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(pace_module, "time", made)
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
    pace = Pace()
    for part, seconds in (("data", data), ("saving", saving)):
        since, clock.now = clock.now, clock.now + seconds
        pace.add(part, since)
    assert not pace.due(clock.now)
    clock.now = 1000.0 + FIRST
    assert pace.due(clock.now)
    told = pace.verdict(clock.now)
    assert told.startswith("pace     of the first 60 s: ")
    assert shares in told
    assert remedy in told
    assert not pace.due(clock.now + 100)  # once


def test_a_run_tells_it_once(tmp_path, monkeypatch):
    monkeypatch.setattr(pace_module, "FIRST", 0.0)
    told = []
    Trainer(micro_recipe(table_of_25(tmp_path), "clip", max_steps=3), None, Reporter(told.append)).run()
    assert sum(text.startswith("pace ") for text in told) == 1


def test_a_run_tells_what_opening_found(tmp_path):
    table = table_of_25(tmp_path)
    with table.open("a", encoding="utf-8") as file:
        file.write("../x.png,outside\n")
    told = []
    trainer = Trainer(micro_recipe(table, "clip"), None, Reporter(told.append))
    assert told == [f"data     {open_source(str(table)).notes[0]}"]
    assert len(trainer.loader.source) == 26
