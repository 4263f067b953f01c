"""The view `text_short`: word-frequency masking of captions, against CLIPF's code and a plain loop."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from askew.data.loader import Loader
from askew.data.short_text import ShortText, drop_scores
from askew.data.sources import open_source
from askew.data.views import MaskedTokens, Normalise, Tokens, Views
from askew.data.words import WordCounts, ids_of, words_of
from askew.errors import UserError
from askew.nn.towers import END_TOKEN
from askew.objectives.masked_language import NOT_MASKED
from askew.recipes.settings import override
from helpers import write_pairs
from micro_runs import askew_here, micro_recipe, trainer_of
from oracles.clipf_inputs import CAPTIONS, COUNTS, MIN_COUNT, THRESHOLDS, uniform
from reference import short_text as reference

STRATEGIES = ("frequency", "random", "block", "truncation")
ORACLE = json.loads((Path(__file__).parents[1] / "oracles" / "clipf.json").read_text(encoding="utf-8"))
CONTEXT = 77
ODD = (
    "",
    "   ",
    "é à ü",
    "naïve café № ½ 12",
    "日本語の文",
    "🙂🙂 ok",
    "it's O'Neill's &lt;b&gt;",
    "a\tb\n c",
    "x" * 300,
)


class Listed:
    """Random numbers from a list, as CLIPF's code gets them in make_clipf.py."""

    def __init__(self, name):
        self.name = name

    def random(self, num=None):
        return 1.0 if num is None else np.array(uniform(self.name, num))

    def permutation(self, num):
        return np.argsort(uniform(self.name, num))

    def integers(self, low, high):
        return low + int(uniform(self.name, 1)[0] * (high - low))


def table(counts, min_count=MIN_COUNT):
    return WordCounts("made", 100, min_count, {word: n for word, n in counts.items() if n >= min_count})


def shorten(short, caption, rng, context=CONTEXT):
    """The ids between start and end."""
    ids = short(caption, Tokens(context).sample(caption), rng).tolist()
    end = ids.index(END_TOKEN)
    assert ids[0] == END_TOKEN - 1
    assert len(ids) == context
    assert not any(ids[end + 1 :])
    return ids[1:end]


def rng(seed=0):
    return np.random.default_rng(seed)


# Words


@pytest.mark.parametrize("caption", [*CAPTIONS, *ODD])
def test_a_captions_tokens_are_those_of_its_words(caption):
    """Also where letters are not ASCII, which CLIPF's code encodes twice."""
    ids = [number for word in words_of(caption) for number in ids_of(word)]
    assert ids == reference.TOKENIZER.encode(caption)


def test_words_are_runs_of_letters_single_digits_and_runs_of_signs():
    assert words_of("It's 42 &amp; a  Dog's -- (t-shirt)") == (
        *("it", "'s", "4", "2", "&", "a", "dog", "'s", "--", "(", "t", "-", "shirt", ")"),
    )


# How frequent a word is


@pytest.mark.parametrize(("share", "expected"), [(1e-4, 0.9), (0.05, 0.995528), (1e-6, 0.0), (1e-7, 0.0)])
def test_the_score_of_a_word_by_hand(share, expected):
    common = round(1e9 * share)
    scores = drop_scores(table({"word": common, "rest": 10**9 - common}), 1e-6)
    assert scores["word"] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_scores_are_those_of_clipfs_script(threshold):
    scores, official = drop_scores(table(COUNTS), threshold), ORACLE["scores"][f"{threshold:g}"]
    assert scores.keys() == official.keys()
    assert scores == pytest.approx(official, abs=1e-12)
    total = sum(n for n in COUNTS.values() if n >= MIN_COUNT)
    assert scores == {word: reference.probability(COUNTS[word], total, threshold) for word in scores}


# Which words stay


@pytest.mark.parametrize("name", [*(f"frequency {t:g}" for t in THRESHOLDS), "random", "block", "truncation"])
def test_ids_are_those_of_clipfs_code(name):
    strategy, _, threshold = name.partition(" ")
    scores = drop_scores(table(COUNTS), float(threshold)) if threshold else {}
    changed = 0
    for case in ORACLE["cases"]:
        length, caption = case["length"], CAPTIONS[case["caption"]]
        short = ShortText(length - 2, strategy, "released", scores=scores)
        whole = Tokens(length).sample(caption)
        found = short(caption, whole, Listed(f"{case['caption']}/{length}"))
        assert found.tolist() == case[name], case
        changed += not torch.equal(found, Tokens(CONTEXT).sample(caption)[:length])
    assert changed > 15


@pytest.mark.parametrize("unseen", [0.0, 1.0])
@pytest.mark.parametrize("fit", ["words", "released"])
def test_frequency_masking_equals_the_loop(fit, unseen):
    scores = drop_scores(table(COUNTS), 1e-3)
    for seed in range(40):
        for place, caption in enumerate((*CAPTIONS, *ODD)):
            budget = 1 + (seed + place) % 12
            drawn = Listed(f"{seed}/{place}")
            short = ShortText(budget, "frequency", fit, 0.0, scores, unseen)
            found = short(caption, Tokens(CONTEXT).sample(caption), drawn)
            numbers = drawn.random(len(words_of(caption)))
            expected = reference.shortened(caption, budget, CONTEXT, scores, unseen, numbers, fit == "words")
            assert found.tolist() == expected, caption


@pytest.mark.parametrize("fit", ["words", "released"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_caption_within_the_budget_is_unchanged(strategy, fit):
    caption = "two red kites over a house"
    whole = Tokens(CONTEXT).sample(caption)
    for budget in (6, 7, 75):
        assert ShortText(budget, strategy, fit)(caption, whole, rng()) is whole
    assert len(shorten(ShortText(5, strategy, fit), caption, rng())) == 5


def test_words_of_equal_frequency_stay_equally_often():
    words = ("red", "kite", "boat", "lamp", "tree", "cup", "owl", "shoe")
    short, generator, seen = ShortText(3, scores=dict.fromkeys(words, 0.7)), rng(), Counter()
    for _ in range(10_000):
        seen.update(shorten(short, " ".join(words), generator))
    assert seen.total() == 30_000
    # Six standard deviations of a share of 3/8 in 10,000 draws are 290
    assert list(seen.values()) == pytest.approx([3750] * 8, abs=290)
    assert len(seen) == 8


def test_a_frequent_word_goes_before_a_rare_one():
    (rare,) = ids_of("kite")
    for fit in ("words", "released"):
        short = ShortText(1, fit=fit, scores={"the": 1.0, "kite": 0.0})
        assert all(shorten(short, "the kite", rng(seed)) == [rare] for seed in range(300))


@pytest.mark.parametrize(("unseen", "kept"), [(1.0, "kite"), (0.0, "zebra")])
def test_words_that_are_not_in_the_table_go_first_or_last(unseen, kept):
    short = ShortText(1, scores={"kite": 0.5}, unseen=unseen)
    found = Counter(words for seed in range(400) for words in shorten(short, "kite zebra", rng(seed)))
    assert ids_of(kept)[0] == found.most_common(1)[0][0]
    # u1 - 1/2 beats u2 - 1 with probability 7/8, and so does u2 beat u1 - 1/2
    assert found.most_common(1)[0][1] == pytest.approx(350, abs=40)


def test_whole_words_use_the_budget_that_the_released_code_wastes():
    """Ten words of two tokens and a budget of 14: the released code keeps 10 tokens, of words that may be cut."""
    caption = "kazoo zithers yurts sporran quoits ocarina okapis kayaks yurts quoits"
    assert [len(ids_of(word)) for word in words_of(caption)] == [2] * 10
    assert len(shorten(ShortText(14, fit="released"), caption, rng())) == 10
    assert len(shorten(ShortText(14, fit="words"), caption, rng())) == 14


def test_no_word_is_cut_where_one_fits():
    starts = {word: ids_of(word) for word in words_of(CAPTIONS[2])}
    for seed in range(50):
        left = shorten(ShortText(4), CAPTIONS[2], rng(seed))
        while left:
            word = next(ids for ids in sorted(starts.values(), key=len, reverse=True) if tuple(left[: len(ids)]) == ids)
            left = left[len(word) :]


@pytest.mark.parametrize("fit", ["words", "released"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_extremes(strategy, fit):
    one = ShortText(1, strategy, fit)
    assert shorten(one, "", rng()) == []
    assert shorten(one, " ... ", rng()) == list(ids_of("..."))
    long = "qzvx" * 12
    assert len(words_of(long)) == 1
    assert len(ids_of(long)) >= 20
    assert len(shorten(one, long, rng())) == 1  # never empty
    assert shorten(replace(one, budget=5, strategy="truncation"), long, rng()) == [*ids_of(long)[:5]]
    assert len(shorten(one, "word " * 500, rng())) == 1
    assert len(shorten(replace(one, budget=75), "word " * 500, rng())) == 75


def test_a_share_of_the_captions_stays_whole():
    caption = "a red kite over an old stone bridge in the rain"
    whole, short, generator = Tokens(CONTEXT).sample(caption), ShortText(3, share_full=0.1), rng()
    stayed = sum(torch.equal(short(caption, whole, generator), whole) for _ in range(4000))
    assert stayed == pytest.approx(400, abs=100)  # five standard deviations are 95


# As a view


PLAIN = Normalise((0.0,) * 3, (1.0,) * 3)
TEXTS = ("text", "text_short", "text_aug", "masked_text", "mlm_labels")
SHORT = ShortText(3, scores={"number": 0.9})


def text_views(wanted=TEXTS, shorten=False, length=16):
    return Views(wanted, (), Tokens(length), MaskedTokens(0.4), PLAIN, 0.5, short=SHORT, shorten=shorten)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return open_source(str(write_pairs(tmp_path_factory.mktemp("pairs"), 26)))


def batches(source, views=None, num=6, **settings):
    loader = Loader(source, views or text_views(), 8, seed=3, **settings)
    return list(loader.batches(0, num))


def test_the_same_with_any_workers_and_ranks_and_other_visits_differ(source):
    whole = batches(source)
    for one, other in zip(batches(source, num_workers=2), whole, strict=True):
        assert torch.equal(one["text_short"], other["text_short"])
    halves = [batches(source, rank=rank, world_size=2) for rank in (0, 1)]
    for one, other, both in zip(*halves, whole, strict=True):
        assert torch.equal(torch.cat([one["text_short"], other["text_short"]]), both["text_short"])
    visits = {}
    for batch in whole:
        for number, text in zip(batch["id"].tolist(), batch["text_short"].tolist(), strict=True):
            visits.setdefault(number, set()).add(tuple(text))
    assert sum(len(texts) > 1 for texts in visits.values()) > 5


def test_it_is_made_of_the_caption_of_text(source):
    for batch in batches(source):
        for whole, short in zip(batch["text"].tolist(), batch["text_short"].tolist(), strict=True):
            words = Counter(whole[1 : whole.index(END_TOKEN)])
            assert not Counter(short[1 : short.index(END_TOKEN)]) - words
            assert short.index(END_TOKEN) - 1 == min(3, words.total())


def test_it_depends_on_no_other_view_and_changes_none(source):
    everything, alone = batches(source), batches(source, text_views(("text_short",)))
    plain = batches(source, replace(text_views(("text", "text_aug", "masked_text")), short=None))
    for whole, short, without in zip(everything, alone, plain, strict=True):
        assert torch.equal(whole["text_short"], short["text_short"])
        assert all(torch.equal(whole[key], without[key]) for key in TEXTS if key != "text_short")


def test_every_text_of_a_batch_can_be_short(source):
    wanted = tuple(key for key in TEXTS if key != "text_short")
    for whole, short in zip(batches(source), batches(source, text_views(wanted, shorten=True)), strict=True):
        assert torch.equal(short["text"], whole["text_short"])
        masked = short["mlm_labels"] != NOT_MASKED
        assert torch.equal(torch.where(masked, short["mlm_labels"], short["masked_text"]), short["text"])
        assert ((short["text_aug"] == END_TOKEN).int().argmax(dim=1) <= 4).all()


# A run


def made_table(folder, name="words.json", counts=None):
    path = folder / name
    path.write_text(table(counts or COUNTS, 1).to_json(), encoding="utf-8")
    return path


def short_recipe(folder, method="clip", **settings):
    settings = {"views.text": "short", "views.short_tokens": 2, "views.word_counts": made_table(folder), **settings}
    recipe = micro_recipe(write_pairs(folder / "data", 25), method)
    return override(recipe, [f"{key}={value}" for key, value in settings.items()])


@pytest.mark.parametrize("method", ["clip", "declip", "mcd"])
def test_any_method_can_read_shortened_captions(tmp_path, method):
    trainer = trainer_of(short_recipe(tmp_path, method, **{"views.short_share_full": 0}))
    batch = trainer.loader.batch(0)
    for key in {"text", "text_aug", "masked_text"} & set(trainer.method.views):
        assert ((batch[key] == END_TOKEN).int().argmax(dim=1) == 3).all(), key
    line = trainer._one_step({key: value for key, value in batch.items() if key != "bad_samples"})
    assert line["loss"].isfinite()


def test_held_out_pairs_are_measured_on_whole_captions(tmp_path):
    held_out = {"evaluation.held_out": write_pairs(tmp_path / "other", 12, seed=1), "views.short_share_full": 0}
    trainer = trainer_of(short_recipe(tmp_path, **held_out))
    batch = trainer.measuring.held_out.loader.batch(0)
    assert ((batch["text"] == END_TOKEN).int().argmax(dim=1) > 4).all()
    assert ((trainer.loader.batch(0)["text"] == END_TOKEN).int().argmax(dim=1) == 3).all()


def test_the_table_is_recorded_and_only_where_it_is_read(tmp_path):
    recipe = trainer_of(short_recipe(tmp_path)).recipe
    assert len(recipe.views.word_counts_sha256) == 64
    again = override(recipe, [f"views.word_counts={made_table(tmp_path, 'moved.json')}"])
    assert trainer_of(again).recipe.views.word_counts_sha256 == recipe.views.word_counts_sha256
    other = made_table(tmp_path, "other.json", {**COUNTS, "kite": 1000})
    with pytest.raises(UserError, match=r"other\.json is not the table that the run began with"):
        trainer_of(override(recipe, [f"views.word_counts={other}"]))
    for setting in ("views.text=whole", "views.short_strategy=block"):
        unread = short_recipe(tmp_path, **dict([setting.split("=")]), **{"views.word_counts": "nowhere.json"})
        assert trainer_of(unread).recipe.views.word_counts_sha256 == ""


# The command


def test_the_command_counts_every_caption_once(tmp_path):
    (tmp_path / "pairs.csv").write_text(
        "image,caption\n" + "".join(f'{n}.png,"A dog\'s bone, no. {n}"\n' for n in range(12)), encoding="utf-8"
    )
    for n in range(11):  # and one that is missing
        (tmp_path / f"{n}.png").write_bytes(next(write_pairs(tmp_path / "made", 1).parent.glob("*.png")).read_bytes())
    done = askew_here("data", "words", "pairs.csv", "--out", "words.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 of 12 samples cannot be read and are left out: missing file 1" in done.stdout + done.stderr
    written = json.loads((tmp_path / "words.json").read_text(encoding="utf-8"))
    expected = dict.fromkeys(("'s", ",", ".", "a", "bone", "dog", "no"), 11)
    assert written["counts"] == expected  # every digit is too rare
    assert (written["captions"], written["min_count"], written["total"]) == (11, 5, 77)
    assert WordCounts.read(tmp_path / "words.json").counts == expected
    again = askew_here("data", "words", "pairs.csv", "--out", "words.json", "--min-count", "2", cwd=tmp_path)
    assert again.returncode == 2
    askew_here("data", "words", "pairs.csv", "--out", "words.json", "--min-count", "2", "--overwrite", cwd=tmp_path)
    assert WordCounts.read(tmp_path / "words.json").counts == {**expected, "0": 2, "1": 2}


def test_tags_are_counted_where_training_appends_them(tmp_path):
    totals = []
    for name, setting in (("with", "views.tags=0.5"), ("without", "views.tags=0")):
        done = askew_here("data", "words", "embedded", "--out", name, "--set", setting, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        totals.append(WordCounts.read(tmp_path / name).total)
    assert totals[0] > 2 * totals[1]
