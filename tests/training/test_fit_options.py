"""The learning-rate schedule and the precision of ``fit``."""

import warnings

import pytest
import torch
from torch import nn

from dgm_helpers.training import speed
from dgm_helpers.training.fit import fit, one_cycle

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
def test_precision_of_the_forward_pass_and_of_the_parameters(precision, inside, monkeypatch):
    monkeypatch.setattr(speed, "slowdown", lambda precision, device: 1.0)
    dtypes = set()

    def loss(model, batch, generator):
        out = model(batch)
        dtypes.add(out.dtype)
        return (out.float() ** 2).mean()

    model = nn.Linear(2, 1)
    fit(model, loss, torch.randn(30, 2), epochs=1, batch_size=10, precision=precision, progress=False)
    assert dtypes == {inside}
    assert model.weight.dtype == torch.float32


def test_an_emulated_precision_trains_in_float32_and_says_so(monkeypatch):
    monkeypatch.setattr(speed, "slowdown", lambda precision, device: 60.0)
    with pytest.warns(UserWarning, match=r"float32: torch.bfloat16 is 60 times slower on this cpu"):
        emulated, _ = run(epochs=2, precision=torch.bfloat16)
    assert torch.equal(emulated.weight, run(epochs=2)[0].weight)
    assert speed.ways()["precision"] == "torch.bfloat16 is 60 times slower on this cpu"
    monkeypatch.setattr(speed, "slowdown", lambda precision, device: 1.0)
    run(epochs=1, precision=torch.bfloat16)
    assert speed.ways()["precision"] == ""


def test_slowdown_is_a_measured_ratio():
    assert speed.slowdown(torch.float32, torch.device("cpu")) < speed.TOO_SLOW
    assert speed.slowdown(torch.float16, torch.device("cpu")) > 0


class Parts(nn.Module):
    """A model whose forward lies in a part, as a VAE's do; it notes the size of the batches it sees."""

    def __init__(self):
        super().__init__()
        self.part = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))

    def forward(self, x):
        return self.part(x)


def run_parts(**options):
    torch.manual_seed(0)
    model, data = Parts(), torch.randn(25, 2, generator=torch.Generator().manual_seed(1))
    seen = []

    def loss(model, batch, generator):
        seen.append(len(batch))  # ordinary Python: a compiled loss would be compiled again at every step
        noise = torch.randn(len(batch), 1, generator=generator)
        return ((model(batch) - noise) ** 2).mean()

    settings = {"epochs": 3, "batch_size": 10, "lr": 0.05, "generator": torch.Generator().manual_seed(2)}
    history = fit(model, loss, data, progress=False, **(settings | options))
    assert seen == [10, 10, 5] * (len(seen) // 3)
    return model, history


def test_a_compiled_run_is_the_plain_run():
    plain, expected = run_parts()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        compiled, history = run_parts(compile=True)
    if speed.ways()["compilation"]:
        assert any("without compilation" in str(w.message) for w in caught)
        pytest.skip("no compiler here: " + speed.ways()["compilation"])
    torch.testing.assert_close(torch.tensor(history.loss), torch.tensor(expected.loss))
    assert repr(compiled) == repr(plain)  # part of the fingerprint of stored weights
    assert list(compiled.state_dict()) == list(plain.state_dict())
    for a, b in zip(compiled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@pytest.fixture
def pretend(monkeypatch):
    """A compiler that changes nothing, and counts on which batches it ran."""
    ran = []

    def compile(function, **options):
        return lambda x: ran.append(len(x)) or function(x)

    monkeypatch.setattr(torch, "compile", compile)
    return ran


def test_only_full_training_batches_run_compiled(pretend):
    def evaluate(model):
        before = len(pretend)
        model(torch.zeros(10, 2))
        assert len(pretend) == before
        return {}

    model, _ = run_parts(compile=True, evaluate=evaluate, evaluate_at=[0, 1, 2, 3])
    assert pretend == [8] + [10] * 6  # the probe, then two full batches in each of three epochs
    assert "forward" not in vars(model.part)


def test_nothing_is_compiled_unasked(pretend):
    run_parts()
    assert pretend == []


def test_the_model_is_put_back_after_an_error(pretend):
    model = Parts()

    def breaks(model, batch, generator):
        model(batch)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fit(model, breaks, torch.zeros(10, 2), epochs=1, batch_size=10, compile=True, progress=False)
    assert pretend == [8, 10]
    assert "forward" not in vars(model.part)


def test_a_forward_of_the_callers_own_is_put_back(pretend):
    model = Parts()
    own = model.part.forward = lambda x: nn.Sequential.forward(model.part, x)
    fit(model, quadratic, torch.zeros(20, 2), epochs=1, batch_size=10, compile=True, progress=False)
    assert pretend == [8, 10, 10]
    assert model.part.forward is own


def test_a_model_without_parts_is_compiled_whole(pretend):
    fit(nn.Linear(2, 1), quadratic, torch.zeros(20, 2), epochs=1, batch_size=10, compile=True, progress=False)
    assert pretend == [8, 10, 10]


def test_without_a_compiler_it_warns_and_trains(monkeypatch):
    def no_compiler(function, **options):
        raise RuntimeError("no C++ compiler\nmore lines")

    _, expected = run_parts()
    monkeypatch.setattr(torch, "compile", no_compiler)
    with pytest.warns(UserWarning, match=r"training without compilation: RuntimeError: no C\+\+ compiler$"):
        _, history = run_parts(compile=True)
    assert history.loss == expected.loss
    assert speed.ways()["compilation"] == "RuntimeError: no C++ compiler"


def test_a_fallback_is_shown_once(monkeypatch):
    """By Python's own filter: in one place, the same words once."""
    monkeypatch.setattr(speed, "slowdown", lambda precision, device: 60.0)
    monkeypatch.setattr(speed, "__warningregistry__", {}, raising=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            run(epochs=1, precision=torch.bfloat16)
    assert len(caught) == 1
