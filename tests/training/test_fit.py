"""The training loop: what it minimises, what it records, and how it fails."""

import copy
import itertools
import re
import time

import pytest
import torch
from torch import nn

from dgm_helpers.training import device, watch
from dgm_helpers.training.device import best_device, lacking
from dgm_helpers.training.fit import Draws, fit, one_cycle
from dgm_helpers.training.watch import BLOCK


class Mean(nn.Module):
    """One parameter, whose best value is the mean of the data."""

    def __init__(self, start=0.0):
        super().__init__()
        self.value = nn.Parameter(torch.tensor([start]))


def squares(model, batch, generator):
    return (model.value - batch).square().mean()


DATA = torch.arange(10.0)


def run(model, loss=squares, data=DATA, **options):
    settings = dict(epochs=200, batch_size=4, lr=0.05, generator=torch.Generator().manual_seed(0), progress=False)
    return fit(model, loss, data, **(settings | options))


def test_it_finds_the_minimum():
    model = Mean()
    history = run(model)
    assert float(model.value.detach()) == pytest.approx(4.5, abs=0.5)
    assert len(history.loss) == 200
    assert history.loss[-1] < history.loss[0]
    assert history.seconds > 0


def test_every_example_is_seen_once_in_an_epoch():
    seen = []

    def watch(model, batch, generator):
        seen.extend(batch.tolist())
        return squares(model, batch, generator)

    run(Mean(), watch, epochs=2)
    assert sorted(seen[:10]) == sorted(seen[10:]) == DATA.tolist()
    assert seen[:10] != seen[10:]


def test_the_epoch_loss_weighs_a_short_last_batch_by_its_size():
    history = run(Mean(), epochs=1, lr=0.0)
    assert history.loss[0] == pytest.approx(float(DATA.square().mean()))


def test_the_same_generator_gives_the_same_run():
    one, two = Mean(), Mean()
    assert run(one, epochs=5).loss == run(two, epochs=5).loss
    assert torch.equal(one.value, two.value)


def test_evaluations_happen_at_the_epochs_asked_for_without_gradients():
    def evaluate(model):
        assert not torch.is_grad_enabled()
        return {"value": float(model.value)}

    history = run(Mean(start=3.0), epochs=4, evaluate=evaluate, evaluate_at=[0, 2, 4])
    assert history.column("epoch") == [0, 2, 4]
    assert history.column("value")[0] == 3.0


@pytest.mark.parametrize("bad_step", [1, 2, BLOCK, BLOCK + 1, BLOCK + 7, 2 * BLOCK + 1, 51])  # 50 steps an epoch
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_named_and_good_parameters_are_kept(bad_step, value):
    model, steps = Mean(), []

    def breaks(model, batch, generator):
        steps.append(float(model.value.detach()))
        loss = squares(model, batch, generator)
        return loss * value if len(steps) == bad_step else loss

    with pytest.raises(FloatingPointError, match=rf"the loss became (nan|inf) at step {bad_step};"):
        run(model, breaks, data=torch.arange(50.0), batch_size=1)
    kept = float(model.value.detach())
    assert kept in steps[: max(1, bad_step - 1)]  # parameters that gave a finite loss, or the start
    assert torch.isfinite(squares(model, DATA, None))
    if bad_step > 2 * BLOCK:
        assert kept in steps[bad_step - 2 * BLOCK :]


def test_a_last_step_that_breaks_the_parameters_is_noticed():
    """The loss is finite, its gradient is not: only the parameters show it."""

    def infinite_slope(model, batch, generator):
        return torch.sqrt((model.value - 1.0).abs()).sum()  # slope inf * 0 at its minimum

    model = Mean(start=1.0)
    with pytest.raises(FloatingPointError, match="the last step left a parameter that is not finite"):
        run(model, infinite_slope, data=DATA[:1], epochs=1)
    assert float(model.value.detach()) == 1.0


def test_interrupting_keeps_the_history():
    calls = []

    def interrupted(model, batch, generator):
        calls.append(1)
        if len(calls) == 8:  # in the third epoch of three steps
            raise KeyboardInterrupt
        return squares(model, batch, generator)

    history = run(Mean(), interrupted)
    assert history.interrupted
    assert len(history.loss) == 2


def test_the_progress_bar_shows_the_loss(capsys):
    def slow(model, batch, generator):  # the bar is redrawn ten times a second at most
        time.sleep(0.01)
        return squares(model, batch, generator)

    run(Mean(), slow, epochs=30, progress=True)
    out = capsys.readouterr()
    assert ", loss " in out.err
    assert out.out == ""


def test_the_progress_shows_a_running_mean_the_evaluated_values_and_a_line_that_stays(capsys, monkeypatch):
    shown = []
    monkeypatch.setattr(watch.tqdm, "set_postfix_str", lambda self, text, refresh=True: shown.append((text, refresh)))

    turns = itertools.cycle([2.0, 4.0])

    def alternating(model, batch, generator):
        return (model.value * 0).sum() + next(turns)

    history = run(
        Mean(), alternating, data=torch.arange(400.0), batch_size=1, epochs=2, progress=True,
        evaluate=lambda model: {"bound": -3.14159, "note": "x"}, evaluate_at=[0, 2],
    )  # fmt: skip
    means = [text.split("loss ")[1] for text, _ in shown if "loss" in text]
    assert len(means) == 2 * 400 / BLOCK
    assert set(means) == {"3"}  # the last loss would be 2 or 4
    assert ("evaluating after epoch 2 ...", True) in shown  # drawn at once: an evaluation may take a minute
    lines = [line.split("\r")[-1].strip() for line in capsys.readouterr().err.splitlines()]
    assert [line for line in lines if line.startswith("epoch")] == [
        "epoch 0: bound -3.142, note x", "epoch 2: bound -3.142, note x",
    ]  # fmt: skip
    assert re.fullmatch(r"2 of 2 epochs in \d+ s on cpu; mean loss of the last one 3", lines[-1])
    assert history.column("bound") == [-3.14159] * 2


def test_without_progress_nothing_is_shown(capsys):
    run(Mean(), epochs=2, evaluate=lambda model: {"a": 1.0}, evaluate_at=[1])
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"data": DATA[:0]}, r"shape \(N, ...\) with N >= 1, got \(0,\)"),
        ({"batch_size": 0}, "a whole number batch_size >= 1, got 0"),
        ({"epochs": -1}, "a whole number epochs >= 0, got -1"),
        ({"epochs": 2.5}, "a whole number epochs >= 0, got 2.5"),
        ({"data": Draws(lambda n, generator, like: torch.zeros(n), 0)}, "a whole number steps >= 1, got 0"),
    ],
)
def test_impossible_settings_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        run(Mean(), **options)


def test_what_is_no_data_is_named():
    for data, came in ((DATA.numpy(), "numpy.ndarray"), (DATA.tolist(), "builtins.list")):
        with pytest.raises(TypeError, match=f"expected data as a tensor or Draws, got {came}"):
            run(Mean(), data=data)


@pytest.mark.parametrize(
    ("loss", "came"),
    [
        (lambda m, x, g: (m.value - x).square(), r"got \(4,\)"),
        (lambda m, x, g: 1.0, "got float"),
        (lambda m, x, g: x.mean(), r"got \(\)"),
    ],
)
def test_what_is_no_loss_is_named(loss, came):
    with pytest.raises(TypeError, match=f"expected loss to return a scalar tensor with a gradient, {came}"):
        run(Mean(), loss)


def test_a_model_with_nothing_to_train_is_refused():
    frozen = Mean().requires_grad_(False)
    for model in (frozen, nn.Tanh()):
        with pytest.raises(ValueError, match="parameters that require a gradient, got none"):
            run(model)


class Modes(nn.Module):
    """Dropout, batch statistics, and a part that its owner keeps in eval mode."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(1, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))
        self.kept = nn.Sequential(nn.BatchNorm1d(1)).eval()

    def forward(self, x):
        return self.kept(self.body(x))


@pytest.mark.parametrize("fails", [False, True])
def test_evaluation_is_in_eval_mode_and_training_goes_on_as_it_was(fails):
    model, seen = Modes(), []
    x = DATA.unsqueeze(1)

    def evaluate(model):
        before = copy.deepcopy(model.state_dict())
        assert torch.equal(model(x), model(x))  # no dropout
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())  # no batch statistics
        if fails:
            raise ArithmeticError
        return {"loss": float(model(x).square().mean())}

    def loss(model, batch, generator):
        seen.append((model.training, model.body[1].training, model.kept.training, model.kept[0].training))
        return model(batch).square().mean()

    if fails:
        with pytest.raises(ArithmeticError):
            run(model, loss, x, epochs=1, evaluate=evaluate, evaluate_at=[0])
    else:
        run(model, loss, x, epochs=2, batch_size=5, evaluate=evaluate, evaluate_at=[0, 1, 2])
        assert set(seen) == {(True, True, False, False)}
    assert model.training
    assert model.body[2].training
    assert not model.kept[0].training


def test_data_on_another_device_is_refused():
    with pytest.raises(ValueError, match="expected data on the model's device cpu, got data on meta"):
        run(Mean(), data=DATA.to("meta"))


def test_best_device_exists():
    torch.zeros(1, device=best_device())


@pytest.fixture
def apple(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)


def test_apples_device_is_found(apple, monkeypatch):
    monkeypatch.setattr(device, "lacking", lambda device: "")
    assert best_device() == torch.device("mps")


def test_a_device_that_lacks_an_operation_is_not_used(apple):
    """There is no such device here, so it lacks all of them."""
    if torch.backends.mps.is_built():
        pytest.skip("Apple's device may be here")
    with pytest.warns(UserWarning, match="computing on the CPU: Apple's device lacks an operation") as caught:
        assert best_device() == torch.device("cpu")
    assert len(caught) == 1


def test_the_cpu_lacks_nothing():
    assert lacking(torch.device("cpu")) == ""


def test_what_is_missing_is_named(monkeypatch):
    def missing(x):
        raise NotImplementedError("cholesky is not there\nand more")

    monkeypatch.setattr(torch.linalg, "cholesky", missing)
    assert lacking(torch.device("cpu")) == "NotImplementedError: cholesky is not there"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_it_runs_unchanged_on_a_gpu():
    model = Mean().cuda()
    history = run(model, data=DATA.cuda(), generator=torch.Generator("cuda").manual_seed(0))
    assert history.loss[-1] < history.loss[0]


def test_batches_may_be_drawn_afresh():
    seen = []

    def watch(model, batch, generator):
        seen.append(batch.clone())
        return squares(model, batch, generator)

    draws = Draws(lambda n, generator, like: torch.randn(n, generator=generator, dtype=like.dtype), steps=3)
    history = run(Mean(), watch, data=draws, epochs=2)
    generator = torch.Generator().manual_seed(0)
    assert len(history.loss) == 2
    assert all(torch.equal(batch, torch.randn(4, generator=generator)) for batch in seen)  # no shuffle in between


def test_a_run_that_stops_early_is_the_beginning_of_the_whole():
    whole = run(Mean(), epochs=6, schedule=one_cycle(0.1))
    part = run(Mean(), epochs=6, schedule=one_cycle(0.1), stop_after=2)
    assert part.loss == whole.loss[:2]
    assert part.loss != run(Mean(), epochs=2, schedule=one_cycle(0.1)).loss


def test_the_precision_of_products_is_set_for_the_training_alone():
    seen = set()

    def watch(model, batch, generator):
        seen.add(torch.get_float32_matmul_precision())
        return squares(model, batch, generator)

    before = torch.get_float32_matmul_precision()
    try:
        for own in ("medium", "highest"):  # the caller's
            torch.set_float32_matmul_precision(own)
            run(Mean(), watch, epochs=1, matmul="high")
            assert torch.get_float32_matmul_precision() == own
            with pytest.raises(TypeError, match="scalar"):
                run(Mean(), lambda m, x, g: None, epochs=1, matmul="high")
            assert torch.get_float32_matmul_precision() == own
    finally:
        torch.set_float32_matmul_precision(before)
    assert seen == {"high"}


def test_frozen_parameters_stay():
    model = Mean()
    model.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
    run(model, epochs=2)
    assert torch.equal(model.frozen, torch.ones(2))
