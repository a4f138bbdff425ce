"""Numbers as a notebook shows them: a value with its error, a table, the record of a benchmark."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _signed(text):
    return text.replace("-", "−")


def _exponent(x, digits=17):
    """The power of ten of x, rounded to so many digits; 0 for a number that is not finite."""
    return int(f"{x:.{digits - 1}e}".partition("e")[2] or 0)


def _powered(text, exponent):
    return f"{text} × 10{str(exponent).translate(SUPERSCRIPTS)}"


def number(x, digits=3):
    """A number with ``digits`` significant digits, a true minus sign and a proper power of ten: ``−1.30 × 10⁻⁹``.

    Whole numbers (Python's, NumPy's, torch's) are shown in full, in groups of three from 10 000 on.
    """
    x = x.item() if hasattr(x, "item") else x
    if isinstance(x, int):
        return _signed(f"{x:,}".replace(",", "\u202f") if abs(x) >= 10_000 else str(x))
    if x == 0:
        return "0"
    exponent = _exponent(x, digits)
    if -4 < exponent < 6:
        return _signed(f"{x:.{max(0, digits - 1 - exponent)}f}")
    return _powered(_signed(f"{x:.{digits - 1}e}".partition("e")[0]), exponent)


@dataclass(frozen=True)
class Estimate:
    """A value and its standard error, both floats. ``str`` shows two digits of the error: ``−144.49 ± 0.47``.

    A format such as ``f"{estimate:.1f}"`` is applied to both numbers.
    """

    value: float
    error: float

    def __post_init__(self):
        object.__setattr__(self, "value", float(self.value))
        object.__setattr__(self, "error", float(self.error))
        if not self.error >= 0:
            raise ValueError(f"expected an error >= 0, got {self.error}")

    @classmethod
    def of(cls, values):
        """Mean of N values with its standard error s / √N, in float64. Raises ValueError for fewer than two values."""
        values = torch.as_tensor(values, dtype=torch.float64)
        if values.numel() < 2:
            raise ValueError(f"expected at least two values, for a standard error, got {tuple(values.shape)}")
        return cls(values.mean(), values.std() / math.sqrt(values.numel()))

    def __iter__(self):
        return iter((self.value, self.error))

    def __neg__(self):
        return Estimate(-self.value, self.error)

    def __format__(self, spec=""):
        if spec:
            return _signed(f"{self.value:{spec}} ± {self.error:{spec}}")
        if not (self.error > 0 and math.isfinite(self.value) and math.isfinite(self.error)):
            return f"{number(self.value)} ± {number(self.error)}"
        power = _exponent(max(abs(self.value), self.error))
        power = 0 if -4 < power < 6 else power
        value, error = self.value / 10.0**power, self.error / 10.0**power
        decimals = max(0, 1 - _exponent(error, 2))
        text = _signed(f"{value:z.{decimals}f} ± {error:.{decimals}f}")
        return _powered(f"({text})", power) if power else text

    __str__ = __format__


def _cell(value, decimals):
    if isinstance(value, (str, Estimate)):
        return str(value)
    value = value.item() if hasattr(value, "item") else value
    return number(value) if decimals is None or isinstance(value, int) else _signed(f"{value:z.{decimals}f}")


def table(header, rows, *, decimals=None):
    """Show a table in a notebook, the first column to the left and the others to the right.

    Cells are strings, whole numbers, Estimates, or floats: these have ``decimals`` places, or three digits.
    """
    from IPython.display import Markdown, display

    rows = [[_cell(value, decimals) for value in row] for row in rows]
    for row in (header, *rows):
        if len(row) != len(header) or "|" in "".join(row):
            raise ValueError(f"expected rows of {len(header)} cells as in the header, none with a '|', got {row}")
    lines = [list(header), ["---"] + ["---:"] * (len(header) - 1), *rows]
    display(Markdown("\n".join("| " + " | ".join(cells) + " |" for cells in lines)))


def benchmark_record(name):
    """What ``make bench`` last stored in ``benchmarks/<name>.json``, as a dict. Raises FileNotFoundError without it."""
    path = Path(__file__).resolve().parents[2] / "benchmarks" / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}; run `make bench`, or take it from the repository")
    return json.loads(path.read_text())
