"""kl_discrete against closed forms, torch.distributions and its edge cases."""

import math

import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from dgm_helpers.probability.divergences import kl_discrete


def simplex(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.softmax(3 * torch.randn(*shape, generator=generator, dtype=dtype), -1)


def test_by_hand():
    p, q = torch.tensor([0.5, 0.5]), torch.tensor([0.75, 0.25])
    assert kl_discrete(p, q).item() == pytest.approx(0.5 * math.log(4 / 3), rel=1e-6)  # nats
    assert kl_discrete(q, p).item() == pytest.approx(0.75 * math.log(1.5) - 0.25 * math.log(2), rel=1e-6)


def test_equals_torch_distributions():
    p, q = simplex(20, 6, seed=1), simplex(20, 6, seed=2)
    torch.testing.assert_close(kl_discrete(p, q), kl_divergence(Categorical(p), Categorical(q)), rtol=1e-12, atol=1e-14)


def test_leading_axes_broadcast_and_a_batch_equals_singles():
    p, q = simplex(4, 1, 5, seed=3), simplex(3, 5, seed=4)
    batch = kl_discrete(p, q)
    assert batch.shape == (4, 3)
    for i in range(4):
        for j in range(3):
            assert batch[i, j].item() == pytest.approx(kl_discrete(p[i, 0], q[j]).item(), abs=1e-14)


def test_gibbs_inequality():
    p, q = simplex(500, 7, seed=5), simplex(500, 7, seed=6)
    assert (kl_discrete(p, q) > 0).all()
    assert (kl_discrete(p, p) == 0).all()


def test_adds_over_independent_pairs():
    p, q, r, s = (simplex(4, seed=k) for k in range(7, 11))
    joint = kl_discrete(torch.outer(p, q).flatten(), torch.outer(r, s).flatten())
    assert joint.item() == pytest.approx((kl_discrete(p, r) + kl_discrete(q, s)).item(), abs=1e-13)


def test_zeros():
    p, q = torch.tensor([0.0, 0.5, 0.5]), torch.tensor([0.5, 0.25, 0.25])
    assert kl_discrete(p, q).item() == pytest.approx(math.log(2))  # 0 log 0 = 0
    assert kl_discrete(q, p).item() == math.inf  # q charges a state that p does not
    assert kl_discrete(p, p).item() == 0  # both zero: 0 log (0 / 0) = 0
    mixed = kl_discrete(torch.stack([p, q]), p)
    assert mixed.tolist() == [0, math.inf]


def test_tiny_probabilities_stay_finite():
    p = torch.tensor([1.0, 0.0])
    q = torch.tensor([1e-40, 1.0])  # subnormal in float32: p / q would overflow
    assert kl_discrete(p, q).item() == pytest.approx(40 * math.log(10), rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_keeps_the_dtype(dtype):
    p, q = simplex(5, seed=11, dtype=dtype), simplex(5, seed=12, dtype=dtype)
    assert kl_discrete(p, q).dtype == dtype


@pytest.mark.parametrize(
    ("p", "q", "words"),
    [
        ([0.5, 0.5], [0.2, 0.3, 0.5], r"p \(2,\), q \(3,\)"),
        ([1.0], [0.5, 0.5], r"p \(1,\), q \(2,\)"),  # the states never broadcast
        ([[0.5, 0.5]] * 2, [[0.5, 0.5]] * 3, r"p \(2, 2\), q \(3, 2\)"),
        (1.0, 1.0, r"p \(\), q \(\)"),
        ([], [], r"p \(0,\), q \(0,\)"),
        ([1.2, -0.2], [0.5, 0.5], r"p with smallest entry -0\.2"),
        ([0.5, 0.5], [1.2, -0.2], r"q with smallest entry -0\.2"),
        ([0.5, 0.4], [0.5, 0.5], r"p to sum to 1 .* off by 0\.1"),
        ([0.5, 0.5], [0.5, 0.6], r"q to sum to 1 .* off by 0\.1"),
        ([math.nan, 0.5], [0.5, 0.5], "p to sum to 1"),
        ([0.5, 0.5], [math.inf, 0.5], "q to sum to 1"),
    ],
)
def test_bad_input_is_named(p, q, words):
    with pytest.raises(ValueError, match=words):
        kl_discrete(torch.tensor(p), torch.tensor(q))


def test_counts_are_not_probabilities():
    with pytest.raises(ValueError, match=r"p of torch\.int64"):
        kl_discrete(torch.tensor([1, 0]), torch.tensor([0.5, 0.5]))
