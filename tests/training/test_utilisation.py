"""Operations per second in the metrics, beside those that the device can do."""

import pytest
import torch

from askew.training import profile as profile_module
from askew.training.flops import flops_per_sample
from askew.training.profile import Window
from askew.training.utilisation import Utilisation, matrix_product_speed
from micro_runs import metrics_of, micro_recipe, table_of_25, train, trainer_of


def test_speed_times_operations_over_the_peak(monkeypatch):
    monkeypatch.setattr(profile_module.time, "monotonic", iter((0.0, 4.0, 4.0)).__next__)
    counted = object.__new__(Utilisation)
    counted.flops_per_sample, counted.peak = 3e9, 60e9
    window = Window(counted)
    for _ in range(2):
        window.step()
    rates = window.close(batch_size=10)  # 20 samples in 4 s
    assert rates == {"samples_per_second": 5.0, "data_wait": 0.0, "tflops": 0.015, "utilisation": 0.25}


def test_a_run_that_counts_logs_both_and_trains_alike(tmp_path):
    recipe = micro_recipe(table_of_25(tmp_path), "mcd", max_steps=3)
    counting = micro_recipe(tmp_path / "pairs.csv", "mcd", max_steps=3, count_flops=True)
    plain, lines = (metrics_of(train(one, tmp_path / str(i))) for i, one in enumerate((recipe, counting)))
    assert [line["loss"] for line in lines] == [line["loss"] for line in plain]
    assert not any("tflops" in line for line in plain)
    per_sample = flops_per_sample(trainer_of(recipe).recipe)
    for line in lines:
        assert line["tflops"] == pytest.approx(line["samples_per_second"] * per_sample / 1e12)
        assert 0 < line["utilisation"] < 1.5  # a product of matrices is what these towers are not


def test_the_peak_is_that_of_a_product(monkeypatch):
    found = matrix_product_speed(torch.device("cpu"), "fp32")
    assert 1e8 < found < 1e14
