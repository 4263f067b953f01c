"""The held-out loss: what it is, that it is always measured on the same batches, and that training does not notice."""

import pytest
import torch

from askew.errors import UserError
from askew.recipes.settings import override
from askew.training.build import build
from askew.training.step import Step
from helpers import write_pairs
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


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    return table_of_25(folder / "a"), write_pairs(folder / "b", 20, seed=1)


def with_held_out(recipe, table, *settings):
    return override(recipe, [f"evaluation.held_out={table}", "evaluation.held_out_every=2", *settings])


@pytest.mark.parametrize("method", METHODS)
def test_training_does_not_notice(tables, tmp_path, method):
    """Bit for bit the same state, queues, teachers and dropout included; and the same numbers in the metrics."""
    recipe = micro_recipe(tables[0], method, max_steps=5)
    vision = {**recipe.towers.vision_cfg, "patch_dropout": 0.0 if method == "aclip" else 0.5}  # it chooses patches
    recipe = recipe.model_copy(update={"towers": recipe.towers.model_copy(update={"vision_cfg": vision})})
    plain = train(recipe, tmp_path / "plain")
    measured = train(with_held_out(recipe, tables[1]), tmp_path / "measured")
    assert_same_state(state_of(measured), state_of(plain))
    for one, other in zip(metrics_of(plain), metrics_of(measured), strict=True):
        assert one["loss"] == other["loss"]
        assert one["gradient_norm"] == other["gradient_norm"]
        assert any(name.startswith("held_out/") for name in other) == (other["step"] in (2, 4, 5))


def test_it_is_the_mean_loss_of_fixed_batches_in_eval_mode(tables):
    recipe = with_held_out(micro_recipe(tables[0], "clip"), tables[1], "evaluation.held_out_batches=9")
    trainer = trainer_of(recipe)
    trainer.run(until=2)
    held_out = trainer.measuring.held_out
    assert held_out.num_batches == 2  # of 8, in 20 pairs
    found = held_out.measure(2 / STEPS)
    losses = []
    trainer.method.eval()
    for index in range(2):
        batch = held_out.loader.batch(index)
        batch.pop("bad_samples")
        with torch.no_grad():
            losses.append(Step(trainer.method, "fp32")(trainer.loader.views.finish(batch), 2 / STEPS)[0].item())
    assert found["held_out/loss"] == pytest.approx(sum(losses) / 2, rel=1e-6)
    assert found["held_out/contrast"] == found["held_out/loss"]


def test_the_same_after_a_resume_and_with_other_workers(tables, tmp_path):
    recipe = with_held_out(micro_recipe(tables[0], "mcd", max_steps=4), tables[1])
    whole = train(recipe, tmp_path / "whole")
    trainer = trainer_of(recipe, tmp_path / "whole")
    lines = []
    other = trainer_of(override(recipe, ["loader.num_workers=1"]), progress=lines.append)
    other.run(until=3)
    assert trainer.measuring.held_out.num_batches == 2
    named = [{k: v for k, v in line.items() if k.startswith("held_out/")} for line in lines]
    kept = [{k: v for k, v in line.items() if k.startswith("held_out/")} for line in metrics_of(whole)]
    assert named == kept[:3]
    assert named[1]
    assert set(named[1]) == {
        f"held_out/{name}" for name in ("loss", "contrast", "positive", "negative", "noisy", "alpha", "momentum", "mlm")
    }


def test_modes_are_as_they_were(tables):
    built = build(with_held_out(micro_recipe(tables[0], "mcd"), tables[1]))
    before = [module.training for module in built.method.modules()]
    built.held_out.measure(0.5)
    assert [module.training for module in built.method.modules()] == before
    assert len(set(before)) == 2  # the teacher stays in eval mode


def test_it_is_announced_shown_and_logged_with_any_log_every(tables, tmp_path):
    options = [*micro_settings(), "--set", "train.log_every=100", "--set", f"evaluation.held_out={tables[1]}"]
    options += ["--set", "evaluation.held_out_every=2", "--set", "method.name=clip"]
    done = askew_here("train", "tiny", "--data", tables[0], "--out", tmp_path / "run", *options)
    assert done.returncode == 0, done.stderr
    printed = " ".join(done.stderr.split())
    assert "held-out table pairs.csv: 20 images, 20 captions: the loss on 2 batches of 8, every 2 steps" in printed
    assert "held-out step 2: loss " in printed
    assert [line["step"] for line in metrics_of(tmp_path / "run")] == [1, 2, 3]
    resumed = askew_here("train", "--resume", "--out", tmp_path / "run", "--set", "evaluation.held_out_every=1")
    assert "is finished" in resumed.stderr  # and not: the recipe differs


def test_unusable_held_out_samples_are_named_once_and_cost_no_budget(tables, tmp_path):
    table = write_pairs(tmp_path, 20, seed=2)
    for index in range(12):
        (tmp_path / f"{index:04d}.png").write_bytes(b"")
    said = []
    trainer = trainer_of(with_held_out(micro_recipe(tables[0], "clip"), table, "evaluation.held_out_batches=1"),
                         say=said.append)  # fmt: skip
    trainer.run(until=4)
    assert len([text for text in said if "unusable samples" in text]) == 1
    assert trainer.bad_samples.total == 0


def test_another_split_of_the_training_data_is_held_out_data(tables, tmp_path):
    recipe = with_held_out(micro_recipe(tables[0], "clip"), tables[0])
    with pytest.raises(UserError, match="names the training data"):
        build(recipe)
    with pytest.raises(UserError, match=r"evaluation.held_out: data: .*nowhere.csv does not exist"):
        build(with_held_out(micro_recipe(tables[0], "clip"), tmp_path / "nowhere.csv"))
