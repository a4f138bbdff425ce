"""check() must fail on what does not hold, and on what is no claim; glue() writes what pages can quote."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dgm_helpers.notebook import Estimate, check, gap, glue


@pytest.mark.parametrize("holds", [True, np.True_, np.array([[True]]), torch.tensor(True), torch.tensor([1.0]) < 2])
def test_a_claim_that_holds_is_ticked(holds, capsys):
    check("two is even", holds)
    assert capsys.readouterr().out == "✓ two is even\n"


@pytest.mark.parametrize(
    "holds", [False, np.False_, torch.tensor([False]), float("nan") < 1, torch.tensor(float("nan")) < 1]
)
def test_a_claim_that_does_not_hold_is_raised(capsys, holds):
    with pytest.raises(AssertionError, match="does not hold: one is even"):
        check("one is even", holds)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("no_claim", "named"),
    [
        (torch.tensor([True, True]), r"Tensor of shape \(2,\)"),
        (np.array([], dtype=bool), r"ndarray of shape \(0,\)"),
        (torch.tensor(1.0), "float: 1.0"),
        (np.array([2]), "int: 2"),
        (np.float64(1), "float: 1.0"),
        (1, "int: 1"),
        ("yes", "str"),
        ([True], "list"),
        (None, "NoneType"),
        (lambda: True, "function"),
        ((True, "and a message"), "tuple"),
    ],
)
def test_what_is_not_one_truth_value_is_named(no_claim, named, capsys):
    with pytest.raises(TypeError, match="expected one truth value .*got " + named):
        check("something", no_claim)
    assert capsys.readouterr().out == ""


def test_a_claim_about_the_books_run_is_told_for_another_run(capsys):
    other = SimpleNamespace(changed="settings seed: stored 0, this run 1")
    check("the loss is 3", False, of=other)
    out = capsys.readouterr().out
    assert out.startswith("✗ the loss is 3")
    assert other.changed in out
    check("the loss is 3", True, of=other)
    assert capsys.readouterr().out == "✓ the loss is 3\n"
    with pytest.raises(TypeError, match="one truth value"):
        check("the loss is 3", 3, of=other)


def test_a_claim_about_the_books_run_must_hold_for_it():
    with pytest.raises(AssertionError, match="does not hold: the loss is 3"):
        check("the loss is 3", False, of=SimpleNamespace(changed=""))


def test_a_claim_that_holds_does_not_ask_how_the_run_differs(capsys):
    check("the loss is 3", True, of=object())  # which may take a while to find out
    assert capsys.readouterr().out == "✓ the loss is 3\n"


def test_gap_is_the_largest_difference():
    assert gap(torch.tensor([1.0, 2.0]), np.array([1.5, 4.0])) == 2.0
    assert gap(torch.zeros(3, 2), 1) == 1.0
    assert gap([0.1, 0.1 + 1e-12], 0.1) == pytest.approx(1e-12, rel=1e-3)  # Python's numbers are taken in full
    assert not gap(torch.tensor([0.0, float("nan")]), torch.zeros(2)) < 1  # so that a check of it fails


@pytest.fixture
def glued(monkeypatch):
    """What is displayed: a list of (name, text)."""
    shown = []

    def display(data, metadata, **_):
        (text,) = data.values()
        shown.append((metadata["scrapbook"]["name"], text))

    monkeypatch.setattr("IPython.display.display", display)
    return shown


def test_glue_writes_what_myst_nb_writes(monkeypatch):
    import myst_nb

    written = {}
    for name, module in (("ours", "IPython.display"), ("theirs", "myst_nb.ext.glue")):
        shown = written[name] = []
        target = f"{module}.{'display' if name == 'ours' else 'ipy_display'}"
        monkeypatch.setattr(target, lambda data, shown=shown, **options: shown.append((data, options)))
    glue(gap=torch.tensor(0.5), name="x")
    myst_nb.glue("gap", 0.5, display=False)
    myst_nb.glue("name", "x", display=False)
    assert written["ours"] == written["theirs"]


def test_an_estimate_is_glued_as_it_is_shown_and_in_parts(glued):
    glue(nll=Estimate(-144.4926, 0.4713))
    assert glued == [("nll", "'−144.49 ± 0.47'"), ("nll_value", "-144.4926"), ("nll_error", "0.4713")]


@pytest.mark.parametrize(
    ("value", "text"), [(3, "3.0"), (np.float32(0.5), "0.5"), (np.str_("a"), "'a'"), (True, "1.0")]
)
def test_glued_values_are_plain(value, text, glued):
    glue(x=value)
    assert glued == [("x", text)]


@pytest.mark.parametrize("value", [float("nan"), torch.tensor(float("inf")), Estimate(float("nan"), 1.0)])
def test_no_number_is_quoted_that_is_none(value, glued):
    with pytest.raises(ValueError, match=r"expected a finite number as x.*, got (nan|inf)"):
        glue(x=value)
