"""kill -9 at any moment costs the steps since the last checkpoint and nothing else."""

import multiprocessing
import random
import time
from functools import partial

from askew.recipes.settings import from_yaml, override, to_yaml
from micro_runs import assert_same_state, metrics_of, micro_recipe, state_of, table_of_25, train

KILLS, STEPS_A_KILL = 20, 6
TIME_DEPENDENT = {"samples_per_second", "data_wait", "peak_memory_mb", "seconds"}


def recipe_of(table):
    """Enough steps that the run cannot end before the last kill; a checkpoint at every second one."""
    steps = KILLS * STEPS_A_KILL
    return micro_recipe(table, "mcd", epochs=steps, max_steps=steps, checkpoint_steps=2, log_every=1)


def go(folder, number):
    """One life of the run, in a process of its own: started, or resumed; every second one has a worker."""
    multiprocessing.set_start_method("fork", force=True)  # of the worker, as in a process that nobody forked
    recipe = from_yaml(folder.with_suffix(".yaml"))
    resumed = (folder / "recipe.yaml").exists()
    train(override(recipe, [f"loader.num_workers={number % 2}"]), folder, resume=resumed)


def steps_of(folder, name="metrics.jsonl"):
    return [{k: v for k, v in line.items() if k not in TIME_DEPENDENT} for line in metrics_of(folder, name)]


def lines(folder):
    """How many steps were logged, torn lines included."""
    file = folder / "metrics.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def saves(folder):
    """When a save last began that did not end: the start of the newest unfinished checkpoint, or 0."""
    return max((p.stat().st_mtime_ns for p in (folder / "checkpoints").glob("*.tmp") if p.exists()), default=0)


def differs(measure, folder, before):
    """Whether something moved on."""
    try:
        return measure(folder) > before
    except FileNotFoundError:  # renamed between the look and the measure
        return False


def wait_until(condition, process, seconds=60):
    """Whether it came true before the process ended."""
    deadline = time.monotonic() + seconds
    while not condition():
        if not process.is_alive():
            return condition()
        assert time.monotonic() < deadline, "the run hangs"
        time.sleep(0.001)
    return True


def test_twenty_kills_end_bit_equal(tmp_path):
    table = table_of_25(tmp_path / "data")
    recipe, folder, rng = recipe_of(table), tmp_path / "run", random.Random(0)
    whole = train(override(recipe, ["train.checkpoint_steps=1000"]), tmp_path / "whole")  # only the last is compared
    settled = override(from_yaml(whole / "recipe.yaml"), [f"train.checkpoint_steps={recipe.train.checkpoint_steps}"])
    folder.with_suffix(".yaml").write_text(to_yaml(settled), encoding="utf-8")

    context = multiprocessing.get_context("forkserver")  # starts each life as if anew
    killed, while_saving = 0, 0
    for number in range(KILLS):
        saving, done = saves(folder), lines(folder)
        process = context.Process(target=go, args=(folder, number))
        process.start()
        if number % 4 == 3:  # while saving
            alive = wait_until(partial(differs, saves, folder, saving), process)
        else:  # at any moment, the start included
            if number % 4 == 0:
                time.sleep(rng.uniform(0, 1.5))
                alive = process.is_alive()
            else:
                alive = wait_until(partial(differs, lines, folder, done), process)
                time.sleep(rng.uniform(0, 0.1))
        process.kill()
        process.join()
        assert process.exitcode in (-9, 0)
        assert alive
        killed += process.exitcode == -9
        while_saving += saves(folder) > saving
    assert killed == KILLS
    assert while_saving >= KILLS // 10

    train(from_yaml(folder / "recipe.yaml"), folder, resume=True)
    assert_same_state(state_of(folder), state_of(whole))
    assert steps_of(folder) == steps_of(whole)
    for name in ("model", "teacher"):
        weights = "open_clip_model.safetensors"
        assert (folder / name / weights).read_bytes() == (whole / name / weights).read_bytes()
    discarded = steps_of(folder, "metrics.discarded.jsonl")
    assert {line["step"] for line in discarded} <= {line["step"] for line in steps_of(whole)}
    same = {line["step"]: line for line in steps_of(whole)}
    assert all(line == same[line["step"]] for line in discarded)  # taken again, they came out the same
    assert not list((folder / "checkpoints").glob("*.tmp"))
