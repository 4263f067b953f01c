"""Trackers: what they are handed, that no failure of theirs harms a run, and what the real packages record."""

import json
import math
import os
import signal
import sqlite3
import struct
import sys
from importlib.util import find_spec
from types import SimpleNamespace
from typing import ClassVar

import pytest

from askew.errors import Interrupted, UserError
from askew.evaluation.results import Result
from askew.recipes.settings import override, to_yaml
from askew.report.console import Console
from askew.runs import trackers, tracking
from askew.runs.directory import RunDirectory
from askew.runs.resume import changes
from askew.runs.trackers import TRACKERS, TrackedRun
from askew.runs.tracking import Tracking
from micro_runs import metrics_of, micro_recipe, state_of, train

TRACKED = ("tensorboard", "wandb", "trackio")
RESULTS = {"results/task/top1": 0.5, "results of the teacher/task/top1": 0.75}


class Fake:
    """A tracker that keeps what it is handed, and fails where it is told to."""

    made: ClassVar[list["Fake"]] = []
    fails_at: ClassVar[str] = ""  # open, the number of a step, or finish

    def __init__(self, record):
        self.record, self.lines, self.ends = record, {}, []
        record.directory.tracked("tensorboard").mkdir(exist_ok=True)
        self.how_to_look = "look here"
        self.made.append(self)
        self._fail("open")

    def _fail(self, where):
        if where == self.fails_at:
            raise ConnectionError("the network\nis \x1b[31mgone")

    def log(self, step, numbers):
        self._fail(str(step))
        self.lines[step] = numbers

    def finish(self, step, summary, failed):
        self.ends.append((step, summary, failed))
        self._fail("finish")


class Sound(Fake):
    """One that never fails."""

    made: ClassVar[list[Fake]] = []
    fails_at: ClassVar[str] = ""


@pytest.fixture
def fakes(monkeypatch):
    """Fakes in place of two trackers."""
    monkeypatch.setattr(tracking, "TRACKERS", {"tensorboard": Fake, "wandb": Sound})
    monkeypatch.setattr(tracking, "find_spec", lambda name: object())
    for kind in (Fake, Sound):
        monkeypatch.setattr(kind, "made", [])
    return Fake


def micro(table, *names, **settings):
    """Four steps of CLIP, recorded by these trackers."""
    return micro_recipe(table, "clip", track=names, **{"max_steps": 4, **settings})


def without_step(line):
    return {name: value for name, value in line.items() if name != "step"}


# What they are handed


def test_every_logged_line_under_its_names(fakes, table, tmp_path, capsys):
    recipe = micro(table, "tensorboard", log_every=3)
    path = train(recipe, tmp_path / "run")
    (made,) = fakes.made
    assert made.record == TrackedRun(RunDirectory(path), RunDirectory(path).read_recipe(), 0)
    assert made.record.config["train"]["track"] == ["tensorboard"]
    assert made.lines == {line["step"]: without_step(line) for line in metrics_of(path)}
    assert made.lines.keys() == {1, 3, 4}
    assert made.ends == [(4, {}, False)]
    assert capsys.readouterr().err == ""


def test_training_is_the_same_with_them(fakes, table, tmp_path):
    with_one, without = (train(micro(table, *names), tmp_path / str(len(names))) for names in (["tensorboard"], []))
    states = state_of(with_one), state_of(without)
    assert all(states[0][name].equal(value) for name, value in states[1].items())


def test_where_to_look_is_said(fakes, table, tmp_path, capsys):
    tracked = Tracking(["tensorboard"], RunDirectory(tmp_path), Console())
    tracked.open(SimpleNamespace(recipe=micro(table), done=7))
    assert capsys.readouterr().err == "track    tensorboard: look here\n"
    tracked(SimpleNamespace(), None)  # a step that logged nothing
    tracked.close(failed=True)
    tracked.close(failed=False)  # does nothing
    assert fakes.made[0].ends == [(7, {}, True)]
    assert fakes.made[0].lines == {}


def test_results_are_the_summary(fakes, table, tmp_path):
    directory = RunDirectory(tmp_path)
    for weights, right in (("student", 0.25), ("student", 0.5), ("teacher", 0.75)):  # evaluated again
        directory.results.append([Result("task", {"top1": right}, {})], {"weights": weights})
    with Tracking(["tensorboard"], directory, Console(quiet=True)) as tracked:
        tracked.open(SimpleNamespace(recipe=micro(table), done=3))
    assert fakes.made[0].ends == [(3, RESULTS, False)]


def test_a_stopped_run_has_failed_and_is_continued(fakes, table, tmp_path, monkeypatch):
    recipe, folder = micro(table, "wandb"), tmp_path / "run"
    log = Sound.log

    def stop_at_2(self, step, numbers):
        log(self, step, numbers)
        if step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Sound, "log", stop_at_2)
    with pytest.raises(Interrupted):
        train(recipe, folder)
    train(recipe, folder, resume=True)
    first, second = Sound.made
    assert first.ends == [(2, {}, True)]
    assert (second.record.done, list(second.lines), second.ends) == (2, [3, 4], [(4, {}, False)])


def test_a_resumed_run_may_have_other_trackers(table):
    assert changes(micro(table, "wandb"), micro(table)) == {}


# Failures


@pytest.mark.parametrize(
    ("at", "what", "lines"), [("open", "could not start", 0), ("2", "failed", 1), ("finish", "failed", 4)]
)
def test_one_that_fails_is_reported_once_and_dropped(fakes, table, tmp_path, monkeypatch, capsys, at, what, lines):
    monkeypatch.setattr(Fake, "fails_at", at)
    train(micro(table, "tensorboard", "wandb"), tmp_path / "run")
    assert len(Fake.made[0].lines) == lines
    assert len(Sound.made[0].lines) == 4
    assert Sound.made[0].ends == [(4, {}, False)]
    assert capsys.readouterr().err == (
        f"warning: train.track: tensorboard {what} (ConnectionError: the network is \\x1b[31mgone); "
        "it is left out from here on, and training goes on\n"
    )


def test_a_package_that_is_missing_is_an_error_before_anything_is_made(table, tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "find_spec", lambda name: None if name == "wandb" else object())
    folder = tmp_path / "run"
    expected = r"^train.track: wandb is not installed; pip install 'askew\[wandb\]', or leave it out of train.track$"
    with pytest.raises(UserError, match=expected):
        train(micro(table, "tensorboard", "wandb"), folder)
    assert not folder.exists()
    folder.mkdir()
    (folder / "recipe.yaml").write_text(to_yaml(micro(table, "wandb")), encoding="utf-8")
    with pytest.raises(UserError, match=expected):
        train(micro(table, "wandb"), folder, resume=True)


def test_a_package_that_cannot_be_imported_does_not_stop_a_run(table, tmp_path, monkeypatch, capsys):

    def damaged(name):
        raise OSError(f"{name}: a shared library is missing")

    monkeypatch.setattr(trackers, "import_module", damaged)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # importing it raises ImportError
    monkeypatch.setattr(tracking, "find_spec", lambda name: object())
    path = train(micro(table, *TRACKED, max_steps=1), tmp_path / "run")
    assert (path / "model").is_dir()
    warnings = capsys.readouterr().err.splitlines()
    assert [line.split()[2] for line in warnings] == list(TRACKED)
    assert all("could not start" in line for line in warnings)


def test_what_a_tracker_left_does_not_keep_the_directory_of_a_run_that_never_began(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    directory.tracked("wandb").mkdir(parents=True)
    (directory.tracked("wandb") / "id.txt").write_text("abc")
    (directory.path / "recipe.yaml").write_text("")
    (directory.path / "metrics.jsonl").write_text("")
    directory.remove_if_unstarted()
    assert directory.tracked("wandb").is_dir()  # there is more
    (directory.path / "metrics.jsonl").unlink()
    directory.remove_if_unstarted()
    assert not directory.path.exists()


# Names


def test_names_in_a_recipe(table):
    recipe = micro(table)
    for text in ("wandb, tensorboard", "[wandb, tensorboard]", "wandb,tensorboard,wandb"):
        assert override(recipe, [f"train.track={text}"]).train.track == ("wandb", "tensorboard")
    assert override(recipe, ["train.track="]).train.track == ()
    with pytest.raises(UserError, match="'tensorboard', 'wandb' or 'trackio', got 'mlflow'"):
        override(recipe, ["train.track=mlflow"])
    with pytest.raises(UserError, match="valid tuple"):
        override(recipe, ["train.track=3"])
    assert set(TRACKERS) == set(TRACKED)


# Weights & Biases without its package


@pytest.fixture
def fake_wandb(monkeypatch, tmp_path):
    """A module that keeps what `wandb.init` is called with. Nobody is logged in."""
    calls = []

    def init(**arguments):
        calls.append(arguments)
        offline = arguments["mode"] == "offline"
        disabled = os.environ.get("WANDB_MODE") == "disabled"
        return SimpleNamespace(offline=offline, url=None if offline or disabled else "https://wandb.ai/run")

    settings = SimpleNamespace(api_key=None, identity_token_file=None, base_url="https://api.example.org")
    module = SimpleNamespace(
        init=init, Settings=lambda **fields: fields, setup=lambda: SimpleNamespace(settings=settings), calls=calls
    )
    module.settings = settings
    monkeypatch.setitem(sys.modules, "wandb", module)
    for name in ("WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return module


def opened(module, table, folder, done=0):
    """The tracker, and what it called `wandb.init` with."""
    folder.mkdir(exist_ok=True)
    made = TRACKERS["wandb"](TrackedRun(RunDirectory(folder), micro(table), done))
    return made, module.calls[-1]


def test_without_a_login_a_run_is_recorded_offline_and_nothing_asks_for_a_key(fake_wandb, table, tmp_path):
    made, call = opened(fake_wandb, table, tmp_path / "run-7")
    assert (call["mode"], call["name"], call["project"]) == ("offline", "run-7", "askew")
    assert call["dir"] == str(tmp_path / "run-7")
    assert call["config"]["method"]["name"] == "clip"
    assert made.how_to_look.startswith("recorded offline; upload it by `wandb sync ")


@pytest.mark.parametrize("login", ["key", "netrc", "netrc of the cloud"])
def test_with_a_login_wandb_decides(fake_wandb, table, tmp_path, monkeypatch, login):
    if login == "key":
        fake_wandb.settings.api_key = "1" * 40
    else:
        host = "api.example.org" if login == "netrc" else "api.wandb.ai"
        (tmp_path / "netrc").write_text(f"machine {host}\n  login user\n  password {'1' * 40}\n")
    monkeypatch.setenv("WANDB_PROJECT", "birds")
    made, call = opened(fake_wandb, table, tmp_path / "run")
    assert (call["mode"], call["project"]) == (None, "birds")
    assert made.how_to_look == "https://wandb.ai/run"


def test_a_netrc_of_other_hosts_and_a_damaged_one_are_no_login(fake_wandb, table, tmp_path):
    for number, text in enumerate(("machine example.com\n  login u\n  password p\n", "machine")):
        (tmp_path / "netrc").write_text(text)
        assert opened(fake_wandb, table, tmp_path / f"run{number}")[1]["mode"] == "offline"


def test_wandb_that_was_disabled_stays_so(fake_wandb, table, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    made, call = opened(fake_wandb, table, tmp_path / "run")
    assert call["mode"] is None
    assert made.how_to_look == "WANDB_MODE=disabled records nothing"


def test_a_resumed_run_keeps_its_id(fake_wandb, table, tmp_path):
    first, again = (opened(fake_wandb, table, tmp_path / "run", done)[1] for done in (0, 3))
    other = opened(fake_wandb, table, tmp_path / "other")[1]
    assert first["id"] == again["id"] != other["id"]
    assert first["resume"] == "allow"


# The real packages, where they are installed


def real(name):
    """Skip the test where the package is not there."""
    return pytest.mark.skipif(find_spec(name) is None, reason=f"pip install 'askew[{name}]'")


def run_of(table, folder, *names):
    """A run of four steps with results, then opened again as after a crash: steps 4 and 5 of which 4 is taken again."""
    recipe = micro(table, *names)
    path = train(recipe, folder)
    directory = RunDirectory(path)
    for weights, right in (("student", 0.5), ("teacher", 0.75)):
        directory.results.append([Result("task", {"top1": right}, {})], {"weights": weights})
    with Tracking(names, directory, Console(quiet=True)) as tracked:
        tracked.open(SimpleNamespace(recipe=recipe, done=3))
        for step in (4, 5):
            tracked(SimpleNamespace(), {"step": step, "loss": 10.0 * step, "held_out/loss": 1.0})
    lines = {line["step"]: without_step(line) for line in metrics_of(path)}
    return path, {step: line["loss"] for step, line in lines.items()}, lines[2]


@real("tensorboard")
def test_tensorboard_records_a_run_and_its_continuation(table, tmp_path, capsys):
    path, losses, second = run_of(table, tmp_path / "run", "tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(path / "tensorboard"))
    found.Reload()
    at_2 = {name: event.value for name in found.Tags()["scalars"] for event in found.Scalars(name) if event.step == 2}
    assert at_2 == pytest.approx(second, rel=1e-6)
    scalars = {name: {event.step: event.value for event in found.Scalars(name)} for name in ("loss", *RESULTS)}
    assert scalars["loss"] == pytest.approx({1: losses[1], 2: losses[2], 3: losses[3], 4: 40.0, 5: 50.0})
    assert len(found.Scalars("loss")) == 5  # the first step 4 is gone
    assert [scalars[name] for name in RESULTS] == [{5: value} for value in RESULTS.values()]
    assert "name: micro-clip" in found.Tensors("recipe/text_summary")[-1].tensor_proto.string_val[0].decode()
    assert capsys.readouterr().err == ""


def wandb_records(file):
    """The records of a .wandb file: blocks of 32 KiB with pieces of records (checksum, length, kind), as in LevelDB."""
    from wandb.proto.wandb_internal_pb2 import Record as Message

    data, place, whole, found = file.read_bytes(), 7, b"", []
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            found.append(Message.FromString(whole))
            whole = b""
    return found


def values_of(items):
    """Names and values of a history or a summary."""
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


@real("wandb")
def test_wandb_records_a_run_and_its_continuation_offline(table, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "offline")
    path, losses, second = run_of(table, tmp_path / "run", "wandb")
    files = sorted((path / "wandb").glob("offline-run-*/*.wandb"))
    rows, runs, summary, codes = [], [], {}, []
    for file in files:
        for record in wandb_records(file):
            kind = record.WhichOneof("record_type")
            if kind == "history":
                rows.append(values_of(record.history.item))
            elif kind == "run":
                runs.append((record.run.run_id, record.run.display_name, record.run.project))
            elif kind == "summary":
                summary |= values_of(record.summary.update)
            elif kind == "exit":
                codes.append(record.exit.exit_code)
    kept = (path / "wandb" / "id.txt").read_text()
    assert len(files) == 2
    assert set(runs) == {(kept, "run", "askew")}
    at_2 = next(row for row in rows if row["_step"] == 2)
    assert at_2.items() >= second.items()
    assert [(row["_step"], row["loss"]) for row in rows] == [*losses.items(), (4, 40.0), (5, 50.0)]
    assert summary.items() >= RESULTS.items()
    assert codes == [0, 0]
    assert capsys.readouterr().err == ""


@real("trackio")
def test_trackio_records_a_run_and_its_continuation(table, tmp_path, monkeypatch, capfd):
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    path, losses, second = run_of(table, tmp_path / "run", "trackio")
    train(micro(table, "trackio", max_steps=1), tmp_path / "another")  # in its own place, from the same process
    with sqlite3.connect(path / "trackio" / "askew.db") as database:
        rows = database.execute("select run_name, step, metrics from metrics order by id").fetchall()
        configs = database.execute("select config from configs").fetchall()
    assert {name for name, _, _ in rows} == {"run"}
    logged = [(step, json.loads(metrics)) for _, step, metrics in rows]
    assert next(metrics for step, metrics in logged if step == 2) == second
    with_loss = [(step, metrics["loss"]) for step, metrics in logged if "loss" in metrics]
    assert with_loss == [*losses.items(), (4, 40.0), (5, 50.0)]
    assert logged[-1] == (5, RESULTS)
    assert json.loads(configs[0][0])["method"]["name"] == "clip"
    assert (tmp_path / "another" / "trackio" / "askew.db").is_file()
    assert "TRACKIO_DIR" not in os.environ
    printed = capfd.readouterr()
    assert printed.out == printed.err == ""


@real("trackio")
def test_what_trackio_only_warns_of_is_a_failure(table, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    with Tracking(["trackio"], RunDirectory(tmp_path), Console()) as tracked:
        tracked.open(SimpleNamespace(recipe=micro(table), done=0))
        tracked(SimpleNamespace(), {"step": 1, "loss": 1.0, "metrics": math.pi})  # a name that trackio changes
        tracked(SimpleNamespace(), {"step": 2, "loss": 1.0, "metrics": math.pi})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("warning: train.track: trackio failed (RuntimeError: Reserved keys renamed")
