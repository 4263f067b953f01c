"""JPEGs decoded at a smaller size: the same views except for rounding, with any workers and any cache."""

import numpy as np
import pytest
import torch
from PIL import Image

from askew import recipes
from askew.data.images import Picture
from askew.data.loader import Loader
from askew.data.sources import open_source
from askew.data.views import ImageView, MaskedTokens, Normalise, Tokens, Views
from askew.recipes.settings import override
from askew.runs.resume import RESUMABLE
from askew.training.build import build_views

WANTED = ("image", "aug")
SIZES = [(200, 150), (96, 256), (40, 30), (60, 300)]  # of the JPEGs; PNGs between them


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    lines = ["image,caption"]
    for index in range(16):
        rng = np.random.default_rng(index)
        coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        image = coarse.resize(SIZES[index // 2 % 4], Image.Resampling.BICUBIC)
        name = f"{index}.png" if index % 2 else f"{index}.jpg"
        image.save(folder / name, **({} if index % 2 else {"quality": 95}))
        lines.append(f"{name},picture {index}")
    (folder / "pairs.csv").write_text("\n".join(lines), encoding="utf-8")
    return open_source(str(folder / "pairs.csv"))


def views(scaled=True, wanted=WANTED, weak=(0.5, 1.0), strong=(0.08, 1.0)):
    images = (ImageView("image", 16, weak), ImageView("aug", 16, strong, flip=0.5))
    return Views(
        wanted, images, Tokens(16), MaskedTokens(), Normalise((0.0,) * 3, (1.0,) * 3), 0.0, scaled_decode=scaled
    )


def loader(source, scaled=True, **settings):
    return Loader(source, views(scaled), 8, seed=1, **settings)


@pytest.fixture
def shrinks(monkeypatch):
    """The scales at which pictures were decoded."""
    asked, pixels = [], Picture.pixels

    def spy(self, shrink=1):
        asked.append(((self.width, self.height), self.scalable, shrink))
        return pixels(self, shrink)

    monkeypatch.setattr(Picture, "pixels", spy)
    return asked


def assert_equal(one, other):
    for key in ("id", *WANTED, "image_params", "aug_params"):
        assert torch.equal(one[key], other[key]), key


def test_views_are_the_same_except_for_rounding(source, shrinks):
    """A crop's edge moves by at most half a pixel of the view. Parameters are those of the whole image."""
    for step in range(4):
        small, whole = loader(source).batch(step), loader(source, scaled=False).batch(step)
        for key in ("id", "image_params", "aug_params"):
            assert torch.equal(small[key], whole[key])
        for key in WANTED:
            difference = (small[key].float() - whole[key].float()).abs().mean(dim=(1, 2, 3))
            assert difference.max() < 8
            assert difference.mean() < 1.5
    taken = [shrink for _, scalable, shrink in shrinks if scalable]
    assert set(taken) >= {1, 2, 4}
    assert {shrink for _, scalable, shrink in shrinks if not scalable} == {1}


def test_no_crop_has_fewer_pixels_than_its_view_and_no_size_is_larger_than_needed(source, shrinks):
    seen = set()
    for seed in range(60):
        wanted = views()
        picture = Picture(source[0].image)  # 200 x 150
        made = wanted.sample(picture, ("",), (), [seed])
        sides = [made[f"{key}_params"][2:4] * torch.tensor([200, 150]) for key in WANTED]
        least = min(side.min().item() for side in sides) / 16 + 1e-4
        taken = shrinks[-1][2]
        assert taken <= least
        assert taken == 8 or 2 * taken > least
        seen.add(taken)
    assert seen == {2, 4, 8}


def test_the_most_demanding_of_the_wanted_views_decides(source, shrinks):
    for wanted, expected in ((("image",), 8), (("aug",), 2), (WANTED, 2)):
        narrow = views(wanted=wanted, weak=(1.0, 1.0), strong=(0.08, 0.08))
        narrow.sample(Picture(source[0].image), ("",), (), [0])
        assert shrinks[-1][2] == expected


def test_a_cache_changes_nothing_and_keeps_no_image_that_may_be_shrunk(source):
    plain, cached = loader(source), loader(source, cache_bytes=10**9)
    for step in range(4):
        assert_equal(cached.batch(step), plain.batch(step))
    small = [index for index in range(16) if index % 2 or SIZES[index // 2 % 4] == (40, 30)]
    assert set(cached._cache) == set(small)
    whole = loader(source, scaled=False, cache_bytes=10**9)
    for step in range(4):
        assert_equal(whole.batch(step), loader(source, scaled=False).batch(step))
    assert len(whole._cache) == 16


def test_workers_and_ranks_change_nothing(source):
    plain = [loader(source).batch(step) for step in range(3)]
    for one, other in zip(loader(source, num_workers=2).batches(0, 3), plain, strict=True):
        assert_equal(one, other)
    for step, batch in enumerate(plain):
        halves = [Loader(source, views(), 8, seed=1, rank=rank, world_size=2).batch(step) for rank in (0, 1)]
        assert torch.equal(torch.cat([half["aug"] for half in halves]), batch["aug"])


def test_the_recipe_turns_it_off_and_a_resumed_run_keeps_it():
    recipe = recipes.find("tiny")
    assert build_views(recipe, WANTED).scaled_decode
    assert not build_views(override(recipe, ["views.scaled_decode=false"]), WANTED).scaled_decode
    assert "views.scaled_decode" not in RESUMABLE
