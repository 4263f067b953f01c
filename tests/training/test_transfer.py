"""Batches on their way to a device: texts are cut as far as nothing changes."""

import pytest
import torch
from torch.nn.functional import pad

from askew.nn.text_towers import NativeTextTower
from askew.objectives.masked_language import NOT_MASKED
from askew.training.contract.micro import CONTEXT_LENGTH, micro_batch, micro_method, rows, run_step
from askew.training.transfer import MULTIPLE, TEXTS, Transfer, shortened
from helpers import METHODS
from micro_runs import METHODS as BY_NAME


def short_batch():
    """Samples whose captions leave half of the context empty."""
    batch = micro_batch(range(40))
    fits = [row for row in range(40) if all((batch[key][row, MULTIPLE:] == 0).all() for key in TEXTS[:4])]
    assert len(fits) >= 4
    return rows(batch, torch.tensor(fits[:4]))


@pytest.mark.parametrize("config", [METHODS[2], BY_NAME["declip"], BY_NAME["albef"]], ids=["mcd", "declip", "albef"])
def test_shorter_texts_train_alike(config, monkeypatch):
    """Also where the tower takes the length as it is, as it does on a GPU."""
    method, batch = micro_method(config), short_batch()
    cut = shortened(batch, method.towers.text)
    assert {cut[key].shape[1] for key in TEXTS} == {MULTIPLE} != {CONTEXT_LENGTH}
    assert all(cut[key] is batch[key] for key in batch if key not in TEXTS)
    loss, terms, gradients = run_step(micro_method(config), batch)
    monkeypatch.setattr(NativeTextTower, "num_needed", lambda tower, text: text.shape[1])
    again, same_terms, same = run_step(micro_method(config), cut)
    torch.testing.assert_close([again, *same_terms.values()], [loss, *terms.values()])
    for name, gradient in gradients.items():
        if not name.endswith("positional_embedding"):
            torch.testing.assert_close(same[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_the_longest_text_of_any_view_decides():
    method, batch = micro_method(METHODS[2]), short_batch()
    words = torch.full((CONTEXT_LENGTH - MULTIPLE,), 320)
    long = {**batch, "masked_text": batch["masked_text"].clone()}
    long["masked_text"][1] = torch.cat([batch["masked_text"][1, :1], words, batch["masked_text"][1, 1:MULTIPLE]])
    cut = shortened(long, method.towers.text)
    assert {cut[key].shape[1] for key in TEXTS} == {CONTEXT_LENGTH}


def test_labels_do_not_decide_and_batches_without_texts_stay():
    tower = micro_method(METHODS[2]).towers.text
    images = {"image": torch.zeros(2, 3, 4, 4)}
    assert shortened(images, tower) is images
    text = short_batch()["text"]
    labels = torch.full_like(text, NOT_MASKED)
    assert shortened({"text": text, "mlm_labels": labels}, tower)["mlm_labels"].shape[1] == MULTIPLE


def test_a_bidirectional_tower_needs_the_whole_context():
    from askew.training.contract.micro import micro_towers
    from askew.training.towers import build_towers

    pair = build_towers(micro_towers(no_causal_mask=True), seed=0, mask_token=False)
    text = pad(short_batch()["text"], (0, 0))
    assert pair.text.num_needed(text) == CONTEXT_LENGTH


def test_on_the_cpu_a_batch_stays_as_it_is():
    method, batch = micro_method(METHODS[0]), short_batch()
    assert Transfer(torch.device("cpu"), method.towers.text)(batch) is batch
