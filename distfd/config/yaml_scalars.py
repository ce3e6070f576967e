"""Reads unquoted YAML scalars by YAML 1.2's core schema, not PyYAML's 1.1: 1e-6 is a number, on and 010 are not."""

from __future__ import annotations

import re

_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_TRUE = frozenset(("true", "True", "TRUE"))
_FALSE = frozenset(("false", "False", "FALSE"))
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_BASES = re.compile(r"0(?:o[0-7]+|x[0-9a-fA-F]+)")
_SPECIAL = {f"{sign}.{word}": float(f"{sign}inf") for sign in ("", "+", "-") for word in ("inf", "Inf", "INF")} | {
    f".{word}": float("nan") for word in ("nan", "NaN", "NAN")
}
_MOST_DIGITS = 300
"""Largest number of digits of an integer: longer ones overflow a float, and Python's int refuses them past 4300."""


def resolve(text: str) -> str | float | bool | None:
    """The value of an unquoted scalar.

    Raises
    ------
    ValueError
        If it is a number that YAML 1.1, YAML 1.2 and people read differently (010), or is too long.
    """
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if text in _SPECIAL:
        return _SPECIAL[text]
    if _INT.fullmatch(text) or _BASES.fullmatch(text):
        return _integer(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _integer(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"an integer of more than {_MOST_DIGITS} digits")
    if _LEADING_ZERO.fullmatch(text):
        raise ValueError(
            f'a number that begins with 0 is octal in some YAML readers: write {int(text)}, or "{text}" for text'
        )
    return int(text, 0)
