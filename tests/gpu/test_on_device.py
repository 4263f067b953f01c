"""What a GPU must do as the CPU does it. `make test-gpu` runs this on CUDA; the usual suite runs it on the CPU.

ASKEW_TEST_DEVICE=cuda python -m pytest tests/gpu
"""

import os
import shutil

import pytest
import torch

from askew.training.contract.micro import micro_batch, micro_method, rows, run_step
from askew.training.transfer import Transfer
from helpers import METHOD_NAMES, METHODS
from micro_runs import METHODS as BY_NAME
from micro_runs import metrics_of, micro_recipe, table_of_25, train

DEVICE = torch.device(os.environ.get("ASKEW_TEST_DEVICE", "cpu"))
IS_GPU = DEVICE.type == "cuda"
CPU = torch.device("cpu")
EACH_METHOD = pytest.mark.parametrize("config", METHODS, ids=METHOD_NAMES)
MATCH_IDS = [7, 7, 2, 5, 5, 5]


def test_the_device_is_there():
    assert not IS_GPU or torch.cuda.is_available(), "ASKEW_TEST_DEVICE=cuda, and PyTorch sees no CUDA device"


@pytest.fixture(scope="module", autouse=True)
def exact():
    """Float32 products without TF32, so that devices can be compared."""
    parts = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [part.allow_tf32 for part in parts]
    for part in parts:
        part.allow_tf32 = False
    yield
    for part, allowed in zip(parts, before, strict=True):
        part.allow_tf32 = allowed


def step_on(device, config, **how):
    """Loss, terms and gradients of one step, on the CPU again."""
    method, batch = micro_method(config).to(device), micro_batch(MATCH_IDS)
    moved = Transfer(device, method.towers.text)(batch)
    loss, terms, gradients = run_step(method, moved, **how)
    assert {value.device.type for value in (loss, *terms.values(), *gradients.values())} == {device.type}
    return (
        {"loss": loss.cpu(), **{name: value.detach().cpu() for name, value in terms.items()}},
        {name: value.cpu() for name, value in gradients.items()},
    )


def assert_alike(one, other, rtol, atol):
    for found, expected in zip(one, other, strict=True):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(
                found[name], value, rtol=rtol, atol=atol, msg=lambda text, n=name: f"{n}: {text}"
            )


@EACH_METHOD
def test_a_step_is_that_of_the_cpu(config):
    assert_alike(step_on(DEVICE, config), step_on(CPU, config), rtol=1e-3, atol=1e-5)


@EACH_METHOD
def test_micro_batches_and_chunks_are_the_whole(config):
    parts = step_on(DEVICE, config, micro_batch_size=4, loss_chunk_size=2)
    assert_alike(parts, step_on(DEVICE, config), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["clip", "mcd", "uniclip"])
def test_bfloat16_is_close(name):
    (found, gradients), (expected, others) = (step_on(DEVICE, BY_NAME[name], precision=p) for p in ("bf16", "fp32"))
    assert found["loss"].item() == pytest.approx(expected["loss"].item(), rel=0.05)
    cosines = [torch.cosine_similarity(gradients[n].flatten(), others[n].flatten(), 0) for n in others]
    sizes = torch.tensor([others[n].norm() for n in others])
    assert (torch.stack(cosines) * sizes).sum() / sizes.sum() > 0.9


def test_part_of_a_batch_is_encoded_as_in_the_whole():
    method, batch = micro_method(BY_NAME["clip"]).to(DEVICE), micro_batch(MATCH_IDS)
    whole = Transfer(DEVICE, method.towers.text)(batch)
    part = Transfer(DEVICE, method.towers.text)(rows(batch, slice(2, 5)))
    with torch.no_grad():
        found, expected = method.embed(part), method.embed(whole)
    for key in ("image", "text"):
        torch.testing.assert_close(found[key], expected[key][2:5], rtol=1e-4, atol=1e-5)


def test_runs_learn_and_repeat(tmp_path):
    recipe = micro_recipe(table_of_25(tmp_path), "mcd", device=DEVICE.type, precision="bf16", count_flops=True)
    whole = metrics_of(train(recipe, tmp_path / "whole"))
    train(micro_recipe(tmp_path / "pairs.csv", "mcd", device=DEVICE.type, precision="bf16"), tmp_path / "again")
    again = metrics_of(tmp_path / "again")
    assert [line["loss"] for line in again] == pytest.approx([line["loss"] for line in whole], rel=0.02)
    assert whole[-1]["contrast"] < whole[0]["contrast"]
    assert all(line["tflops"] > 0 for line in whole)


if IS_GPU:

    def test_compiled_towers_train_alike_on_the_gpu(tmp_path):
        if shutil.which(os.environ.get("CXX", "g++")) is None:
            pytest.skip("torch.compile needs a C++ compiler, and there is none")
        table = table_of_25(tmp_path)
        eager, quick = (
            metrics_of(train(micro_recipe(table, "mcd", max_steps=3, device="cuda", compile=on), tmp_path / str(on)))
            for on in (False, True)
        )
        assert [line["loss"] for line in quick] == pytest.approx([line["loss"] for line in eager], rel=1e-3)
