"""The loop: schedule, groups of parameters, what is logged, and what stops it."""

import math
import os
import warnings

import pytest
import torch
from safetensors.torch import load_file

from askew.config import TrainSettings
from askew.devices import choose_device, peak_memory_mb
from askew.errors import RunFailed, UserError
from askew.nn.similarity import MAX_LOG_SCALE
from askew.recipes.settings import override
from askew.training.optimizer import parameter_groups
from askew.training.schedule import learning_rate_at
from helpers import METHOD_NAMES, METHODS, micro_method
from micro_runs import STEPS, assert_same_state, metrics_of, micro_recipe, state_of, table_of_25, train, trainer_of

# Schedule and parameters


def test_learning_rate_warms_up_linearly_and_falls_on_a_cosine():
    config = TrainSettings(learning_rate=1.0, warmup_learning_rate=0.2, min_learning_rate=0.1)
    rates = [learning_rate_at(step, 12, 4, config) for step in range(12)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[8] == pytest.approx(0.55)  # half of the cosine, half way from 1 to 0.1
    assert rates[10] == pytest.approx(0.1 + 0.9 * (1 + math.cos(0.75 * math.pi)) / 2)
    assert learning_rate_at(12, 12, 4, config) == pytest.approx(0.1)
    assert learning_rate_at(0, 5, 0, config) == pytest.approx(1.0)


@pytest.mark.parametrize("config", METHODS, ids=METHOD_NAMES)
def test_every_trained_parameter_is_in_one_group_and_only_matrices_decay(config):
    method = micro_method(config)
    names = {id(p): name for name, p in method.named_parameters()}
    groups = parameter_groups(method, 0.3)
    decayed, plain, *apart = ([names[id(p)] for p in group["params"]] for group in groups)
    trained = sorted(n for n, p in method.named_parameters() if p.requires_grad)
    assert sorted(decayed + plain + [name for group in apart for name in group]) == trained
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0, *(0.0 for _ in apart)]
    assert apart == [[group["name"]] for group in groups[2:]] == [[name] for name in method.learning_rates()]
    for name in plain:
        assert method.get_parameter(name).ndim < 2 or "bias" in name or "ln_" in name, name
    assert not any("scale" in name or "offset" in name or "bias" in name or "ln_" in name for name in decayed)
    assert "towers.image.projection.weight" in decayed
    assert not any("teacher" in name for name in decayed + plain)


# A run


def test_same_seed_gives_the_same_weights_and_another_seed_others(table, tmp_path):
    recipe = micro_recipe(table, "mcd")
    one, same = (state_of(train(recipe, tmp_path / name)) for name in ("one", "same"))
    assert_same_state(one, same)
    other = state_of(train(override(recipe, ["train.seed=1"]), tmp_path / "other"))
    key = "method/towers.image.projection.weight"
    assert not torch.equal(one[key], other[key])


@pytest.mark.parametrize("method", ["clip", "mcd"])
def test_every_logged_line_says_what_the_run_did(table, tmp_path, method):
    lines = metrics_of(train(micro_recipe(table, method, learning_rate=2e-3), tmp_path / "run"))
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert [line["samples"] for line in lines] == [8 * step for step in range(1, STEPS + 1)]
    assert lines[2]["epoch"] == 1.0
    always = {"loss", "contrast", "learning_rate", "gradient_norm", "logit_scale", "samples_per_second", "data_wait"}
    always |= {"peak_memory_mb", "skipped", "seconds"}
    terms = {"positive", "negative", "noisy", "alpha", "momentum", "mlm"}
    for line in lines:
        assert always <= line.keys()
        assert (terms <= line.keys()) == (method == "mcd")
        assert all(math.isfinite(value) for value in line.values())
        assert 0 <= line["data_wait"] <= 1
        assert line["peak_memory_mb"] > 50
        assert 1 <= line["logit_scale"] <= 100
    if method == "mcd":
        for k, line in enumerate(lines):
            assert line["alpha"] == pytest.approx((1 - math.cos(math.pi * k / STEPS)) / 2, abs=1e-6)
            total = line["contrast"] + 0.2 * line["mlm"]
            total += line["alpha"] * (line["positive"] + line["negative"] + line["noisy"])
            assert line["loss"] == pytest.approx(total, rel=1e-5)
        assert max(lines[0][name] for name in ("positive", "negative", "noisy")) < 1e-9  # the teacher is the student


@pytest.mark.parametrize(("method", "precision"), [("clip", "fp32"), ("mcd", "fp32"), ("clip", "bf16")])
def test_the_contrast_falls_below_chance(table, tmp_path, method, precision):
    recipe = micro_recipe(table, method, epochs=30, learning_rate=1e-3, precision=precision)
    chance = trainer_of(recipe).method.loss_at_chance(8)["contrast"]
    last = metrics_of(train(recipe, tmp_path / "run"))[-3:]
    assert sum(line["contrast"] for line in last) / 3 < 0.8 * chance


def test_max_steps_ends_the_schedule_early(table, tmp_path):
    recipe = micro_recipe(table, "clip", max_steps=4, warmup_epochs=0)
    rates = [line["learning_rate"] for line in metrics_of(train(recipe, tmp_path / "run"))]
    assert rates == pytest.approx([learning_rate_at(step, 4, 0, recipe.train) for step in range(4)])


def test_gradients_are_clipped_as_torch_does(table):
    recipe = micro_recipe(table, "clip", grad_clip_norm=0.01)
    clipped, reference = trainer_of(recipe), trainer_of(override(recipe, ["train.grad_clip_norm=0"]))
    batch = clipped.loader.batch(0)
    batch.pop("bad_samples")
    before = {name: p.detach().clone() for name, p in reference.method.named_parameters()}
    clipped._one_step(dict(batch))
    reference._one_step(dict(batch))
    norm = torch.nn.utils.clip_grad_norm_(reference.method.parameters(), 0.01)
    assert norm > 0.01
    for name, parameter in reference.method.named_parameters():
        torch.testing.assert_close(clipped.method.get_parameter(name).grad, parameter.grad, rtol=1e-4, atol=1e-9)
        assert before.keys() >= {name}


def test_the_logit_scale_is_clamped_after_a_step(table):
    trainer = trainer_of(micro_recipe(table, "clip"))
    with torch.no_grad():
        trainer.method.temperature.log_scale.fill_(9.0)
    batch = trainer.loader.batch(0)
    batch.pop("bad_samples")
    trainer._one_step(batch)
    assert trainer.method.logit_scale.item() == pytest.approx(MAX_LOG_SCALE)


# What stops it


@pytest.mark.parametrize("poison", ["weight", "image"])
def test_a_non_finite_step_stops_the_run_before_the_weights_move_and_keeps_the_batch(table, tmp_path, poison):
    trainer = trainer_of(micro_recipe(table, "mcd"), tmp_path)
    trainer.run(until=2)
    if poison == "weight":
        with torch.no_grad():
            trainer.method.towers.text.projection.weight[0, 0] = math.nan
    else:
        finish = trainer.loader.views.finish
        object.__setattr__(trainer.loader, "views", type("Poisoned", (), {"finish": staticmethod(
            lambda batch, _: {k: math.inf * v if k == "image" else v for k, v in finish(batch).items()}
        )})())  # fmt: skip
    weights = {name: p.detach().clone() for name, p in trainer.method.named_parameters()}
    batch = trainer.loader.batch if poison == "weight" else None
    expected = batch(2)["match_id"] if batch else None
    if poison == "weight":
        with pytest.raises(RunFailed, match=r"step 2: loss nan, .*is not finite.*Lower train.learning_rate"):
            trainer.run()
        saved = load_file(tmp_path / "fault" / "step-000000002" / "rank-0" / "batch.safetensors")
        assert torch.equal(saved["match_id"], expected)
    else:
        made = trainer_of(trainer.recipe).loader.batch(2)
        made.pop("bad_samples")
        with pytest.raises(RunFailed, match="is not finite"):
            trainer._one_step(made)
    for name, parameter in trainer.method.named_parameters():
        assert torch.equal(parameter.nan_to_num(7.0), weights[name].nan_to_num(7.0)), name


def test_too_many_bad_samples_stop_the_run(tmp_path):
    table = table_of_25(tmp_path / "pairs")
    for file in sorted((tmp_path / "pairs").glob("*.png"))[:12]:
        file.write_bytes(b"")
    with pytest.raises(RunFailed, match=r"empty image: 1\d"):
        trainer_of(micro_recipe(table, "clip")).run()


def test_a_few_bad_samples_are_replaced_named_and_counted(tmp_path):
    table = table_of_25(tmp_path / "pairs")
    (tmp_path / "pairs" / "0003.png").unlink()
    said = []
    trainer = trainer_of(micro_recipe(table, "clip"), tmp_path, say=said.append)
    trainer.run()
    assert trainer.bad_samples.causes["missing file"] == metrics_of(tmp_path)[-1]["skipped"] >= 2
    assert any("0003.png" in line for line in said)


def test_a_device_that_is_not_there_is_named():
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(UserError, match=r"train.device=cuda is not available on this machine; it has .*cpu"):
        choose_device("cuda")
    assert choose_device("auto").type in ("cpu", "mps")
    assert peak_memory_mb(torch.device("cpu")) > 50


def test_a_warning_free_run(table, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        train(micro_recipe(table, "mcd", max_steps=2), tmp_path / "run")


# What attaches to it


def test_a_hook_is_called_after_every_step_with_what_was_logged(table):
    calls = []
    recipe = micro_recipe(table, "clip", log_every=4, max_steps=6)
    trainer = trainer_of(recipe, hooks=(lambda trainer, line: calls.append((trainer.done, line)),))
    trainer.run()
    assert [step for step, _ in calls] == [1, 2, 3, 4, 5, 6]
    assert [step for step, line in calls if line is not None] == [1, 4, 6]
    assert calls[3][1]["step"] == 4
    assert "contrast" in calls[3][1]


def test_a_run_on_a_cpu_keeps_few_kernels(table, monkeypatch):
    """oneDNN reads the variable, before the first kernel is made."""
    name = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
    monkeypatch.setenv(name, "7")  # so that it is put back
    monkeypatch.delenv(name)
    trainer_of(micro_recipe(table, "clip", device="cpu"))
    assert os.environ[name] == "256"
    monkeypatch.setenv(name, "40")
    trainer_of(micro_recipe(table, "clip", device="cpu"))
    assert os.environ[name] == "40"  # somebody knows better
