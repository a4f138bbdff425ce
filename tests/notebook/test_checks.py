"""check() must fail on what does not hold, and on what is no claim; glue() writes what pages can quote."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dgm_helpers.notebook import Estimate, check, gap, glue, measured


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
        ((x for x in [True]), "generator"),
        ([False] * 2, "list"),
        ("False", "str"),
    ],
)
def test_what_is_not_one_truth_value_is_named(no_claim, named, capsys):
    with pytest.raises(TypeError, match="expected one truth value .*got " + named):
        check("something", no_claim)
    assert capsys.readouterr().out == ""


@pytest.fixture
def a_reader(monkeypatch):
    """Not CI, nor `make test`: somebody who tries another setting."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("DGM_RETRAIN", raising=False)


OTHER = SimpleNamespace(changed="settings seed: stored 0, this run 1")


def test_a_failing_check_prints_the_numbers():
    off, least = torch.tensor([1.0, 5.2]), {"a": 4}
    with pytest.raises(AssertionError, match=r"^does not hold: near \(measured: off = 1 to 5.2, least\['a'\] = 4\)$"):
        check("near", (off < least["a"]).all())
    with pytest.raises(AssertionError, match=r"measured: gap\(off, 1\) = 4.2, abs\(off\.mean\(\) - 3\) = 0.1\)"):
        check("near", bool(abs(off.mean() - 3) < 0.01) and gap(off, 1) < 2)
    holds = (off < 2).all()
    with pytest.raises(AssertionError, match=r"measured: off = 1 to 5.2\)"):
        check("near", holds)
    with pytest.raises(AssertionError, match=r"^does not hold: near \(measured: least\['a'\] = 4\)$"):
        check("near", all(x < least["a"] for x in off.tolist()))
    assert measured.shown(Estimate(-144.4926, 0.4713)) == "−144.49 ± 0.47"
    assert measured.shown(None) == measured.shown("4") == measured.shown([]) == ""


def test_what_a_check_prints_changes_nothing():
    drawn = []

    def draw():
        drawn.append(1)
        return 1.0

    with pytest.raises(AssertionError, match=r"does not hold: small$"):
        check("small", draw() < 0)
    assert drawn == [1]


def test_in_a_notebooks_cell_too(a_reader):
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    try:
        done = shell.run_cell("from dgm_helpers.notebook import check\noff = 0.25\ncheck(\n 'near',\n off < 0.1)")
        assert str(done.error_in_exec) == "does not hold: near (measured: off = 0.25)"
    finally:
        InteractiveShell.clear_instance()


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """``kept(claim, numbers, settings)``: as if the book's execution had stored them."""

    def kept(claim, numbers, settings):
        entry = {"notebooks/vae/a.ipynb": {"settings": settings, "claims": {claim: numbers}}}
        (tmp_path / "checks.json").write_text(json.dumps(entry))

    monkeypatch.setattr(measured, "BOOK", tmp_path / "checks.json")
    return kept


def test_a_claim_about_the_books_run_is_told_for_another_run(a_reader, kept, capsys):
    loss = 3.14159
    check("the loss is 3", loss == 3, of=OTHER)
    assert capsys.readouterr().out.splitlines() == [
        "✗ the loss is 3", "    here: loss = 3.142", "    a fact about the book's run; this one differs:",
        "    settings seed: stored 0, this run 1",
    ]  # fmt: skip
    kept("the loss is 3", {"loss": "3"}, {})
    check("the loss is 3", loss == 3, of=OTHER)
    assert "    here: loss = 3.142\n    in the book's run: loss = 3\n" in capsys.readouterr().out
    check("the loss is 3", loss > 3, of=OTHER)
    assert capsys.readouterr().out == "✓ the loss is 3\n"
    with pytest.raises(TypeError, match="one truth value"):
        check("the loss is 3", 3, of=OTHER)


def test_a_claim_about_the_books_run_must_hold_for_it(a_reader):
    with pytest.raises(AssertionError, match="does not hold: the loss is 3"):
        check("the loss is 3", False, of=SimpleNamespace(changed=""))


@pytest.mark.parametrize(("name", "value"), [("CI", "true"), ("DGM_RETRAIN", "never")])
def test_where_nothing_may_differ_both_kinds_fail(a_reader, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(AssertionError, match="does not hold: the loss is 3"):
        check("the loss is 3", False, of=OTHER)


WIDTH, SHAPE, TRAIN = 3, (2, 2), True


def test_a_claim_about_the_notebooks_own_settings(a_reader, kept, capsys):
    kept("three", {}, {"WIDTH": "3", "SHAPE": "(2, 2)", "ABSENT": "1", "TRAIN": "False"})
    with pytest.raises(AssertionError, match="does not hold: three"):
        check("three", False, of="settings")
    kept("three", {"width": "4"}, {"WIDTH": "4", "SHAPE": "(2, 2)"})
    check("three", False, of="settings")
    out = capsys.readouterr().out
    assert out.endswith("    WIDTH: the book's 4, here 3\n")
    assert "SHAPE" not in out
    kept("another claim", {}, {"WIDTH": "4"})
    with pytest.raises(AssertionError, match="does not hold: three"):  # nothing is known of the book's
        check("three", False, of="settings")


def test_the_books_execution_keeps_the_numbers(a_reader, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("DGM_CHECKS", str(tmp_path / "log"))
    loss = torch.tensor([2.0, 3.0])
    check("a theorem", True)
    check("small", (loss < 4).all(), of=OTHER)
    (entry,) = map(json.loads, (tmp_path / "log").read_text().splitlines())
    assert entry["claim"] == "small"
    assert entry["measured"] == {"loss": "2 to 3"}
    assert entry["settings"] == {"WIDTH": "3", "SHAPE": "(2, 2)"}


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
