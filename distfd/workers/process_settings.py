"""Settings of a Python process on which what J computes may depend, and how each is read and written.

A new one is one line in `SETTINGS`.
"""

from __future__ import annotations

import decimal
import locale
import sys
import time
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


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
    traps = tuple(sorted(signal.__name__ for signal, on in context.traps.items() if on))
    return context.prec, context.rounding, context.Emin, context.Emax, context.capitals, context.clamp, traps


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


def _double_jax() -> bool:
    return bool(getattr(getattr(sys.modules.get("jax"), "config", None), "jax_enable_x64", False))


def _set_double_jax(given: bool) -> None:
    if given != _double_jax():
        import jax

        jax.config.update("jax_enable_x64", given)


def _torch_type() -> str:
    found = getattr(sys.modules.get("torch"), "get_default_dtype", lambda: "float32")()
    return str(found).rpartition(".")[2]


def _set_torch_type(given: str) -> None:
    if given != _torch_type():
        import torch

        torch.set_default_dtype(getattr(torch, given))


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
    "decimal.getcontext()": Setting(
        lambda: _of_context(decimal.getcontext()), _set_decimal, lambda: _of_context(decimal.DefaultContext)
    ),
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
    # Scripts have always set these at their top, and a worker that imports the script's modules did not.
    "jax_enable_x64": Setting(_double_jax, _set_double_jax, lambda: False, in_key=False),
    "torch.set_default_dtype": Setting(_torch_type, _set_torch_type, lambda: "float32", in_key=False),
}
"""By the name that messages call it."""
