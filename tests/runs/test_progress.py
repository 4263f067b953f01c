"""What a person reads while an evaluation goes on."""

from types import SimpleNamespace

from askew.report.console import Console
from askew.runs import progress
from askew.runs.progress import PassProgress


def test_a_probe_says_which_fit_it_is_at_and_about_what_is_left(monkeypatch):
    seconds = iter([100.0, 130.0, 160.0, 900.0])
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    monkeypatch.setattr("askew.report.console.QUIET_SECONDS", -1.0)
    said: list[str] = []
    monkeypatch.setattr(Console, "say", lambda self, text: said.append(text))
    shown = PassProgress(Console(), "pets")
    shown.fits(0, 16, 1e-6, 0)
    shown.fits(0, 16, 1e-6, 40)
    shown.fits(4, 16, 100.0, 7)
    shown.fits(16, 16, 0.31622, 50)
    assert said == [
        "pets: probe, 0 of 16 fits, C 1e-06",
        "pets: probe, 0 of 16 fits, C 1e-06, iteration 40",
        "pets: probe, 4 of 16 fits, C 100, iteration 7, about 3:00 left",
        "pets: probe, 16 of 16 fits",
    ]
