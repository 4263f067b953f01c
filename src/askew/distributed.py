"""All collectives are here and in training/gathering.py. In one process, world_size() is 1 and nothing is communicated.

Tensors go through the process group, whose waits have a limit. What ranks do one after the other goes through the store
that they met at (`together`): such a wait may be long, a signal ends it, and a rank that fails ends it for all.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from askew import ranks
from askew.errors import Interrupted, OtherRankFailed, RunFailed, Stopped, UserError, is_launched, printable

T = TypeVar("T")
SHORTEST, MARGIN = 1800.0, 600.0  # seconds of a collective: at least; longer than a rank may wait for its data
GRACE = 10.0  # seconds in which torchrun ends a rank after another has ended
FOLLOWING, APART = 2.0, 5.0  # seconds that a rank leaves to the one whose failure it follows; if they have not met
BUCKET = 2**26  # numbers that are sent at once
_store: Any = None
_watch: ranks.RankWatch | None = None
_turns = 0  # calls of `together`, of which every rank makes the same


def start(device: torch.device, stall: float = 0.0, backend: str = "") -> None:
    """Join the process group that torchrun announces. Without torchrun, do nothing.

    Args:
        stall: seconds that a rank may wait for its data while the others wait for it.
        backend: of torch.distributed, in place of NCCL for a GPU and gloo for the rest. NCCL wants a GPU for each rank.

    Raises:
        UserError: the ranks cannot meet.
    """
    global _store, _turns, _watch
    if not is_launched() or dist.is_initialized():
        return
    try:
        store, rank, size = next(dist.rendezvous("env://"))
        _store, _turns = dist.PrefixStore(f"askew {ranks.num_restarts()}", store), 0  # torchrun may keep its store
        limit = timedelta(seconds=max(SHORTEST, stall + MARGIN))
        backend = backend or ("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
        dist.init_process_group(backend, store=_store, rank=rank, world_size=size, timeout=limit)
        _watch = ranks.RankWatch(_store, rank, size)
    except (RuntimeError, ValueError, OSError) as error:
        where = f"{os.environ.get('MASTER_ADDR', 'no MASTER_ADDR')}:{os.environ.get('MASTER_PORT', 'no MASTER_PORT')}"
        raise UserError(
            f"the {os.environ['WORLD_SIZE']} ranks could not meet at {printable(where)} "
            f"({printable(' '.join(str(error).split()), 300)}); start them with torchrun, and on several machines name "
            "one that all can reach (--rdzv-endpoint)"
        ) from error


def stop() -> None:
    """Leave the process group, if any."""
    if dist.is_initialized() and _watch is not None:
        _watch.end()
        dist.destroy_process_group()


def waiting(what: str) -> AbstractContextManager[None]:
    """Inside, this rank may wait for others. After a while it says for whom (ranks.py)."""
    return nullcontext() if _watch is None else _watch.waiting(what)


def at_step(step: int) -> None:
    """Which step is being taken, for what is said of waits."""
    if _watch is not None:
        _watch.step = step


def world_size() -> int:
    """Number of ranks."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process's number, 0 in a single process."""
    return dist.get_rank() if dist.is_initialized() else 0


def local_rank() -> int:
    """This process's number on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def is_main() -> bool:
    """Whether this is rank 0, the process that reports and writes. Known before the group is joined."""
    return rank() == 0 if dist.is_initialized() else not is_launched() or int(os.environ["RANK"]) == 0


def mean(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Means of scalars over ranks, without gradient."""
    if world_size() == 1:
        return values
    stacked = torch.stack([v.detach().float().reshape(()) for v in values.values()])
    with waiting("means"):
        dist.all_reduce(stacked)
    return dict(zip(values, stacked / world_size(), strict=True))


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its mean over ranks. A parameter that has none on this rank counts as 0.

    One collective for each 64 million numbers, so that the copy that is sent stays small.
    """
    if world_size() == 1:
        return
    bucket, size = list[Tensor](), 0
    for parameter in (parameter for parameter in parameters if parameter.requires_grad):
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        if bucket and size + parameter.grad.numel() > BUCKET:
            _average(bucket)
            bucket, size = [], 0
        bucket.append(parameter.grad)
        size += parameter.grad.numel()
    _average(bucket)


def _average(gradients: list[Tensor]) -> None:
    if gradients:
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        with waiting("gradients"):
            dist.all_reduce(flat)
        parts = flat.div_(world_size()).split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


def all_gather_object(value: Any) -> list[Any]:
    """One small Python object from each rank, in order of rank."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    with waiting("exchange"):
        dist.all_gather_object(values, value)
    return values


def together(work: Callable[[], T], stopping: Callable[[], bool] = lambda: False) -> T:
    """What `work` gives on this rank, once every rank has done its own. None is left waiting for one that fails.

    Args:
        stopping: whether this rank was told to stop. The others then have GRACE seconds to come.

    Raises:
        UserError, RunFailed: the first failure of any rank, on all of them.
        OtherRankFailed: another rank has raised an error that is none of these, or does not come while all stop.
    """
    global _turns
    if world_size() == 1:
        return work()
    _turns += 1
    failed, done, left = (f"askew/{_turns}/{name}" for name in ("failed", "done", "left"))
    value, own = None, None
    try:
        value = work()
    except Exception as error:
        own = error
        kind = {UserError: "user", RunFailed: "run"}.get(type(error), "other")
        _store.set(failed, json.dumps([rank(), kind, str(error)]))
    _store.add(done, 1)
    with waiting("what ranks do in turn"):
        _wait(lambda: stopping() or _store.add(done, 0) >= world_size() or _store.check([failed]))
        limit = GRACE if stopping() else float("inf")
        _wait(lambda: _store.add(done, 0) >= world_size() or _store.check([failed]), limit)
    if stopping() and _store.add(done, 0) < world_size() and not _store.check([failed]):
        raise OtherRankFailed("another rank has ended")
    failure = json.loads(_store.get(failed)) if _store.check([failed]) else None
    _store.add(left, 1)
    if rank() == 0:  # without torchrun the store ends with this rank
        _wait(lambda: _store.add(left, 0) >= world_size() or failure is not None, GRACE)
    if failure is None:
        return value  # type: ignore[return-value]
    first, kind, message = failure
    if own is not None and kind == "other":
        raise own
    if kind == "other":
        raise OtherRankFailed(f"rank {first} failed: {printable(message, 300)}")
    raise (UserError if kind == "user" else RunFailed)(message)


def ask_to_stop() -> None:
    """Have all ranks see that one of them was told to stop."""
    if world_size() > 1:
        _store.set("askew/stop", "asked")


def stop_was_asked() -> bool:
    """Whether a rank has asked all to stop."""
    return world_size() > 1 and _store.check(["askew/stop"])


def _wait(ready: Callable[[], bool], seconds: float = float("inf")) -> None:
    """Return when `ready` says so. The pauses grow, and a signal ends them."""
    pause, end = 0.001, time.monotonic() + seconds
    while not ready() and time.monotonic() < end:
        time.sleep(pause)
        pause = min(2 * pause, 0.1)


def on_main(work: Callable[[], Any]) -> None:
    """Rank 0 does it, and the others wait until it is done, for hours if need be. Its failure is everybody's."""
    together(lambda: work() if is_main() else None)


def main_first(make: Callable[[], T]) -> T:
    """What `make` gives, first on rank 0, and then on the others, which find what it has left on disk."""
    value = together(lambda: make() if is_main() else None)
    return together(lambda: value if is_main() else make())  # type: ignore[return-value]


def from_main(make: Callable[[], T]) -> T:
    """What rank 0 makes, on every rank."""
    return all_gather_object(together(lambda: make() if is_main() else None))[0]


def highest(*values: int) -> list[int]:
    """The largest of the ranks' numbers, of each. They stay on the CPU, so that no GPU is waited for."""
    if world_size() == 1:
        return list(values)
    tensor = torch.tensor(values)
    with waiting("agreement"):
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return tensor.tolist()


def any_rank(flag: bool) -> bool:
    """Whether the flag is set anywhere, so that all ranks stop at the same step."""
    return highest(int(flag))[0] > 0


def barrier() -> None:
    """Wait for every rank, for hours if need be."""
    together(lambda: None)


# The end of a run on several ranks: one of them says why


def may_report(error: BaseException) -> bool:
    """Whether this rank says why the run ends: the first that asks. After a failure, torchrun ends the others here.

    A rank whose error only follows from another's lets that one ask first.
    """
    met, follows = world_size() > 1, isinstance(error, OtherRankFailed) or ranks.lost_others(error)
    if follows:
        time.sleep(FOLLOWING)
    if _is_first() if met else is_main():
        return True
    if isinstance(error, Interrupted | Stopped):
        return False
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))  # torchrun would list it beside the failure
    time.sleep(GRACE if met else APART)
    return not met  # this rank alone has failed


def _is_first() -> bool:
    try:
        return _store.add("askew/reported", 1) == 1
    except RuntimeError:  # the store is gone: rank 0 was its host
        return False
