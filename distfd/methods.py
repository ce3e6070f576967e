"""Which method makes which kind of derivative: one function a kind, and one line in the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distfd.errors import InputError
from distfd.first_derivative import FirstDerivative
from distfd.steps import nominal_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from distfd.options import DerivativeOptions
    from distfd.plan import Method
    from distfd.site import Site


@dataclass(frozen=True, eq=False)
class Setting:
    """What every method is made from.

    Attributes
    ----------
    site : Site
    options : DerivativeOptions
    """

    site: Site
    options: DerivativeOptions


def make_method(kind: str, setting: Setting, **particulars: Any) -> Method:
    """The plan of a derivative; nothing is evaluated.

    Parameters
    ----------
    kind : str
        A key of ``KINDS``.
    setting : Setting
    **particulars
        What that kind needs beside it.

    Raises
    ------
    InputError
        If there is no such kind, or an option makes no sense for it.
    """
    if kind not in KINDS:
        raise InputError(f"kind: must be one of {', '.join(KINDS)} (was {kind!r})")
    return KINDS[kind](setting, **particulars)


def _gradient(setting: Setting) -> Method:
    return _first_derivative(setting, vector=False)


def _jacobian(setting: Setting) -> Method:
    return _first_derivative(setting, vector=True)


def _first_derivative(setting: Setting, *, vector: bool) -> Method:
    """The one place where steps are decided: methods that find them first take FirstDerivative's place here."""
    site, options = setting.site, setting.options
    h = nominal_steps(site.x, options.stencil, options.step, options.scale)
    return FirstDerivative(site, options.stencil, h, vector)


KINDS: Mapping[str, Callable[..., Method]] = {"gradient": _gradient, "jacobian": _jacobian}
