"""The recipes of the paper: what is published, where each setting comes from, and that real towers can be built."""

import re

import pytest
import torch
import yaml

from askew.data.sources import open_source
from askew.errors import UserError
from askew.nn.towers import build_model as open_clip_build
from askew.recipes import PAPER, RECIPES, find, shown
from askew.recipes.paper import sources
from askew.recipes.published import PUBLISHED, sources_of_published
from askew.recipes.settings import leaves
from askew.training.build import build_method, build_views
from askew.training.towers import build_towers, open_clip_config, resolve
from helpers import micro_towers

PAPERS = "MCD|CLIP|CLIPF|SLIP|DeCLIP|UniCLIP|FastCLIP|A-CLIP|SuperCLIP"
ORIGINS = rf"\b({PAPERS}|open_clip|ours|set by|the method's paper|method, data, image tower)\b"
CONFIRMED = {  # MCD Sec. 5.1
    "cc3m-vitb16": {"epochs": 40, "learning_rate": 5e-4, "weight_decay": 0.5},
    "yfcc15m-vitb32": {"epochs": 32, "learning_rate": 1e-3, "weight_decay": 0.2},
}


def test_methods_data_and_variants_are_all_there():
    methods = {name.partition("-")[0] for name in PAPER}
    assert {"clip", "slip", "declip", "mcd"} <= methods
    expected = {f"{method}-{data}{end}" for method in methods for data in CONFIRMED for end in ("", "-timm")}
    assert expected == PAPER.keys() <= RECIPES.keys()


@pytest.mark.parametrize("name", PAPER)
def test_settings_are_the_papers(name):
    recipe = find(name)
    method, data = re.fullmatch(r"(\w+)-(\w+-\w+?)(?:-timm)?", name).groups()
    assert (recipe.name, recipe.method.name, recipe.data.source) == (name, method, "")
    assert {key: getattr(recipe.train, key) for key in CONFIRMED[data]} == CONFIRMED[data]
    assert recipe.loader.batch_size == 4096
    assert recipe.views.aug_scale == ((0.2, 1.0) if method == "declip" else (0.08, 1.0))


@pytest.mark.parametrize("name", PAPER)
def test_every_setting_names_its_source(name):
    recipe = find(name)
    found = sources(recipe)
    assert found.keys() == leaves(recipe.model_dump(mode="json")).keys()
    assert [key for key, source in found.items() if not re.search(ORIGINS, source)] == []
    for key in ("train.epochs", "train.learning_rate", "train.weight_decay"):
        value = leaves(recipe.model_dump(mode="json"))[key]
        assert float(re.search(r": ([\d.e-]+) on", found[key])[1]) == value, "a source that gives another value"


STATED = {  # batch, epochs, peak, decay, steps of warm-up, samples; in the README or the configuration of each
    "aclip-yfcc15m-vitb16": (4096, 25, 5e-4, 0.5, 3601, 14_747_529),
    "fastclip-cc12m-vitb32": (2048, 33, 4e-4, 0.1, 10_000, 9_187_328),
    "fastclip-laion400m-vitb16": (5120, 30, 2e-4, 0.2, 13_200, 315_658_316),
    "superclip-datacomp-vitb16": (16_384, 1, 1e-3, 0.2, 500, 512_000_000),
}


def test_settings_of_other_papers_are_theirs_and_name_their_sources():
    assert STATED.keys() == PUBLISHED.keys() <= RECIPES.keys()
    for name, (batch, epochs, peak, decay, warmup, samples) in STATED.items():
        recipe = find(name)
        train = recipe.train
        assert recipe.name == name
        assert (recipe.loader.batch_size, train.epochs, train.learning_rate) == (batch, epochs, peak)
        assert (train.weight_decay, train.betas) == (decay, (0.9, 0.98))
        assert train.warmup_epochs * samples / batch == pytest.approx(warmup, rel=1e-3)
        found = sources_of_published(recipe)
        assert [key for key, source in found.items() if not re.search(ORIGINS, source)] == []
        assert yaml.safe_load(shown(name)) == recipe.model_dump(mode="json")


def test_a_setting_that_nobody_explained_is_an_error():
    recipe = find("mcd-cc3m-vitb16")
    unknown = recipe.method.model_copy(update={"name": "stranger"})
    with pytest.raises(KeyError):
        sources(recipe.model_copy(update={"method": unknown}))


@pytest.mark.parametrize("name", ["declip-cc3m-vitb16", "mcd-yfcc15m-vitb32-timm"])
def test_the_yaml_carries_the_sources_and_is_the_recipe(name):
    text, recipe = shown(name), find(name)
    assert yaml.safe_load(text) == recipe.model_dump(mode="json")
    assert text.count("  # ") == len(leaves(recipe.model_dump(mode="json")))
    assert re.search(r"^  learning_rate: \S+  # MCD Sec\. 5\.1: ", text, re.MULTILINE)
    assert "#" not in shown("tiny")


@pytest.mark.parametrize("name", [name for name in PAPER if name.startswith("mcd-") or not name.endswith("-timm")])
def test_real_towers_can_be_built(name):
    """On the meta device: all shapes, no numbers."""
    recipe = find(name)
    recipe = recipe.model_copy(update={"towers": resolve(recipe.towers)})
    with torch.device("meta"):
        method = build_method(recipe)
    millions = [sum(p.numel() for p in tower.parameters()) / 1e6 for tower in (method.towers.image, method.towers.text)]
    assert millions[0] == pytest.approx(86.2 if "vitb16" in name else 87.8, abs=0.5)
    assert millions[1] == pytest.approx(63.4, abs=0.2)
    assert method.towers.image.width == 768
    views = build_views(recipe, method.views)
    assert views.tokens.context_length == 77
    assert {view.size for view in views.images} == {224}
    activation = str(method.towers.text.trunk.transformer.resblocks[0].mlp)
    assert ("QuickGELU" in activation) == name.endswith("-timm")


def test_the_heads_of_vit_b_are_the_published_ones():
    for name, (head, widths) in {
        "slip-cc3m-vitb16": ("head", [(4096, 768), (4096, 4096), (256, 4096)]),
        "declip-yfcc15m-vitb32": ("projector", [(1024, 512), (1024, 1024), (1024, 1024)]),
    }.items():
        recipe = find(name)
        with torch.device("meta"):
            method = build_method(recipe.model_copy(update={"towers": resolve(recipe.towers)}))
        assert [tuple(m.weight.shape) for m in getattr(method, head).linear] == widths


def test_data_must_be_named():
    with pytest.raises(UserError, match="--data SOURCE"):
        open_source(find("clip-cc3m-vitb16").data.source)


def test_words_without_a_training_caption_can_be_told_to_start_small():
    """towers.token_std scales the start of the token embeddings, and nothing else; 0.02 is open_clip's, to the bit."""
    made = {std: build_towers(micro_towers().model_copy(update={"token_std": std}), 0, True) for std in (0.02, 0.005)}
    torch.manual_seed(0)
    theirs = open_clip_build(open_clip_config(micro_towers())).text.token_embedding.weight
    usual, small = (pair.text.trunk.token_embedding.weight[:-1] for pair in made.values())
    assert torch.equal(usual, theirs)
    torch.testing.assert_close(small, theirs / 4)
    usual, small = (dict(pair.named_parameters()) for pair in made.values())
    changed = {name for name in usual if not torch.equal(usual[name], small[name])}
    assert changed == {"text.trunk.token_embedding.weight"}
