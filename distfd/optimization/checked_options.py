"""The keys of ``options``: the refusal of unknown ones, and the checks that the methods of distfd's own share."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from distfd.core.errors import InputError
from distfd.core.suggestions import did_you_mean
from distfd.core.validation import is_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from _typeshed import DataclassInstance

Options = TypeVar("Options", bound="DataclassInstance")


def options_of(made: type[Options], what: str, options: Mapping[str, Any], tolerances: Mapping[str, float]) -> Options:
    """The options of a method, a dataclass: those that the user gave, then the tolerances, then its defaults.

    Parameters
    ----------
    what : str
        The method, as messages call it.

    Raises
    ------
    InputError
        If the method has no such option.
    """
    known = [each.name for each in fields(made)]
    for name in options:
        if name not in known:
            raise InputError(unknown_option(what, name, known))
    return made(**{**tolerances, **options})


def unknown_option(what: str, name: str, known: Iterable[str]) -> str:
    """The message that ``what`` has no option of this name."""
    others = [other for other in known if other != name]
    return f"options: {what} has no {name!r}{did_you_mean(name, others) or '; it has ' + ', '.join(others)}"


def check_tolerances(tolerances: Mapping[str, Any]) -> None:
    """Checks that each is a number >= 0."""
    for name, given in tolerances.items():
        if not is_number(given) or given < 0:
            raise InputError(f"options: {name} must be a number >= 0 (was {given!r})")


def check_noise(noise: Any) -> None:
    """Checks that a noise, if given, is a number > 0."""
    if noise is not None and not (is_number(noise) and noise > 0):
        raise InputError(f"options: noise must be a number > 0 (was {noise!r})")
