"""Settings of a Python process on which what J computes may depend, and how each is read and written.

A new one is one line in `SETTINGS`.
"""

from __future__ import annotations

import decimal
import enum
import locale
import re
import socket
import sys
import time
import warnings
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


_Filter: TypeAlias = tuple[str, str | None, str, str | None, int]
"""A filter of warnings: action, message, category, module, line."""


@dataclass(frozen=True)
class Setting:
    """Something of a process that Python code may depend on.

    Parameters
    ----------
    read : callable
        What it is: plain data, equal where the setting is.
    write : callable
        Sets it.
    usual : callable
        What it is in a process that did not touch it.
    in_key : bool
        Whether an unusual one is part of the key of stored values.
    weight : callable
        What of it J's values, and not only its warnings, may depend on.
    """

    read: Callable[[], Any]
    write: Callable[[Any], object]
    usual: Callable[[], Any]
    in_key: bool = True
    weight: Callable[[Any], Any] = lambda value: value


def _of_context(context: decimal.Context) -> tuple[Any, ...]:
    traps = _traps(tuple(context.traps.values()))
    return context.prec, context.rounding, context.Emin, context.Emax, context.capitals, context.clamp, traps


@cache
def _traps(on: tuple[bool, ...]) -> tuple[str, ...]:
    """Names of the signals that raise."""
    signals = decimal.getcontext().traps
    return tuple(sorted(signal.__name__ for signal, raises in zip(signals, on, strict=True) if raises))


_USUAL_DECIMAL = (
    28,
    decimal.ROUND_HALF_EVEN,
    -999999,
    999999,
    1,
    0,
    ("DivisionByZero", "InvalidOperation", "Overflow"),
)
"""Not that of decimal.DefaultContext, which programs change for their threads."""


def _set_decimal(given: tuple[Any, ...]) -> None:
    *numbers, traps = given
    prec, rounding, low, high, capitals, clamp = numbers
    raising = [getattr(decimal, name) for name in traps]
    decimal.setcontext(decimal.Context(prec, rounding, low, high, capitals, clamp, [], raising))


def _usual_arguments() -> list[str]:
    """Those that this process began with; how the program itself is written differs, so that one is as it is."""
    count = len(sys.argv) - 1
    return [*sys.argv[:1], *(sys.orig_argv[-count:] if count > 0 else ())]


def _set_arguments(given: list[str]) -> None:
    sys.argv[:] = given


def _time_zone() -> tuple[Any, ...]:
    return time.timezone, time.altzone, time.tzname


def _of_jax(name: str, usual: Any) -> Setting:
    """An option of JAX, which is imported only where somebody else has done so, or has changed the option."""

    def read() -> Any:
        found = getattr(getattr(sys.modules.get("jax"), "config", None), name, usual)
        return found.value if isinstance(found, enum.Enum) else found  # whose class is of a module of JAX

    def write(given: Any) -> None:
        if given != read():
            import jax

            jax.config.update(name, given)

    return Setting(read, write, lambda: usual)


def _torch_type() -> str:
    found = getattr(sys.modules.get("torch"), "get_default_dtype", lambda: "float32")()
    return str(found).rpartition(".")[2]


def _set_torch_type(given: str) -> None:
    if given != _torch_type():
        import torch

        torch.set_default_dtype(getattr(torch, given))


def _mpmath_bits() -> int:
    """The precision of mpmath, which its ``mp.dps`` sets too."""
    bits: int = getattr(getattr(sys.modules.get("mpmath"), "mp", None), "prec", 53)
    return bits


def _set_mpmath_bits(given: int) -> None:
    if given != _mpmath_bits():
        import mpmath

        mpmath.mp.prec = given


def _error_filters() -> tuple[_Filter, ...]:
    """The filters of warnings up to the last one that makes errors of them; none where no one does."""
    filters = warnings.filters
    actions = [each[0] for each in filters]
    if "error" not in actions:
        return ()
    return tuple(map(_plain_filter, filters[: len(actions) - actions[::-1].index("error")]))


def _plain_filter(given: tuple[Any, ...]) -> _Filter:
    action, message, category, module, line = given
    return action, _text(message), f"{category.__module__}:{category.__qualname__}", _text(module), line


def _text(pattern: Any) -> str | None:
    """The text of a pattern; Python's own first filters have texts in the place of patterns."""
    return pattern if pattern is None or isinstance(pattern, str) else pattern.pattern


_set_filters: list[_Filter] = []
"""Those that were set here last."""


def _set_error_filters(given: tuple[_Filter, ...]) -> None:
    """Have the driver's in front of those that this process has, but behind those that came to be here since."""
    own = [(each, _plain_filter(each)) for each in warnings.filters]
    newer = next((k for k, (_, plain) in enumerate(own) if plain in _set_filters), 0)
    left_out = {*given, *_set_filters}
    kept = [[each for each, plain in some if plain not in left_out] for some in (own[:newer], own[newer:])]
    found = [_made_filter(each) for each in given]
    _set_filters[:] = given
    warnings.filters[:] = [*kept[0], *found, *kept[1]]  # type: ignore[index]  # it is a list
    # This makes what was remembered of earlier warnings void, as any change of the filters has to.
    warnings.filterwarnings("ignore", "distfd")
    del warnings.filters[0]  # type: ignore[attr-defined]


def _made_filter(given: _Filter) -> tuple[Any, ...]:
    action, message, category, module, line = given
    about = None if message is None else re.compile(message, re.IGNORECASE)
    return action, about, _category(*category.split(":")), None if module is None else re.compile(module), line


def _category(module: str, name: str) -> type:
    """A class of warnings; where its module is not imported here, one that stands for it.

    The import may take a second and change more than the filters: OpenMDAO has filters, and its import that of JAX.
    """
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if isinstance(found, type):
        return found
    return _ByName(name.rpartition(".")[2], (Warning,), {"__module__": module, "__qualname__": name})


class _ByName(type):
    """Of a class that has the subclasses of the class of that name, whenever it is imported."""

    def __subclasscheck__(cls, other: type) -> bool:
        own = cls.__module__, cls.__qualname__
        return any((base.__module__, base.__qualname__) == own for base in other.__mro__)


def _numpy_raises(given: Mapping[str, str]) -> dict[str, str]:
    """SciPy's methods silence warnings round some of their calls and not round others: that makes no other J."""
    return {kind: what for kind, what in given.items() if what in ("raise", "call", "log")}


_NUMPY_ERRORS = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}
_PRINT_OPTIONS = MappingProxyType(np.get_printoptions())

SETTINGS: Mapping[str, Setting] = {
    "numpy.seterr": Setting(np.geterr, lambda given: np.seterr(**given), lambda: _NUMPY_ERRORS, weight=_numpy_raises),
    "numpy.set_printoptions": Setting(
        np.get_printoptions, lambda given: np.set_printoptions(**given), lambda: dict(_PRINT_OPTIONS)
    ),
    "decimal.getcontext()": Setting(lambda: _of_context(decimal.getcontext()), _set_decimal, lambda: _USUAL_DECIMAL),
    "sys.argv": Setting(lambda: list(sys.argv), _set_arguments, _usual_arguments),
    "locale.LC_NUMERIC": Setting(
        lambda: locale.setlocale(locale.LC_NUMERIC),
        lambda given: locale.setlocale(locale.LC_NUMERIC, given),
        lambda: "C",
    ),
    "sys.setrecursionlimit": Setting(sys.getrecursionlimit, sys.setrecursionlimit, lambda: 1000, False, lambda _: None),
    "sys.set_int_max_str_digits": Setting(
        sys.get_int_max_str_digits,
        sys.set_int_max_str_digits,
        lambda: sys.int_info.default_max_str_digits,
        in_key=False,
    ),
    # TZ itself is in the environment; a host that has no TZ keeps the zone that it is in.
    "time.tzset()": Setting(_time_zone, lambda _: time.tzset(), _time_zone, in_key=False),
    "warnings.filters": Setting(_error_filters, _set_error_filters, lambda: (), in_key=False, weight=lambda _: None),
    "socket.setdefaulttimeout": Setting(
        socket.getdefaulttimeout, socket.setdefaulttimeout, lambda: None, in_key=False, weight=lambda _: None
    ),
    "jax_enable_x64": _of_jax("jax_enable_x64", usual=False),
    "jax_default_matmul_precision": _of_jax("jax_default_matmul_precision", usual=None),
    "jax_numpy_dtype_promotion": _of_jax("jax_numpy_dtype_promotion", usual="standard"),
    "jax_debug_nans": _of_jax("jax_debug_nans", usual=False),
    "mpmath.mp.prec": Setting(_mpmath_bits, _set_mpmath_bits, lambda: 53),
    "torch.set_default_dtype": Setting(_torch_type, _set_torch_type, lambda: "float32", in_key=False),
}
"""By the name that messages call it."""
