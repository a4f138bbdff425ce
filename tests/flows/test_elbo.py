"""The bound of a flow against closed forms, its gradient against exact ones, and a fit that reaches a known optimum."""

import math

import pytest
import torch

from dgm_helpers.flows.elbo import antithetic_pairs, fit_flow, flow_loss, log_weight
from dgm_helpers.flows.layers import AffineCoupling, Flow, Planar, Scaling
from dgm_helpers.probability.densities import kl_standard_normal, log_normal

LOG_EVIDENCE = -3.0


def log_joint(theta):
    """A Gaussian N((0, 0), diag(4, 1/4)) times e^-3."""
    log_var = torch.log(torch.tensor([4.0, 0.25], dtype=theta.dtype))
    return log_normal(theta, torch.zeros_like(log_var), log_var) + LOG_EVIDENCE


def exact_flow():
    flow = Flow([Scaling(2)], 2).double()
    flow.layers[0].log_scale.data = 0.5 * torch.log(torch.tensor([4.0, 0.25], dtype=torch.float64))
    return flow


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def base(n, seed=0):
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_weights_of_the_exact_posterior_are_the_evidence_everywhere():
    weights = log_weight(exact_flow(), log_joint, base(50))
    assert weights.shape == (50,)
    torch.testing.assert_close(weights, torch.full((50,), LOG_EVIDENCE, dtype=torch.float64))


def test_mean_weight_is_evidence_minus_kl():
    flow, n = Flow([Scaling(2)], 2).double(), 20_000  # the identity: q = N(0, I)
    weights = log_weight(flow, log_joint, base(n)).detach()
    # KL(N(0, I) || N(0, S)) is KL(N(0, S^-1) || N(0, I)): rescale both by S^(-1/2)
    kl = kl_standard_normal(torch.zeros(2), -torch.log(torch.tensor([4.0, 0.25])))
    assert abs(float(weights.mean()) - (LOG_EVIDENCE - float(kl))) < 4 * float(weights.std()) / math.sqrt(n)


def test_loss_is_minus_the_mean_weight():
    flow, z = exact_flow(), base(7)
    expected = -log_weight(flow, log_joint, z).mean()
    torch.testing.assert_close(flow_loss(log_joint)(flow, z, None), expected)


def test_weight_is_log_joint_minus_log_prob():
    torch.manual_seed(0)
    flow = Flow([AffineCoupling(2), Scaling(2), AffineCoupling(2, flip=True)], 2).double()
    z = base(9)
    theta = flow(z)[0]
    torch.testing.assert_close(log_weight(flow, log_joint, z), log_joint(theta) - flow.log_prob(theta))


def test_gradient_of_the_bound():
    """With scales sigma the ELBO is sum_j log sigma_j - sigma_j^2 / (2 S_j) + const: derivative 1 - sigma^2 / S."""
    flow, n = Flow([Scaling(2)], 2).double(), 40_000
    log_weight(flow, log_joint, base(n)).mean().backward()
    expected = 1 - 1 / torch.tensor([4.0, 0.25], dtype=torch.float64)
    error = math.sqrt(2 / n) / torch.tensor([4.0, 0.25], dtype=torch.float64)  # var(z^2) = 2
    assert ((flow.layers[0].log_scale.grad - expected).abs() < 4 * error).all()


@pytest.mark.parametrize("make", [lambda: Flow([Scaling(2)], 2), lambda: Scaling(2)])
def test_fit_reaches_the_exact_posterior(make):
    flow = make()
    generator = torch.Generator().manual_seed(0)
    history = fit_flow(flow, log_joint, epochs=20, steps=20, num_samples=100, lr=0.1, generator=generator)
    assert len(history.loss) == 20
    torch.testing.assert_close(
        next(flow.parameters()).detach(), torch.tensor([math.log(2), -math.log(2)]), atol=0.03, rtol=0
    )
    assert history.loss[0] > 3.1
    assert history.loss[-1] == pytest.approx(-LOG_EVIDENCE, abs=0.02)


def test_fit_is_reproducible_and_leaves_the_global_generator_alone():
    runs = []
    for _ in range(2):
        torch.manual_seed(5)
        flow = Flow([Planar(2)], 2)
        before = torch.random.get_rng_state()
        generator = torch.Generator().manual_seed(1)
        runs.append(fit_flow(flow, log_joint, epochs=5, steps=1, num_samples=4, lr=0.01, generator=generator).loss)
        assert torch.equal(torch.random.get_rng_state(), before)
    assert runs[0] == runs[1]


def test_fit_is_the_plain_loop():
    """The same draws, the same steps of Adam and of its schedule, written out."""
    flows = [Flow([AffineCoupling(2, hidden=(4,))], 2) for _ in range(2)]
    flows[1].load_state_dict(flows[0].state_dict())
    history = fit_flow(flows[0], log_joint, epochs=2, steps=3, num_samples=4, lr=0.01, generator=seeded(1))
    optimizer, generator, losses = torch.optim.Adam(flows[1].parameters(), lr=0.01), seeded(1), []
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=6)
    for _ in range(6):
        half = torch.randn(2, 2, generator=generator)
        loss = -log_weight(flows[1], log_joint, torch.cat((half, -half))).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())
    torch.testing.assert_close(torch.tensor(history.loss), torch.stack(losses).view(2, 3).mean(1))
    for a, b in zip(flows[0].parameters(), flows[1].parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_bound_that_is_not_finite_stops_the_run_and_good_parameters_are_kept():
    flow, calls = Flow([Scaling(2)], 2), []

    def breaks(theta):
        calls.append(1)
        return log_joint(theta) * (math.nan if len(calls) == 4 else 1.0)

    with pytest.raises(FloatingPointError, match="the loss became nan at step 4"):
        fit_flow(flow, breaks, epochs=10, num_samples=4, lr=0.01)
    assert torch.isfinite(flow.layers[0].log_scale).all()


@pytest.mark.parametrize("num_samples", [0, 1, 5, -2])
def test_pairs_need_an_even_number(num_samples):
    with pytest.raises(
        ValueError, match=f"(an even number of draws, for antithetic pairs|number n >= 0), got {num_samples}$"
    ):
        antithetic_pairs(2)(num_samples, None, torch.zeros(1))


def test_each_step_sees_antithetic_pairs_drawn_afresh():
    seen = []

    def recording(theta):
        seen.append(theta.detach().clone())
        return log_joint(theta)

    fit_flow(Scaling(2), recording, epochs=1, steps=2, num_samples=6, lr=1e-9, generator=seeded(0))
    for points in seen:
        assert points.shape == (6, 2)
        torch.testing.assert_close(points[:3], -points[3:])
    assert (seen[0] - seen[1]).abs().min() > 1e-3


def test_steps_grow_then_vanish_with_the_one_cycle_schedule():
    flow, path = Scaling(2), []

    def recording(theta):
        path.append(flow.log_scale.detach().clone())
        return 100 * log_joint(theta)  # Adam's steps are about the learning rate, whatever the scale

    fit_flow(flow, recording, epochs=1, steps=50, num_samples=10, lr=1e-3, generator=seeded(0))
    steps = torch.stack(path).diff(dim=0).abs().amax(1)
    assert steps[-1] < 0.05 * steps.max()
    assert steps[0] < 0.1 * steps.max()
