"""The largest image: `data.max_megapixels` and `--max-megapixels` reach every process that decodes."""

import io
import json
import multiprocessing
import pickle

import pytest
from PIL import Image

from askew.data.images import PixelLimit, pixel_limit
from askew.data.views import Views
from askew.errors import UserError
from askew.recipes.settings import override
from askew.report.console import Console
from askew.runs.check import check_data
from askew.training.build import build_views
from askew.training.towers import resolve
from micro_runs import askew_here, micro_recipe, table_of_25


@pytest.fixture(autouse=True)
def default_limit():
    yield
    PixelLimit().apply()


def views_of(megapixels):
    recipe = override(micro_recipe("data.csv"), [f"data.max_megapixels={megapixels}"])
    return build_views(recipe.model_copy(update={"towers": resolve(recipe.towers)}), ("image", "text"))


def report_limit(views: Views, queue):
    queue.put((pixel_limit().pixels, Image.MAX_IMAGE_PIXELS))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_the_limit_of_the_recipe_reaches_workers(method):
    """Forked ones inherit it; the others are given the views, which bring it along."""
    views = views_of(108)
    assert pixel_limit().pixels == 108_000_000
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    worker = context.Process(target=report_limit, args=(views, queue))
    worker.start()
    assert queue.get(timeout=120) == (108_000_000, 108_000_000)
    worker.join()


def test_views_bring_their_limit_along():
    packed = pickle.dumps(views_of(3))
    PixelLimit().apply()
    pickle.loads(packed)
    assert pixel_limit() == PixelLimit(3, "--set data.max_megapixels={}")


def table_with_a_large_image(tmp_path):
    """25 pairs of small images, and one of 300 x 400."""
    table = table_of_25(tmp_path)
    content = io.BytesIO()
    Image.new("RGB", (300, 400), "red").save(content, "PNG")
    (tmp_path / "0003.png").write_bytes(content.getvalue())
    return str(table)


def test_data_check_and_training_have_the_same_limit(tmp_path, capsys):
    table = table_with_a_large_image(tmp_path)
    found = check_data(table, ["data.max_megapixels=0.1"], 1, 100, True, Console())
    assert {cause: seen["count"] for cause, seen in found["unusable"].items()} == {"too many pixels": 1}
    (example,) = found["unusable"]["too many pixels"]["examples"]
    assert example.endswith("300x400 pixels are over the limit of 100,000; raise it with --set data.max_megapixels=1")
    assert check_data(table, ["data.max_megapixels=0.2"], 1, 100, True, Console())["unusable"] == {}
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["usable"] == 25


@pytest.mark.parametrize("megapixels", ["0", "-1", "1e9", "many"])
def test_an_absurd_limit_is_refused(megapixels):
    with pytest.raises(UserError, match=r"data\.max_megapixels"):
        views_of(megapixels)


def test_evaluation_has_an_option(tmp_path):
    refused = askew_here("eval", "nowhere", "--max-megapixels", "0", cwd=tmp_path)
    assert refused.returncode == 2
    assert "--max-megapixels" in refused.stdout + refused.stderr
