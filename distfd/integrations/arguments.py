"""What the adapters of other libraries are given, checked: an Evaluator, and how many outputs J has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.core.validation import is_whole
from distfd.evaluation.evaluator import Evaluator

if TYPE_CHECKING:
    from numpy.typing import NDArray


def check_evaluator(given: Any, where: str) -> None:
    """See that an adapter is given an Evaluator.

    Raises
    ------
    InputError
        If it is anything else, such as J itself.
    """
    if not isinstance(given, Evaluator):
        hint = "; make one of it: distfd.Evaluator(fun)" if callable(given) else ""
        raise InputError(f"{where}: needs a distfd.Evaluator (was {type(given).__name__}){hint}")


def check_outputs(given: Any) -> None:
    """See that ``outputs`` is a number of outputs, or None.

    Raises
    ------
    InputError
        If it is anything else.
    """
    if given is not None and not (is_whole(given) and given >= 1):
        raise InputError(f"outputs: must be a whole number >= 1, or None for a J that returns a number (was {given!r})")


def as_outputs(value: Any, outputs: int | None) -> NDArray[np.float64]:
    """J(x) as an array () for ``outputs`` None, else (outputs,).

    Raises
    ------
    InputError
        If J has returned another number of values.
    """
    found = np.asarray(value, dtype=np.float64)
    if found.size != (outputs or 1):
        asked = "no outputs are given" if outputs is None else f"outputs={outputs}"
        raise InputError(f"outputs: J has returned {found.size} numbers, but {asked}; give outputs={found.size}")
    return found.reshape(() if outputs is None else (outputs,))
