"""The learning-rate schedule and the precision of ``fit``."""

import pytest
import torch
from torch import nn

from dgm_helpers.training import fit, one_cycle

PEAK = 0.1


def quadratic(model, batch, generator):
    return (model(batch) ** 2).mean()


def run(**options):
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    data = torch.randn(30, 2, generator=torch.Generator().manual_seed(1))
    history = fit(
        model, quadratic, data, batch_size=10, generator=torch.Generator().manual_seed(2), progress=False, **options
    )
    return model, history


def test_schedule_is_told_the_number_of_steps_and_stepped_after_each():
    seen = []

    def schedule(optimizer, total_steps):
        seen.append(total_steps)
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: seen.append(step) or 1.0)

    run(epochs=4, schedule=schedule)
    assert seen == [12, *range(13)]  # 4 epochs of 3 steps; LambdaLR looks once at step 0, then after each step


def test_one_cycle_rises_to_its_peak_and_falls():
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, rates = one_cycle(PEAK)(optimizer, 100), []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    peak = rates.index(max(rates))
    assert max(rates) == pytest.approx(PEAK, rel=1e-3)
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[0] < PEAK / 10
    assert rates[-1] < PEAK / 1000


def test_constant_schedule_changes_nothing():
    constant, _ = run(epochs=2, lr=0.05, schedule=lambda o, n: torch.optim.lr_scheduler.LambdaLR(o, lambda step: 1.0))
    plain, _ = run(epochs=2, lr=0.05)
    assert torch.equal(constant.weight, plain.weight)


def test_no_epochs_with_a_schedule():
    assert run(epochs=0, schedule=one_cycle(PEAK))[1].loss == []


@pytest.mark.parametrize(("precision", "inside"), [(torch.float32, torch.float32), (torch.bfloat16, torch.bfloat16)])
def test_precision_of_the_forward_pass_and_of_the_parameters(precision, inside):
    dtypes = set()

    def loss(model, batch, generator):
        out = model(batch)
        dtypes.add(out.dtype)
        return (out.float() ** 2).mean()

    model = nn.Linear(2, 1)
    fit(model, loss, torch.randn(30, 2), epochs=1, batch_size=10, precision=precision, progress=False)
    assert dtypes == {inside}
    assert model.weight.dtype == torch.float32
