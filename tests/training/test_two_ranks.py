"""Two processes give what one gives: the same batch whole, then halved over two gloo ranks, by the parts of a real run.

Each rank first does everything alone, then joins the other and does it again; it writes down how far the two are apart.
"""

import io
import shutil
from contextlib import redirect_stderr

import pytest
import torch

from askew import distributed
from askew.config import DataSettings, LoaderSettings, Recipe, TrainSettings, ViewSettings
from askew.methods.albef import ALBEF
from askew.methods.clip import CLIP
from askew.methods.fastclip import FastCLIP
from askew.methods.mcd import MCD
from askew.nn.shards import whole
from askew.recipes.settings import from_yaml, override
from askew.report.console import Console
from askew.runs import tracking
from askew.runs.resume import resume
from askew.runs.train import start
from askew.training import parallel
from askew.training.step import Step
from askew.training.towers import resolve
from helpers import METHOD_NAMES, METHODS, micro_batch, micro_method, micro_towers, rows, write_pairs
from micro_runs import assert_same_state, metrics_of, micro_recipe, state_of, trainer_of
from several_ranks import join, reports_of
from text_folders import text_folder, with_text_folder

CASES = {  # the match ids of four and four samples, the samples without a masked token, and ids of captions, if any
    "distinct": ([0, 1, 2, 3, 4, 5, 6, 7], ()),
    "match ids across ranks, all masks on one": ([7, 7, 2, 5, 5, 5, 7, 9], (4, 5, 6, 7)),
    "one rank of one match id": ([3, 3, 3, 3, 0, 1, 2, 3], (1, 2, 3, 6)),
    "equal captions across ranks": ([0, 1, 2, 3, 3, 5, 6, 7], (), [9, 1, 2, 4, 5, 1, 5, 8]),
}
# Of the four samples of a rank: as a whole; or in micro-batches of three and one, compared two at a time
WAYS = {"whole": {}, "in micro-batches": {"micro": 3, "chunk": 2}, "blocks twice": {"recompute": True}}
PATCH_SIZES = {"mcd-half": 8, "aclip": 8}  # enough patches to leave some out
# With sharded towers, whose blocks are also computed twice; two teachers, chosen patches, and a projection used twice
SHARDED = {"sharded": {"mode": "fsdp2"}, "sharded, in micro-batches": {"mode": "fsdp2", **WAYS["in micro-batches"]}}
SHARDED["sharded, in micro-batches"]["recompute"] = True
UNEVEN = "match ids across ranks, all masks on one"
WHOLE_SHARDED = ("mcd-half", "declip", "albef")  # methods
# Whole runs: a teacher, and a queue that is filled over and over
RUNS = {  # method, optimiser, and how far apart the weights may be: as a whole, and of any one tensor
    "mcd": (MCD.Config(momentum=0.6), "adamw", 1e-5, 1e-4),
    "mcd in micro-batches": (MCD.Config(momentum=0.6), "adamw", 1e-5, 1e-4),  # on two ranks; alone as a whole
    "mcd sharded": (MCD.Config(momentum=0.6), "adamw", 1e-5, 1e-4),  # likewise
    "bert": (MCD.Config(momentum=0.6), "adamw", 1e-5, 1e-4),  # a text tower of Hugging Face
    "bert sharded": (MCD.Config(momentum=0.6), "adamw", 1e-5, 1e-4),
    "albef": (ALBEF.Config(momentum=0.6, queue_size=12), "adamw", 1e-5, 1e-4),
    "words": (CLIP.Config(words_weight=1.0), "adamw", 1e-5, 1e-4),
    "fastclip": (FastCLIP.Config(), "adamw", 1e-5, 1e-4),  # numbers of each sample, which the other rank may have seen
    "all data": (MCD.Config(momentum=0.6, normaliser="global"), "adamw", 1e-5, 1e-4),
    # Rounding may turn the sign of a gradient near 0, such as those of the keys' biases, which are 0 in exact numbers
    "cautious": (CLIP.Config(), "cautious_adamw", 3e-4, 0.1),
    "muon": (CLIP.Config(), "muon", 3e-3, 3e-2),  # its matrix products are in bfloat16
}
WHOLE_NUMBERS = {"fastclip": ["steps"], "all data": ["normaliser.steps"]}
WHOLE_NUMBERS |= {"albef": ["queue.ids", "queue.position"], "words": ["words.counts", "words.seen"]}
TRIED = [(name, case, "whole") for name in METHOD_NAMES for case in CASES]
TRIED += [(name, case, "in micro-batches") for name in METHOD_NAMES for case in (UNEVEN, "equal captions across ranks")]
TRIED += [(name, UNEVEN, "sharded, in micro-batches") for name in METHOD_NAMES]
TRIED += [(name, UNEVEN, way) for name in WHOLE_SHARDED for way in ("sharded", "blocks twice")]
PROGRESS = 0.4
CPU = torch.device("cpu")


def step_of(method, match_ids, unmasked, captions=None, chunk=0, micro=0, mode="ddp", recompute=False):
    """Loss, terms and gradients of this process's part of the batch, and the number of samples it was compared with.

    Also what the step moves: queues, state of each sample, and teachers.
    """
    batch = micro_batch(match_ids, unmasked=unmasked)
    if captions is not None:
        batch["caption_id"] = torch.tensor(captions)
    size = len(match_ids) // distributed.world_size()
    local = rows(batch, slice(distributed.rank() * size, (distributed.rank() + 1) * size))
    step = Step(method, "fp32", chunk)
    backward = parallel.backward_of(step, CPU, micro_batch_size=micro, mode=mode, recompute=recompute)
    loss, terms, gathered = backward(local, PROGRESS)
    values = distributed.mean({"loss": loss, **terms})
    gradients = {name: whole(p.grad) for name, p in method.named_parameters() if p.grad is not None}
    method.after_step(gathered, PROGRESS)
    trained = {name for name, p in method.named_parameters() if p.requires_grad}
    moved = {name: whole(value).float() for name, value in method.state_dict().items() if name not in trained}
    return {name: value.item() for name, value in values.items()}, gradients, len(gathered["match_id"]), moved


def run_of(name, table, micro=0, mode="ddp"):
    """A whole run of three steps: real numbers of the state before and after, whole ones after, the logged losses."""
    method, optimizer, *_ = RUNS[name]
    recipe = Recipe(
        name="micro",
        method=method,
        towers=resolve(with_text_folder(table.parent / "encoder")) if "bert" in name else micro_towers(),
        data=DataSettings(source=str(table)),
        views=ViewSettings(mask_probability=0.3),
        loader=LoaderSettings(batch_size=8, num_workers=0, micro_batch_size=micro),
        # With the usual 1e-8 Adam turns rounding errors in vanishing gradients into whole steps.
        train=TrainSettings(
            epochs=2,
            max_steps=3,
            optimizer=optimizer,
            learning_rate=1e-2,
            warmup_epochs=0,
            eps=1e-4,
            grad_clip_norm=1.0,
            parallel=mode,
            loss_chunk_size=3,  # of four samples a rank: the last block is shorter
            precision="fp32",
            device="cpu",
            log_every=1,
        ),
    )
    lines = []
    trainer = trainer_of(recipe, progress=lines.append)
    state = trainer.method.state_dict()
    # The logarithm of a running mean that nothing has gone into is -inf, from which no distance can be taken
    before = {k: whole(value).clone().nan_to_num(neginf=0) for k, value in state.items() if value.is_floating_point()}
    trainer.run()
    after = {name: whole(value) for name, value in trainer.method.state_dict().items()}
    numbers = {name: value.tolist() for name, value in after.items() if name not in before}
    return before, {name: after[name] for name in before}, numbers, [line["loss"] for line in lines]


def apart(found, expected):
    """Relative distance over all tensors, and of each that is not negligible."""
    assert found.keys() == expected.keys()
    norms = {name: value.norm().item() for name, value in expected.items()}
    whole = sum(norm**2 for norm in norms.values()) ** 0.5
    gaps = {name: (found[name] - value).norm().item() for name, value in expected.items()}
    each = {name: gaps[name] / norm for name, norm in norms.items() if norm > 1e-4 * whole}
    return {"whole": sum(gap**2 for gap in gaps.values()) ** 0.5 / whole, "each": each, "of": len(gaps)}


class RankKeeper:
    """A tracker that writes down which rank hands it which step."""

    how_to_look = "tracked.txt"

    def __init__(self, record):
        self.file = record.directory.path.parent / "tracked.txt"

    def log(self, step, numbers):
        with self.file.open("a") as file:
            file.write(f"rank {distributed.rank()} step {step}\n")

    def finish(self, step, summary, failed):
        self.log(step, summary)


def session_of(folder, rank):
    """A run from its start to its model, then resumed as if it had been killed while it saved: what it printed."""
    run, unstopped = folder / "run", folder / "whole"
    recipe = micro_recipe(folder / "pairs.csv", "mcd", max_steps=4, checkpoint_steps=2, device="cpu")
    held_out = {"held_out": str(folder / "other" / "pairs.csv"), "held_out_every": 2}
    recipe = recipe.model_copy(update={"evaluation": recipe.evaluation.model_copy(update=held_out)})
    recipe = override(recipe, ["train.track=tensorboard", "train.parallel=fsdp2"])
    tracking.TRACKERS["tensorboard"], tracking.find_spec = RankKeeper, lambda name: object()  # in this process alone
    console = Console(quiet=not distributed.is_main())
    with redirect_stderr(io.StringIO()) as printed:
        start(recipe, run, console)
        if rank == 0:
            shutil.copytree(run, unstopped)
            shutil.rmtree(run / "model")
            (run / "checkpoints" / "step-000000004" / "manifest.json").write_text("cut")
        distributed.barrier()
        resume(None, run, console)
    return printed.getvalue()


def on_rank(rank, ports, folder):
    """What a rank does, alone and with the other one."""
    torch.set_num_threads(1)
    cases = [(name, config, case) for name, config in zip(METHOD_NAMES, METHODS, strict=True) for case in CASES]
    alone = [step_of(micro_method(config, PATCH_SIZES.get(name, 16)), *CASES[case]) for name, config, case in cases]
    runs_alone = {name: run_of(name, folder / "pairs.csv") for name in RUNS}
    report = {"sizes": [distributed.world_size()], "cases": {}, "runs": {}}

    join(rank, 2, ports[0])
    report["sizes"].append(distributed.world_size())
    report["rank"] = distributed.rank()
    steps = {(name, case): (config, step) for (name, config, case), step in zip(cases, alone, strict=True)}
    for name, case, way in TRIED:
        config, (values, gradients, num, moved) = steps[name, case]
        found_values, found, found_num, found_moved = step_of(
            micro_method(config, PATCH_SIZES.get(name, 16)), *CASES[case], **(WAYS | SHARDED)[way]
        )
        gaps = [(found_moved[key] - moved[key]).abs().max().item() for key in moved]
        report["cases"][f"{name}, {case}, {way}"] = {
            "values": [found_values, values],
            "num_compared": [found_num, num],
            "gradients": apart(found, gradients),
            "moved": max(gaps, default=0.0),
        }
    for name, run_alone in runs_alone.items():
        micro = 3 if "micro-batches" in name else 0
        mode = "fsdp2" if "sharded" in name else "ddp"
        before, after, numbers, losses = run_of(name, folder / "pairs.csv", micro, mode)
        assert apart(before, run_alone[0])["whole"] == 0
        moved, moved_alone = ({k: end[k] - before[k] for k in before} for end in (after, run_alone[1]))
        report["runs"][name] = {
            "losses": [losses, run_alone[3]],
            "weights": apart(after, run_alone[1]),
            "moved": apart(moved, moved_alone),
            "far": apart(run_alone[1], before)["whole"],
            "whole numbers": [numbers, run_alone[2]],
        }
    report["session"] = session_of(folder, rank)
    distributed.stop()
    report["sizes"].append(distributed.world_size())
    return report


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What both ranks wrote down."""
    folder = tmp_path_factory.mktemp("ranks")
    write_pairs(folder, num=16)
    write_pairs(folder / "other", num=20, seed=1)
    text_folder(folder / "encoder")
    return [report | {"folder": folder} for report in reports_of("test_two_ranks", 2, folder)]


def test_there_were_two_ranks(ranks):
    """Alone, together, and alone again: otherwise the other tests would compare one process with itself."""
    assert [report["sizes"] for report in ranks] == [[1, 2, 1], [1, 2, 1]]
    assert [report["rank"] for report in ranks] == [0, 1]


@pytest.mark.parametrize(("name", "case", "way"), TRIED)
def test_two_ranks_give_the_gradients_of_one_process(ranks, name, case, way):
    for report in ranks:
        found = report["cases"][f"{name}, {case}, {way}"]
        assert found["num_compared"] == [8, 8]
        assert found["gradients"]["whole"] < 1e-5
        each = found["gradients"]["each"]
        # Heads with BatchNorm take the mean of features away, and most of the gradient of the last bias with it
        assert max(each.values()) < (1e-4 if name == "aclip" else 1e-5), max(each, key=each.get)
        assert len(each) > 0.7 * found["gradients"]["of"]
        assert found["moved"] < 1e-5


@pytest.mark.parametrize(("name", "case", "way"), TRIED)
def test_the_mean_over_two_ranks_is_the_loss_of_one_process(ranks, name, case, way):
    for report in ranks:
        together, alone = report["cases"][f"{name}, {case}, {way}"]["values"]
        assert together == pytest.approx(alone, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_on_two_ranks_ends_with_the_weights_of_one_process(ranks, name):
    _, _, all_of_them, each = RUNS[name]
    for report in ranks:
        run = report["runs"][name]
        assert run["far"] > 0.01
        assert run["weights"]["whole"] < all_of_them
        assert max(run["weights"]["each"].values()) < each
        assert run["moved"]["whole"] < 10 * all_of_them
        found, alone = run["whole numbers"]
        assert found == alone
        assert sorted(found) == WHOLE_NUMBERS.get(name, [])
    together, alone = ranks[0]["runs"][name]["losses"]
    assert len(together) == 3
    assert together == pytest.approx(alone, rel=all_of_them)
    assert ranks[1]["runs"][name]["losses"][0] == []  # one rank alone speaks


def test_two_ranks_start_and_resume_as_one_run(ranks):
    lines, folder = ranks[0]["session"].splitlines(), ranks[0]["folder"]
    assert ranks[1]["session"] == ""  # rank 0 alone reports
    assert sum(line.startswith("run      ") for line in lines) == 2
    assert sum(line.startswith("step 4/4 ") for line in lines) == 2
    assert sum("is damaged" in line for line in lines) == 1
    assert any("(from step 2)" in line for line in lines)
    assert [line["step"] for line in metrics_of(folder / "run")] == [1, 2, 3, 4]
    assert sorted(p.name for p in (folder / "run" / "checkpoints").iterdir()) == ["step-000000002", "step-000000004"]
    assert_same_state(state_of(folder / "run"), state_of(folder / "whole"))
    assert (folder / "run" / "model" / "open_clip_model.safetensors").is_file()


def test_rank_0_alone_hands_lines_to_a_tracker(ranks):
    lines = (ranks[0]["folder"] / "tracked.txt").read_text().splitlines()
    assert lines == [f"rank 0 step {step}" for step in (1, 2, 3, 4, 4, 3, 4, 4)]


def test_the_held_out_loss_of_two_ranks_is_that_of_one(ranks, tmp_path):
    folder = ranks[0]["folder"]
    recipe = override(from_yaml(folder / "run" / "recipe.yaml"), ["train.track="])
    alone = start(recipe, tmp_path / "alone", Console(quiet=True)).path
    for found, expected in zip(metrics_of(folder / "run"), metrics_of(alone), strict=True):
        names = [name for name in expected if name.startswith("held_out/")]
        assert bool(names) == (found["step"] in (2, 4))
        for name in names:
            assert found[name] == pytest.approx(expected[name], rel=1e-4), name
