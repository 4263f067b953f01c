"""Two ranks that share a device give what one process gives there, by gloo. `make test-gpu` runs this on CUDA."""

import os

import pytest
import torch

from askew import distributed
from askew.methods.clip import CLIP
from askew.methods.mcd import MCD
from askew.nn.shards import whole
from askew.nn.towers import END_TOKEN
from askew.objectives.masked_language import NOT_MASKED
from askew.training.contract.micro import micro_batch, micro_method, rows
from askew.training.parallel import backward_of
from askew.training.step import Step
from askew.training.transfer import Transfer, shortened
from several_ranks import join, reports_of

DEVICE = torch.device(os.environ.get("ASKEW_TEST_DEVICE", "cpu"))
MATCH_IDS = [7, 7, 2, 5, 5, 5, 7, 9]
NAMES = {
    "clip": CLIP.Config(),
    "mcd": MCD.Config(),
    "words, as released": MCD.Config(words_weight=1, words_targets="released"),
}
WAYS = {
    "ddp": {},
    "ddp, in micro-batches": {"micro_batch_size": 3},
    "fsdp2": {"mode": "fsdp2"},
    "fsdp2, in micro-batches": {"mode": "fsdp2", "micro_batch_size": 3, "recompute": True},
}


def gradients_of(name, **how):
    """The gradients of this process's part of a batch, averaged over ranks, on the CPU.

    The two parts are cut to texts of different lengths, as for a GPU.
    """
    method, size = micro_method(NAMES[name]).to(DEVICE), len(MATCH_IDS) // distributed.world_size()
    batch = micro_batch(MATCH_IDS)
    start = batch["text"][0, 0].item()
    batch["text"][0, :13] = torch.tensor([start, *range(320, 331), END_TOKEN])
    for row in range(4, 8):
        for key in ("text", "masked_text"):
            batch[key][row] = torch.tensor([start, 400 + row, END_TOKEN] + [0] * (batch[key].shape[1] - 3))
    batch["mlm_labels"][4:] = NOT_MASKED
    local = rows(batch, slice(distributed.rank() * size, (distributed.rank() + 1) * size))
    local = shortened(local, method.towers.text)
    assert local["text"].shape[1] == (8 if distributed.rank() == 1 else 16)
    backward_of(Step(method, "fp32", 3), DEVICE, **how)(Transfer(DEVICE, method.towers.text)(local), 0.4)
    return {name: whole(p.grad).cpu() for name, p in method.named_parameters() if p.grad is not None}


def on_rank(rank, ports, folder):
    """How far the gradients of both ranks are from those of this process alone, relative to their size."""
    torch.set_num_threads(1)
    for part in (torch.backends.cuda.matmul, torch.backends.cudnn):
        part.allow_tf32 = False
    alone = {name: gradients_of(name) for name in NAMES}
    join(rank, 2, ports[0], DEVICE.type)
    apart = {}
    for name in NAMES:
        size = sum(value.square().sum() for value in alone[name].values()).sqrt()
        for way, how in WAYS.items():
            found = gradients_of(name, **how)
            assert found.keys() == alone[name].keys()
            gap = sum((found[key] - alone[name][key]).square().sum() for key in found).sqrt()
            apart[f"{name}, {way}"] = (gap / size).item()
    distributed.stop()
    return apart


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What both ranks wrote down."""
    return reports_of("test_ranks_on_device", 2, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", WAYS)
def test_two_ranks_give_the_gradients_of_one(ranks, name, way):
    for report in ranks:
        assert report[f"{name}, {way}"] < (1e-5 if DEVICE.type == "cpu" else 1e-3)
