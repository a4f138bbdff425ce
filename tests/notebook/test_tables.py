"""Numbers, values with errors, and tables, as they are shown."""

import numpy as np
import pytest
import torch

from dgm_helpers.notebook import Estimate, benchmark_record, number, table

NAN, INF = float("nan"), float("inf")


# ---- values with errors ----


def test_an_estimate_against_the_formula():
    mean, error = Estimate.of(torch.tensor([1.0, 2.0, 3.0, 6.0]))
    assert mean == pytest.approx(3)
    assert error == pytest.approx((14 / 3 / 4) ** 0.5)  # unbiased variance 14 / 3, four values
    assert tuple(Estimate.of(np.array([[1.0, 2.0], [3.0, 6.0]]))) == pytest.approx((mean, error))


def test_an_estimate_takes_pythons_numbers_in_full_and_any_kind():
    assert tuple(Estimate.of([1e8 + 1, 1e8 + 2, 1e8 + 3])) == pytest.approx((1e8 + 2, 3**-0.5))
    for ints in ([1, 2, 3], np.array([1, 2, 3]), torch.tensor([1, 2, 3])):
        assert tuple(Estimate.of(ints)) == pytest.approx((2, 3**-0.5))
    assert tuple(Estimate.of([True, False])) == pytest.approx((0.5, 0.5))
    single = torch.tensor([1.0, 2.0, 3.0]) + 1e5
    assert Estimate.of(single).error == pytest.approx(3**-0.5)


def test_one_value_has_no_error():
    with pytest.raises(ValueError, match=r"at least two values, for a standard error, got \(1,\)"):
        Estimate.of(torch.tensor([1.0]))


@pytest.mark.parametrize("error", [-0.1, NAN])
def test_what_is_no_error_is_named(error):
    with pytest.raises(ValueError, match="expected an error >= 0, got"):
        Estimate(1.0, error)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (-144.4926, 0.4713, "−144.49 ± 0.47"),
        (2.0, 0.0996, "2.00 ± 0.10"),  # the error's digits are counted after rounding
        (2.0, 9.96, "2 ± 10"),
        (1234.5, 321.0, "1234 ± 321"),
        (-0.00001, 0.0012, "0.0000 ± 0.0012"),  # no minus zero
        (0.0, 0.5, "0.00 ± 0.50"),
        (3.2e-7, 4.1e-8, "(3.20 ± 0.41) × 10⁻⁷"),
        (3e-9, 4.1e-8, "(0.3 ± 4.1) × 10⁻⁸"),
        (-2.5e7, 3e5, "(−2.500 ± 0.030) × 10⁷"),
        (123.456, 0.0, "123 ± 0"),
        (NAN, 1.0, "nan ± 1.00"),
        (1.0, INF, "1.00 ± inf"),
    ],
)
def test_an_estimate_shows_two_digits_of_its_error(value, error, text):
    assert str(Estimate(value, error)) == f"{Estimate(value, error)}" == text


def test_an_estimate_in_a_given_format():
    assert f"{Estimate(-144.4926, 0.4713):.1f}" == "−144.5 ± 0.5"
    assert f"{Estimate(1e-5, 2e-6):.0e}" == "1e−05 ± 2e−06"


def test_an_estimate_is_of_plain_numbers_and_nothing_but_its_sign_changes():
    estimate = Estimate(torch.tensor(1.5), np.float32(0.5))
    assert [type(part) for part in estimate] == [float, float]
    assert -estimate == Estimate(-1.5, 0.5)
    for arithmetic in (lambda: estimate - 1, lambda: 2 * estimate, lambda: estimate + estimate, lambda: estimate < 2):
        with pytest.raises(TypeError):  # errors do not add up like that
            arithmetic()


# ---- numbers ----


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (0, "0"),
        (-0.0, "0"),
        (-7, "−7"),
        (9999, "9999"),
        (-12_345_678, "−12\u202f345\u202f678"),
        (np.int64(10_000), "10\u202f000"),
        (torch.tensor(5), "5"),
        (5.0, "5.00"),
        (torch.tensor(-0.25), "−0.250"),
        (9.996, "10.0"),  # rounding adds a place
        (0.00099996, "0.00100"),
        (0.000123, "1.23 × 10⁻⁴"),
        (-1.2999e-9, "−1.30 × 10⁻⁹"),
        (999_999.6, "1.00 × 10⁶"),
        (994_999.4, "994999"),
        (9.996e7, "1.00 × 10⁸"),
        (2e300, "2.00 × 10³⁰⁰"),
        (5e-324, "4.94 × 10⁻³²⁴"),
        (NAN, "nan"),
        (-INF, "−inf"),
    ],
)
def test_a_number_has_three_digits(x, text):
    assert number(x) == text


def test_a_number_with_more_or_fewer_digits():
    assert [number(-1234.5678, digits) for digits in (1, 4, 6)] == ["−1235", "−1235", "−1234.57"]
    assert [number(0.096, digits) for digits in (1, 2)] == ["0.1", "0.096"]
    assert number(0.96, 1) == "1"


# ---- tables ----


@pytest.fixture
def shown(monkeypatch):
    found = []
    monkeypatch.setattr("IPython.display.display", lambda markdown: found.append(markdown.data))
    return found


def test_table_is_markdown(shown):
    table(["a", "b", "c"], [["x", 1, 0.5], ["y", Estimate(-1.0, 0.1), torch.tensor(-2.0)]])
    assert shown == ["| a | b | c |\n| --- | ---: | ---: |\n| x | 1 | 0.500 |\n| y | −1.00 ± 0.10 | −2.00 |"]


def test_the_decimals_of_a_table_are_those_of_its_floats(shown):
    row = ["1.23456", 12_345, np.int64(3), -0.004, np.float32(2), Estimate(1.0, 0.1)]
    table(list("abcdef"), [row], decimals=2)
    assert shown[0].splitlines()[-1] == "| 1.23456 | 12\u202f345 | 3 | 0.00 | 2.00 | 1.00 ± 0.10 |"


@pytest.mark.parametrize("row", [["x"], ["x", 1, 2], ["$p(x|z)$", 1], [r"$q\|p$", 1], []])
def test_a_row_that_does_not_fit_is_named(row, shown):
    with pytest.raises(ValueError, match=r"expected rows of 2 cells as in the header, none with a '\|', got"):
        table(["a", "b"], [["x", 1], row])
    with pytest.raises(ValueError, match="none with a"):
        table(["a|", "b"], [])
    assert shown == []


def test_a_cell_that_is_no_number_is_refused(shown):
    with pytest.raises((TypeError, RuntimeError, ValueError)):
        table(["a", "b"], [["x", torch.zeros(2)]])
    with pytest.raises(TypeError):
        table(["a", "b"], [["x", None]], decimals=1)
    assert shown == []


def test_benchmark_record():
    assert benchmark_record("banana_flows")["where"]
    with pytest.raises(FileNotFoundError, match="run `make bench`"):
        benchmark_record("no_such_benchmark")
