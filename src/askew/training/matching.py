"""Equal captions as positives: match ids of a batch in which images or captions occur more than once."""

import torch
from torch import Tensor

from askew import distributed


def with_equal_captions(
    local: dict[str, Tensor], gathered: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The same samples, with match ids that are equal where captions are: `caption_id` is taken into `match_id`.

    Every rank merges the gathered ids, so the result does not depend on the rank. Without `caption_id`
    (data.equal_captions=negatives), nothing is changed.
    """
    if "caption_id" not in gathered:
        return local, gathered
    local, gathered = dict(local), dict(gathered)
    merged = merged_ids(gathered["match_id"], gathered.pop("caption_id"))
    size = len(local.pop("caption_id"))
    start = distributed.rank() * size
    gathered["match_id"], local["match_id"] = merged, merged[start : start + size]
    return local, gathered


@torch.no_grad()
def merged_ids(one: Tensor, other: Tensor) -> Tensor:
    """(N,): equal for samples that a chain of equal ids of either kind connects: the smallest `one` of the component.

    A sample that shares no id keeps its own `one`. In pseudo-code:

        while anything changes:
            of every group of equal `other`, and then of equal `one`, each member takes the smallest id of the group
    """
    groups = [torch.unique(ids, return_inverse=True)[1] for ids in (other, one)]
    merged = one
    while True:
        before = merged
        for group in groups:
            smallest = torch.full_like(merged, torch.iinfo(merged.dtype).max)
            merged = smallest.scatter_reduce(0, group, merged, "amin")[group]
        if torch.equal(merged, before):
            return merged
