"""MADE against hand-written masks, enumeration of all binary vectors, and its own chain rule."""

import itertools
import math

import pytest
import torch

from dgm_helpers.autoregressive.made import MADE, MaskedLinear, hidden_degrees, made_masks
from dgm_helpers.probability.densities import log_bernoulli, log_mean_exp

DIM = 6
CASES = [  # (hidden, order, direct)
    ([8], None, False),
    ([8], [3, 1, 5, 4, 0, 2], True),
    ([9, 7], [5, 4, 3, 2, 1, 0], False),
    ([6, 8, 7], [2, 0, 5, 3, 1, 4], True),
]


def all_bits(dim):
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=dim)), dtype=torch.float64)


def random_made(hidden, order=None, direct=False, *, dim=DIM, seed=0, scale=3.0, **options):
    """Weights larger than PyTorch's, so that the conditionals are far from 1/2."""
    torch.manual_seed(seed)
    model = MADE(dim, hidden, order=order, direct=direct, **options).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    return model


def place(order, dim=DIM):
    """Place of every input in the order, by search."""
    order = list(range(dim)) if order is None else order
    return [order.index(d) for d in range(dim)]


def test_masks_equal_a_hand_written_example():
    masks, direct = made_masks([torch.tensor([2, 3, 1]), torch.tensor([1, 2, 2]), torch.tensor([2, 1])])
    assert masks[0].int().tolist() == [[0, 0, 1], [1, 0, 1], [1, 0, 1]]
    assert masks[1].int().tolist() == [[1, 1, 1], [1, 0, 0]]
    assert masks[2].int().tolist() == [[0, 1], [1, 1], [0, 0]]
    assert direct.int().tolist() == [[0, 0, 1], [1, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize(("hidden", "order", "direct"), CASES)
def test_paths_are_exactly_the_earlier_inputs(hidden, order, direct):
    masks = [layer.mask for layer in random_made(hidden, order, direct).layers]
    paths = torch.linalg.multi_dot(masks[::-1]) if len(masks) > 2 else masks[1] @ masks[0]
    at = place(order)
    expected = [[at[j] < at[d] for j in range(DIM)] for d in range(DIM)]
    assert (paths > 0).tolist() == expected


def test_a_missing_degree_loses_a_path_and_direct_connections_restore_it():
    degrees = [torch.tensor([1, 2, 4, 5, 1, 2])]  # nobody of degree 3: bit 3 cannot see bit 2
    without = MADE(DIM, [6], degrees=degrees)
    paths = without.layers[1].mask @ without.layers[0].mask
    lost = torch.ones(DIM, DIM).tril(-1) - (paths > 0).float()
    assert lost.nonzero().tolist() == [[3, 2]]
    made = MADE(DIM, [6], degrees=degrees, direct=True)
    assert ((made.layers[1].mask @ made.layers[0].mask + made.direct.mask) > 0).equal(torch.ones(DIM, DIM).tril(-1) > 0)


@pytest.mark.parametrize(("hidden", "order", "direct"), CASES)
def test_jacobian_is_zero_where_it_must_be_and_nowhere_else(hidden, order, direct):
    model, at, union = random_made(hidden, order, direct), place(order), torch.zeros(DIM, DIM, dtype=torch.bool)
    inputs = torch.randn(200, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for x in inputs:  # a union over inputs: one ReLU pattern may hide a permitted entry
        union |= torch.autograd.functional.jacobian(lambda v: model(v[None])[0], x) != 0
    assert union.tolist() == [[at[j] < at[d] for j in range(DIM)] for d in range(DIM)]


@pytest.mark.parametrize(("hidden", "order", "direct"), CASES)
@pytest.mark.parametrize("seed", [0, 1])
def test_probabilities_of_all_vectors_sum_to_one(hidden, order, direct, seed):
    model = random_made(hidden, order, direct, seed=seed, generator=torch.Generator().manual_seed(seed))
    assert torch.logsumexp(model.log_prob(all_bits(DIM)), 0).item() == pytest.approx(0, abs=1e-12)


def test_log_prob_is_the_sum_of_the_log_conditionals():
    model, x = random_made([8], [3, 1, 5, 4, 0, 2], True), all_bits(DIM)
    p = torch.sigmoid(model(x))
    by_hand = torch.where(x == 1, p, 1 - p).log().sum(1)
    assert torch.allclose(model.log_prob(x), by_hand, rtol=0, atol=1e-12)


def test_conditionals_are_those_of_the_joint():
    """Bit d given the earlier bits, from a table of all probabilities, equals the sigmoid of the logit."""
    order = [3, 1, 5, 4, 0, 2]
    model, x = random_made([9, 7], order, True), all_bits(DIM)
    p, conditional = model.log_prob(x).exp(), torch.sigmoid(model(x))
    for place_d, d in enumerate(order):
        earlier = order[:place_d]
        for row in (0, 17, 42, 63):
            agree = (x[:, earlier] == x[row, earlier]).all(1)
            exact = p[agree & (x[:, d] == 1)].sum() / p[agree].sum()
            assert conditional[row, d].item() == pytest.approx(exact.item(), abs=1e-12)


def test_average_of_logits_is_not_normalised_and_average_of_probabilities_is():
    """Two exact factorisations of one p(x1, x2): the averaged logits claim nearly twice its mass."""
    strength, models = 12.0, []
    for order in ([0, 1], [1, 0]):
        model = random_made([4], order, True, dim=2)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
            first, second = order
            model.direct.weight[second, first] = 2 * strength
            model.layers[1].bias[second] = -strength
        models.append(model)
    x = all_bits(2)
    log_p = torch.stack([model.log_prob(x) for model in models])
    assert torch.allclose(log_p[0], log_p[1])
    assert log_mean_exp(log_p, 0).exp().sum().item() == pytest.approx(1, abs=1e-12)
    mean_logits = torch.stack([model(x) for model in models]).mean(0)
    s = 1 / (1 + math.exp(-strength / 2))
    total = torch.exp((x * mean_logits - torch.nn.functional.softplus(mean_logits)).sum(1)).sum().item()
    assert total == pytest.approx(2 * (s**2 + (1 - s) ** 2), abs=1e-9)
    assert total > 1.9


@pytest.mark.parametrize(("hidden", "order", "direct"), CASES)
def test_sampling_equals_the_slow_loop(hidden, order, direct):
    model = random_made(hidden, order, direct)
    fast = model.sample(50, generator=torch.Generator().manual_seed(3))
    slow, generator = torch.zeros(50, DIM, dtype=torch.float64), torch.Generator().manual_seed(3)
    for d in range(DIM) if order is None else order:
        slow[:, d] = torch.bernoulli(torch.sigmoid(model(slow)[:, d]), generator=generator).detach()
    assert torch.equal(fast, slow)


def test_sample_frequencies_are_the_probabilities():
    """Chi-square over 16 cells: its mean is 15, its standard deviation sqrt(30); five of these above."""
    model, n = random_made([8], [2, 0, 3, 1], True, dim=4, scale=1.5), 50_000
    draws = model.sample(n, generator=torch.Generator().manual_seed(0))
    counts = torch.bincount((draws @ torch.tensor([8.0, 4, 2, 1], dtype=torch.float64)).long(), minlength=16)
    expected = n * model.log_prob(all_bits(4)).exp().detach()
    assert expected.min() > 5
    assert ((counts - expected) ** 2 / expected).sum() < 15 + 5 * math.sqrt(30)


def test_completion_keeps_what_is_given_and_ignores_the_rest():
    order = [3, 1, 5, 4, 0, 2]
    model, x = random_made([8], order, True), all_bits(DIM)
    given, free = order[:1], order[1:]
    done = model.complete(x, 1, generator=torch.Generator().manual_seed(0))
    other = x.clone()
    other[:, free] = 1 - other[:, free]
    assert torch.equal(done[:, given], x[:, given])
    assert torch.equal(done, model.complete(other, 1, generator=torch.Generator().manual_seed(0)))
    assert not torch.equal(done[:, free], x[:, free])
    assert torch.equal(model.complete(x, DIM), x)


def test_completion_follows_the_conditional():
    order, n = [2, 0, 3, 1], 20_000
    model, table = random_made([8], order, True, dim=4, scale=1.5), all_bits(4)
    x = table[0b0110].expand(n, 4)  # bit 2 is 1, bit 0 is 0: given
    done = model.complete(x, 2, generator=torch.Generator().manual_seed(0))
    p = torch.where((table[:, 2] == 1) & (table[:, 0] == 0), model.log_prob(table).exp(), 0).detach()
    p = (p / p.sum()).reshape(2, 2, 2, 2).sum((0, 2))  # of bits 1 and 3
    for a, b in itertools.product(range(2), repeat=2):
        frequency = ((done[:, 1] == a) & (done[:, 3] == b)).double().mean()
        assert abs(frequency - p[a, b]) < 5 * math.sqrt(p[a, b] * (1 - p[a, b]) / n)


def test_degrees_even_and_random():
    assert set(hidden_degrees(10, [9])[0].tolist()) == set(range(1, 10))
    counts = torch.bincount(hidden_degrees(10, [30])[0])[1:]
    assert counts.max() - counts.min() <= 1
    drawn = hidden_degrees(10, [500, 500], generator=torch.Generator().manual_seed(0))
    assert all(set(m.tolist()) == set(range(1, 10)) for m in drawn)
    assert not torch.equal(*drawn)


def test_one_bit_alone_and_batches():
    x = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    one = random_made([3], dim=1, direct=True, generator=torch.Generator().manual_seed(0))
    assert one.log_prob(x).exp().sum().item() == pytest.approx(1, abs=1e-15)
    model, x = random_made([8]), all_bits(DIM)[:5]
    assert torch.allclose(model.log_prob(x), torch.cat([model.log_prob(row[None]) for row in x]))


def test_gradients_reach_every_permitted_weight_and_no_other():
    model = random_made([20], direct=True, scale=1.0)
    x = 20 * torch.randn(500, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(0))  # no ReLU stays off
    (model(x) ** 2).sum().backward()
    for layer in (m for m in model.modules() if isinstance(m, MaskedLinear)):
        assert (layer.weight.grad[layer.mask == 0] == 0).all()
        assert (layer.weight.grad[layer.mask == 1] != 0).all()


def test_bfloat16_autocast_sums_in_float32():
    torch.manual_seed(0)
    model = MADE(784, [50], direct=True)
    x = torch.bernoulli(torch.full((20, 784), 0.3), generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        log_p, logits = model.log_prob(x), model(x)
    assert (logits.dtype, log_p.dtype) == (torch.bfloat16, torch.float32)
    assert torch.allclose(log_p, log_bernoulli(x, logits.float()), rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"order": [0, 1, 1]}, "permutation"),
        ({"order": [0, 1]}, "permutation"),
        ({"hidden": []}, "at least one"),
        ({"hidden": [4, 0]}, "positive width"),
        ({"degrees": [torch.ones(5)]}, r"\(5,\)"),
    ],
)
def test_bad_options_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        MADE(3, **{"hidden": [4], **options})


def test_bad_input_shape_is_named():
    with pytest.raises(ValueError, match=r"\(B, 3\), got \(2, 4\)"):
        MADE(3, [4])(torch.zeros(2, 4))
