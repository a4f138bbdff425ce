"""The stored flows on the banana: their names, their sizes, the best of several starts, and the KL that pages quote."""

import pytest
import torch

from dgm_helpers.flows.runs import FLOWS, banana_log_weights, banana_run, best_start
from dgm_helpers.training.fit import History
from dgm_helpers.training.run import Run

LOG_EVIDENCE = -208.94293  # by quadrature, tests/data
KL = {"planar": 0.0078, "NICE": 0.0277, "RealNVP": 0.0013}  # as the pages quote them


def test_names_and_sizes():
    assert banana_run("planar", 2).name == "banana_flows_planar_seed_2"
    run = banana_run("NICE", lr=5e-3, couplings=4, width=96)
    assert run.name == "banana_flows_nice_4_96_seed_0"
    flow = run.new_model()
    assert len(flow.layers) == 5
    assert flow.layers[1].net[0].out_features == 96
    assert [layer.flip for layer in flow.layers[:4]] == [False, True, False, True]


@pytest.mark.parametrize("kind", FLOWS)
def test_stored_flows_have_the_quoted_divergence(kind):
    flow, history, bounds = best_start(kind)
    assert len(history.loss) == 100
    weights = banana_log_weights(flow, seed=1234)
    assert weights.dtype == torch.float64
    assert LOG_EVIDENCE - float(weights.mean()) == pytest.approx(KL[kind], abs=6e-5)
    assert max(bounds) == pytest.approx(LOG_EVIDENCE - KL[kind], abs=0.003)


def test_the_start_with_the_best_bound_is_kept(monkeypatch):
    flows = [FLOWS["planar"]() for _ in range(3)]
    for flow, scale in zip(flows, (1.0, 0.0, 3.0), strict=True):
        for parameter in flow.parameters():
            parameter.data *= scale
    monkeypatch.setattr(Run, "load", lambda run, train: (flows[run.seed], History()))
    flow, _, bounds = best_start("planar")
    assert flow is flows[bounds.index(max(bounds))]
    assert len(set(bounds)) == 3
