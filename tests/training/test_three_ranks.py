"""Three ranks give what one gives, with whole and with sharded towers; runs are continued by other ranks.

Ranks 0 and 1 first continue a run of rank 2 as two ranks, and rank 2 continues theirs. Then all three are one group.
"""

import io
import re
import time
from contextlib import redirect_stderr

import pytest
import torch
from test_two_ranks import SHARDED, apart, step_of

from askew import distributed
from askew import ranks as ranks_as_processes
from askew.methods.mcd import MCD
from askew.recipes.settings import override
from askew.training.checkpoint import checkpoints, latest
from helpers import METHOD_NAMES, METHODS, micro_method, write_pairs
from micro_runs import metrics_of, micro_recipe, trainer_of
from several_ranks import join, reports_of

IDS, UNMASKED = [7, 7, 2, 5, 5, 5, 7, 9, 1, 1, 3, 9], (4, 5, 6, 7)  # of four samples on each of three ranks
SHARDED_PARTS = "sharded, in micro-batches"
WAYS = {"whole": {}, SHARDED_PARTS: SHARDED[SHARDED_PARTS]}
TRIED = ("mcd", "slip", "albef")  # a teacher; heads with BatchNorm; two teachers and a queue
LOSSES = 20  # that are compared after a run is resumed
ALONE_AT, BOTH_AT = 4, 6  # steps at which it is
RESUMED = {  # by how many ranks, with what, from whose checkpoint
    "two ranks, then one": (1, "ddp", "both"),
    "one rank, then three, sharded": (3, "fsdp2", "alone"),
    "two ranks, sharded, then three": (3, "ddp", "both"),
}


def losses_of(folder, out, mode, start, until, found=None):
    """The losses of the steps after `start`, and the match ids of their batches over all ranks."""
    recipe = micro_recipe(folder / "pairs.csv", "mcd", epochs=20, eps=1e-4, keep_checkpoints=9, device="cpu")
    sets = [f"train.parallel={mode}", "loader.batch_size=12", f"loader.micro_batch_size={3 if mode == 'fsdp2' else 0}"]
    recipe = override(recipe, sets).model_copy(update={"method": MCD.Config(momentum=0.6, mlm_weight=0)})
    (folder / out).mkdir(exist_ok=True)
    trainer = trainer_of(recipe, folder / out)
    if found is not None:
        trainer.load(latest(folder / found / "checkpoints", pytest.fail))
    assert trainer.done == start
    seen, original = [], trainer.backward

    def recorded(batch, progress):
        taken = original(batch, progress)
        seen.append(sorted(taken[2]["match_id"].tolist()))
        return taken

    trainer.backward = recorded
    trainer.run(until)
    trainer.save()
    distributed.barrier()
    return [[line["loss"] for line in metrics_of(folder / out)], seen]


def wait_for(folder):
    while not checkpoints(folder / "checkpoints"):
        time.sleep(0.05)


def said_of_a_wait(rank):
    """What this rank says of a wait for rank 1, and of none."""
    distributed.at_step(120)
    with redirect_stderr(io.StringIO()) as said:
        distributed.highest(0)
        time.sleep(2.5 if rank == 1 else 0)
        distributed.highest(0)
    return said.getvalue()


def on_rank(rank, ports, folder):
    torch.set_num_threads(1)
    alone = {name: step_of(micro_method(METHODS[METHOD_NAMES.index(name)]), IDS, UNMASKED) for name in TRIED}
    report = {"cases": {}}
    if rank == 2:
        losses_of(folder, "alone", "ddp", 0, ALONE_AT)
        report["straight"] = losses_of(folder, "straight", "ddp", ALONE_AT, BOTH_AT + LOSSES, "alone")
        wait_for(folder / "both")
        report["two ranks, then one"] = losses_of(folder, "one", "ddp", BOTH_AT, BOTH_AT + LOSSES, "both")
    else:
        wait_for(folder / "alone")
        join(rank, 2, ports[0])
        losses_of(folder, "both", "fsdp2", ALONE_AT, BOTH_AT, "alone")
        distributed.stop()
    ranks_as_processes.LOOK, ranks_as_processes.FIRST_LINE = 0.1, 0.5
    join(rank, 3, ports[1])
    report["said"] = said_of_a_wait(rank)
    for name, (size, mode, found) in RESUMED.items():
        if size == 3:
            start = ALONE_AT if found == "alone" else BOTH_AT
            report[name] = losses_of(folder, f"three-{mode}", mode, start, start + LOSSES, found)
    for name, (values, gradients, num, moved) in alone.items():
        for way, settings in WAYS.items():
            method = micro_method(METHODS[METHOD_NAMES.index(name)])
            found_values, found, found_num, found_moved = step_of(method, IDS, UNMASKED, **settings)
            report["cases"][f"{name}, {way}"] = {
                "values": [found_values, values],
                "num_compared": [found_num, num],
                "gradients": apart(found, gradients),
                "moved": max(((found_moved[key] - moved[key]).abs().max().item() for key in moved), default=0.0),
            }
    distributed.stop()
    return report


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("three")
    write_pairs(folder, num=40)
    return reports_of("test_three_ranks", 3, folder, num_ports=2)


def test_the_first_rank_that_waits_says_for_whom(ranks):
    said = [report["said"] for report in ranks]
    assert re.fullmatch(r"rank 0 waits for rank 1 \(agreement, step 120\), 0:00:0\d so far\n", said[0])
    assert said[1:] == ["", ""]  # not again within minutes


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", TRIED)
def test_three_ranks_give_the_step_of_one_process(ranks, name, way):
    for report in ranks:
        found = report["cases"][f"{name}, {way}"]
        together, alone = found["values"]
        assert together == pytest.approx(alone, rel=1e-5, abs=1e-7)
        assert found["num_compared"] == [12, 12]
        assert found["gradients"]["whole"] < 1e-5
        assert max(found["gradients"]["each"].values()) < (1e-4 if name == "slip" else 1e-5)
        assert found["moved"] < 1e-5


@pytest.mark.parametrize("name", RESUMED)
def test_a_run_goes_on_with_other_ranks(ranks, name):
    """The same batches over all ranks, and the losses of a run that goes straight on in one process."""
    start = ALONE_AT if RESUMED[name][2] == "alone" else BOTH_AT
    losses, seen = ranks[2][name] if RESUMED[name][0] == 1 else ranks[0][name]
    expected, batches = ranks[2]["straight"]
    where = slice(start - ALONE_AT, start - ALONE_AT + LOSSES)
    assert len(losses) == len(seen) == LOSSES
    assert seen == batches[where]
    assert losses == pytest.approx(expected[where], rel=1e-4)
