"""FastCLIP: its temperature, its state from visit to visit, and what a run does with both."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from askew.errors import UserError
from askew.methods import fastclip
from askew.methods.clip import CLIP
from askew.methods.fastclip import FastCLIP
from askew.nn.towers import unit
from askew.recipes.settings import override
from askew.training import checkpoint
from askew.training.build import build_method
from helpers import micro_method, write_pairs
from micro_runs import STEPS, metrics_of, micro_recipe, state_of, train, trainer_of
from reference import equations

MATCH_IDS = np.array([7, 7, 2, 5, 5, 5])
SCALE, RHO = 5.0, 6.5


def method_of(rows=6, **fields):
    """A method whose samples were never seen."""
    method = micro_method(FastCLIP.Config(temperature=1 / SCALE, rho=RHO, **fields))
    method.allocate(rows)
    return method


def leaves(seed=0, num=6):
    rng = np.random.default_rng(seed)
    return {name: torch.tensor(rng.normal(size=(num, 4)), dtype=torch.float32).requires_grad_()
            for name in ("image", "text")}  # fmt: skip


def local_of(method, made, match_ids, rows=None):
    rows = torch.arange(len(match_ids)) if rows is None else torch.tensor(rows)
    embedded = {"match_id": torch.tensor(match_ids), **{name: unit(leaf) for name, leaf in made.items()}}
    return {**embedded, **method.targets({"row": rows})}


def detached(local):
    return {name: value.detach() for name, value in local.items()}


def cosines_of(local):
    return (local["image"] @ local["text"].T).detach().double().numpy()


def objective_by_loops(cosine, match, scale, u, gamma, eps):
    """Values of both directions, without and with eps, and u after them (rows, 2)."""
    values, plain, after = [], [], []
    for side, matrix in enumerate((cosine, cosine.T)):
        logits = scale * matrix
        after.append(equations.running_mean(logits, logits.diagonal(), match, u[:, side], gamma))
        values.append(equations.global_contrast(logits, logits.diagonal(), match, after[-1], eps)[0])
        plain.append(equations.global_contrast(logits, logits.diagonal(), match, after[-1], 0.0)[0])
    return np.mean(values), np.mean(plain), np.stack(after, axis=1)


@pytest.mark.parametrize("eps", [1e-14, 0.3])
def test_the_exact_temperature_gradient_is_that_of_rgcl_g(eps):
    """At gamma = 1, u is a function of the batch, and the loss is half of RGCL-g: by differences in float64."""
    method = method_of(temperature_gradient="exact", eps=eps)
    local = local_of(method, leaves(), np.arange(6))
    cosine, match = cosines_of(local), np.eye(6, dtype=bool)

    def half_of_rgcl_g(log_scale):
        scale = math.exp(log_scale[0])
        return (objective_by_loops(cosine, match, scale, np.zeros((6, 2)), 1.0, eps)[0] + RHO) / scale

    loss, terms = method.objective(local, local, 0.0)
    loss.backward()
    at = np.array([math.log(SCALE)])
    assert loss.item() == pytest.approx(half_of_rgcl_g(at), rel=1e-5)
    expected = equations.numeric_gradient(half_of_rgcl_g, at)
    assert method.logit_scale.grad.item() == pytest.approx(expected[0], rel=1e-4)
    assert terms["global"].item() == pytest.approx(loss.item() * SCALE - RHO, rel=1e-4)


def test_the_released_gradient_of_the_temperature_counts_the_similarities_twice_and_leaves_out_eps():
    eps, found = 0.3, {}
    for kind in ("exact", "released"):
        method = method_of(temperature_gradient=kind, eps=eps)
        made = leaves()
        local = local_of(method, made, np.arange(6))
        method.objective(local, local, 0.0)[0].backward()
        found[kind] = method.logit_scale.grad.item(), made["image"].grad
    cosine, match, nothing = cosines_of(local), np.eye(6, dtype=bool), np.zeros((6, 2))
    value, plain, _ = objective_by_loops(cosine, match, SCALE, nothing, 1.0, eps)
    similarities = equations.numeric_gradient(
        lambda x: objective_by_loops(cosine, match, math.exp(x[0]), nothing, 1.0, eps)[0], np.array([math.log(SCALE)])
    )
    assert found["released"][0] - found["exact"][0] == pytest.approx(
        (similarities[0] + value - plain) / SCALE, rel=1e-4
    )
    assert torch.equal(found["released"][1], found["exact"][1])


def test_gamma_1_and_eps_1_over_m_is_clip():
    """The gradient of every feature, times the temperature's factor; and InfoNCE's value is logged."""
    method, clip = method_of(eps=1 / 5), micro_method(CLIP.Config(temperature=1 / SCALE))
    one, other = leaves(), leaves()
    local = local_of(method, one, np.arange(6))
    _, terms = (found := method.objective(local, local, 0.0))
    found[0].backward()
    same = local_of(method, other, np.arange(6))
    expected, _ = clip.objective(same, same, 0.0)
    expected.backward()
    for name in one:
        torch.testing.assert_close(SCALE * one[name].grad, other[name].grad, rtol=0, atol=1e-6)
    assert terms["contrast"].item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("chunk", [1024, 4])
def test_visits_equal_the_loops_with_repeated_match_ids(monkeypatch, chunk):
    """Three visits with gamma 1, 0.6 and 0.2. The scale moves between the loss and u, which must not notice."""
    monkeypatch.setattr(fastclip, "CHUNK", chunk)
    method, u = method_of(gamma_decay=1.0, eps=0.1), np.zeros((6, 2))
    match = MATCH_IDS[:, None] == MATCH_IDS[None, :]
    for visit, gamma in enumerate((1.0, 0.6, 0.2)):
        with torch.no_grad():
            method.logit_scale.fill_(math.log(SCALE + visit))
        order = np.random.default_rng(visit).permutation(6)  # of the samples in the batch
        local = local_of(method, leaves(visit), MATCH_IDS[order], order)
        loss, terms = method.objective(local, local, visit / 2)
        value, _, u[order] = objective_by_loops(
            cosines_of(local), match[np.ix_(order, order)], SCALE + visit, u[order], gamma, 0.1
        )
        assert terms["gamma"].item() == pytest.approx(gamma)
        assert terms["global"].item() == pytest.approx(value, rel=1e-5, abs=1e-6)
        assert loss.item() == pytest.approx((value + RHO) / (SCALE + visit), rel=1e-5)
        with torch.no_grad():
            method.logit_scale.add_(0.5)
        method.after_step(detached(local), (visit + 1) / 2)
        np.testing.assert_allclose(method.log_u.values.exp(), u, rtol=1e-5)


def test_of_a_sample_that_is_twice_in_a_batch_the_last_is_kept():
    method = method_of()
    local = local_of(method, leaves(), np.array([3, 1, 3, 2, 3, 0]), [3, 1, 3, 2, 3, 0])
    method.after_step(detached(local), 0.1)
    alone = method_of()
    last = detached(local)
    last["row"] = torch.tensor([5, 1, 5, 2, 3, 0])
    alone.after_step(last, 0.1)
    assert torch.equal(method.log_u.values[:5], alone.log_u.values[:5])
    assert not torch.equal(alone.log_u.values[5], alone.log_u.values[3])


def test_samples_of_one_match_id_are_not_negatives():
    """Nothing about them reaches u, however alike they are."""
    method, kept = method_of(), []
    for other in (leaves(), {name: -leaf for name, leaf in leaves().items()}):
        made = leaves()
        for name, leaf in made.items():
            leaf.data[1] = other[name][1]  # of the match id of sample 0
        method.allocate(6)
        method.after_step(detached(local_of(method, made, MATCH_IDS)), 0.1)
        kept.append(method.log_u.values.clone())
    assert torch.equal(kept[0][0], kept[1][0])
    assert not torch.equal(kept[0][2], kept[1][2])


def test_in_eval_mode_samples_are_of_other_data_and_unseen():
    method = method_of(gamma_min=0.2)
    local = local_of(method, leaves(), np.arange(6))
    unseen = method.objective(local, local, 0.9)[0]
    method.log_u.values.fill_(2.0)
    seen = method.objective(local, local, 0.9)[0]
    assert seen.item() != pytest.approx(unseen.item(), rel=1e-3)
    assert method.eval().objective(local, local, 0.9)[0].item() == unseen.item()


@pytest.mark.parametrize("kind", ["step", "epoch"])
def test_gamma_falls_over_a_share_of_the_run(kind):
    """Four epochs of two steps with five samples each; the fall takes three of them."""
    method, total = method_of(rows=11, gamma=kind, gamma_min=0.4, gamma_decay=0.75), 8
    local = local_of(method, leaves(num=5), np.arange(5))
    for step in range(total):
        epoch = step // 2 if kind == "epoch" else step / 2
        expected = 0.4 + 0.3 * (1 + math.cos(math.pi * min(1, epoch / 3)))
        assert method.objective(local, local, step / total)[1]["gamma"].item() == pytest.approx(expected)
        before = method.log_u.values.clone()
        method.after_step(detached(local), (step + 1) / total)
        present = method_of(rows=11)
        present.after_step(detached(local), 0.1)
        mean = before.exp() * (1 - expected) + present.log_u.values.exp() * expected
        torch.testing.assert_close(method.log_u.values[:5].exp(), mean[:5], rtol=1e-5, atol=0)


def test_eps_0_is_one_over_the_other_samples():
    one, other = method_of(rows=21, eps=0), method_of(rows=21, eps=1 / 20)
    local = local_of(one, leaves(), np.arange(6))
    assert torch.equal(one.objective(local, local, 0.3)[0], other.objective(local, local, 0.3)[0])


def test_the_temperature_starts_as_in_the_code_and_may_have_its_own_learning_rate():
    assert micro_method(FastCLIP.Config()).logit_scale.item() == pytest.approx(math.log(1 / 0.07))
    assert micro_method(FastCLIP.Config()).learning_rates() == {}
    method = micro_method(FastCLIP.Config(temperature_rate=3e-4))
    assert method.learning_rates() == {"temperature.log_scale": 3e-4}
    with torch.no_grad():
        method.logit_scale.fill_(math.log(1 / 0.0299))
    assert method.learning_rates() == {"temperature.log_scale": pytest.approx(1e-4)}


@pytest.mark.parametrize("fields", [{"gamma_min": 0.0}, {"gamma_decay": 0.0}, {"eps": -0.1}])
def test_config_rejects(fields):
    with pytest.raises(ValidationError):
        FastCLIP.Config(**fields)


# A run


def test_a_run_moves_its_temperature_at_its_own_rate(table):
    trainer = trainer_of(micro_recipe(table, "fastclip"))
    rates, start = [], trainer.method.logit_scale.item()
    for step in range(2):
        batch = trainer.loader.batch(step)
        batch.pop("bad_samples")
        trainer._one_step(batch)
        trainer.done += 1
        rates.append([group["lr"] for group in trainer.optimizer.param_groups])
    assert [rate[-1] for rate in rates] == [1e-3, 1e-3]
    assert rates[0][0] == rates[0][1] < rates[1][0] == rates[1][1]  # the warm-up
    assert trainer.optimizer.param_groups[-1]["weight_decay"] == 0.0
    assert abs(trainer.method.logit_scale.item() - start) == pytest.approx(2e-3, rel=0.3)  # Adam's first steps


def test_a_run_remembers_every_sample_it_has_seen(table, tmp_path):
    recipe = override(micro_recipe(table, "fastclip"), ["train.max_steps=3"])  # 24 of 25 samples
    folder = train(recipe, tmp_path / "run")
    log_u = state_of(folder)["method/log_u.values"]
    assert log_u.shape == (25, 2)
    assert log_u.isfinite().all(dim=1).sum() == 24
    assert [line["gamma"] for line in metrics_of(folder)] == [1.0] * 3  # one epoch
    found = checkpoint.latest(folder / "checkpoints", pytest.fail)
    method = build_method(recipe, pretrained=False)  # without data, as it is exported
    found.load_method(method)
    assert torch.equal(method.log_u.values, log_u)


def test_other_data_are_refused_before_their_rows_are(table, tmp_path):
    (tmp_path / "run").mkdir()
    trainer = trainer_of(micro_recipe(table, "fastclip"), tmp_path / "run")
    trainer.run(until=1)
    trainer.save()
    other = trainer_of(micro_recipe(write_pairs(tmp_path / "more", 26), "fastclip"), tmp_path / "run")
    assert other.total == trainer.total == STEPS
    with pytest.raises(UserError, match="the data are not those that the run began with"):
        other.load(checkpoint.latest(tmp_path / "run" / "checkpoints", pytest.fail))


def test_every_caption_has_its_own_row(tmp_path):
    """`data.captions=each`: five captions of each of six images."""
    table = write_pairs(tmp_path, 6)
    header, *lines = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join([header, *(f"{line} {n}" for line in lines for n in range(5))]), encoding="utf-8")
    recipe = override(micro_recipe(table, "fastclip"), ["data.captions=each", "train.max_steps=3"])
    trainer = trainer_of(recipe)
    trainer.run()
    assert len(trainer.method.log_u.values) == len(trainer.loader.source) == 30
    assert trainer.method.log_u.values.isfinite().all(dim=1).sum() == 24
