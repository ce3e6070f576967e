"""How numbers are written: formats that fill a field, those of Fortran and Nastran, and texts that are no numbers."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distfd.errors import InputError
from distfd.objectives.command.formats import by_method, by_percent, fit, fmt, fortran, nastran
from distfd.objectives.command.templates import Deck, Template
from distfd.objectives.command.values import number

REALS = st.floats(-1e90, 1e90).filter(lambda v: abs(v) > 1e-90)


def render(text: str, **variables: float) -> str:
    return Deck(Template("deck.j2", text, 0o644)).render(variables)


# ---- a text takes no part in arithmetic


@pytest.mark.parametrize(
    "text",
    [
        '{{ 2*a | fmt("7.4f") }}',
        '{{ 2.5*a | fmt("7.4f") }}',
        '{{ a | fmt("7.4f") * 2 }}',
        '{{ a | fmt("7.4f") + 1 }}',
        '{{ 1 + a | fmt("7.4f") }}',
        '{{ b + a | fmt("7.4f") }}',
        '{{ a | fmt("7.4f") - b }}',
        '{{ b / a | fmt("7.4f") }}',
        '{{ a | fmt("7.4f") // 2 }}',
        '{{ 2 ** a | fmt("7.4f") }}',
        '{{ a | fmt("7.4f") % 2 }}',
        '{{ -(a | fmt("7.4f")) }}',
        '{{ a | fmt("7.4f") | abs }}',
        '{{ a | fmt("7.4f") | round }}',
        '{{ [a | fmt("7.4f"), b] | sum }}',
        '{{ a | fmt("7.4f") + b | fmt("7.4f") }}',
        '{% if a | fmt("7.4f") > 1 %}{% endif %}',
        '{% if a | fmt("7.4f") == 1 %}{% endif %}',
        '{{ 2 * "%7.4f" | format(a) }}',
        '{{ 2 * ("%7.4f" % a) }}',
        "{{ 2 * '{:7.4f}'.format(a) }}",
        "{{ 2 * a | fit(8) }}",
        "{{ 2 * a | nastran }}",
        '{{ 2 * a | fortran("D") }}',
        "{{ 2 * (a | string) }}",
        "{{ 2 * (a | string | center(6)).rstrip() }}",
        "{{ a | string + a | string }}",
        "{% macro f(v) %}{{ v | fmt('7.4f') }}{% endmacro %}{{ 2 * f(a) }}",
        "{% macro f(v) %}{{ v }}{% endmacro %}{{ f(a) + f(a) }}",
        "{% set s %}{{ a | fmt('7.4f') }}{% endset %}{{ s * 2 }}",
    ],
)
def test_arithmetic_with_a_text_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"deck\.j2:2: .* (no arithmetic.*parentheses|is a text|are texts)"):
        render("first\n" + text, a=0.12, b=2.0)


def test_the_remedy_works() -> None:
    with pytest.raises(InputError, match=re.escape('write its result: {{ (2*a) | fmt("7.4f") }}')):
        render('{{ 2*a | fmt("7.4f") }}', a=0.12)
    assert render('{{ (2*a) | fmt("7.4f") }}', a=0.12) == " 0.2400"
    with pytest.raises(InputError, match=re.escape('{{ "%7.4f" | format(2*a) }}')):
        render('{{ 2*"%7.4f" | format(a) }}', a=0.12)
    assert render('{{ "%7.4f" | format(2*a) }}', a=0.12) == " 0.2400"
    with pytest.raises(InputError, match=re.escape('{{ (2*a) | fortran("D") }}')):
        render('{{ 2*a | fortran("D") }}', a=0.12)
    assert render('{{ (2*a) | fortran("D") }}', a=0.12) == "0.24D+00"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ('{{ a | fmt("7.4f") ~ b | fmt("5.1f") }}', " 0.1200  2.0"),
        ('{{ "%5.2f" % a + "%5.2f" % b }}', " 0.12 2.00"),
        ('{{ a | fmt("5.2f") + " mm" }}|{{ "d=" + a | fmt("5.2f") }}', " 0.12 mm|d= 0.12"),
        ('{{ "=" * 5 }}{{ "0 " * 2 }}{{ "0.0 " * 2 }}', "=====0 0 0.0 0.0 "),
        ('{{ a | fmt("5.2f") | float * 2 }}', "0.24"),
        ("{{ a | string + ' ' + b | string }}{{ b | int | string + '.0' }}", "0.12 2.02.0"),
        ('{{ "%s" % (a | fmt("5.2f")) }}', " 0.12"),
        ('{% if a | fmt("4.2f") == "0.12" %}yes{% endif %}', "yes"),
        ('{{ a | fmt("5.2f") | length }}{{ (a | fmt("5.2f"))[1:] }}', "50.12"),
    ],
)
def test_what_texts_are_for_goes_on(text: str, written: str) -> None:
    assert render(text, a=0.12, b=2.0) == written


def test_whole_numbers_are_not_written_of_real_ones() -> None:
    with pytest.raises(
        InputError, match=r"it is a real number, and d writes only whole numbers: .*type: integer.*\| int"
    ):
        render('{{ a | fmt("4d") }}', a=3.0)
    assert render('{{ a | int | fmt("4d") }}', a=3.0) == "   3"


# ---- fields


@given(value=REALS, width=st.integers(8, 30))
def test_fit_has_its_width_and_the_digits_that_go_into_it(value: float, width: int) -> None:
    text = fit(value, width)
    assert len(text) == width
    assert "." in text
    # A sign, a point, and an exponent of e-90 leave width - 6 digits at least; a digit before the point is one of them.
    np.testing.assert_allclose(float(text), value, rtol=0.5 * 10.0 ** (1 - min(width - 6, 17)) * 1.01)


@pytest.mark.parametrize(
    ("value", "width", "written"),
    [
        (0.1, 8, "0.100000"),
        (9.9999999, 8, "10.00000"),
        (-9.9999, 8, "-9.99990"),
        (123456789.0, 8, "1.2346e8"),
        (-1.23456e-9, 10, "-1.2346e-9"),
        (0.0, 8, "0.000000"),
        (1e6, 8, "1000000."),
    ],
)
def test_fit(value: float, width: int, written: str) -> None:
    assert fit(value, width) == written


@given(value=REALS)
def test_nastrans_fields_read_back(value: float) -> None:
    for width, digits in ((8, 3), (16, 10)):
        text = nastran(value, width)
        assert len(text) == width
        assert "." in text
        assert "e" not in text
        np.testing.assert_allclose(number(text), value, rtol=10.0**-digits * 5)


@pytest.mark.parametrize(
    ("value", "width", "written"),
    [
        (7.85e-9, 8, "7.8500-9"),
        (0.123456789, 8, ".1234568"),
        (-0.123456789, 8, "-.123457"),
        (2.1e11, 8, "2.100+11"),
        (0.99999999, 8, "1.000000"),
        (1e-9 / 3, 16, "3.33333333333-10"),
    ],
)
def test_nastran(value: float, width: int, written: str) -> None:
    assert nastran(value, width) == written


@pytest.mark.parametrize(
    ("value", "how", "written"),
    [
        (1.5e-3, ("D20.12",), "  0.150000000000D-02"),
        (1.5e-3, ("D", 20, 12), "  0.150000000000D-02"),
        (-2.5, ("E12.4",), " -0.2500E+01"),
        (0.99996, ("E12.4",), "  0.1000E+01"),
        (1.5e-200, ("D20.12",), "  0.150000000000-199"),
        (2.5, ("ES12.4",), "  2.5000E+00"),
        (2.5, ("F8.3",), "   2.500"),
        (0.0, ("D14.6",), "  0.000000D+00"),
        (1.5e-3, ("D",), "0.0015D+00"),
        (1.5e-30, ("D",), "1.5D-30"),
        (2.0, ("D",), "2.0D+00"),
        (2.5, ("F",), "2.5"),
        (1.25e-7, ("F",), "0.000000125"),
        (-1.5e20, ("F",), "-150000000000000000000"),
    ],
)
def test_fortran(value: float, how: tuple[str, int, int] | tuple[str], written: str) -> None:
    assert fortran(value, *how) == written
    assert number(written) == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("{{ a | fit(2) }}", "a width is a whole number of columns, 3 to 100"),
        ("{{ (a * 1e200) | fit(4) }}", "4 columns do not hold it"),
        ("{{ a | nastran(10) }}", "8 or 16 columns"),
        ('{{ a | fortran("G12.4") }}', "takes D, E, ES or F"),
        ('{{ a | fortran("F5.3") }}', "it needs 7 columns"),
        ('{{ a | fortran("D", 12) }}', "needs digits"),
        ('{{ a | fmt("5.2f") | fit(8) }}', "writes a number, not the text"),
        ("{{ q | fit(8) }}", "'q' is undefined; known: a"),
        ("{{ (1e308 * 10 * a) | fit(8) }}", "cannot write inf"),
    ],
)
def test_what_cannot_be_written_is_an_error(text: str, pattern: str) -> None:
    with pytest.raises(InputError, match=rf"deck\.j2:1: .*{pattern}"):
        render(text, a=123.4)


# ---- widths that formats fix


@pytest.mark.parametrize(
    ("made", "width"),
    [
        (fmt(1.0, "8.3f"), 8),
        (fmt(1.0, "<08.3f"), 8),
        (fmt(1.0, ".3f"), None),
        (by_percent("%7.4f", "", filtered=True), 7),
        (by_percent("%8.3f,%-10s|%%", "", filtered=False), 21),
        (by_percent("%8.3f %g", "", filtered=False), None),
        (by_percent("plain", "", filtered=False), None),
        (by_method("{:8.3f}{x:>4}", ""), 12),
        (by_method("{} {:8.3f}", ""), None),
    ],
)
def test_the_width_of_a_format(made: object, width: int | None) -> None:
    assert getattr(made, "width", -1) == width


# ---- numbers that lack the letter of their exponent


@pytest.mark.parametrize(
    ("text", "value"),
    [("3.95756-109", 3.95756e-109), ("2.1+5", 2.1e5), ("1.0D+05", 1e5), ("-.5-3", -0.5e-3), ("7.8500-9", 7.85e-9)],
)
def test_exponents_without_a_letter_are_read(text: str, value: float) -> None:
    assert number(text) == value


@pytest.mark.parametrize("text", ["12-5", "1.5-2.5", "1.5--3", "1.5-1234", "-", "1.5+"])
def test_what_is_no_number_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="is not a number"):
        number(text)
