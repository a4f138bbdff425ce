"""Discrete Bayesian networks, small enough to enumerate.

A network is two dictionaries with the same keys, the names of the nodes, parents before children. ``parents[v]`` is a
tuple of names. ``tables[v]`` holds p(v | parents), one axis for each parent in that order and the last for v itself.
All but the mutual information is sums, products and quotients: tables of ``fractions.Fraction`` give exact answers.
"""

import numpy as np


def joint(parents, tables):
    r"""The table of :math:`p(x) = \prod_v p(x_v \mid x_{\mathrm{pa}(v)})`, one axis for each node, in their order.

    Raises ValueError if a parent does not stand before its child, if a table's shape does not fit the parents, or if
    probabilities are negative or do not sum to 1 over the last axis.
    """
    nodes, size, table = list(parents), {}, np.ones((1,) * len(parents), dtype=int)
    for v in nodes:
        if any(p not in size for p in parents[v]):
            raise ValueError(f"the parents of {v!r} must stand before it, got {parents[v]} after {list(size)}")
        conditional = np.asarray(tables[v])
        expected = tuple(size[p] for p in parents[v])
        if conditional.ndim == 0 or conditional.shape[:-1] != expected:
            raise ValueError(f"expected a table of shape {(*expected, 'any')} for {v!r}, got {conditional.shape}")
        if np.any(conditional < 0) or not np.all(abs(conditional.sum(-1) - 1) < 1e-9):
            raise ValueError(f"the table of {v!r} has a row that is no distribution: {conditional.tolist()}")
        size[v] = conditional.shape[-1]
        axes = [nodes.index(u) for u in (*parents[v], v)]
        shape = [size[u] if i in axes else 1 for i, u in enumerate(nodes)]
        table = table * conditional.transpose(np.argsort(axes)).reshape(shape)
    return table


def posterior(parents, tables, query, evidence=None):
    """p(query | evidence) by enumeration: ``(number of values of query,)``.

    evidence: a dict from names to observed values (indices). Raises ValueError if the evidence has probability 0, names
    the query, or is no value of its node.
    """
    nodes, evidence, table = list(parents), dict(evidence or {}), joint(parents, tables)
    if query not in parents or query in evidence or not evidence.keys() <= parents.keys():
        raise ValueError(f"expected a query and evidence on other nodes of {nodes}, got {query!r} given {evidence}")
    if not all(0 <= value < table.shape[nodes.index(v)] for v, value in evidence.items()):
        raise ValueError(f"expected values below {dict(zip(nodes, table.shape, strict=True))}, got {evidence}")
    table = table[tuple(slice(evidence[v], evidence[v] + 1) if v in evidence else slice(None) for v in nodes)]
    table = table.sum(tuple(i for i, v in enumerate(nodes) if v != query))
    if table.sum() == 0:
        raise ValueError(f"the evidence {evidence} has probability 0")
    return table / table.sum()


def _marginals(table, a, b, given):
    """p(a, b, z), p(a, z), p(b, z), p(z) as tables that broadcast against each other; a, b, given are lists of axes."""
    table, a, b, given = np.asarray(table), set(a), set(b), set(given)
    if not a or not b or a & b or a & given or b & given or not (a | b | given) <= set(range(table.ndim)):
        raise ValueError(f"expected disjoint axes below {table.ndim}, a and b not empty, got {a=}, {b=}, {given=}")
    rest = set(range(table.ndim)) - a - b - given
    return [table.sum(tuple(rest | out), keepdims=True) for out in (set(), b, a, a | b)]


def independence_gap(table, a, b, given=()):
    r"""The largest :math:`|p(a, b, z)\, p(z) - p(a, z)\, p(b, z)|`: 0 iff :math:`a \perp b \mid z`.

    table: a joint distribution; a, b, given: disjoint lists of its axes. Exact for a table of fractions.
    """
    abz, az, bz, z = _marginals(table, a, b, given)
    return abs(abz * z - az * bz).max()


def conditional_mutual_information(table, a, b, given=()):
    r""":math:`I(a; b \mid z) = \sum p(a, b, z) \log \frac{p(a, b, z)\, p(z)}{p(a, z)\, p(b, z)}` in nats.

    0 log 0 is 0. table: a joint distribution of floats; a, b, given: disjoint lists of its axes.
    """
    abz, az, bz, z = _marginals(np.asarray(table, dtype=float), a, b, given)
    ratio = np.divide(abz * z, az * bz, out=np.ones_like(abz * z), where=abz > 0)
    return float((abz * np.log(ratio)).sum())


def _known(parents, names):
    if unknown := [name for name in names if name not in parents]:
        raise ValueError(f"expected nodes of {list(parents)}, got {unknown}")


def markov_blanket(parents, node):
    """Parents, children and the children's other parents, as a set of names."""
    _known(parents, [node])
    children = {v for v in parents if node in parents[v]}
    return (set(parents[node]) | children | {u for c in children for u in parents[c]}) - {node}


def is_blocked(parents, path, given):
    """Whether a path (a list of adjacent nodes, none twice) is blocked by the set ``given``.

    It is if some interior node is a collider (both arrows point at it) and neither it nor a descendant of it is in
    ``given``, or is no collider and is in ``given``.
    """
    _known(parents, [*path, *given])
    opens = set(given)  # a collider in here is open: the ancestors of the given nodes
    for v in reversed(list(parents)):
        if v in opens:
            opens |= set(parents[v])
    for before, v, after in zip(path, path[1:], path[2:], strict=False):
        collider = before in parents[v] and after in parents[v]
        if (collider and v not in opens) or (not collider and v in given):
            return True
    return False


def d_separated(parents, a, b, given):
    """Whether the set ``given`` blocks every path between the sets a and b, by looking at each path."""
    _known(parents, [*a, *b, *given])
    neighbours = {v: set(parents[v]) | {c for c in parents if v in parents[c]} for v in parents}

    def paths(path):
        if path[-1] in b:
            yield path
        for v in neighbours[path[-1]] - set(path):
            yield from paths([*path, v])

    return all(is_blocked(parents, path, given) for start in a for path in paths([start]))
