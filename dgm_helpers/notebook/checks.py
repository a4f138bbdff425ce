"""Claims that are checked when the notebook runs, and numbers that pages quote from it."""

import math
import os
import sys

import torch

from dgm_helpers.notebook.measured import books, capitals, in_words, measured, note
from dgm_helpers.notebook.tables import Estimate


def _truth(holds):
    """One truth value as a bool. A comparison with NaN is False, so a NaN fails."""
    if hasattr(holds, "reshape") and len(holds.reshape(-1)) == 1:  # NumPy's or torch's
        holds = holds.item()
    if not isinstance(holds, bool):
        shape = f" of shape {tuple(holds.shape)}" if hasattr(holds, "shape") else ""
        raise TypeError(f"expected one truth value (a comparison), got {type(holds).__name__}{shape}: {holds!r:.60}")
    return holds


def _changed(of, frame, book):
    """How the run, or the notebook's settings, differ from the book's, in words; "" if they do not."""
    if of != "settings":
        return of.changed
    here = capitals(frame.f_globals)
    differ = {k: v for k, v in book.get("settings", {}).items() if v and here.get(k, v) != v}
    return "\n".join(f"{name}: the book's {was}, here {here[name]}" for name, was in differ.items())


def check(claim, holds, *, of=None):
    """Print one tick line if the claim holds; else raise AssertionError with the claim and the numbers behind it.

    holds: one truth value (a bool, or NumPy's or torch's with one element); TypeError for anything else. of: the Run
    whose stored result the claim is about, or "settings", if it is about the notebook's own. If that run has other
    settings than the book's (``of.changed``), a claim that does not hold is printed with its numbers, here and in the
    book's run, and the notebook goes on. Where nothing may differ from the book (DGM_RETRAIN=never, or CI is set),
    it is raised.
    """
    frame = sys._getframe(1)
    if of is not None:
        note(claim, frame)
    if _truth(holds):
        print(f"✓ {claim}")
        return
    here, book = in_words(measured(frame)), books(claim) if of is not None else {}
    strict = os.environ.get("DGM_RETRAIN") == "never" or os.environ.get("CI")
    changed = _changed(of, frame, book) if of is not None and not strict else ""
    if not changed:
        raise AssertionError(f"does not hold: {claim}" + f" (measured: {here})" * bool(here))
    there = in_words(book.get("measured", {}))
    print(f"✗ {claim}" + f"\n    here: {here}" * bool(here) + f"\n    in the book's run: {there}" * bool(there))
    print("    a fact about the book's run; this one differs:", changed.replace("\n", "\n    "), sep="\n    ")


def gap(a, b):
    """The largest absolute difference between entries of two numbers, arrays or tensors that broadcast, a float."""
    a, b = (x if isinstance(x, torch.Tensor) else torch.as_tensor(x, dtype=torch.float64) for x in (a, b))
    try:
        return float((a - b).abs().max())
    except (RuntimeError, NotImplementedError):
        raise ValueError(f"expected shapes that broadcast, got {tuple(a.shape)} and {tuple(b.shape)}") from None


def _record(name, value):
    from IPython.display import display

    value = str(value) if isinstance(value, (str, Estimate)) else float(value)
    if not (isinstance(value, str) or math.isfinite(value)):
        raise ValueError(f"expected a finite number as {name}, got {value}")
    kind = "application/papermill.record/"
    display({kind + "text/plain": repr(value)}, raw=True, metadata={"scrapbook": {"name": name, "mime_prefix": kind}})


def glue(**values):
    """Store numbers, strings or Estimates under names, so that a page can quote them.

    A number: ``{glue:text}`notebook.ipynb::name:.2f```; a string or an Estimate, which is glued as it is shown (two
    digits of the error): ``::name:s``. An Estimate's parts are ``name_value`` and ``name_error``, both numbers. Writes
    the output that MyST-NB's own ``glue`` writes, without needing MyST-NB (Colab has none). Shows nothing. Raises
    ValueError for a number that is not finite.
    """
    for name, value in values.items():
        _record(name, value)
        if isinstance(value, Estimate):
            _record(f"{name}_value", value.value)
            _record(f"{name}_error", value.error)
