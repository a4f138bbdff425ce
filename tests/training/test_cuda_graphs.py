"""Recording a training step as a CUDA graph: the same run, faster; and what happens where it cannot be."""

import contextlib
import gc
import importlib
import math
import warnings
import weakref

import pytest
import torch
from torch import nn

from dgm_helpers.data.banana import banana_log_joint
from dgm_helpers.data.mnist import binarise
from dgm_helpers.flows.elbo import fit_flow
from dgm_helpers.flows.layers import AdditiveCoupling, AffineCoupling, Flow, Planar, Scaling
from dgm_helpers.mcmc import hmc
from dgm_helpers.mcmc.hmc import sample_hmc
from dgm_helpers.probability.densities import log_normal
from dgm_helpers.training import cuda_graphs as recording
from dgm_helpers.training import speed
from dgm_helpers.training.cuda_graphs import ORDINARY, ReplayedStep
from dgm_helpers.training.fit import fit, one_cycle
from dgm_helpers.vae.convolutional import ConvDecoder, ConvEncoder
from dgm_helpers.vae.model import VAE, MLPDecoder, MLPEncoder
from dgm_helpers.vae.multisample import doubly_reparameterised_bound, resampled_bound

training = importlib.import_module("dgm_helpers.training.fit")  # the package's attribute of this name is the function
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


@pytest.fixture
def pretend(monkeypatch):
    """Recordings on a CPU: a replay calls the step again. Says how often a step was recorded, replayed, watched."""
    counts = {"recorded": 0, "replayed": 0, "watched": 0}

    class Stream:
        pass

    class Recording:
        def __init__(self, function, inputs, stream, generator=None):
            counts["recorded"] += 1
            self.function = function

        def __call__(self, *inputs):
            counts["replayed"] += 1
            return self.function(*inputs)

    def watched(function, inputs, stream):
        counts["watched"] += 1
        return function(*inputs), False

    monkeypatch.setattr(recording, "side_stream", Stream)
    monkeypatch.setattr(recording, "Recording", Recording)
    monkeypatch.setattr(recording, "watched", watched)
    return counts


def replayed(model, batch_size=4):
    """A step of a mean squared output, and the list of batch sizes that it saw."""
    seen = []

    def step(batch):
        seen.append(len(batch))
        model.zero_grad()
        loss = (model(batch) ** 2).mean()
        loss.backward()
        return loss.detach()

    return ReplayedStep(step, model.parameters(), batch_size, None), seen


def repeat(step, times):
    for _ in range(times):
        step(torch.ones(4, 2))


def test_full_batches_are_replayed_after_the_ordinary_steps_and_others_never(pretend):
    step, _ = replayed(nn.Linear(2, 1))
    for size in (4, 4, 3, 4, 4, 3, 4, 4):
        step(torch.ones(size, 2))
    assert pretend == {"watched": ORDINARY, "recorded": 1, "replayed": 6 - ORDINARY}
    assert speed.ways()["CUDA graph"] == ""


def test_after_a_short_batch_the_recorded_gradients_are_the_parameters_again(pretend):
    model = nn.Linear(2, 1)
    step, _ = replayed(model)
    for _ in range(ORDINARY + 1):
        step(torch.ones(4, 2))
    recorded = [p.grad for p in model.parameters()]
    step(torch.ones(3, 2))
    assert all(p.grad is not gradient for p, gradient in zip(model.parameters(), recorded, strict=True))
    step(torch.ones(4, 2))
    assert all(p.grad is gradient for p, gradient in zip(model.parameters(), step.gradients, strict=True))


def test_frozen_parameters_are_left_out(pretend):
    model = nn.Linear(2, 1)
    model.bias.requires_grad_(False)
    step, _ = replayed(model)
    for _ in range(ORDINARY + 2):
        step(torch.ones(4, 2))
    assert len(step.gradients) == 1
    assert model.bias.grad is None


def test_a_step_that_waits_is_never_recorded(pretend, monkeypatch):
    monkeypatch.setattr(recording, "watched", lambda f, inputs, stream: (f(*inputs), True))
    step, seen = replayed(nn.Linear(2, 1))
    with pytest.warns(UserWarning, match="not recorded as a CUDA graph, so slower: it makes Python wait") as caught:
        repeat(step, ORDINARY + 3)
    assert len(caught) == 1
    assert speed.ways()["CUDA graph"] == "it makes Python wait for the GPU"
    assert pretend["recorded"] == 0
    assert len(seen) == ORDINARY + 3  # and none is run twice


def test_waiting_in_the_first_steps_only_is_forgiven(pretend, monkeypatch):
    calls = []
    monkeypatch.setattr(recording, "watched", lambda f, inputs, stream: (f(*inputs), calls.append(1) or len(calls) < 3))
    step, _ = replayed(nn.Linear(2, 1))
    for _ in range(ORDINARY + 1):
        step(torch.ones(4, 2))
    assert pretend["recorded"] == 1


def test_a_recording_that_fails_leaves_an_ordinary_step(pretend, monkeypatch):
    def fails(function, inputs, stream, generator=None):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(recording, "Recording", fails)
    step, seen = replayed(nn.Linear(2, 1))
    with pytest.warns(UserWarning, match="not recorded .*: RuntimeError: operation not permitted") as caught:
        repeat(step, ORDINARY + 3)
    assert len(caught) == 1
    assert speed.ways()["CUDA graph"].startswith("RuntimeError: operation")
    assert len(seen) == ORDINARY + 3


def test_fit_flow_replays_its_step(pretend, monkeypatch):
    def fitted():
        torch.manual_seed(0)
        flow = Flow([AffineCoupling(2), Scaling(2)], 2)
        generator = torch.Generator().manual_seed(0)
        return fit_flow(flow, banana_log_joint, epochs=20, steps=1, num_samples=10, lr=1e-2, generator=generator).loss

    plain = fitted()
    assert pretend["recorded"] == 0
    monkeypatch.setattr(nn.Parameter, "is_cuda", True, raising=False)
    first = ORDINARY + 2  # a pretended replay leaves its gradient where the optimizer does not look
    assert fitted()[:first] == plain[:first]
    assert pretend == {"watched": ORDINARY, "recorded": 1, "replayed": 20 - ORDINARY}


@pytest.mark.parametrize("fails", [False, True])
def test_a_fitted_flow_gives_its_recordings_memory_back(fails, pretend, monkeypatch):
    flow, alive, left = Flow([AffineCoupling(2), Scaling(2)], 2), weakref.WeakSet(), []
    steps = iter(range(100))

    class Recording(recording.Recording):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            alive.add(self)

    def emptied():
        left.append((len(alive), [p.grad for p in flow.parameters() if p.grad is not None]))

    def log_joint(theta):
        return banana_log_joint(theta) * (math.nan if fails and next(steps) == 10 else 1)

    monkeypatch.setattr(recording, "Recording", Recording)
    monkeypatch.setattr(torch.cuda, "empty_cache", emptied)
    monkeypatch.setattr(nn.Parameter, "is_cuda", True, raising=False)
    with pytest.raises(FloatingPointError) if fails else contextlib.nullcontext():
        fit_flow(flow, log_joint, epochs=20, steps=1, num_samples=10, lr=1e-2)
    assert pretend["recorded"] == 1
    assert left == [(0, [])]


@pytest.mark.parametrize("waits", [False, True])
def test_a_watched_call_says_whether_it_waited_and_passes_other_warnings_on(waits, monkeypatch):
    log, modes = [], [0]

    class Stream:
        def __init__(self, name):
            self.name = name

        def wait_stream(self, other):
            log.append(f"{self.name} waits for {other.name}")

    def function(x):
        log.append("called")
        assert modes[-1] == "warn"
        warnings.warn("Synchronization debug mode is a prototype feature", stacklevel=2)
        warnings.warn("the function's own", stacklevel=2)
        if waits:
            warnings.warn("called a synchronizing CUDA operation", stacklevel=2)
        return 2 * x

    monkeypatch.setattr(torch.cuda, "current_stream", lambda: Stream("main"))
    monkeypatch.setattr(torch.cuda, "stream", contextlib.nullcontext)
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: modes[-1])
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    with pytest.warns(UserWarning, match="own") as caught:
        assert recording.watched(function, (21,), Stream("side")) == (42, waits)
    assert [str(w.message) for w in caught] == ["the function's own"]
    assert log == ["side waits for main", "called", "main waits for side"]
    assert modes == [0, "warn", 0]


def test_there_is_one_side_stream_for_each_card(monkeypatch):
    recording._stream_of.cache_clear()
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: f"a stream of card {device}")
    for device in (0, 1, 0):
        monkeypatch.setattr(torch.cuda, "current_device", lambda device=device: device)
        assert recording.side_stream() == f"a stream of card {device}"
    assert recording._stream_of.cache_info().misses == 2
    recording._stream_of.cache_clear()


# On a GPU


class OrdinaryStep(ReplayedStep):
    """A step that is never recorded."""

    def __call__(self, batch):
        return self.step(batch)


def small_vae(seed=0):
    torch.manual_seed(seed)
    return VAE(MLPEncoder(20, 16, 3), MLPDecoder(3, 16, 20), 3).cuda()


def conv_vae():
    torch.manual_seed(0)
    return VAE(
        ConvEncoder(4), ConvDecoder(4), 4, log_likelihood=lambda x, mu: log_normal(x, mu, x.new_full((), math.log(0.5)))
    ).cuda()


def grey(n, pixels, seed=3):
    return torch.rand(n, pixels, generator=torch.Generator().manual_seed(seed)).cuda()


def elbo_loss(model, x, generator):
    return -model.elbo(binarise(x, generator), generator=generator).mean()


def of_bound(bound):
    return lambda model, x, generator: -bound(model, binarise(x, generator), 5, generator=generator).mean()


def run(model, loss, data, monkeypatch=None, **options):
    """Train; with monkeypatch, without recordings. Returns the history and the number of times the loss was called."""
    calls = []

    def counted(*arguments):
        calls.append(1)
        return loss(*arguments)

    settings = {"epochs": 4, "batch_size": 32, "generator": torch.Generator("cuda").manual_seed(1), "progress": False}
    with pytest.MonkeyPatch.context() as patch:
        if monkeypatch:
            patch.setattr(training, "ReplayedStep", OrdinaryStep)
        history = fit(model, counted, data, **(settings | options))
    return history, len(calls)


CASES = {
    "ELBO, a short last batch": (small_vae, elbo_loss, (200, 20), {}),
    "ELBO, one cycle": (small_vae, elbo_loss, (192, 20), {"schedule": one_cycle(3e-3)}),
    "IWAE, doubly reparameterised": (small_vae, of_bound(doubly_reparameterised_bound), (200, 20), {}),
    "IWAE, resampled": (small_vae, of_bound(resampled_bound), (200, 20), {}),
    "ELBO, bfloat16": (small_vae, elbo_loss, (200, 20), {"precision": torch.bfloat16}),
    "convolutional": (conv_vae, lambda m, x, g: -m.elbo(x, generator=g).mean(), (200, 1024), {}),
}


@on_gpu
@pytest.mark.parametrize("case", CASES)
def test_a_recorded_run_is_the_ordinary_run(case, monkeypatch):
    make, loss, shape, options = CASES[case]
    models = make(), make()
    recorded, calls = run(models[0], loss, grey(*shape), **options)
    assert speed.ways()["CUDA graph"] == ""
    plain, plain_calls = run(models[1], loss, grey(*shape), monkeypatch, **options)
    steps = 4 * math.ceil(shape[0] / 32)
    assert plain_calls == steps
    assert calls == ORDINARY + 1 + (4 if shape[0] % 32 else 0)  # once more to record, and the short batches
    torch.testing.assert_close(torch.tensor(recorded.loss), torch.tensor(plain.loss), rtol=1e-4, atol=1e-4)
    if case == "convolutional":  # its gradients are summed in an order that changes from run to run
        return
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-3)


@on_gpu
def test_every_replay_draws_new_numbers():
    model = small_vae()
    losses, _ = run(model, elbo_loss, grey(32, 20), epochs=12, lr=0.0)
    assert len(set(losses.loss)) == 12


@on_gpu
def test_trainings_leave_no_memory_behind():
    def trainings():
        models = []
        for _ in range(2):
            models.append(small_vae())
            run(models[-1], elbo_loss, grey(200, 20))
            flow = Flow([AffineCoupling(2)], 2).cuda()
            generator = torch.Generator("cuda").manual_seed(0)
            fit_flow(flow, banana_log_joint, epochs=1, steps=10, num_samples=100, lr=1e-2, generator=generator)
            models.append(flow)
        gc.collect()  # an optimizer and its scheduler know each other
        return models

    kept = trainings()
    reserved = torch.cuda.memory_reserved()
    kept += trainings()
    assert torch.cuda.memory_reserved() <= reserved + 2**21  # one block of the allocator, for the models kept
    assert all(p.grad is None for model in kept for p in model.parameters())


@on_gpu
@pytest.mark.parametrize("wait", [lambda value: float(value.detach()), lambda value: torch.cuda.synchronize()])
def test_a_loss_that_waits_for_the_gpu_trains_all_the_same(wait, monkeypatch):
    def waits(model, x, generator):
        value = elbo_loss(model, x, generator)
        wait(value)
        return value

    models = small_vae(), small_vae()
    with pytest.warns(UserWarning, match="not recorded as a CUDA graph") as caught:
        history, calls = run(models[0], waits, grey(200, 20))
    assert len(caught) == 1
    assert speed.ways()["CUDA graph"]
    plain, plain_calls = run(models[1], waits, grey(200, 20), monkeypatch)
    assert calls in (plain_calls, plain_calls + 1)
    torch.testing.assert_close(torch.tensor(history.loss), torch.tensor(plain.loss), rtol=1e-4, atol=1e-4)


@on_gpu
def test_a_nan_in_a_replay_is_named_and_good_parameters_are_kept():
    model = small_vae()
    data = grey(320, 20)
    data[-1] = math.nan

    def unshuffled_mean(model, x, generator):
        return model.elbo(x, generator=generator).mean()

    with pytest.raises(FloatingPointError, match="the loss became nan at step"):
        run(model, unshuffled_mean, data, batch_size=4)
    assert all(torch.isfinite(p).all() for p in model.parameters())


@on_gpu
def test_compiled_parts_are_recorded_too(monkeypatch):
    models = small_vae(), small_vae()
    history, _ = run(models[0], elbo_loss, grey(200, 20), compile=True)
    plain, _ = run(models[1], elbo_loss, grey(200, 20), monkeypatch)
    torch.testing.assert_close(torch.tensor(history.loss), torch.tensor(plain.loss), rtol=1e-3, atol=1e-3)


def normal(q):
    return -0.5 * (q**2).sum(-1)


def waits_for_the_gpu(q):
    value = normal(q)
    return value + 0 * float(value.detach()[0])


@on_gpu
@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize("target", [normal, waits_for_the_gpu])
def test_hmc_on_a_gpu_recorded_and_not(target, compile, monkeypatch):
    def draw():
        start, generator = torch.zeros(4096, 2, device="cuda"), torch.Generator("cuda").manual_seed(0)
        return sample_hmc(
            target,
            start,
            step_size=0.4,
            num_steps=5,
            num_samples=40,
            num_warmup=80,
            generator=generator,
            compile=compile,
        )

    waits = target is waits_for_the_gpu
    with pytest.warns(UserWarning, match="not recorded") if waits else contextlib.nullcontext():
        result = draw()
    assert bool(speed.ways()["CUDA graph"]) == waits
    last = result.samples[:, -1]
    assert (last.mean(0).abs() < 5 / 64).all()
    assert ((last.var(0) - 1).abs() < 5 * math.sqrt(2) / 64).all()
    monkeypatch.setattr(hmc, "Replayed", lambda function: function)
    plain = draw()
    torch.testing.assert_close(result.accept_rate.mean(), plain.accept_rate.mean(), rtol=0, atol=1e-3)
    assert (result.samples - plain.samples).abs().median() < 1e-3  # a chain parts for good where rounding decides


LAYERS = {
    "planar": lambda: [Planar(2), Planar(2)],
    "additive": lambda: [AdditiveCoupling(2), Scaling(2)],
    "affine": lambda: [AffineCoupling(2), AffineCoupling(2, flip=True)],
}


@on_gpu
@pytest.mark.parametrize("layers", LAYERS)
def test_a_flow_fitted_with_recordings_is_the_ordinary_one(layers, monkeypatch):
    def fitted():
        torch.manual_seed(0)
        flow, calls = Flow(LAYERS[layers](), 2).cuda(), []

        def log_joint(theta):
            calls.append(1)
            return banana_log_joint(theta)

        generator = torch.Generator("cuda").manual_seed(0)
        settings = {"epochs": 50, "steps": 1, "num_samples": 100, "lr": 1e-2, "generator": generator}
        return torch.tensor(fit_flow(flow, log_joint, **settings).loss), len(calls)

    bounds, calls = fitted()
    monkeypatch.setattr(training, "ReplayedStep", OrdinaryStep)
    plain, plain_calls = fitted()
    assert (calls, plain_calls) == (ORDINARY + 1, 50)
    torch.testing.assert_close(bounds, plain, rtol=1e-4, atol=1e-3)
