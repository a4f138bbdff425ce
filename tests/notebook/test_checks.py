"""check() must fail on what does not hold."""

import pytest
import torch

from dgm_helpers.notebook.checks import check, glue


def test_a_claim_that_holds_is_ticked(capsys):
    check("two is even", torch.tensor(True))
    assert capsys.readouterr().out == "✓ two is even\n"


@pytest.mark.parametrize("holds", [False, torch.tensor(False), float("nan") < 1, torch.tensor(float("nan")) < 1])
def test_a_claim_that_does_not_hold_is_raised(capsys, holds):
    with pytest.raises(AssertionError, match="does not hold: one is even"):
        check("one is even", holds)
    assert capsys.readouterr().out == ""


def test_an_array_of_claims_is_ambiguous():
    with pytest.raises(RuntimeError):
        check("all", torch.tensor([True, False]))


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
