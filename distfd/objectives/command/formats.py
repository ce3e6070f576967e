"""How numbers are written into decks: with all digits, or by a format; formatted texts take no part in arithmetic.

A number without a format gets the fewest digits that read back as the same double. A format makes a `FormattedText`,
which knows the fixed width of the format, if any. In ``2 * a | fmt("7.4f")``, Jinja multiplies a text by 2, for which
Python repeats the text; a `FormattedText` makes that an error.
"""

from __future__ import annotations

import math
import re
import string
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn

from distfd.objectives.command.values import OutputError, number

if TYPE_CHECKING:
    from collections.abc import Callable

WIDE = "\ue0d1"
"""A private-use character on both sides of a text that is wider than its format; removed when the deck is complete."""

BEGIN, END = "\ue0d5", "\ue0d6"
"""Private-use characters around a text of fixed width, where decks are compared; the first is followed by
`width_code`."""

_FIRST_WIDTH, _MOST_WIDTH = 0xE200, 0x1000

_WIDTH = re.compile(r"(?:.?[<>=^])?[-+ ]?z?#?0?([1-9][0-9]*)")
"""The width in a format specification of Python."""

_PERCENT = re.compile(r"%(?:\(\w*\))?[-+ #0]*(\*|[0-9]+)?(?:\.(?:\*|[0-9]+)?)?[hlL]?([a-zA-Z%])")
"""A conversion of Python's ``%``: its width, and its kind."""

_ENDLESS = re.compile(r"[0-9]{5}")
"""A width or a number of digits so large that no column has it; it would fill the memory."""

_MOST_DIGITS = 17
"""Number of significant digits that tell every double from its neighbours."""


def in_full(value: float) -> str:
    """The shortest digits that read back as the same double; an integer has no point."""
    return repr(float(value)).removesuffix(".0")


def width_code(width: int) -> str:
    """A width as one private-use character, which filters for texts of numbers leave unchanged."""
    return chr(_FIRST_WIDTH + min(width, _MOST_WIDTH))


def width_of(code: str) -> int:
    """The width that a character from `width_code` stands for."""
    return ord(code) - _FIRST_WIDTH


class FormattedText(str):  # noqa: SLOT000  # Jinja makes some without our attributes, which the class then has
    """One number, or several, as written by a format.

    Attributes
    ----------
    how : str
        The format as in the template: ``fmt("7.4f")``.
    remedy : str
        How to write a formula with this format; used in the error message.
    width : int or None
        The least number of characters by the format; None if it fixes none.
    joins : bool
        Whether ``+`` may join it with another such text, as for texts by Python's ``%``.
    compared : bool
        Whether it is written for a comparison of decks: its fixed width is then added to the text.
    """

    how: str = ""
    remedy: str = "{{ (2*a) }}"
    width: int | None = None
    joins: bool = False
    compared: bool = False

    @classmethod
    def of(
        cls, text: str, how: str, width: int | None, *, joins: bool = False, remedy: str | None = None
    ) -> FormattedText:
        """The text that this format made."""
        made = cls(text)
        made.how, made.width, made.joins = how, width, joins
        made.remedy = f"{{{{ (2*a) | {how} }}}}" if remedy is None else remedy
        return made

    @property
    def plain(self) -> str:
        """The characters alone, without attributes."""
        return self[:]

    def __str__(self) -> str:
        if self.width is None:
            return self.plain
        if self.compared:
            return f"{BEGIN}{width_code(self.width)}{self.plain}{END}"
        return f"{WIDE}{self.plain}{WIDE}" if len(self) > self.width else self.plain

    def refuse(self, *_: Any) -> NoReturn:
        """Raise TypeError: this is a text and no longer a number.

        Raises
        ------
        TypeError
            Always; the message says how to write the formula.
        """
        raise TypeError(
            f"{self.how} makes a text, {self.plain!r}, with which there is no arithmetic: put the formula in "
            f"parentheses, and write its result: {self.remedy}"
        )

    def __add__(self, other: Any) -> str:
        if not isinstance(other, str) or (isinstance(other, FormattedText) and self._sums(other)):
            self.refuse()
        return str(self) + str(other)

    def __radd__(self, other: Any) -> str:
        if not isinstance(other, str):
            self.refuse()
        return str(other) + str(self)

    def _sums(self, other: FormattedText) -> bool:
        return is_number(self.plain) and is_number(other.plain) and not (self.joins and other.joins)

    def __mul__(self, other: Any) -> str:
        if is_number(self.plain):
            self.refuse()
        return str(self.plain * other)

    __rmul__ = __mul__

    def __rmod__(self, other: Any) -> Any:
        return NotImplemented if isinstance(other, str) else self.refuse()

    def __eq__(self, other: object) -> bool:
        return self.refuse() if isinstance(other, (int, float)) else self.plain == other

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.plain)


def _ordered(name: str) -> Callable[[FormattedText, Any], Any]:
    compare = getattr(str, name)

    def ordered(self: FormattedText, other: Any) -> Any:
        return compare(self.plain, other) if isinstance(other, str) else self.refuse()

    return ordered


for _name in ("__lt__", "__le__", "__gt__", "__ge__"):
    setattr(FormattedText, _name, _ordered(_name))
for _name in ("sub", "truediv", "floordiv", "pow"):
    setattr(FormattedText, f"__{_name}__", FormattedText.refuse)
    setattr(FormattedText, f"__r{_name}__", FormattedText.refuse)
for _name in ("neg", "pos", "abs", "round", "mod"):
    setattr(FormattedText, f"__{_name}__", FormattedText.refuse)


def is_number(text: str) -> bool:
    """Whether a text is one number."""
    try:
        number(text)
    except OutputError:
        return False
    return True


def fmt(value: Any, spec: Any) -> FormattedText:
    """``{{ a | fmt("12.6e") }}``: Python's format specification; an error if it does not suit the value."""
    if not isinstance(spec, str) or _ENDLESS.search(spec):
        raise TypeError(f"fmt needs a format in quotes, such as '12.6e', not {str(spec)[:40]!r}")
    try:
        text = format(value, spec)
    except ValueError as error:
        hint = ""
        if isinstance(value, float) and spec[-1:] in "bcdoxXn":
            whole = (
                ""
                if value.is_integer()
                else "; it is not a whole number: | round | int rounds it, and J then changes in jumps"
            )
            hint = (
                f": it is a real number, and {spec[-1]} writes only whole numbers: give the parameter type: integer, "
                f'or write {{{{ a | int | fmt("{spec}") }}}}{whole}'
            )
        raise ValueError(f"fmt({spec!r}) cannot write {value!r}{hint or f': {error}'}") from error
    width = _WIDTH.match(spec)
    return FormattedText.of(text, f'fmt("{spec}")', int(width[1]) if width else None)


def by_percent(template: str, text: str, *, filtered: bool) -> FormattedText:
    """The text made by ``template % values``, or by ``template | format(values)``."""
    how = f'"{template}" | format' if filtered else f'"{template}" %'
    remedy = f"{{{{ {how}{'(2*a)' if filtered else ' (2*a)'} }}}}"
    return FormattedText.of(text, how, _percent_width(template), joins=not filtered, remedy=remedy)


def by_method(template: str, text: str) -> FormattedText:
    """The text made by ``template.format(values)``."""
    how = f'"{template}".format'
    return FormattedText.of(text, how, _brace_width(template), joins=True, remedy=f"{{{{ {how}(2*a) }}}}")


def _percent_width(template: str) -> int | None:
    total, end = 0, 0
    for found in _PERCENT.finditer(template):
        total += found.start() - end
        end = found.end()
        if found[2] == "%":
            total += 1
        elif found[1] is None or found[1] == "*":
            return None
        else:
            total += int(found[1])
    return total + len(template) - end if end else None


def _brace_width(template: str) -> int | None:
    total, fields = 0, 0
    for literal, field, spec, _ in string.Formatter().parse(template):
        total += len(literal)
        if field is not None:
            width = _WIDTH.match(spec or "")
            if width is None:
                return None
            total += int(width[1])
            fields += 1
    return total if fields else None


def padded(text: str, method: str, width: Any) -> FormattedText:
    """The text made by ``text.rjust(width)`` or a similar method, with this width as its fixed width."""
    fixed = width if isinstance(width, int) else None
    return FormattedText.of(text, f"{method}({width})", fixed, joins=True, remedy="{{ (2*a) | fmt(...) }}")


def fit(value: Any, width: Any) -> FormattedText:
    """``{{ a | fit(8) }}``: as many digits as fit the columns, with an exponent where that holds more of them."""
    _check_width("fit", width)
    value = _real("fit", value)
    texts = [*_fixed(value, width), *_with_exponent(value, width, "e")]
    return _closest(value, texts, width, f"fit({width})")


def nastran(value: Any, width: Any = 8) -> FormattedText:
    """``{{ a | nastran(8) }}``: a real field of a Nastran deck, of 8 or 16 columns: ``7.8500-9``."""
    if width not in (8, 16):
        raise TypeError(f"nastran: fields have 8 or 16 columns (given {width!r})")
    value = _real("nastran", value)
    fixed = _fixed(value, width)
    if abs(value) < 1:
        fixed += [text.replace("0.", ".", 1) for text in _fixed(value, width + 1)]
    return _closest(value, [*fixed, *_with_exponent(value, width, "")], width, f"nastran({width})")


_FORTRAN = re.compile(r"(D|E|ES|F)(?:([0-9]+)\.([0-9]+))?", re.IGNORECASE)


def fortran(value: Any, kind: Any, width: Any = None, digits: Any = None) -> FormattedText:
    """``{{ a | fortran("D20.12") }}`` or ``fortran("D", 20, 12)``: an edit descriptor D, E, ES or F of Fortran.

    Without width and digits, the number is written with all digits: ``1.5D-03``.
    """
    found = _FORTRAN.fullmatch(str(kind))
    if not found or (found[2] and width is not None):
        raise TypeError(
            f'fortran: takes D, E, ES or F with a width and digits, as in fortran("D20.12") (given {kind!r})'
        )
    letter = found[1].upper()
    if found[2]:
        width, digits = int(found[2]), int(found[3])
    value = _real("fortran", value)
    if width is None:
        plain = in_full(value)
        mantissa, _, exponent = plain.partition("e")
        if letter == "F":
            return FormattedText.of(format(Decimal(plain), "f") if exponent else plain, 'fortran("F")', None)
        point = "" if "." in mantissa else ".0"
        text = f"{mantissa}{point}{letter[0]}{int(exponent or 0):+03d}"
        return FormattedText.of(text, f'fortran("{letter}")', None)
    _check_width("fortran", width)
    if not isinstance(digits, int) or isinstance(digits, bool) or not 0 <= digits < width:
        raise TypeError(f"fortran: needs digits from 0 to less than its width, {width} (given {digits!r})")
    text = _edited(value, letter, digits)
    if len(text) > width:
        raise ValueError(f"fortran({letter}{width}.{digits}) cannot write {value!r}: it needs {len(text)} columns")
    return FormattedText.of(text.rjust(width), f'fortran("{letter}{width}.{digits}")', width)


def _edited(value: float, letter: str, digits: int) -> str:
    """The number as Fortran writes it in a field that is wide enough."""
    if letter == "F":
        return format(value, f".{digits}f") + ("" if digits else ".")
    if letter == "ES":
        mantissa, _, power = format(value, f".{digits}e").partition("e")
        return f"{mantissa}{'' if digits else '.'}{_power('E', int(power))}"
    if not digits:
        raise TypeError(f"fortran: {letter} needs a digit at least")
    mantissa, _, power = format(abs(value), f".{digits - 1}e").partition("e")
    sign = "-" if str(value).startswith("-") else ""
    return f"{sign}0.{mantissa.replace('.', '')}{_power(letter, int(power) + 1 if value else 0)}"


def _power(letter: str, power: int) -> str:
    return f"{letter}{power:+03d}" if abs(power) < 100 else f"{power:+04d}"


def _check_width(what: str, width: Any) -> None:
    if not isinstance(width, int) or isinstance(width, bool) or not 3 <= width <= 100:
        raise TypeError(f"{what}: a width is a whole number of columns, 3 to 100 (given {str(width)[:40]!r})")


def _real(what: str, value: Any) -> float:
    if isinstance(value, (str, bool)):
        raise TypeError(
            f"{what} writes a number, not the text {str(value)[:40]!r}; put it first: {{{{ a | {what}(8) }}}}"
        )
    made = float(value)
    if not math.isfinite(made):
        raise ValueError(f"{what} cannot write {made}")
    return made


def _fixed(value: float, width: int) -> list[str]:
    """The number with a decimal point and as many decimals as fit."""
    for decimals in range(width - 2, -1, -1):
        text = format(value, f".{decimals}f") + ("" if decimals else ".")
        if len(text) <= width:
            return [text]
    return []


def _with_exponent(value: float, width: int, letter: str) -> list[str]:
    """The number with an exponent and as many digits as fit; without a letter, the exponent always has its sign."""
    for digits in range(min(width, _MOST_DIGITS), -1, -1):
        mantissa, _, power = format(value, f".{digits}e").partition("e")
        exponent = f"{letter}{int(power)}" if letter else f"{int(power):+d}"
        text = f"{mantissa}{'' if digits else '.'}{exponent}"
        if len(text) <= width:
            return [text]
    return []


def _closest(value: float, texts: list[str], width: int, how: str) -> FormattedText:
    """The text that is nearest to the number; of several, the first."""
    fitting = [text for text in texts if len(text) <= width]
    best = min(fitting, key=lambda text: abs(number(text) - value), default=None)
    if best is None or (value and not number(best)):
        raise ValueError(f"{how} cannot write {value!r}: {width} columns do not hold it")
    return FormattedText.of(best.rjust(width), how, width)
