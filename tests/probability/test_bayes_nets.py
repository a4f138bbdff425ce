"""Enumeration against fractions worked by hand, products written out, scipy's entropies, and networkx."""

import math
from fractions import Fraction as F
from itertools import chain, combinations, product

import networkx as nx
import numpy as np
import pytest
from scipy.stats import entropy

from dgm_helpers.probability.bayes_nets import (
    conditional_mutual_information,
    d_separated,
    independence_gap,
    is_blocked,
    joint,
    markov_blanket,
    posterior,
)

FUEL = {"B": (), "F": (), "G": ("B", "F"), "D": ("G",)}
FULL = {(0, 0): F(1, 10), (0, 1): F(2, 10), (1, 0): F(2, 10), (1, 1): F(8, 10)}  # p(G = 1 | B, F)
TABLES = {
    "B": [F(1, 10), F(9, 10)],
    "F": [F(1, 10), F(9, 10)],
    "G": [[[1 - FULL[b, f], FULL[b, f]] for f in (0, 1)] for b in (0, 1)],
    "D": [[F(9, 10), F(1, 10)], [F(1, 10), F(9, 10)]],
}


def random_network(rng, n=5, p_edge=0.5):
    """Parents before children, but in a random order among themselves; 2 or 3 values a node."""
    names = [f"n{i}" for i in range(n)]
    parents = {v: tuple(rng.permutation([u for u in names[:i] if rng.random() < p_edge])) for i, v in enumerate(names)}
    size = {v: int(rng.integers(2, 4)) for v in names}
    tables = {v: rng.dirichlet(np.ones(size[v]), size=[size[u] for u in parents[v]]) for v in names}
    return parents, tables


def random_fractions(rng, parents):
    """Binary tables of fractions with denominator 97."""
    tables = {}
    for v, above in parents.items():
        ones = rng.integers(1, 97, size=(2,) * len(above))
        first = np.vectorize(lambda k: F(int(k), 97), otypes=[object])(ones)
        tables[v] = np.stack([first, 1 - first], -1)
    return tables


def digraph(parents):
    graph = nx.DiGraph([(u, v) for v in parents for u in parents[v]])
    graph.add_nodes_from(parents)
    return graph


def triples(parents):
    """Every pair of nodes with every set of others."""
    for a, b in combinations(parents, 2):
        others = [v for v in parents if v not in (a, b)]
        for given in chain.from_iterable(combinations(others, k) for k in range(len(others) + 1)):
            yield a, b, set(given)


def test_fuel_system_by_hand():
    """p(G=0|F=0) = .81, p(G=0) = .315, p(D=0|F=0) = .748, p(D=0) = .352, p(D=0|B=F=0) = .82, p(D=0|B=0, F=1) = .74."""
    answers = {
        (): F(1, 10),
        (("G", 0),): F(1, 10) * F(81, 100) / F(315, 1000),
        (("G", 0), ("B", 0)): F(1, 9),
        (("D", 0),): F(17, 80),  # 0.0748 / 0.352
        (("D", 0), ("B", 0)): F(41, 374),  # 0.082 / (0.082 + 9 * 0.074)
        (("B", 0),): F(1, 10),  # B and F are independent as long as nothing below them is seen
    }
    for evidence, answer in answers.items():
        assert posterior(FUEL, TABLES, "F", dict(evidence))[0] == answer


def test_joint_is_the_product_of_the_tables():
    rng = np.random.default_rng(0)
    for _ in range(20):
        parents, tables = random_network(rng)
        table = joint(parents, tables)
        nodes = list(parents)
        for index in product(*(range(n) for n in table.shape)):
            value = dict(zip(nodes, index, strict=True))
            factors = [tables[v][(*(value[u] for u in parents[v]), value[v])] for v in nodes]
            assert table[index] == pytest.approx(math.prod(factors), rel=1e-12)
        assert table.sum() == pytest.approx(1, abs=1e-12)


def test_posterior_is_bayes_rule_on_the_joint():
    rng = np.random.default_rng(1)
    for _ in range(20):
        parents, tables = random_network(rng)
        table, (a, b, c, *_) = joint(parents, tables), parents
        value = table[:, 1, 0].sum((1, 2))
        np.testing.assert_allclose(posterior(parents, tables, a, {b: 1, c: 0}), value / value.sum(), rtol=1e-12)
        np.testing.assert_allclose(posterior(parents, tables, b), table.sum((0, 2, 3, 4)), rtol=1e-12)


def test_conditional_mutual_information_is_four_entropies():
    rng = np.random.default_rng(2)
    table = rng.dirichlet(np.ones(2 * 3 * 2 * 4)).reshape(2, 3, 2, 4)
    h = lambda *out: entropy(table.sum(out).ravel())  # noqa: E731
    assert conditional_mutual_information(table, [0], [1], [2]) == pytest.approx(
        h(1, 3) + h(0, 3) - h(0, 1, 3) - h(3), abs=1e-12
    )
    assert conditional_mutual_information(table, [0, 3], [1]) == pytest.approx(h(1, 2) + h(0, 2, 3) - h(2), abs=1e-12)


def test_exclusive_or_is_independent_until_the_result_is_seen():
    half = [F(1, 2), F(1, 2)]
    xor = [[[1, 0], [0, 1]], [[0, 1], [1, 0]]]
    table = joint({"a": (), "b": (), "c": ("a", "b")}, {"a": half, "b": half, "c": xor})
    assert independence_gap(table, [0], [1]) == 0
    assert independence_gap(table, [0], [1], [2]) == F(1, 16)  # 1/4 * 1/2 - 1/4 * 1/4
    assert conditional_mutual_information(table, [0], [1]) == 0
    assert conditional_mutual_information(table, [0], [1], [2]) == pytest.approx(math.log(2))


def test_blanket():
    parents = {"a": (), "b": (), "x": ("a",), "s": ("a",), "c": ("x", "b"), "d": ("c",)}
    assert markov_blanket(parents, "x") == {"a", "b", "c"}
    assert markov_blanket(parents, "d") == {"c"}
    assert markov_blanket(parents, "b") == {"c", "x"}


def test_d_separation_is_that_of_networkx():
    rng = np.random.default_rng(3)
    for _ in range(60):
        parents, _ = random_network(rng, p_edge=rng.choice([0.2, 0.4, 0.6]))
        graph = digraph(parents)
        for a, b, given in triples(parents):
            assert d_separated(parents, {a}, {b}, given) == nx.is_d_separator(graph, {a}, {b}, given)
        assert d_separated(parents, {"n0", "n1"}, {"n3", "n4"}, {"n2"}) == nx.is_d_separator(
            graph, {"n0", "n1"}, {"n3", "n4"}, {"n2"}
        )


def test_d_separation_is_exact_independence_in_rational_arithmetic():
    rng = np.random.default_rng(4)
    for _ in range(10):
        parents, _ = random_network(rng)
        table, nodes = joint(parents, random_fractions(rng, parents)), list(parents)
        for a, b, given in triples(parents):
            gap = independence_gap(table, [nodes.index(a)], [nodes.index(b)], [nodes.index(v) for v in given])
            assert (gap == 0) == d_separated(parents, {a}, {b}, given)


def test_the_blanket_separates_and_nothing_smaller_does():
    rng = np.random.default_rng(5)
    for _ in range(60):
        parents, _ = random_network(rng, n=6, p_edge=0.4)
        for v in parents:
            blanket = markov_blanket(parents, v)
            rest = parents.keys() - blanket - {v}
            assert d_separated(parents, {v}, rest, blanket)
            for m in blanket:
                assert not d_separated(parents, {v}, rest | {m}, blanket - {m})


def test_the_three_ways_and_a_descendant_of_a_collider():
    chain_, fork = {"a": (), "m": ("a",), "b": ("m",)}, {"m": (), "a": ("m",), "b": ("m",)}
    collider = {"a": (), "b": (), "m": ("a", "b"), "d": ("m",), "e": ("d",)}
    path = ["a", "m", "b"]
    assert [is_blocked(g, path, set()) for g in (chain_, fork, collider)] == [False, False, True]
    assert [is_blocked(g, path, {"m"}) for g in (chain_, fork, collider)] == [True, True, False]
    assert not is_blocked(collider, path, {"e"})  # a descendant of the descendant opens it too
    assert not is_blocked(chain_, ["a", "m"], set())  # neighbours


HALF = [0.5, 0.5]


@pytest.mark.parametrize(
    ("parents", "tables", "message"),
    [
        ({"b": ("a",), "a": ()}, {"a": HALF, "b": [HALF, HALF]}, "must stand before it"),
        ({"a": ("a",)}, {"a": [HALF, HALF]}, "must stand before it"),
        ({"a": (), "b": ("a",)}, {"a": HALF, "b": HALF}, r"shape \(2, 'any'\) for 'b', got \(2,\)"),
        ({"a": (), "b": ("a",)}, {"a": HALF, "b": [HALF] * 3}, r"got \(3, 2\)"),
        ({"a": ()}, {"a": 1.0}, r"shape \('any',\) for 'a', got \(\)"),
        ({"a": ()}, {"a": [0.5, 0.6]}, "no distribution"),
        ({"a": ()}, {"a": [1.5, -0.5]}, "no distribution"),
    ],
)
def test_an_impossible_network_is_refused(parents, tables, message):
    with pytest.raises(ValueError, match=message):
        joint(parents, tables)


def test_an_impossible_question_is_refused():
    with pytest.raises(ValueError, match="expected a query"):
        posterior(FUEL, TABLES, "F", {"F": 0})
    with pytest.raises(ValueError, match="expected a query"):
        posterior(FUEL, TABLES, "F", {"X": 0})
    with pytest.raises(ValueError, match="expected values below"):
        posterior(FUEL, TABLES, "F", {"D": 2})
    with pytest.raises(ValueError, match="probability 0"):
        posterior({"a": (), "b": ()}, {"a": [1, 0], "b": HALF}, "b", {"a": 1})
    for axes in (([0], [0], []), ([0], [1], [0]), ([0], [1], [1]), ([], [1], [0]), ([0], [4], [])):
        with pytest.raises(ValueError, match="disjoint axes below 4"):
            independence_gap(joint(FUEL, TABLES), *axes)
    with pytest.raises(ValueError, match="disjoint axes"):
        conditional_mutual_information(joint(FUEL, TABLES), [0], [])
