"""The short form of tests/far_run.py: two ranks, shards behind a faulty link, and the same run from the shards here."""

from askew.recipes.settings import to_yaml
from far_run import compared
from micro_runs import micro_recipe


def test_two_ranks_train_alike_from_shards_far_away(table, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(to_yaml(micro_recipe(table, "mcd", epochs=2)), encoding="utf-8")
    found = compared(str(table), tmp_path / "runs", str(recipe), samples=25, shards=3, share=0.3, sets=[])
    assert found["steps"] > 2
    assert sum(found["faults"].values()) > 0
    assert found["differences"] == []
