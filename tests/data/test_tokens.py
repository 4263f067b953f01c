"""Tokenizers of Hugging Face in the views: open_clip's ids, special tokens, masking, shortening, pickling."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from open_clip.tokenizer import HFTokenizer

from askew.data.short_text import ShortText
from askew.data.tokens import MaskedTokens, Tokens, tokenizer_of
from askew.objectives.masked_language import NOT_MASKED
from text_folders import CAPTIONS, text_folder

KINDS = ("bert", "xlm-roberta", "mt5")
ENDS = {"bert": ([2], [3]), "xlm-roberta": ([0], [2]), "mt5": ([], [1])}
LONG = " ".join(CAPTIONS[:8])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {kind: str(text_folder(tmp_path_factory.mktemp(kind), kind)) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_open_clips_and_a_cut_text_keeps_its_end(folders, kind):
    tokens, reference = Tokens(24, folder=folders[kind]), HFTokenizer(folders[kind], context_length=24)
    made = torch.stack([tokens.sample(caption) for caption in (*CAPTIONS, LONG, "")])
    assert torch.equal(made, reference([*CAPTIONS, LONG, ""]))
    start, end = ENDS[kind]
    assert made[-2].tolist()[: len(start)] == start
    assert made[-2].tolist()[-1:] == end
    one = tokenizer_of(folders[kind])
    assert [tokens.cuts(caption) for caption in (CAPTIONS[0], LONG, "")] == [False, True, False]
    exact = len(one.ids(CAPTIONS[0])) + len(start) + len(end)
    assert not Tokens(exact, folder=folders[kind]).cuts(CAPTIONS[0])
    assert Tokens(exact - 1, folder=folders[kind]).cuts(CAPTIONS[0])
    for caption in CAPTIONS:
        assert torch.equal(one.framed(one.ids(caption), 24), tokens.sample(caption)) or tokens.cuts(caption)


@pytest.mark.parametrize("kind", KINDS)
def test_masking_leaves_special_tokens_and_draws_ordinary_ones(folders, kind):
    one, rng = tokenizer_of(folders[kind]), np.random.default_rng(0)
    mask = len(one.ordinary) + len(one.special) if one.mask is None else one.mask
    masked = MaskedTokens(0.6, folders[kind], mask)
    text = Tokens(24, folder=folders[kind]).sample(LONG)
    text[7] = special = sorted(set(one.special) - {one.pad})[-1]  # say, an unknown word
    fates = {"mask": 0, "kept": 0, "random": 0}
    for _ in range(200):
        made = masked.sample(text, rng)
        chosen = made["mlm_labels"] != NOT_MASKED
        assert torch.equal(made["mlm_labels"][chosen], text[chosen])
        assert torch.equal(made["masked_text"][~chosen], text[~chosen])
        assert not chosen[7]
        assert not set(text[chosen].tolist()) & {special, one.pad, *one.special}
        new = made["masked_text"][chosen]
        replaced = new[(new != mask) & (new != text[chosen])]
        assert set(replaced.tolist()) <= set(one.ordinary.tolist())
        fates["mask"] += int((new == mask).sum())
        fates["random"] += len(replaced)
        fates["kept"] += int((new == text[chosen]).sum())
    total = sum(fates.values())
    assert abs(fates["mask"] / total - 0.8) < 0.04
    assert abs(fates["random"] / total - 0.1) < 0.03
    assert abs(total / 200 / one.is_word(text.numpy()).sum() - 0.6) < 0.04


@pytest.mark.parametrize("strategy", ["random", "block", "truncation"])
def test_captions_are_shortened_between_their_special_tokens(folders, strategy):
    for kind in KINDS:
        whole, one = Tokens(40, folder=folders[kind]).sample(CAPTIONS[0]), tokenizer_of(folders[kind])
        short = ShortText(3, strategy, folder=folders[kind])(CAPTIONS[0], whole, np.random.default_rng(0))
        start, end = ENDS[kind]
        found = short[short != one.pad].tolist()
        kept = found[len(start) : -1]
        assert (found[: len(start)], found[-1:], len(kept)) == (start, end, 3)
        assert set(kept) <= set(one.ids(CAPTIONS[0]))


def test_a_pickled_view_has_the_folder_and_no_tokenizer(folders):
    tokens = Tokens(16, folder=folders["bert"])
    tokens.sample(CAPTIONS[0])
    packed = pickle.dumps((tokens, MaskedTokens(0.15, folders["bert"], 4), ShortText(3, "block", folder="x")))
    assert len(packed) < 1000
    assert torch.equal(pickle.loads(packed)[0].sample(CAPTIONS[4]), tokens.sample(CAPTIONS[4]))
    assert tokenizer_of(folders["bert"]) is tokenizer_of(folders["bert"])  # one per process
    assert Path(folders["bert"]).is_dir()
