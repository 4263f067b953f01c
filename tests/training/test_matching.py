"""Equal captions as positives: which samples match, and that nothing changes where the option is off."""

import numpy as np
import pytest
import torch

from askew.data.views import caption_id
from askew.methods.clip import CLIP
from askew.recipes.settings import override
from askew.training.matching import merged_ids, with_equal_captions
from askew.training.step import Step
from helpers import METHOD_NAMES, METHODS, micro_batch, micro_method, rows
from micro_runs import assert_same_state, metrics_of, micro_recipe, state_of, table_of_25, train, trainer_of
from reference import equations


def merged(images, captions):
    return merged_ids(torch.tensor(images), torch.tensor(captions)).tolist()


def by_search(images, captions):
    """The components of the graph of equal ids, by a search from each sample."""
    found = []
    for start in range(len(images)):
        component, edge = {start}, [start]
        while edge:
            here = edge.pop()
            near = {i for i in range(len(images)) if images[i] == images[here] or captions[i] == captions[here]}
            edge += near - component
            component |= near
        found.append(min(images[i] for i in component))
    return found


def test_a_chain_of_image_and_caption_matches():
    """A and B are one image, B and C have one caption: all three match, and D does not."""
    assert merged([5, 5, 7, 9], [1, 2, 2, 3]) == [5, 5, 5, 9]


def test_without_equal_captions_the_ids_are_those_of_the_images():
    assert merged([2**62, 7, 7, 0], [1, 2, 3, 4]) == [2**62, 7, 7, 0]


def test_it_is_the_components_in_any_order():
    rng = np.random.default_rng(0)
    for _ in range(30):
        images, captions = rng.integers(0, 12, size=(2, 14)).tolist()
        expected = by_search(images, captions)
        assert merged(images, captions) == expected
        order = rng.permutation(14)
        moved = merged([images[i] for i in order], [captions[i] for i in order])
        assert moved == [expected[i] for i in order]


def test_a_chain_as_long_as_the_batch():
    """One image and one caption in turn link 0 to 1 to 2 ..."""
    images, captions = [i // 2 for i in range(64)], [(i + 1) // 2 for i in range(64)]
    assert merged(images, captions) == [0] * 64


def test_white_space_does_not_tell_captions_apart_and_case_does():
    assert caption_id(" a  red\tkite\n") == caption_id("a red kite") != caption_id("A red kite")
    assert 0 <= caption_id("") < 2**63


def test_nothing_is_touched_without_caption_ids():
    local = {"match_id": torch.tensor([1, 1, 2])}
    assert with_equal_captions(local, local) == (local, local)


def test_info_nce_of_a_repeated_caption_is_the_references():
    """Three of five captions are equal: their images and texts are positives of one another."""
    method = micro_method(CLIP.Config())
    batch = micro_batch([0, 1, 2, 3, 4])
    batch["text"][[2, 4]] = batch["text"][0].clone()
    plain = Step(method, "fp32")(batch, 0.4)[0].item()
    batch["caption_id"] = torch.tensor([11, 12, 11, 14, 11])
    loss = Step(method, "fp32")(batch, 0.4)[0].item()
    with torch.no_grad():
        embedded = Step(method, "fp32").encode(batch)
    image, text = (embedded[key].detach().double().numpy() for key in ("image", "text"))
    logits, same = image @ text.T / 0.07, [0, 2, 4]
    match = np.eye(5, dtype=bool)
    match[np.ix_(same, same)] = True
    expected = (equations.info_nce(logits, match) + equations.info_nce(logits.T, match)) / 2
    assert loss == pytest.approx(expected, rel=1e-5)
    assert plain == pytest.approx(
        (
            equations.info_nce(logits, np.eye(5, dtype=bool)) * 0.5
            + equations.info_nce(logits.T, np.eye(5, dtype=bool)) * 0.5
        ),
        rel=1e-5,
    )
    assert loss < plain


@pytest.mark.parametrize(("name", "config"), list(zip(METHOD_NAMES, METHODS, strict=True)), ids=METHOD_NAMES)
def test_every_method_takes_them_as_match_ids(name, config):
    """Bit for bit what equal match ids give; in another order, and in chunks, the same up to rounding."""
    batch = micro_batch([0, 1, 2, 3, 4, 5])
    captions = torch.tensor([1, 2, 2, 3, 2, 1])
    expected = Step(micro_method(config), "fp32")({**batch, "match_id": torch.tensor([0, 1, 1, 3, 1, 0])}, 0.4)
    with_ids = {**batch, "caption_id": captions}
    found = Step(micro_method(config), "fp32")(with_ids, 0.4)
    assert torch.equal(found[0], expected[0])
    assert "caption_id" not in found[2]
    chunked = Step(micro_method(config), "fp32", loss_chunk_size=4)(with_ids, 0.4)[0]
    moved = Step(micro_method(config), "fp32")(rows(with_ids, torch.tensor([5, 0, 3, 1, 4, 2])), 0.4)[0]
    assert chunked.item() == pytest.approx(found[0].item(), rel=1e-5)
    assert moved.item() == pytest.approx(found[0].item(), rel=1e-5)


@pytest.fixture
def repeated(tmp_path):
    """25 pairs with five different captions, some with other white space."""
    table = table_of_25(tmp_path / "data")
    names = [line.split(",")[0] for line in table.read_text(encoding="utf-8").splitlines()[1:]]
    lines = [f"{name},a red{' ' * (1 + n % 2)}kite number {n % 5}" for n, name in enumerate(names)]
    table.write_text("\n".join(["image,caption", *lines]) + "\n", encoding="utf-8")
    return table


def test_the_option_changes_the_pairs_and_nothing_else(repeated, tmp_path):
    recipe = micro_recipe(repeated, "clip", max_steps=2)
    positives = override(recipe, ["data.equal_captions=positives"])
    batches = [trainer_of(one).loader.batch(0) for one in (recipe, positives)]
    ids = batches[1].pop("caption_id")
    assert 1 < len(set(ids.tolist())) <= 5
    assert batches[0].keys() == batches[1].keys()
    assert all(torch.equal(batches[0][key], batches[1][key]) for key in batches[0].keys() - {"bad_samples"})
    texts = {tuple(text.tolist()) for text in batches[1]["text"]}
    assert len(texts) == len(set(ids.tolist()))
    first = [metrics_of(train(one, tmp_path / str(n)))[0]["contrast"] for n, one in enumerate((recipe, positives))]
    assert first[1] < first[0]  # equal captions are no longer negatives


def test_where_no_caption_repeats_every_number_is_the_same(tmp_path):
    recipe = micro_recipe(table_of_25(tmp_path / "data"), "mcd", max_steps=2)
    plain = train(recipe, tmp_path / "plain")
    other = train(override(recipe, ["data.equal_captions=positives"]), tmp_path / "other")
    assert_same_state(state_of(plain), state_of(other))
