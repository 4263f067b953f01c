"""`askew.train` does what the command does: the same run, the same lines, and nothing that ends the program."""

import multiprocessing
import shutil
import signal
import sys
import threading

import pytest
import torch

import askew
from askew.api.console import ProgramConsole
from askew.api.training import settings_of
from askew.data import workers
from askew.recipes.settings import to_yaml
from micro_runs import (
    as_options,
    askew_here,
    assert_same_state,
    metrics_of,
    micro_recipe,
    state_of,
    table_of_25,
)

CHANGES = {"train.max_steps": 4, "train.checkpoint_steps": 1}


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A table, and a recipe in a file."""
    folder = tmp_path_factory.mktemp("train")
    recipe = micro_recipe(table_of_25(folder / "data"), "clip")
    (folder / "recipe.yaml").write_text(to_yaml(recipe), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def recipe(here):
    return micro_recipe(here / "data" / "pairs.csv", "clip")


@pytest.fixture(scope="module")
def run(here):
    """A finished run."""
    return askew.train(here / "recipe.yaml", out=here / "run", overrides=CHANGES)


def test_a_run_is_that_of_the_command(run, here):
    options = as_options(*(f"{key}={value}" for key, value in CHANGES.items()))
    done = askew_here("train", here / "recipe.yaml", "--out", here / "command", *options)
    assert done.returncode == 0, done.stderr
    assert_same_state(state_of(run.path), state_of(here / "command"))
    assert run.recipe == askew.Run(here / "command").recipe


def test_a_run_gives_what_is_in_its_directory(run):
    assert run.metrics == metrics_of(run.path)
    assert [line["step"] for line in run.metrics] == [1, 2, 3, 4]
    assert run.recipe.train.max_steps == 4
    assert run.results == []
    model = run.load(device="cpu")
    assert model.protocol["weights_sha256"] == askew.load(run, "cpu").protocol["weights_sha256"]
    found = run.evaluate(data=run.recipe.data.source, tasks="retrieval")
    assert [(one.task, one.values) for one in run.results] == [(one.task, one.values) for one in found.tasks]
    assert run.results[0].intervals == found.tasks[0].intervals
    assert run.results[0].chance == found.tasks[0].chance


def test_a_recipe_is_a_name_a_file_or_itself(recipe, here, tmp_path, monkeypatch):
    monkeypatch.setitem(askew.recipes.RECIPES, "photos", lambda: recipe)
    monkeypatch.chdir(tmp_path)
    settings = ["train.max_steps=1"]
    made = [askew.train(overrides=settings), askew.train(recipe, overrides=settings)]
    made.append(askew.train(str(here / "recipe.yaml"), data=[here / "data" / "pairs.csv"], overrides=settings))
    assert [run.path.as_posix() for run in made] == [f"runs/micro-clip-00{number}" for number in (1, 2, 3)]
    assert made[0].recipe == made[1].recipe
    assert made[2].recipe.data.source == [str(here / "data" / "pairs.csv")]


def test_nothing_is_printed_unless_it_is_asked_for(recipe, tmp_path, capfd):
    askew.train(recipe, out=tmp_path / "quiet", overrides={"train.max_steps": 1})
    assert capfd.readouterr() == ("", "")
    askew.train(recipe, out=tmp_path / "verbose", overrides={"train.max_steps": 1}, verbose=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "step 1/1" in err
    assert "model    " in err


def test_what_needs_attention_is_a_warning_in_the_users_line(recipe, tmp_path):
    with pytest.warns(UserWarning, match="captions are longer than the text tower's context") as found:
        askew.train(recipe, out=tmp_path / "run", overrides={"train.max_steps": 1, "towers.text_cfg.context_length": 4})
    assert found[0].filename == __file__


def sending(number, monkeypatch):
    """Raise a signal when a step is logged."""
    monkeypatch.setattr(ProgramConsole, "progress", lambda self, line, terms, total: signal.raise_signal(number))


def test_an_interrupt_leaves_a_run_that_resumes_bit_for_bit(run, recipe, tmp_path, monkeypatch):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        sending(signal.SIGINT, patch)
        with pytest.raises(KeyboardInterrupt, match="saved at step 1; resume with --resume --out"):
            askew.train(recipe, out=tmp_path / "run", overrides=CHANGES)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    with pytest.warns(UserWarning, match="student at step 1"):
        askew.Run(tmp_path / "run").load()
    resumed = askew.train(out=tmp_path / "run", resume=True)
    assert_same_state(state_of(resumed.path), state_of(run.path))
    with pytest.raises(askew.UserError, match=r"is finished \(4 steps\); start a new run"):
        askew.train(out=tmp_path / "run", resume=True)


def test_sigterm_saves_and_then_means_what_it_means_to_the_program(recipe, tmp_path, monkeypatch):
    received = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append((tmp_path / "run/model").exists()))
    try:
        sending(signal.SIGTERM, monkeypatch)
        with pytest.raises(KeyboardInterrupt), pytest.warns(UserWarning, match="saved at step 1"):
            askew.train(recipe, out=tmp_path / "run", overrides=CHANGES)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [False]
    assert (tmp_path / "run" / "checkpoints").is_dir()


def test_another_thread_can_train(run, recipe, tmp_path):
    made = []
    thread = threading.Thread(target=lambda: made.append(askew.train(recipe, out=tmp_path / "run", overrides=CHANGES)))
    thread.start()
    thread.join()
    assert_same_state(state_of(made[0].path), state_of(run.path))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"recipe": "fotos"}, "recipe 'fotos' is not known; did you mean 'photos'?"),
        ({"recipe": "nowhere.yaml"}, "recipe nowhere.yaml: no such file"),
        ({"overrides": {"train.epoch": 2}}, "unknown key 'train.epoch'; did you mean 'train.epochs'?"),
        ({"overrides": {"train.epochs": "two"}}, "train.epochs: input should be a valid number"),
        ({"overrides": "train.epochs=2"}, "overrides: a single str; put it into a list"),
        ({"overrides": ["train.epochs"]}, "train.epochs: write it as KEY=VALUE"),
        ({"overrides": {"train.epochs": object()}}, "overrides['train.epochs']: a value of type object is no setting"),
        ({"overrides": {3: 4}}, "overrides[0]: a value of type int is no text"),
        ({"data": "nowhere.csv"}, "nowhere.csv does not exist"),
        ({"data": "empty"}, "empty is an empty folder"),
        ({"data": "module:nothing"}, "No module named 'module'"),
        ({"data": []}, "the recipe names no data"),
        ({"data": 3}, "data: a value of type int is no source; give a path, or a list of paths"),
        ({"out": "full"}, "full is not empty; choose a new folder"),
        ({"extend_to": 3}, "--extend-to trains a finished run on"),
        ({"resume": True}, "there is no run of micro-clip under runs"),
        ({"resume": True, "recipe": None, "out": "full"}, "full is not a run directory"),
    ],
)
def test_what_is_wrong_is_one_line_and_leaves_nothing(recipe, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(askew.UserError) as caught:
        askew.train(**{"recipe": recipe, **arguments})
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "full"]


def test_a_line_is_that_of_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = askew_here("train", "photos", "--data", "nowhere.csv")
    with pytest.raises(askew.UserError) as caught:
        askew.train("photos", data="nowhere.csv")
    assert done.returncode == 2
    assert done.stderr.strip() == f"error: {caught.value}"


def test_images_that_hold_nothing_end_a_run_that_leaves_nothing(recipe, tmp_path):
    table = table_of_25(tmp_path / "data")
    for path in table.parent.glob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(
        askew.RunFailed, match=r"samples in a row could not be used; the last was .*: empty image"
    ) as caught:
        askew.train(recipe, data=table, out=tmp_path / "run")
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "run").exists()


class Broken:
    """A source whose reading raises from some sample on."""

    describe, notes, block, window = "broken", (), 8, 8

    def __init__(self, options):
        pass

    def __len__(self):
        return 25

    def __getitem__(self, index):
        raise ZeroDivisionError("in the middle")

    def name(self, index):
        return str(index)


def test_what_a_source_raises_ends_a_run_with_one_line(recipe, tmp_path):
    with pytest.raises(
        askew.RunFailed, match=r"could not be read: ZeroDivisionError: in the middle \(.*test_train"
    ) as caught:
        askew.train(recipe, data=f"{__name__}:Broken", out=tmp_path / "run")
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_paths_may_have_any_letters(recipe, tmp_path):
    """In YAML as JSON writes it, a letter beyond the first 65,536 is two halves of one."""
    table = table_of_25(tmp_path / "photos \U0001f600 é")
    run = askew.train(recipe, data=table, out=tmp_path / "run", overrides={"train.max_steps": 1})
    assert run.recipe.data.source == str(table)
    done = askew_here("train", run.path / "recipe.yaml", "--data", table, "--out", tmp_path / "other")
    assert done.returncode == 0, done.stderr


def test_overrides_are_values_or_texts(tmp_path):
    given = {"train.epochs": 2, "views.aug_scale": (0.1, 1.0), "evaluation.held_out": tmp_path, "train.seed": True}
    assert settings_of(given) == [
        ("train.epochs", 2), ("views.aug_scale", [0.1, 1.0]), ("evaluation.held_out", str(tmp_path)),
        ("train.seed", True),
    ]  # fmt: skip
    assert settings_of(["train.epochs=2", "train.learning_rate=1e-3"]) == [
        ("train.epochs", 2),
        ("train.learning_rate", 0.001),
    ]


def as_script(text, path, monkeypatch):
    """Run the text as the program, whose loader's workers are not forked."""
    path.write_text(text, encoding="utf-8")
    main = type(sys)("__main__")
    main.__file__ = str(path)
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda allow_none=False: "spawn")
    exec(compile(text, str(path), "exec"), vars(main))


CALL = "from askew.data.workers import refuse_unguarded_script\n"


def test_a_script_that_its_workers_would_run_again_is_refused(tmp_path, monkeypatch):
    words = 'trains at its top level, .* put it below `if __name__ == "__main__":`, or set loader.num_workers=0'
    with pytest.raises(askew.UserError, match=words):
        as_script(f"{CALL}refuse_unguarded_script(2)\n", tmp_path / "script.py", monkeypatch)
    as_script(f"{CALL}refuse_unguarded_script(0)\n", tmp_path / "script.py", monkeypatch)
    guarded = f'{CALL}if __name__ == "__main__":\n    refuse_unguarded_script(2)\n'
    as_script(guarded, tmp_path / "script.py", monkeypatch)
    workers.refuse_unguarded_script(2)  # not called by the top level of the program


def test_a_worker_that_imports_the_script_is_told_so(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(askew.UserError, match="a worker of the loader imports this script, which trains again"):
        askew.train(recipe, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_users_settings_of_pytorch_stay(run, recipe, tmp_path):
    """Threads and determinism, and the state of its generator."""
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    askew.train(recipe, out=tmp_path / "run", overrides={"train.max_steps": 1})
    assert torch.equal(torch.rand(3), expected)


def test_a_run_that_is_not_there(tmp_path):
    with pytest.raises(askew.UserError, match="is not a run directory"):
        askew.Run(tmp_path)
    shutil.rmtree(tmp_path)
