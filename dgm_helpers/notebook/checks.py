"""Claims that are checked when the notebook runs, and numbers that pages quote from it."""


def check(claim, holds):
    """Print one tick line if the claim holds; raise AssertionError with the claim if it does not.

    holds: a bool, or a one-element array or tensor of one (a comparison with NaN is False, so a NaN fails).
    """
    if not bool(holds):
        raise AssertionError(f"does not hold: {claim}")
    print(f"✓ {claim}")


def glue(**values):
    """Store numbers or strings under names, so that a page can quote them: ``{glue:text}`notebook.ipynb::name:.2f```.

    Writes the output that MyST-NB's own ``glue`` writes, without needing MyST-NB (Colab has none). Shows nothing.
    """
    from IPython.display import display

    for name, value in values.items():
        value = value if isinstance(value, str) else float(value)
        kind = "application/papermill.record/"
        display(
            {kind + "text/plain": repr(value)}, raw=True, metadata={"scrapbook": {"name": name, "mime_prefix": kind}}
        )
