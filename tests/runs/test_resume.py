"""A run that stops anywhere and goes on ends as if it had never stopped."""

import json
import os
import shutil
import signal
import subprocess
import time

import pytest

import forked
from askew.data.words import WordCounts
from askew.errors import Interrupted, UserError
from askew.recipes.settings import override
from askew.training import checkpoint
from micro_runs import (
    METHODS,
    STEPS,
    askew_here,
    assert_same_state,
    metrics_of,
    micro_recipe,
    micro_settings,
    state_of,
    table_of_25,
    train,
    trainer_of,
)

TIME_DEPENDENT = {"samples_per_second", "data_wait", "peak_memory_mb", "seconds"}


@pytest.fixture(scope="module", params=["clip", "mcd"])
def whole(request, table, tmp_path_factory):
    """A recipe and the folder of its uninterrupted run."""
    recipe = micro_recipe(table, request.param)
    return recipe, train(recipe, tmp_path_factory.mktemp("whole") / request.param)


def stop_at(recipe, folder, step):
    """Start a run and stop it after `step` steps by the signal that Ctrl-C sends."""

    def progress(line):
        if line["step"] == step:
            os.kill(os.getpid(), signal.SIGINT)

    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(json.dumps(recipe.model_dump(mode="json")), encoding="utf-8")
    trainer = trainer_of(recipe, folder, progress=progress)
    with pytest.raises(Interrupted, match=f"saved at step {step}"):
        trainer.run()
    assert not (folder / "model").exists()


def steps_of(folder):
    return [{k: v for k, v in line.items() if k not in TIME_DEPENDENT} for line in metrics_of(folder)]


@pytest.mark.parametrize("step", [1, 3, 4, STEPS - 1])
def test_resumed_run_ends_bit_equal(whole, tmp_path, step):
    recipe, reference = whole
    stop_at(recipe, tmp_path / "run", step)
    train(recipe, tmp_path / "run", resume=True)
    state = state_of(reference)
    teacher = [key for key in state if "teacher" in key]
    assert bool(teacher) == (recipe.method.name == "mcd")
    assert any(key.startswith("optimizer/") for key in state)
    assert_same_state(state_of(tmp_path / "run"), state)
    assert steps_of(tmp_path / "run") == steps_of(reference)
    for folder in ("model", "teacher"):
        assert (tmp_path / "run" / folder).exists() == (reference / folder).exists()
        if (reference / folder).exists():
            weights = "open_clip_model.safetensors"
            assert (tmp_path / "run" / folder / weights).read_bytes() == (reference / folder / weights).read_bytes()


def ends_bit_equal(recipe, tmp_path):
    """A run stopped at step 4 and resumed ends as one that was not stopped. Returns the state at the end."""
    reference = train(recipe, tmp_path / "whole")
    stop_at(recipe, tmp_path / "run", 4)
    train(recipe, tmp_path / "run", resume=True)
    expected = state_of(reference)
    assert_same_state(state_of(tmp_path / "run"), expected)
    assert steps_of(tmp_path / "run") == steps_of(reference)
    return expected


@pytest.mark.parametrize("method", sorted(METHODS.keys() - {"clip", "mcd"}))
def test_every_other_method_resumes_bit_equal(table, tmp_path, method):
    """Queues, heads and biases included."""
    recipe = micro_recipe(table, method)
    expected = ends_bit_equal(recipe, tmp_path)
    assert ("method/queue.bank" in expected) == (method == "declip")
    assert ("method/queue.ids" in expected) == ("method/teacher_text.module.projection.weight" in expected)
    assert ("method/queue.ids" in expected) == (method == "albef")


def test_the_counts_of_words_resume_bit_equal(table, tmp_path):
    recipe = override(micro_recipe(table, "clip"), ["method.words_weight=1"])
    expected = ends_bit_equal(recipe, tmp_path)
    assert expected["method/words.seen"].item() == 9 * 8


def test_running_means_resume_bit_equal(table, tmp_path):
    recipe = override(micro_recipe(table, "mcd"), ["method.normaliser=global"])
    means = ends_bit_equal(recipe, tmp_path)["method/normaliser.log_u.values"]
    assert means.shape == (25, 9)
    assert means.isfinite().all()


def test_a_run_on_shortened_captions_resumes_bit_equal_wherever_its_table_lies(table, tmp_path):
    for name in ("words.json", "same.json", "other.json"):
        counts = {"number": 25, "kite": 9 if name == "other.json" else 7}
        (tmp_path / name).write_text(WordCounts("made", 25, 5, counts).to_json(), encoding="utf-8")
    settings = ["views.text=short", "views.short_tokens=3", f"views.word_counts={tmp_path / 'words.json'}"]
    recipe = override(micro_recipe(table, "clip"), settings)
    reference = train(recipe, tmp_path / "whole")
    stop_at(trainer_of(recipe).recipe, tmp_path / "run", 4)
    elsewhere = override(recipe, [f"views.word_counts={tmp_path / 'other.json'}"])
    with pytest.raises(UserError, match=r"other\.json is not the table that the run began with"):
        train(elsewhere, tmp_path / "run", resume=True)
    (tmp_path / "words.json").unlink()
    train(override(recipe, [f"views.word_counts={tmp_path / 'same.json'}"]), tmp_path / "run", resume=True)
    assert_same_state(state_of(tmp_path / "run"), state_of(reference))
    assert steps_of(tmp_path / "run") == steps_of(reference)


@pytest.mark.parametrize("optimizer", ["muon", "cautious_adamw"])
def test_every_other_optimiser_resumes_bit_equal(table, tmp_path, optimizer):
    """Muon has a state for the matrices of blocks, and AdamW another one for the rest."""
    recipe = override(micro_recipe(table, "mcd"), [f"train.optimizer={optimizer}"])
    expected = ends_bit_equal(recipe, tmp_path)
    slots = {key.rsplit("/", 1)[1] for key in expected if key.startswith("optimizer/")}
    assert slots == {"step", "exp_avg", "exp_avg_sq"} | ({"momentum_buffer"} if optimizer == "muon" else set())


@pytest.mark.parametrize("scores", ["teacher", "random"])
def test_chosen_patches_resume_bit_equal(table, tmp_path, scores):
    sets = ["method.aug_patches=half", f"method.patch_scores={scores}", "towers.vision_cfg.patch_size=8"]
    ends_bit_equal(override(micro_recipe(table, "mcd"), sets), tmp_path)


def test_stopped_twice_with_other_numbers_of_workers(whole, tmp_path):
    recipe, reference = whole
    stop_at(recipe, tmp_path / "run", 2)
    trainer = trainer_of(override(recipe, ["loader.num_workers=2"]), tmp_path / "run")
    trainer.load(checkpoint.latest(tmp_path / "run" / "checkpoints", pytest.fail))
    trainer.run(until=5)
    trainer.save()
    train(override(recipe, ["loader.num_workers=1"]), tmp_path / "run", resume=True)
    assert_same_state(state_of(tmp_path / "run"), state_of(reference))


def test_a_run_without_a_checkpoint_starts_again(whole, tmp_path):
    recipe, reference = whole
    stop_at(recipe, tmp_path / "run", 1)
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    train(recipe, tmp_path / "run", resume=True)
    assert_same_state(state_of(tmp_path / "run"), state_of(reference))
    assert [line["step"] for line in metrics_of(tmp_path / "run")] == list(range(1, STEPS + 1))
    assert [line["step"] for line in metrics_of(tmp_path / "run", "metrics.discarded.jsonl")] == [1]


@pytest.mark.parametrize("fault", ["truncated", "bit", "manifest"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(table, tmp_path, fault, capsys):
    recipe = micro_recipe(table, "mcd", checkpoint_steps=2, keep_checkpoints=3)
    stop_at(recipe, tmp_path / "run", 5)
    newest = tmp_path / "run" / "checkpoints" / "step-000000005"
    file = newest / ("manifest.json" if fault == "manifest" else "method.safetensors")
    content = bytearray(file.read_bytes())
    if fault == "bit":
        content[len(content) // 2] ^= 1
    else:
        content = content[: len(content) // 2]
    file.write_bytes(content)
    (tmp_path / "run" / "checkpoints" / "step-000000006.tmp").mkdir()  # cut off while saving
    train(recipe, tmp_path / "run", resume=True)
    printed = " ".join(capsys.readouterr().err.split())
    assert "step-000000005 is damaged" in printed
    assert "using the one before it" in printed
    assert [line["step"] for line in metrics_of(tmp_path / "run", "metrics.discarded.jsonl")] == [5]
    train(recipe, tmp_path / "other")
    assert_same_state(state_of(tmp_path / "run"), state_of(tmp_path / "other"))


def test_a_changed_recipe_is_refused_with_its_keys(whole, tmp_path):
    recipe, _ = whole
    stop_at(recipe, tmp_path / "run", 1)
    changed = override(recipe, ["train.learning_rate=0.1", "views.tags=0", "train.log_every=3"])
    with pytest.raises(UserError, match="the recipe differs") as error:
        train(changed, tmp_path / "run", resume=True)
    message = str(error.value).split("only")[0]
    assert "train.learning_rate (0.005 -> 0.1)" in message
    assert "views.tags" in message
    assert "log_every" not in message
    assert state_of(tmp_path / "run")  # nothing is lost


def test_a_finished_run_is_named_and_left_as_it_is(whole, tmp_path):
    recipe, reference = whole
    shutil.copytree(reference, tmp_path / "run")
    with pytest.raises(UserError, match=f"run is finished \\({STEPS} steps\\); start a new run, or evaluate it"):
        train(recipe, tmp_path / "run", resume=True)
    assert_same_state(state_of(tmp_path / "run"), state_of(reference))
    assert steps_of(tmp_path / "run") == steps_of(reference)


def test_other_data_are_refused(whole, tmp_path):
    recipe, _ = whole
    stop_at(recipe, tmp_path / "run", 1)
    table = tmp_path / "more" / "pairs.csv"
    table_of_25(tmp_path / "more")
    table.write_text(table.read_text(encoding="utf-8").rsplit("\n", 12)[0] + "\n", encoding="utf-8")
    smaller = override(recipe, [f"data.source={table}"])
    found = checkpoint.latest(tmp_path / "run" / "checkpoints", pytest.fail)
    trainer = trainer_of(smaller, tmp_path / "run")
    with pytest.raises(UserError, match="was to take 9 steps"):
        trainer.load(found)


@pytest.mark.parametrize("change", ["one more", "another order"])
def test_other_data_are_refused_where_the_steps_are_as_many(table, tmp_path, change):
    own = table_of_25(tmp_path / "own")
    recipe = micro_recipe(own, "clip", max_steps=4)
    stop_at(recipe, tmp_path / "run", 1)
    first, *rows = own.read_text(encoding="utf-8").splitlines()
    rows = [*rows, "0025.png,another"] if change == "one more" else rows[::-1]
    own.write_text("\n".join([first, *rows]) + "\n", encoding="utf-8")
    before = state_of(tmp_path / "run")
    with pytest.raises(UserError, match="the data are not those that the run began with"):
        train(recipe, tmp_path / "run", resume=True)
    assert_same_state(state_of(tmp_path / "run"), before)


def test_towers_that_draw_at_random_draw_the_same_again(table, tmp_path):
    recipe = micro_recipe(table, "clip", max_steps=4)
    vision = {**recipe.towers.vision_cfg, "patch_dropout": 0.5}
    recipe = recipe.model_copy(update={"towers": recipe.towers.model_copy(update={"vision_cfg": vision})})
    whole = train(recipe, tmp_path / "whole")
    stop_at(recipe, tmp_path / "run", 2)
    train(recipe, tmp_path / "run", resume=True)
    assert_same_state(state_of(tmp_path / "run"), state_of(whole))
    losses = [line["loss"] for line in metrics_of(whole)]
    without = micro_recipe(table, "clip", max_steps=4)
    assert losses != [line["loss"] for line in metrics_of(train(without, tmp_path / "without"))]


def test_a_damaged_checkpoint_of_later_goes_and_not_the_one_just_written(table, tmp_path):
    recipe = micro_recipe(table, "clip", checkpoint_steps=1, keep_checkpoints=1)
    stop_at(recipe, tmp_path / "run", 5)
    folder = tmp_path / "run" / "checkpoints"
    (folder / "step-000000005" / "method.safetensors").write_bytes(b"")
    trainer = trainer_of(recipe, tmp_path / "run")
    trainer.run(until=2)
    assert [path.name for path in checkpoint.checkpoints(folder)] == ["step-000000002"]


@pytest.mark.parametrize(
    ("number", "code", "workers", "whole_group"),
    [(signal.SIGINT, 130, 0, False), (signal.SIGINT, 130, 1, True), (signal.SIGTERM, 143, 1, True)],
    ids=["Ctrl-C alone", "Ctrl-C at a terminal", "a scheduler"],
)
def test_a_signal_saves_and_exits_with_its_code(table, tmp_path, number, code, workers, whole_group):
    """Terminals and schedulers signal the whole process group, the loader's workers with it."""
    options = [*micro_settings(), "--set", "train.epochs=200", "--data", table, "--out", tmp_path / "run"]
    options += ["--set", f"loader.num_workers={workers}"]
    command = [forked.python(), "-m", "askew", "train", "tiny", *map(str, options)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 90
    while not metrics.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(forked.process_of(process), number) if whole_group else process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == code, error
    assert "Traceback" not in error
    saved = checkpoint.latest(tmp_path / "run" / "checkpoints", pytest.fail)
    assert f"saved at step {saved.step}; resume with --resume" in " ".join(error.split())
    lines = metrics_of(tmp_path / "run")
    assert lines[-1]["step"] == saved.step

    again = askew_here("train", "--out", tmp_path / "run", "--resume", "--set", "train.epochs=3")
    assert again.returncode == 2
    assert "train.epochs (200.0 -> 3.0)" in " ".join(again.stderr.split())
