"""Flows: log-determinants against autograd, inverses, normalisation, and the planar constraint at extreme values."""

import math

import pytest
import torch

from dgm_helpers.flows.layers import AdditiveCoupling, AffineCoupling, Flow, Planar, Scaling
from dgm_helpers.probability.densities import log_standard_normal
from dgm_helpers.probability.quadrature import grid_2d, log_integral

DIMS = (2, 3, 5)


def transforms(dim):
    """Every transform of the module by name, in float64, with parameters far from their initial values."""
    torch.manual_seed(dim)
    made = {
        "Planar": Planar(dim),
        "AdditiveCoupling": AdditiveCoupling(dim),
        "AdditiveCoupling, flipped": AdditiveCoupling(dim, flip=True, hidden=(7,)),
        "AffineCoupling": AffineCoupling(dim, hidden=(8, 6)),
        "AffineCoupling, flipped": AffineCoupling(dim, flip=True),
        "Scaling": Scaling(dim),
        "Flow of planar layers": Flow([Planar(dim) for _ in range(4)], dim),
        "Flow of couplings": Flow(
            [AffineCoupling(dim), AdditiveCoupling(dim, flip=True), Scaling(dim), AffineCoupling(dim, flip=True)], dim
        ),
    }
    for transform in made.values():
        transform.double()
        for parameter in transform.parameters():
            parameter.data += 0.4 * torch.randn_like(parameter)
    return made


EVERY = [(dim, name) for dim in DIMS for name in transforms(dim)]
every_transform = pytest.mark.parametrize(("dim", "name"), EVERY, ids=lambda value: str(value))
INVERTIBLE = [(dim, name) for dim, name in EVERY if "lanar" not in name]
invertible = pytest.mark.parametrize(("dim", "name"), INVERTIBLE, ids=lambda value: str(value))


def points(n, dim, seed=0):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slogdet(function, at):
    """log|det| of the Jacobian at each point, by automatic differentiation, one point at a time."""
    jacobians = [torch.autograd.functional.jacobian(lambda p: function(p[None])[0][0], point) for point in at]
    return torch.stack([torch.linalg.slogdet(jacobian).logabsdet for jacobian in jacobians])


@every_transform
def test_log_det_is_that_of_the_jacobian(dim, name):
    transform, z = transforms(dim)[name], points(6, dim)
    _, log_det = transform(z)
    assert log_det.shape == (6,)
    torch.testing.assert_close(log_det, slogdet(transform, z), msg=lambda text: f"{name}, dim {dim}: {text}")


@invertible
def test_log_det_of_the_inverse_is_that_of_its_jacobian(dim, name):
    transform, x = transforms(dim)[name], points(6, dim)
    _, log_det = transform.inverse(x)
    assert log_det.shape == (6,)
    torch.testing.assert_close(log_det, slogdet(transform.inverse, x), msg=lambda text: f"{name}, dim {dim}: {text}")


@invertible
def test_inverse_undoes_forward_and_forward_undoes_inverse(dim, name):
    transform, z = transforms(dim)[name], points(20, dim)
    for first, second in ((transform, transform.inverse), (transform.inverse, transform)):
        x, log_det = first(z)
        back, log_det_back = second(x)
        assert (x - z).abs().max() > 0.1, f"{name} is the identity: this test shows nothing"
        torch.testing.assert_close(back, z)
        torch.testing.assert_close(log_det_back, -log_det)


@every_transform
def test_a_batch_of_5_is_5_singles(dim, name):
    transform, z = transforms(dim)[name], points(5, dim)
    for function in (transform, transform.inverse) if "lanar" not in name else (transform,):
        x, log_det = function(z)
        singles = [function(point[None]) for point in z]
        torch.testing.assert_close(x, torch.cat([single[0] for single in singles]))
        torch.testing.assert_close(log_det, torch.cat([single[1] for single in singles]))


FRESH = {
    "Planar": Planar,
    "AdditiveCoupling": AdditiveCoupling,
    "AffineCoupling": AffineCoupling,
    "Scaling": Scaling,
    "Flow": lambda dim: Flow([Planar(dim), AffineCoupling(dim), AdditiveCoupling(dim, flip=True), Scaling(dim)], dim),
}


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("name", list(FRESH))
def test_every_parameter_gets_a_gradient_also_when_fresh(name, dim):
    torch.manual_seed(0)
    transform = FRESH[name](dim)
    x, log_det = transform(points(9, dim).float())
    assert x.dtype == log_det.dtype == torch.float32
    ((x**3).sum() + log_det.sum()).backward()
    for key, parameter in transform.named_parameters():
        assert parameter.grad is not None, f"{name}.{key}"
        assert parameter.grad.abs().max() > 0, f"{name}.{key}"
        assert torch.isfinite(parameter.grad).all(), f"{name}.{key}"


def planar_inverse(layer, x):
    """Solve w'x = a + w'u_hat tanh(a + b) for a by bisection: the right side increases in a."""
    u_hat = layer.u_hat()[0]
    slope, target = layer.w @ u_hat, x @ layer.w
    low, high = target - slope.abs() - 1, target + slope.abs() + 1
    for _ in range(80):
        a = (low + high) / 2
        below = a + slope * torch.tanh(a + layer.b) < target
        low, high = torch.where(below, a, low), torch.where(below, high, a)
    return x - torch.tanh(a + layer.b)[:, None] * u_hat


def test_density_of_a_planar_flow_integrates_to_1():
    """On a grid in x, with z found by bisection: the log-determinants are right, not only equal to autograd's."""
    flow = transforms(2)["Flow of planar layers"]
    grid = grid_2d(-14, 14, 0.05, dtype=torch.float64)
    with torch.no_grad():
        z = grid.flatten(0, 1)
        for layer in reversed(flow.layers):
            z = planar_inverse(layer, z)
        x, log_det = flow(z)
        torch.testing.assert_close(x, grid.flatten(0, 1))
        log_q = log_standard_normal(z) - log_det
    assert abs(float(log_integral(log_q.view(grid.shape[:2]), 0.05))) < 1e-3


@pytest.mark.parametrize("name", [name for dim, name in INVERTIBLE if dim == 2])
def test_density_of_a_coupling_flow_integrates_to_1(name):
    flow = Flow([transforms(2)[name]], 2)
    grid = grid_2d(-60, 60, 0.1, dtype=torch.float64)
    with torch.no_grad():
        log_q = flow.log_prob(grid.flatten(0, 1)).view(grid.shape[:2])
    assert abs(float(log_integral(log_q, 0.1))) < 1e-3


def test_log_prob_of_a_linear_flow_is_the_gaussian_of_torch():
    flow = Flow([Scaling(3)], 3).double()
    flow.layers[0].log_scale.data = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    x = points(8, 3)
    gaussian = torch.distributions.Normal(torch.zeros(3, dtype=torch.float64), flow.layers[0].log_scale.exp())
    torch.testing.assert_close(flow.log_prob(x), gaussian.log_prob(x).sum(-1))


def test_samples_follow_log_prob_and_come_from_the_generator():
    flow, n = transforms(2)["Flow of couplings"], 20_000
    draws = [flow.sample(n, generator=torch.Generator().manual_seed(s)).detach() for s in (0, 0, 1)]
    assert draws[0].shape == (n, 2)
    assert draws[0].dtype == torch.float64
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    grid = grid_2d(-60, 60, 0.1, dtype=torch.float64)
    with torch.no_grad():
        q = flow.log_prob(grid.flatten(0, 1)).exp() * 0.1**2
    for test_function in (lambda x: torch.sin(x[:, 0]), lambda x: torch.tanh(x[:, 1]) * torch.cos(x[:, 0])):
        exact, values = float(q @ test_function(grid.flatten(0, 1))), test_function(draws[0])
        assert abs(float(values.mean()) - exact) < 4 * float(values.std()) / math.sqrt(n) + 1e-4


def planar(w, u, b=0.0, dtype=torch.float32):
    layer = Planar(2).to(dtype)
    layer.w.data, layer.u.data = torch.tensor(w, dtype=dtype), torch.tensor(u, dtype=dtype)
    layer.b.data.fill_(b)
    return layer


@pytest.mark.parametrize("scale", [1e-3, 0.1, 1.0, 3.0])
@pytest.mark.parametrize("angle", [0.0, 0.5, 2.0, math.pi])
def test_u_hat_gives_w_u_hat_above_minus_one_and_leaves_the_other_direction_alone(scale, angle):
    layer = planar([scale, 2 * scale], [3 * math.cos(angle), 3 * math.sin(angle)], dtype=torch.float64)
    u_hat, m = layer.u_hat()
    assert float((layer.w @ u_hat).detach()) > -1
    torch.testing.assert_close(layer.w @ u_hat, m - 1)
    torch.testing.assert_close(m, torch.log1p(torch.exp(layer.w @ layer.u)))
    across = torch.tensor([-2.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(across @ u_hat, across @ layer.u)


@pytest.mark.parametrize(("dtype", "finite", "zero"), [(torch.float32, -80, -110), (torch.float64, -700, -750)])
def test_extreme_values_of_w_u(dtype, finite, zero):
    """At h = 0 the determinant is m: finite in log until softplus underflows, then exactly 0 and its log -inf."""
    origin = torch.zeros(1, 2, dtype=dtype)
    for wu in (finite, -20.0, 20.0, 1000.0):
        layer = planar([1.0, 0.0], [wu, 1.0], dtype=dtype)
        _, log_det = layer(origin)
        reference = wu if wu < -15 else math.log(math.log1p(math.exp(min(wu, 40.0))) if wu < 40 else wu)
        assert float(log_det.detach()) == pytest.approx(reference, rel=1e-5)
        log_det.sum().backward()
        assert torch.isfinite(layer.u.grad).all()
    layer = planar([1.0, 0.0], [zero, 1.0], dtype=dtype)
    assert float(layer.u_hat()[1].detach()) == 0.0
    assert float(layer(origin)[1].detach()) == -math.inf
    away = layer(torch.tensor([[1.0, 0.0]], dtype=dtype))[1]  # the exact determinant is tanh(1)^2 to all digits
    assert float(away.detach()) == pytest.approx(2 * math.log(math.tanh(1.0)), rel=1e-5)


@pytest.mark.parametrize("w", [[0.0, 0.0], [1e-30, 0.0]])
def test_planar_layer_with_w_zero_is_a_translation(w):
    layer = planar(w, [2.0, -1.0], b=0.3)
    z = torch.randn(4, 2)
    x, log_det = layer(z)
    torch.testing.assert_close(x, z + math.tanh(0.3) * torch.tensor([2.0, -1.0]))
    assert torch.equal(log_det.detach(), torch.zeros(4))
    (x.sum() + log_det.sum()).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in layer.parameters())


def test_planar_has_no_inverse_in_closed_form():
    for transform in (Planar(2), Flow([Scaling(2), Planar(2)], 2)):
        with pytest.raises(NotImplementedError, match="Planar has no inverse in closed form"):
            transform.inverse(torch.zeros(1, 2))
    with pytest.raises(NotImplementedError):
        Flow([Planar(2)], 2).log_prob(torch.zeros(1, 2))


def test_volume_preservation_of_additive_couplings():
    flow = Flow([AdditiveCoupling(3, flip=flip) for flip in (False, True)], 3)
    assert torch.equal(flow(torch.randn(5, 3))[1], torch.zeros(5))


def test_flow_applies_its_layers_in_order():
    first, second = AffineCoupling(3), Scaling(3)
    second.log_scale.data.fill_(1.0)
    z = torch.randn(4, 3)
    torch.testing.assert_close(Flow([first, second], 3)(z)[0], second(first(z)[0])[0])


@pytest.mark.parametrize("make", list(FRESH.values()), ids=list(FRESH))
@pytest.mark.parametrize("shape", [(3,), (4, 2), (4, 4), (2, 4, 3)])
def test_points_of_another_shape_are_refused(make, shape):
    transform = make(3)
    for function in (transform, transform.inverse):
        if function == transform.inverse and isinstance(transform, Planar):
            continue
        with pytest.raises(ValueError, match=r"expected points of shape \(B, 3\), got \("):
            function(torch.zeros(shape))


@pytest.mark.parametrize("dim", [1, 0, -2, 2.0, "2"])
@pytest.mark.parametrize("layer", [Planar, AdditiveCoupling, AffineCoupling, Scaling, lambda dim: Flow([], dim)])
def test_bad_dimensions_are_refused(layer, dim):
    with pytest.raises(ValueError, match="expected a whole number dim >= 2, got"):
        layer(dim)


def test_a_layer_of_another_dimension_is_named():
    with pytest.raises(ValueError, match="expected layers of dim 3, got: layer 1 has dim 2"):
        Flow([Planar(3), Planar(2)], 3)


def test_a_flow_without_layers_is_the_identity():
    z = torch.randn(5, 2)
    x, log_det = Flow([], 2)(z)
    assert torch.equal(x, z)
    assert torch.equal(log_det, torch.zeros(5))
    torch.testing.assert_close(Flow([], 2).log_prob(z), log_standard_normal(z))
