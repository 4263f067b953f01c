"""Two ranks keep a step that was not finite, whichever is slower, and one process takes it again."""

import math
import time

import pytest
import torch

from askew import distributed
from askew.errors import RunFailed
from askew.recipes.settings import override
from askew.training import faults
from askew.training.replay import Fault, replayed
from helpers import write_pairs
from micro_runs import micro_recipe, trainer_of
from several_ranks import join, reports_of

# What towers draw at random depends on the micro-batch
SETS = ["loader.micro_batch_size=3", "towers.vision_cfg.patch_dropout=0.5"]


def keeping(trainer, norm):
    """The step that `trainer` takes next, kept although nothing is wrong; what was said of it."""
    backward, said = trainer.backward, []

    def kept(batch, progress):
        taken = backward(batch, progress)
        given = trainer.loader.batch(trainer.done)
        given.pop("bad_samples")
        said.append(faults.kept_step(trainer, given, *taken[:2], torch.tensor(norm)))
        return taken

    trainer.backward = kept
    trainer.run(until=trainer.done + 1)
    trainer.backward = backward
    return said[0]


def on_rank(rank, ports, folder):
    """A step that both ranks keep, one that rank 1 alone keeps, and one that ends the run."""
    torch.set_num_threads(1)
    join(rank, 2, ports[0])
    save_file = faults.save_file

    def slow(*arguments):
        time.sleep(0.5 * (rank == 0))
        save_file(*arguments)

    faults.save_file = slow
    trainer = trainer_of(override(micro_recipe(folder / "pairs.csv", "mcd"), SETS), folder)
    trainer.run(until=1)
    both = keeping(trainer, math.inf)
    after = sorted(str(path.relative_to(folder / "fault")) for path in (folder / "fault").glob("*/*/fault.json"))
    distributed.barrier()
    alone = faults.kept_step(trainer, {}, torch.tensor(math.inf), {}, torch.tensor(2.0)) if rank == 1 else ""
    distributed.barrier()
    if rank == 0:
        (folder / "fault").rename(folder / "kept")
    distributed.barrier()
    with torch.no_grad():
        trainer.method.towers.text.projection.weight[0, 0] = math.nan
    with pytest.raises(RunFailed) as error:
        trainer.run()
    left = sorted(str(path.relative_to(folder / "fault")) for path in (folder / "fault").glob("*/*/fault.json"))
    return {"both": both, "after": after, "alone": alone, "error": str(error.value), "left": left}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What both ranks wrote down, and where."""
    folder = tmp_path_factory.mktemp("ranks")
    write_pairs(folder, num=25)
    return reports_of("test_replay_ranks", 2, folder), folder


def test_no_rank_goes_on_before_all_have_kept_their_part(ranks):
    for report in ranks[0]:
        assert "take it again: askew replay" in report["both"]
        assert report["after"] == ["step-000000001/rank-0/fault.json", "step-000000001/rank-1/fault.json"]
        assert "take it again: askew replay" in report["error"]
        assert report["left"] == ["step-000000002/rank-0/fault.json", "step-000000002/rank-1/fault.json"]


def test_a_rank_that_fails_alone_says_that_the_rest_is_missing(ranks):
    assert "the batch of rank 1 is kept in" in ranks[0][1]["alone"]
    assert "without the state and the other ranks' batches" in ranks[0][1]["alone"]


def test_random_numbers_are_those_of_the_ranks_micro_batches(ranks):
    fault = Fault.read(ranks[1] / "kept" / "step-000000001")
    found = replayed(fault, fault.recipe, torch.device("cpu"))
    other = replayed(fault, override(fault.recipe, ["loader.micro_batch_size=0"]), torch.device("cpu"))
    for name, value in fault.recorded.items():
        if name != "gradient_norm":
            assert found.values[name] == pytest.approx(value, rel=1e-5), name
    assert other.values["contrast"] != pytest.approx(found.values["contrast"], rel=1e-4)
