"""The corpus of faults: no crash, no hang, no silent loss. Each is counted under its cause, in every format."""

import json
import os
from collections import Counter

import pytest
from faults import SAMPLE_FAULTS, SOURCE_FAULTS, encoded
from formats import FORMATS

from askew.data.check import Look, check
from askew.data.loader import BadSamples, Loader
from askew.data.sources import open_source
from askew.errors import RunFailed, UserError
from askew.training.build import build_views
from micro_runs import askew, micro_recipe

PAIRS = [(f"g{n:02d}.png", encoded("PNG", size=(20 + n, 30)), f"good {n}") for n in range(12)]


@pytest.fixture(autouse=True)
def no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path.parent / "cache"))


def looked(source):
    """The whole source, as `askew data check` looks at it."""
    look = Look()
    for index in range(len(source)):
        look.add(source, index)
    return look


def test_the_corpus_is_large_enough():
    assert len(SAMPLE_FAULTS) + len(SOURCE_FAULTS) >= 70


@pytest.mark.parametrize("name", FORMATS)
def test_every_odd_sample_is_counted_under_its_cause(name, tmp_path):
    for number, (what, case) in enumerate(SAMPLE_FAULTS.items()):
        if name in case.not_in:
            continue
        folder = tmp_path / str(number)
        folder.mkdir()
        source = open_source(FORMATS[name](folder, [*PAIRS[:2], (case.name, case.image, case.text), PAIRS[2]]))
        look = looked(source)
        assert look.looked_at == 4, what
        assert look.unusable.total() == bool(case.causes), (what, look.examples)
        assert set(look.unusable) <= set(case.causes), (what, look.examples)
        if not case.causes:
            expected = case.text.strip() if isinstance(case.text, str) else case.text
            assert expected in look.captions, what
        for examples in look.examples.values():
            assert all(text.isprintable() for text in examples)


@pytest.mark.parametrize("what", SOURCE_FAULTS)
def test_every_faulty_source_is_counted_or_refused(what, tmp_path):
    made = SOURCE_FAULTS[what](tmp_path, PAIRS)
    if made.refused:
        with pytest.raises(UserError, match=made.refused) as error:
            open_source(made.source)
        assert "\n" not in str(error.value)
        return
    source = open_source(made.source)
    assert len(source.notes) == len(made.notes), source.notes
    assert all(note.startswith(cause) for note, cause in zip(source.notes, made.notes, strict=True))
    if made.later:
        made.later()
    look = looked(source)
    assert look.unusable == made.unusable, look.examples


def test_what_may_not_be_read_has_its_own_cause(tmp_path, monkeypatch):
    """Root may read everything, so the refusal is simulated."""
    source = open_source(FORMATS["csv"](tmp_path, PAIRS))
    opened = os.open

    def refuse(path, *arguments):
        if str(path).endswith("g03.png"):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments)

    monkeypatch.setattr(os, "open", refuse)
    assert looked(source).unusable == {"permission denied": 1}


# A run over the corpus


def corpus():
    """Good pairs, and every sample of the corpus that all formats can hold, each under a different name."""
    odd = [
        (f"odd{n:02d}.{case.name.rpartition('.')[2]}", case.image, case.text)
        for n, case in enumerate(SAMPLE_FAULTS.values())
        if not case.not_in
    ]
    return [*PAIRS, *odd], sum(bool(case.causes) for case in SAMPLE_FAULTS.values() if not case.not_in)


@pytest.mark.parametrize("name", ["csv", "folder", "tar", "parquet", "saved_dataset"])
def test_a_run_over_the_corpus_ends_by_its_budget(name, tmp_path):
    pairs, unusable = corpus()
    assert unusable > 10
    source = open_source(FORMATS[name](tmp_path, pairs))
    recipe = micro_recipe(tmp_path)
    loader = Loader(source, build_views(recipe, ("image", "text")), len(source), seed=0)
    batch = loader.batch(0)
    assert len(batch["id"]) == len(pairs)
    bad = BadSamples(len(pairs), Counter(cause for cause, _ in batch["bad_samples"]))
    assert bad.total >= unusable  # a substitute may be unusable too
    with pytest.raises(RunFailed, match="over the budget"):
        bad.check()


def test_the_check_of_the_command_line(tmp_path):
    pairs, unusable = corpus()
    path = FORMATS["tar"](tmp_path, pairs)
    done = askew("data", "check", path, "--json", "--ranks", 4, "--set", "towers.vision_cfg.image_size=32")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["samples"] == found["looked_at"] == len(pairs)
    assert sum(seen["count"] for seen in found["unusable"].values()) == unusable
    assert found["unusable"]["empty image"]["examples"] == ["00000.tar/odd00.png: empty image"]
    assert "over the budget" in found["verdict"][0]
    assert found["ranks"] == 4
    assert found["feeding"]["1"] > 0
    assert found["captions"]["words"]["max"] == 20_001


def test_a_check_of_good_data(tmp_path):
    source = open_source(FORMATS["parquet"](tmp_path, [*PAIRS, PAIRS[0]]))
    found = check(source, build_views(micro_recipe(tmp_path), ("image",)), limit=7, seconds=0.05)
    assert (found["samples"], found["looked_at"], found["usable"]) == (13, 7, 7)
    assert found["images"]["width"]["min"] == 20
    assert found["images"]["repeated_share"] == round(1 / 7, 4)
    assert found["captions"]["most_common"] == [["good 0", 2]]
    assert found["verdict"][0] == "every sample looked at can be used"
