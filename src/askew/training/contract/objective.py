"""Checks of which samples an objective compares, of its level at chance, and that it can be learned."""

import math

import torch

from askew.methods.base import RESERVED, Batch, Method, Terms
from askew.training.contract.comparing import (
    assert_close,
    assert_finite,
    assert_terms_close,
    close,
    difference,
    magnifies_rounding,
)
from askew.training.contract.micro import DISTINCT, PROGRESS, REPEATED, encoded, micro_batch, rows, run_step
from askew.training.step import Step


def the_order_of_samples_does_not_matter(method: Method) -> None:
    """Neither with distinct match ids nor with repeated ones."""
    for match_ids in (DISTINCT, REPEATED):
        batch = micro_batch(match_ids)
        loss, terms, gradients = run_step(method, batch)
        moved_loss, moved_terms, moved_gradients = run_step(method, rows(batch, torch.tensor([5, 0, 3, 1, 4, 2])))
        assert close(moved_loss, loss, 1e-6), f"loss {loss.item()} in one order, {moved_loss.item()} in another"
        assert_terms_close(moved_terms, terms)
        limit = 1e-5 if magnifies_rounding(method) else 1e-6
        assert difference(moved_gradients, gradients) < limit, "the gradients depend on the order"


def the_values_of_ids_do_not_matter(method: Method) -> None:
    """Only whether match ids are equal counts, not their values. `id` does not count."""
    batch = micro_batch(REPEATED)
    renamed = {**batch, "match_id": 2**62 - 3 * batch["match_id"], "id": batch["id"] + 2**61}
    expected, found = run_step(method, batch)[0].item(), run_step(method, renamed)[0].item()
    assert found == expected, f"loss {expected}, and {found} with other ids for the same samples"


def equal_match_ids_are_positives(method: Method) -> None:
    """Wherever they are in the batch: other match ids for the same samples give another loss."""
    batch = micro_batch(REPEATED)
    loss, terms, gradients = run_step(method, batch)
    for match_ids in (DISTINCT, [7, 2, 7, 5, 5, 5]):
        other = run_step(method, {**batch, "match_id": torch.tensor(match_ids)})[0]
        assert abs(other.item() - loss.item()) > 1e-4, f"match ids {REPEATED} and {match_ids} give the same loss"
    assert_finite(terms, gradients)


def one_match_id_leaves_finite_gradients(method: Method) -> None:
    """A batch in which everything matches has no negatives. Loss and gradients are finite."""
    loss, terms, gradients = run_step(method, micro_batch([3, 3, 3, 3]))
    assert_finite({"loss": loss, **terms}, gradients)


def equal_ranks_average_to_the_whole(method: Method) -> None:
    """Three ranks with two samples each, match ids and masks spread unevenly: their mean is the loss of the whole."""
    for match_ids in (DISTINCT, REPEATED):
        gathered = encoded(method, micro_batch(match_ids, unmasked=[0, 1, 4]))
        loss, terms = method.objective(gathered, gathered, PROGRESS)
        ranks = [method.objective(rows(gathered, slice(i, i + 2)), gathered, PROGRESS) for i in (0, 2, 4)]
        assert_close(torch.stack([rank[0] for rank in ranks]).mean(), loss, "the mean of the ranks' losses differs")
        for name, value in terms.items():
            mean = torch.stack([rank[1][name] for rank in ranks]).mean()
            assert_close(mean, value, f"the mean of the ranks' {name} differs from the whole")


def chunks_equal_the_whole(method: Method) -> None:
    """The objective in chunks of 4 and 2 of 6 samples gives the values and gradients of the whole."""
    batch = micro_batch(REPEATED, unmasked=[0, 1, 4])
    loss, terms, gradients = run_step(method, batch)
    found, found_terms, found_gradients = run_step(method, batch, loss_chunk_size=4)
    assert close(found, loss, 1e-6), f"loss {found.item()} in chunks, {loss.item()} as a whole"
    assert_terms_close(found_terms, terms)
    assert difference(found_gradients, gradients) < 1e-6, "the gradients in chunks differ from those of the whole"


def micro_batches_equal_the_whole(method: Method) -> None:
    """Encoded in micro-batches of 1, 4 and 2 samples, and compared as a whole: the values and gradients of the whole.

    With the objective in chunks too, whose sizes are others.
    """
    batch = micro_batch(REPEATED, unmasked=[0, 1, 4])
    loss, terms, gradients = run_step(method, batch)
    limit = 1e-5 if magnifies_rounding(method) else 3e-6
    for size, chunk in ((1, 0), (4, 0), (2, 4)):
        found, found_terms, found_gradients = run_step(method, batch, loss_chunk_size=chunk, micro_batch_size=size)
        where = f"in micro-batches of {size}"
        assert close(found, loss, 1e-5), f"loss {found.item()} {where}, {loss.item()} as a whole"
        assert_terms_close(found_terms, terms)
        error = difference(found_gradients, gradients)
        assert error < limit, f"the gradients {where} differ from those of the whole, by {error:.1e}"


def new_tensors_are_on_the_embeddings_device(method: Method) -> None:
    """A tensor made without a device would be on the default one, which here is a device without values."""
    gathered = encoded(method, micro_batch(REPEATED))
    with torch.device("meta"):
        loss, terms = method.objective(gathered, gathered, PROGRESS)
    for name, value in {"loss": loss, **terms}.items():
        assert value.device.type == "cpu", f"{name} is on the default device; use new_tensor, or pass device="


def starts_at_chance(method: Method) -> None:
    """With all parameters 0, all similarities and words are alike, and the terms are those of `loss_at_chance`.

    A bias of the logits expresses how rare matches are.
    """
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.zero_()
        if method.logit_bias is not None:
            method.logit_bias.fill_(-math.log(len(DISTINCT) - 1))
    _, terms, _ = run_step(method, micro_batch(DISTINCT), progress=0.0)
    levels = method.loss_at_chance(len(DISTINCT))
    assert levels, "loss_at_chance names no term"
    assert not terms.keys() & set(RESERVED), (
        f"terms of the loss cannot be called {sorted(terms.keys() & set(RESERVED))}"
    )
    for name, level in levels.items():
        assert name in terms, f"loss_at_chance names {name!r}, but the terms are {', '.join(terms)}"
        assert close(terms[name], level, 1e-5), f"{name} is {terms[name].item()} at chance, not {level}"


def overfits_one_batch(method: Method) -> None:
    """In 40 steps, every one of eight images finds its text and vice versa, which they did not at the start."""
    batch, num_steps = micro_batch(list(range(8))), 40
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.0)
    step = Step(method, "fp32")
    start = recalls(method, batch)
    assert max(start) < 0.5, f"R@1 is {start} before any step"
    levels: list[Terms] = []
    for k in range(num_steps):
        loss, terms, gathered = step(batch, k / num_steps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        method.after_step(gathered, (k + 1) / num_steps)
        levels.append(terms)
    end = recalls(method, batch)
    assert end == [1.0, 1.0], f"R@1 is {end} after {num_steps} steps on one batch"
    if "contrast" in levels[0]:
        first, last = (terms["contrast"].item() for terms in (levels[0], levels[-1]))
        assert last < 0.2 * first, f"contrast only falls from {first} to {last} on one batch"


def recalls(method: Method, batch: Batch) -> list[float]:
    """R@1 from text to image and from image to text, in eval mode. Ties lose."""
    method.eval()
    embedded = encoded(method, batch)
    scores = embedded["text"] @ embedded["image"].T
    method.train()
    return [(m >= m.diagonal()[:, None]).sum(dim=1).eq(1).float().mean().item() for m in (scores, scores.T)]
