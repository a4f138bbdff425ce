"""SOAP against torch's Adam, against eigenvectors, and where the axes of the loss are not those of the weights."""

import pytest
import torch
from torch import nn

from dgm_helpers.training.fit import fit, one_cycle
from dgm_helpers.training.soap import SOAP


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(n, seed):
    return torch.linalg.qr(normal(n, n, seed=seed))[0]


def run(optimizer, parameters, gradients, steps):
    for step in range(steps):
        for p, g in zip(parameters, gradients(step), strict=True):
            p.grad = g
        optimizer.step()


def test_without_bases_it_is_adam():
    start, settings = [normal(5, 4), normal(4), normal(3, 2, 2, 2)], dict(lr=0.03, betas=(0.8, 0.95), eps=1e-3)
    noise = [[normal(*p.shape, seed=100 * i + s) for i, p in enumerate(start)] for s in range(30)]
    ours, theirs = ([nn.Parameter(p.clone()) for p in start] for _ in range(2))
    run(SOAP(ours, longest=0, every=7, **settings), ours, lambda step: noise[step], 30)
    run(torch.optim.Adam(theirs, **settings), theirs, lambda step: noise[step], 30)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_vectors_and_convolutions_are_left_to_adam_and_long_sides_keep_the_identity():
    shapes = {(3, 3): (True, True), (2, 9): (True, False), (9, 9): (False, False), (3,): (False,) * 2}
    shapes[2, 3, 2, 2] = (False, False)
    parameters = [nn.Parameter(normal(*shape)) for shape in shapes]
    optimizer = SOAP(parameters, longest=8)
    assert [tuple(Q is not None for Q in basis) for basis in optimizer.bases] == list(shapes.values())


def test_bases_become_the_eigenvectors_of_the_gradients_second_moments():
    U, V = rotation(4, 1), rotation(3, 2)
    rows, columns = torch.tensor([8.0, 4.0, 2.0, 1.0]).double(), torch.tensor([9.0, 3.0, 1.0]).double()
    p = nn.Parameter(torch.zeros(4, 3, dtype=torch.float64))
    optimizer = SOAP([p], lr=0.0, every=1, betas=(0.9, 0.999))
    draws = [U @ (rows[:, None] * normal(4, 3, seed=s) * columns) @ V.T for s in range(400)]
    run(optimizer, [p], lambda step: [draws[step]], 400)
    for Q, moment in zip(optimizer.bases[0], optimizer.moments[0], strict=True):
        torch.testing.assert_close(Q.T @ Q, torch.eye(len(Q), dtype=torch.float64))
        diagonal = Q.T @ moment @ Q
        scale = diagonal.diag().sqrt()
        torch.testing.assert_close(diagonal / scale / scale[:, None], torch.eye(len(Q)).double(), atol=1e-2, rtol=0)
        assert (diagonal.diag().diff() < 0).all()
    left, right = optimizer.moments[0]  # running means, not yet divided by 1 - beta^n: the ratio of traces is exact
    torch.testing.assert_close(left.trace(), right.trace())
    expected = sum(0.999 ** (399 - s) * 0.001 * g @ g.T for s, g in enumerate(draws))
    torch.testing.assert_close(left, expected)


def test_improving_the_bases_leaves_the_momentum_where_it_points():
    p, q = nn.Parameter(normal(4, 3)), nn.Parameter(normal(3, 5))
    optimizer = SOAP([p, q], every=10**6)
    run(optimizer, [p, q], lambda step: [normal(4, 3, seed=step), normal(3, 5, seed=50 + step)], 20)
    exact = [sum(0.95 ** (19 - s) * 0.05 * normal(*shape, seed=k + s) for s in range(20)) for k, shape in KINDS]
    for _ in range(3):
        optimizer._improve_bases()
        for (U, V), first, momentum in zip(optimizer.bases, optimizer._split(optimizer.first), exact, strict=True):
            torch.testing.assert_close(U @ first @ V.T, momentum)
            assert (U - torch.eye(len(U))).abs().max() > 0.1


KINDS = [(0, (4, 3)), (50, (3, 5))]


def test_it_goes_on_the_same_way_in_turned_coordinates():
    """Once the bases are found: the path for W -> f(U^T W V) from U W V^T is the path for f, turned."""
    U, V = rotation(4, 3), rotation(3, 4)
    paths = []
    for left, right in ((torch.eye(4, dtype=torch.float64), torch.eye(3, dtype=torch.float64)), (U, V)):
        p = nn.Parameter(left @ normal(4, 3) @ right.T)
        optimizer = SOAP([p], lr=0.0, every=1)
        run(optimizer, [p], lambda s, left=left, right=right: [left @ skewed(s) @ right.T], 300)  # finds the bases
        optimizer.second.zero_()
        optimizer.first.zero_()
        optimizer.count, optimizer.param_groups[0]["lr"] = 0, 0.05
        run(optimizer, [p], lambda s, left=left, right=right: [left @ skewed(300 + s) @ right.T], 40)
        paths.append(left.T @ p.detach() @ right)
    torch.testing.assert_close(paths[0], paths[1], rtol=1e-6, atol=1e-6)


def skewed(seed):
    rows, columns = torch.tensor([8.0, 4.0, 2.0, 1.0]).double(), torch.tensor([9.0, 3.0, 1.0]).double()
    return rows[:, None] * normal(4, 3, seed=seed) * columns


@pytest.mark.parametrize("turned", [False, True])
def test_a_valley_along_no_axis_is_no_obstacle(turned):
    """Least squares with curvatures from 1 to 10^-4: Adam manages along the axes only, SOAP in any direction."""
    n = 12
    U, V = (rotation(n, 5), rotation(n, 6)) if turned else (torch.eye(n, dtype=torch.float64),) * 2
    A, B = (M @ torch.logspace(0, -1, n, dtype=torch.float64).diag() for M in (U, V))
    target, losses = normal(n, n, seed=7), {}
    for kind, make in (
        ("soap", lambda ps: SOAP(ps, lr=0.05, every=1)),
        ("adam", lambda ps: torch.optim.Adam(ps, 0.05)),
    ):
        W = nn.Parameter(torch.zeros(n, n, dtype=torch.float64))
        optimizer = make([W])
        for step in range(600):
            optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / 600)
            noise = normal(n, n, seed=10_000 + step)  # of a minibatch, so that the second moments have full rank
            loss = ((A.T @ (W - target) @ B) ** 2).sum()
            optimizer.zero_grad()
            (loss + 1e-2 * ((A.T @ W @ B) * noise).sum()).backward()
            optimizer.step()
        losses[kind] = float(((A.T @ (W.detach() - target) @ B) ** 2).sum())
    ratio = losses["adam"] / losses["soap"]
    assert ratio > 10 if turned else ratio < 3


def test_fit_takes_it_with_a_schedule():
    x = torch.randn(256, 6, generator=torch.Generator().manual_seed(0))
    y = x @ torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    model = nn.Linear(6, 3)
    history = fit(
        model,
        lambda model, batch, generator: ((model(batch[:, :6]) - batch[:, 6:]) ** 2).mean(),
        torch.cat([x, y], 1),
        epochs=40,
        batch_size=32,
        optimizer=SOAP,
        schedule=one_cycle(0.05, pct_start=0.1, anneal_strategy="linear", cycle_momentum=False),
        generator=torch.Generator().manual_seed(0),
        progress=False,
    )
    assert history.loss[-1] < 1e-4 < history.loss[0]


def test_one_cycle_takes_torchs_options():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.0)
    schedule = one_cycle(0.4, pct_start=0.1, anneal_strategy="linear", cycle_momentum=False)(optimizer, 101)
    rates = []
    for _ in range(101):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step() if len(rates) < 101 else None
    assert rates.index(max(rates)) == pytest.approx(9, abs=1)
    assert max(rates) == pytest.approx(0.4, rel=0.02)  # the peak may lie between two steps
    falls = -torch.tensor(rates[11:]).diff()
    torch.testing.assert_close(falls, torch.full_like(falls, falls.mean().item()), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("wrong", [{"lr": -1.0}, {"every": 0}, {"betas": (1.0, 0.9)}])
def test_impossible_settings_are_named(wrong):
    with pytest.raises(ValueError, match=f"expected .*{next(iter(wrong))}"):
        SOAP([nn.Parameter(torch.zeros(2, 2))], **wrong)


def test_two_groups_are_refused():
    one, two = (nn.Parameter(torch.zeros(2)) for _ in range(2))
    with pytest.raises(ValueError, match="one group"):
        SOAP([{"params": [one]}, {"params": [two], "lr": 1.0}])
