"""Minima of known position and value."""

import math

import pytest
import torch

from dgm_helpers.probability import minimise


def rosenbrock(x, y):
    return ((1 - x) ** 2 + 100 * (y - x**2) ** 2).sum()


def test_ends_at_the_bottom_of_a_curved_valley():
    start = torch.tensor([-1.2], dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64)
    (x, y), value = minimise(rosenbrock, *start)
    assert (float(x), float(y)) == (pytest.approx(1, abs=1e-9), pytest.approx(1, abs=1e-9))
    assert value == pytest.approx(0, abs=1e-18)
    assert not x.requires_grad


def test_the_start_is_left_as_it_was_and_chooses_the_minimum():
    start = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    for sign in (1, -1):
        (x,), value = minimise(lambda x: (x**2 - 1) ** 2 + x / 10, sign * start)
        assert sign * float(x) > 0.9
        assert sign * value > 0
    assert start.item() == 0.5
    assert start.grad is None


def test_an_objective_that_is_not_finite_at_the_start_is_refused():
    with pytest.raises(ValueError, match="finite at the start, got nan"):
        minimise(lambda x: x * math.nan, torch.tensor(1.0))
