"""Claims that are checked when the notebook runs, and numbers that pages quote from it."""

import math

import torch

from dgm_helpers.notebook.tables import Estimate


def _truth(holds):
    """One truth value as a bool. A comparison with NaN is False, so a NaN fails."""
    if hasattr(holds, "reshape") and len(holds.reshape(-1)) == 1:  # NumPy's or torch's
        holds = holds.item()
    if not isinstance(holds, bool):
        shape = f" of shape {tuple(holds.shape)}" if hasattr(holds, "shape") else ""
        raise TypeError(f"expected one truth value (a comparison), got {type(holds).__name__}{shape}: {holds!r:.60}")
    return holds


def check(claim, holds, *, of=None):
    """Print one tick line if the claim holds; raise AssertionError with the claim if it does not.

    holds: one truth value (a bool, or NumPy's or torch's with one element); TypeError for anything else. of: the Run
    whose stored result the claim is about. If that run has other settings than the book's (``of.changed``), a claim
    that does not hold is printed, and the notebook goes on.
    """
    if _truth(holds):
        print(f"✓ {claim}")
    elif of is not None and of.changed:
        print(f"✗ {claim} (a fact about the book's run; this run differs from it: {of.changed})")
    else:
        raise AssertionError(f"does not hold: {claim}")


def gap(a, b):
    """The largest absolute difference between entries of two numbers, arrays or tensors that broadcast, a float."""
    a, b = (x if isinstance(x, torch.Tensor) else torch.as_tensor(x, dtype=torch.float64) for x in (a, b))
    return float((a - b).abs().max())


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
