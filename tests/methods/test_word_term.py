import pytest
import torch

from askew.methods.clip import CLIP
from askew.methods.declip import DeCLIP
from askew.methods.mcd import MCD
from askew.methods.siglip import SigLIP
from askew.methods.slip import SLIP
from askew.methods.uniclip import UniCLIP
from askew.methods.words import WordPrediction
from askew.nn import heads
from askew.nn.towers import END_TOKEN, ImageTower, build_model
from askew.training.contract import CHECKS
from askew.training.contract.micro import rows, run_step
from askew.training.contract.objective import overfits_one_batch
from askew.training.step import Step
from helpers import micro_batch, micro_method, micro_towers

CONFIGS = [c.Config(words_weight=0.5) for c in (SLIP, SigLIP, UniCLIP)]
CONFIGS += [DeCLIP.Config(words_weight=0.5, queue_size=50), MCD.Config(words_weight=1.0, mlm_weight=0)]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_every_method_keeps_the_contract_with_it(config):
    """CLIP's case is in test_contract.py, with the check that trains."""
    for check in CHECKS:
        if check is not overfits_one_batch:
            check(micro_method(config))


def test_the_term_is_added_with_its_weight_and_changes_no_other():
    batch = micro_batch(range(6))
    plain, terms, _ = run_step(micro_method(CLIP.Config()), batch)
    with_it, more, _ = run_step(micro_method(CLIP.Config(words_weight=0.5)), batch)
    assert torch.equal(more["contrast"], terms["contrast"])
    torch.testing.assert_close(with_it, plain + 0.5 * more["words"])


def test_only_the_words_between_start_and_end_are_predicted():
    found = {targets: WordPrediction(4, 49408, 1.0, targets) for targets in ("words", "released")}
    text = torch.tensor([[49406, 320, 1125, 320, END_TOKEN, 0, 0]])
    ids = {name: part._predicted(text).tolist() for name, part in found.items()}
    assert ids["words"] == [[-1, 320, 1125, 320, -1, -1, -1]]
    assert ids["released"] == text.tolist()


@pytest.mark.parametrize("targets", ["words", "released"])
def test_a_text_that_was_cut_on_its_way_has_the_same_words(targets):
    """On a GPU texts are cut to the longest of the rank's batch."""
    method = micro_method(CLIP.Config(words_weight=1.0, words_targets=targets)).eval()
    batch = micro_batch(range(6))
    longest = method.towers.text.num_needed(batch["text"])
    assert longest < batch["text"].shape[1]
    whole, cut = (method.embed({**batch, "text": batch["text"][:, :size]}) for size in (None, longest))
    assert torch.equal(whole["words"], cut["words"])
    torch.testing.assert_close(whole["words_logits"], cut["words_logits"])


def test_counts_are_of_all_steps_and_stay_out_of_the_forward_pass():
    method = micro_method(CLIP.Config(words_weight=1.0))
    batch, step = micro_batch(range(6)), Step(method, "fp32")
    for steps in (1, 2):
        _, _, gathered = step(batch, 0.0)
        assert method.words.seen.item() == 6 * (steps - 1)
        method.after_step(gathered, 0.5)
        assert method.words.seen.item() == 6 * steps
    texts = [set(row[1 : row.index(END_TOKEN)]) for row in batch["text"].tolist()]
    expected = torch.zeros_like(method.words.counts)
    for text in texts:
        expected[list(text)] += 2
    assert torch.equal(method.words.counts, expected)


def test_many_samples_in_parts_give_the_same(monkeypatch):
    results = []
    for rows_at_once in (1024, 4):
        monkeypatch.setattr(heads, "WORD_ROWS", rows_at_once)
        results.append(run_step(micro_method(CLIP.Config(words_weight=1.0)), micro_batch(range(6))))
    (whole, _, gradients), (parts, _, again) = results
    torch.testing.assert_close(parts, whole)
    for name, gradient in gradients.items():
        torch.testing.assert_close(again[name], gradient, rtol=1e-4, atol=1e-6)


def test_the_head_reads_the_mean_of_the_patches():
    method = micro_method(CLIP.Config(words_weight=1.0)).eval()
    image = micro_batch(range(3))["image"]
    encoded = method.towers.image(image)
    trunk = method.towers.image.trunk
    tokens = trunk.ln_post(trunk.transformer(trunk._embeds(image)))
    torch.testing.assert_close(encoded.patch_mean, tokens[:, 1:].mean(dim=1))
    torch.testing.assert_close(encoded.pooled, tokens[:, 0])


@pytest.mark.parametrize("changes", [{"pool_type": "avg"}, {"final_ln_after_pool": True}, {"attentional_pool": True}])
def test_other_towers_give_their_pooled_features(changes):
    towers = micro_towers()
    config = towers.model_dump(include={"embed_dim", "vision_cfg", "text_cfg"})
    config["vision_cfg"] |= changes
    tower = ImageTower(build_model(config).visual)
    encoded = tower(micro_batch(range(2))["image"])
    assert encoded.patch_mean is encoded.pooled


def test_images_are_learned_from_words_alone():
    """After some steps, the words of each image's own caption are likelier than those of the others."""
    method, batch = micro_method(CLIP.Config(words_weight=1.0)), micro_batch(range(6))
    optimizer = torch.optim.AdamW(method.parameters(), lr=1e-2)
    for _ in range(30):
        embedded = method.embed(batch)
        _, terms = method.words.add_to(torch.tensor(0.0), {}, embedded, embedded)
        optimizer.zero_grad()
        terms["words"].backward()
        optimizer.step()
    text = batch["text"]
    own = method.words.embed(method.towers.image(batch["image"]), text)
    other = method.words.embed(method.towers.image(batch["image"]), text.roll(1, dims=0))
    values = [method.words.add_to(torch.tensor(0.0), {}, found, own)[1]["words"].item() for found in (own, other)]
    assert values[0] + 2 < values[1]


def test_rows_of_a_step_are_independent():
    method, batch = micro_method(CLIP.Config(words_weight=1.0)), micro_batch(range(6))
    whole = method.embed(batch)
    part = method.embed(rows(batch, slice(2, 4)))
    for name in ("words", "words_logits", "words_log_total"):
        torch.testing.assert_close(part[name], whole[name][2:4], rtol=1e-4, atol=1e-5)
