"""leapfrog and sample_hmc against closed forms, invariants of the dynamics, and exact draws."""

import math
import warnings

import numpy as np
import pytest
import torch

from dgm_helpers.mcmc import hmc
from dgm_helpers.mcmc.hmc import hmc_step, leapfrog, sample_hmc
from dgm_helpers.training import speed


def gaussian(q):
    return -0.5 * (q**2).sum(-1)


def bent(q):
    """q2 ~ N(0, 1), q1 | q2 ~ N(q2^2, 1/4), up to a constant: a banana that can be drawn from exactly."""
    return -2 * (q[..., 0] - q[..., 1] ** 2) ** 2 - 0.5 * q[..., 1] ** 2


def exact_bent(n, generator):
    e = normal(n, 2, generator=generator)
    return torch.stack([e[:, 1] ** 2 + 0.5 * e[:, 0], e[:, 1]], -1)


def normal(*shape, generator=None, seed=0):
    generator = generator or torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def energy(log_density, q, p):
    return 0.5 * (p**2).sum(-1) - log_density(q)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# The integrator


def test_leapfrog_on_a_gaussian_is_its_matrix():
    eps, q, p = 0.7, normal(5, 1, seed=1), normal(5, 1, seed=2)
    step = torch.tensor([[1 - eps**2 / 2, eps], [-eps * (1 - eps**2 / 4), 1 - eps**2 / 2]], dtype=torch.float64)
    expected = torch.cat([q, p], -1) @ torch.linalg.matrix_power(step, 9).T
    torch.testing.assert_close(torch.cat(leapfrog(gaussian, q, p, step_size=eps, num_steps=9), -1), expected)


def test_leapfrog_is_reversible():
    q, p = exact_bent(50, seeded(3)), normal(50, 2, seed=4)
    there = leapfrog(bent, q, p, step_size=0.1, num_steps=25)
    back = leapfrog(bent, there[0], -there[1], step_size=0.1, num_steps=25)
    assert (there[0] - q).abs().max() > 1
    torch.testing.assert_close(back[0], q, rtol=0, atol=1e-9)
    torch.testing.assert_close(-back[1], p, rtol=0, atol=1e-9)


def test_leapfrog_preserves_volume():
    state, h = torch.cat([exact_bent(6, seeded(5)), normal(6, 2, seed=6)], -1), 1e-5

    def flow(s):
        return torch.cat(leapfrog(bent, s[:, :2], s[:, 2:], step_size=0.15, num_steps=5), -1)

    columns = [(flow(state + h * e) - flow(state - h * e)) / (2 * h) for e in torch.eye(4, dtype=torch.float64)]
    jacobian = torch.stack(columns, -1)
    assert (jacobian - torch.eye(4)).abs().amax((1, 2)).min() > 0.5  # the map is far from the identity
    torch.testing.assert_close(torch.linalg.det(jacobian), torch.ones(6, dtype=torch.float64), rtol=0, atol=1e-6)


def test_energy_error_is_divided_by_four_when_the_step_halves():
    q, p = exact_bent(200, seeded(7)), normal(200, 2, seed=8)
    errors = []
    for num_steps in (100, 200, 400):  # the path length stays 1
        end = leapfrog(bent, q, p, step_size=1 / num_steps, num_steps=num_steps)
        errors.append((energy(bent, *end) - energy(bent, q, p)).abs().mean())
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.02)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.005)


def test_stability_limit_is_two():
    q, p = normal(20, 1, seed=9), normal(20, 1, seed=10)
    bounded, _ = leapfrog(gaussian, q, p, step_size=1.99, num_steps=1000)
    unbounded, _ = leapfrog(gaussian, q, p, step_size=2.01, num_steps=1000)
    assert bounded.abs().max() < 100 < unbounded.abs().min()


def test_chains_do_not_mix_and_may_have_their_own_step_size():
    q, p = exact_bent(5, seeded(11)), normal(5, 2, seed=12)
    eps = torch.linspace(0.02, 0.2, 5, dtype=torch.float64).unsqueeze(-1)
    together = leapfrog(bent, q, p, step_size=eps, num_steps=7)
    for c in range(5):
        alone = leapfrog(bent, q[c : c + 1], p[c : c + 1], step_size=eps[c].item(), num_steps=7)
        torch.testing.assert_close(together[0][c : c + 1], alone[0])
        torch.testing.assert_close(together[1][c : c + 1], alone[1])


# The sampler


def test_one_transition_leaves_the_target_invariant():
    """From exact draws, after a crude step that rejects a third, every mean is where it was: paired differences."""
    start = exact_bent(200_000, seeded(13))
    result = sample_hmc(bent, start, step_size=0.4, num_steps=3, num_samples=1, generator=seeded(14))
    assert 0.5 < result.accept_rate.mean() < 0.8
    end = result.samples[:, 0]
    for f in (lambda q: q, torch.square, torch.sin, lambda q: (q > 1).double(), lambda q: q.prod(-1, keepdim=True)):
        change = f(end) - f(start)
        assert (change.mean(0).abs() < 4.5 * change.std(0) / len(start) ** 0.5).all()


def test_moments_of_a_gaussian():
    sd = torch.tensor([1.0, 0.3, 2.0], dtype=torch.float64)
    result = sample_hmc(
        lambda q: gaussian((q - 1) / sd),
        normal(400, 3, seed=15),
        step_size=0.45,  # crude: the narrow direction is at 0.75 of its limit
        num_steps=4,
        num_samples=200,
        num_warmup=50,
        generator=seeded(16),
    )
    for f, exact in ((lambda x: x, 1.0), (lambda x: (x - 1) ** 2, sd**2)):
        chains = f(result.samples).mean(1)  # independent, one per chain: their spread is the error
        assert ((chains.mean(0) - exact).abs() < 4.5 * chains.std(0) / 400**0.5).all()
        assert (chains.std(0) / 400**0.5 < 0.05 * sd**2 + 0.02).all()


def test_a_wrong_gradient_costs_acceptance_not_correctness():
    def wrong(q):  # the value of a standard normal, twice its slope and a little more
        slope = 2 * gaussian(q) + 0.3 * q.sum(-1)
        return gaussian(q).detach() + slope - slope.detach()

    result = sample_hmc(
        wrong, normal(4000, 1), step_size=0.4, num_steps=3, num_samples=100, num_warmup=50, generator=seeded(24)
    )
    assert 0.5 < result.accept_rate.mean() < 0.95
    for power, exact in ((1, 0), (2, 1)):
        chains = (result.samples**power).mean((1, 2))
        assert abs(chains.mean() - exact) < 4.5 * chains.std() / 4000**0.5


def test_a_quarter_turn_gives_independent_draws():
    """Path length pi/2 turns q into p on a standard normal: n draws have the effective sample size n."""
    result = sample_hmc(
        gaussian, normal(2000, 1), step_size=math.pi / 40, num_steps=20, num_samples=100, generator=seeded(17)
    )
    assert result.accept_rate.mean() > 0.999
    assert result.samples.mean(1).var().item() * 100 == pytest.approx(1, abs=5 * (2 / 2000) ** 0.5)


def test_a_rejected_proposal_repeats_the_state():
    result = sample_hmc(
        gaussian, normal(50, 2), step_size=1.9, num_steps=3, num_samples=300, num_warmup=1, generator=seeded(18)
    )
    repeats = (result.samples[:, 1:] == result.samples[:, :-1]).all(-1)
    moves = 299 - repeats.sum(1)  # the first kept draw moved from a dropped one, or not
    accepted = (result.accept_rate * 300).round().long()
    assert ((accepted - moves == 0) | (accepted - moves == 1)).all()
    assert 0.1 < repeats.double().mean() < 0.9


def test_accepted_only_is_the_bias_that_repeats_cure():
    x = sample_hmc(
        gaussian, normal(4000, 1), step_size=1.9, num_steps=3, num_samples=200, num_warmup=20, generator=seeded(19)
    ).samples
    moved = (x[:, 1:] != x[:, :-1]).all(-1)
    second = (x**2).mean(1)
    assert abs(second.mean() - 1) < 4.5 * second.std() / 4000**0.5
    assert x[:, 1:][moved].var() > 1.2


def test_shapes_and_dtype():
    for dtype in (torch.float32, torch.float64):
        result = sample_hmc(bent, torch.zeros(3, 2, dtype=dtype), step_size=0.1, num_steps=2, num_samples=7)
        assert result.samples.shape == (3, 7, 2)
        assert result.samples.dtype == dtype
        assert result.accept_rate.shape == result.num_nonfinite.shape == (3,)


def test_generator_alone_decides_and_a_longer_run_begins_like_a_shorter():
    def run(n, warmup, seed=20):
        return sample_hmc(
            bent,
            torch.zeros(3, 2),
            step_size=0.1,
            num_steps=2,
            num_samples=n,
            num_warmup=warmup,
            generator=seeded(seed),
        ).samples

    torch.manual_seed(0)
    state = torch.get_rng_state()
    long = run(23, 0)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(run(9, 0), long[:, :9])
    assert torch.equal(run(10, 13), long[:, 13:])
    assert not torch.equal(run(9, 0, seed=21), long[:, :9])


def test_the_sampler_is_a_loop_of_steps(monkeypatch):
    """Blocks, and a layout of its own in memory, change nothing: the same transitions, one by one."""
    monkeypatch.setattr(hmc, "UNROLLED", 6)  # three transitions of two leapfrog steps in a block
    settings = {"step_size": 0.4, "num_steps": 2}
    result = sample_hmc(bent, normal(5, 2), num_samples=8, num_warmup=3, generator=seeded(25), **settings)
    generator, position, moves = seeded(25), normal(5, 2), []
    log_p = bent(position)
    for transition in range(11):
        if transition % 3 == 0:
            momenta, log_u = (
                normal(3, 2, 5, generator=generator),
                torch.rand(3, 5, generator=generator, dtype=torch.float64),
            )
        momentum = momenta[transition % 3].T
        position, log_p, moved, finite = hmc_step(
            bent, position, log_p, momentum, log_u[transition % 3].log(), **settings
        )
        assert finite.all()
        torch.testing.assert_close(log_p, bent(position))
        if transition >= 3:
            moves.append(moved)
            torch.testing.assert_close(result.samples[:, transition - 3], position)
    torch.testing.assert_close(result.accept_rate, torch.stack(moves).double().mean(0))
    assert 0 < result.accept_rate.mean() < 1


# Trouble


def half_nan(q):
    """A standard normal on q < 1, whose value and gradient are NaN beyond."""
    return gaussian(q) + 0 * torch.sqrt(1 - q[..., 0])


def test_nan_on_the_way_is_rejected_counted_and_warned_of_once():
    start = torch.zeros(500, 1, dtype=torch.float64)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = sample_hmc(half_nan, start, step_size=0.2, num_steps=5, num_samples=400, generator=seeded(22))
    assert [w.category for w in caught] == [RuntimeWarning]
    assert f"{int(result.num_nonfinite.sum())} of 200000 trajectories" in str(caught[0].message)
    assert (result.num_nonfinite > 0).all()
    assert (result.samples < 1).all()
    # what is left is the normal truncated to q < 1: the dynamics are still an involution where they are defined
    density, mass = math.exp(-0.5) / (2 * math.pi) ** 0.5, 0.5 * (1 + math.erf(0.5**0.5))
    chains = result.samples[:, 50:].mean((1, 2))
    assert abs(chains.mean() + density / mass) < 4.5 * chains.std() / 500**0.5


def test_zero_or_infinite_density_and_overflow_are_rejections():
    def half_zero(q):
        return torch.where(q[..., 0] < 1, gaussian(q), -torch.inf)

    with pytest.warns(RuntimeWarning, match="rejected"):
        result = sample_hmc(half_zero, torch.zeros(50, 1), step_size=0.2, num_steps=5, num_samples=100)
    assert (result.samples < 1).all()

    def pole(q):  # an infinite density is no place to go to, either
        return torch.where(q[..., 0] < 1, gaussian(q), torch.inf)

    with pytest.warns(RuntimeWarning, match="rejected"):
        result = sample_hmc(pole, torch.zeros(50, 1), step_size=0.2, num_steps=5, num_samples=100)
    assert (result.samples < 1).all()
    with pytest.warns(RuntimeWarning, match="250 of 250"):
        result = sample_hmc(gaussian, torch.ones(50, 1), step_size=9.0, num_steps=60, num_samples=4, num_warmup=1)
    assert (result.samples == 1).all()
    assert (result.accept_rate == 0).all()
    assert (result.num_nonfinite == 5).all()


GOOD = {"step_size": 0.1, "num_steps": 2, "num_samples": 3}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"start": torch.zeros(3)}, r"shape \(C, D\).*got \(3,\)"),
        ({"start": torch.zeros(0, 2)}, r"got \(0, 2\)"),
        ({"start": torch.zeros(3, 2, dtype=torch.int64)}, r"floating point, got \(3, 2\) of torch\.int64"),
        ({"start": [[0.0, 0.0]]}, "got list"),
        ({"log_density": lambda q: -(q**2)}, r"to \(3,\), got \(3, 2\)"),
        ({"log_density": lambda q: -(q**2).sum()}, r"to \(3,\), got \(\)"),
        ({"log_density": lambda q: torch.zeros(3)}, "can differentiate"),
        ({"log_density": lambda q: -(q - 1).log().sum(-1)}, r"finite .* at the start, not so in chains \[0, 1, 2\]"),
        ({"log_density": lambda q: -q[:, 0].abs().sqrt()}, "gradient at the start"),  # 0 there, its slope is not finite
        ({"step_size": 0.0}, "step_size > 0, got 0"),
        ({"step_size": -0.1}, "step_size > 0, got -0.1"),
        ({"step_size": math.nan}, "step_size > 0, got nan"),
        ({"step_size": math.inf}, "step_size > 0, got inf"),
        ({"step_size": torch.full((3, 1), 0.1) * torch.tensor([[1], [0], [1]])}, r"step_size > 0, got \[\["),
        ({"step_size": torch.full((4, 1), 0.1)}, r"broadcast to \(3, 2\), got \(4, 1\)"),
        ({"step_size": torch.full((2, 3, 2), 0.1)}, r"broadcast to \(3, 2\), got \(2, 3, 2\)"),
        ({"num_steps": 0}, "num_steps >= 1, got 0"),
        ({"num_steps": 2.5}, "num_steps >= 1, got 2.5"),
        ({"num_samples": 0}, "num_samples >= 1, got 0"),
        ({"num_warmup": -1}, "num_warmup >= 0, got -1"),
    ],
)
def test_bad_input_is_named(changes, words):
    arguments = {"log_density": bent, "start": torch.zeros(3, 2), **GOOD, **changes}
    with pytest.raises(ValueError, match=words):
        sample_hmc(arguments.pop("log_density"), arguments.pop("start"), **arguments)


def test_a_whole_number_of_any_kind_will_do():
    expected = sample_hmc(bent, torch.zeros(3, 2), step_size=0.1, num_steps=2, num_samples=3, generator=seeded(1))
    for kind in (np.int64, np.uint8, torch.tensor):
        counts = {"num_steps": kind(2), "num_samples": kind(3), "num_warmup": kind(0)}
        result = sample_hmc(bent, torch.zeros(3, 2), step_size=0.1, generator=seeded(1), **counts)
        assert torch.equal(result.samples, expected.samples)


# The compiler


def run_compiled(**changes):
    start = torch.zeros(16, 2, dtype=torch.float64)
    return sample_hmc(bent, start, **{**GOOD, "num_steps": 1, "generator": seeded(23), **changes})


def test_without_a_compiler_it_still_runs(monkeypatch):
    calls = []

    def no_compiler(*arguments):
        calls.append(1)
        raise torch._inductor.exc.InvalidCxxCompiler

    monkeypatch.setattr(hmc, "UNROLLED", 4)  # several blocks
    expected = run_compiled(num_samples=20)
    monkeypatch.setattr(torch, "compile", lambda function, dynamic: no_compiler)
    with pytest.warns(UserWarning, match="sampling without compilation: InvalidCxxCompiler") as caught:
        result = run_compiled(num_samples=20, compile=True)
    assert len(caught) == 1
    assert speed.ways()["compilation"].startswith("InvalidCxxCompiler")
    assert torch.equal(result.samples, expected.samples)
    assert len(calls) == 1  # not once more for every block


@pytest.mark.filterwarnings("error")  # no word of the compiler
def test_an_error_of_the_density_comes_through(monkeypatch):
    def bad(q):
        if q.abs().max() > 0:
            raise ZeroDivisionError("in the density")
        return gaussian(q)

    monkeypatch.setattr(torch, "compile", lambda function, dynamic: function)
    with pytest.raises(ZeroDivisionError, match="in the density"):
        sample_hmc(bad, torch.zeros(3, 2), compile=True, **GOOD)


def test_compiled_equals_eager(monkeypatch):
    monkeypatch.setattr(hmc, "UNROLLED", 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected, result = run_compiled(num_steps=2), run_compiled(num_steps=2, compile=True)
    if why_not := speed.ways()["compilation"]:
        assert "Compiler" in why_not
        pytest.skip(f"no compiler here: {why_not}")
    torch.testing.assert_close(result.samples, expected.samples, rtol=0, atol=1e-10)
    assert torch.equal(result.accept_rate, expected.accept_rate)
