"""Means with errors, and tables."""

import pytest
import torch

from dgm_helpers.notebook.tables import benchmark_record, mean_and_error, table


def test_mean_and_error_against_the_formula():
    mean, error = mean_and_error(torch.tensor([1.0, 2.0, 3.0, 6.0]))
    assert mean == pytest.approx(3)
    assert error == pytest.approx((14 / 3 / 4) ** 0.5)  # unbiased variance 14 / 3, four values


def test_one_value_has_no_error():
    with pytest.raises(ValueError, match="at least two values, got"):
        mean_and_error(torch.tensor([1.0]))


def test_table_is_markdown(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda markdown: shown.append(markdown.data))
    table(["a", "b"], [["x", "1"]])
    assert shown == ["| a | b |\n| --- | ---: |\n| x | 1 |"]
    with pytest.raises(ValueError, match="rows of 2 cells"):
        table(["a", "b"], [["x"]])


def test_benchmark_record():
    assert benchmark_record("banana_flows")["where"]
    with pytest.raises(FileNotFoundError, match="run `make bench`"):
        benchmark_record("no_such_benchmark")
