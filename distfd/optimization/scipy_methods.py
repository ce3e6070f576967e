"""The gradient methods of scipy.optimize.minimize, and the arguments that each supports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from distfd.core.errors import InputError
from distfd.core.suggestions import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Traits:
    """What a method supports or needs besides value and gradient.

    Attributes
    ----------
    bounds, constraints : bool
    second : str
        Second derivatives that the method needs: "hvp" for Hessian-vector products, "hessian" for the whole matrix.
    """

    bounds: bool = False
    constraints: bool = False
    second: Literal["", "hvp", "hessian"] = ""


Minimizer: TypeAlias = Literal[
    "L-BFGS",
    "L-BFGS-B",
    "BFGS",
    "CG",
    "Newton-CG",
    "TNC",
    "SLSQP",
    "trust-constr",
    "trust-ncg",
    "trust-krylov",
    "dogleg",
    "trust-exact",
]
Fitter: TypeAlias = Literal["trf", "dogbox", "lm", "model"]
"""Methods of scipy.optimize.least_squares, and distfd's own method "model"."""
MODEL: Literal["model"] = "model"
"""The method for fits that is not SciPy's."""
OWN = "L-BFGS"
"""The method for minimisation that is not SciPy's."""
TELL_OF_TRIALS = ("SLSQP",)
"""SciPy's methods that call the callback with the first trial of each line search, accepted or not."""
METHODS: Mapping[str, Traits] = {
    OWN: Traits(bounds=True),
    "L-BFGS-B": Traits(bounds=True),
    "BFGS": Traits(),
    "CG": Traits(),
    "Newton-CG": Traits(second="hvp"),
    "TNC": Traits(bounds=True),
    "SLSQP": Traits(bounds=True, constraints=True),
    "trust-constr": Traits(bounds=True, constraints=True),
    "trust-ncg": Traits(second="hvp"),
    "trust-krylov": Traits(second="hvp"),
    "dogleg": Traits(second="hessian"),
    "trust-exact": Traits(second="hessian"),
}


def binds(lower: NDArray[np.float64], upper: NDArray[np.float64]) -> bool:
    """Whether a variable that can move has a bound; fixed variables are taken out of the problem."""
    moves = lower != upper
    return bool(np.isfinite(lower[moves]).any() or np.isfinite(upper[moves]).any())


def takes_out(name: str, lower: NDArray[np.float64], upper: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The variables, (d,), that a method gets: all, or only those that can move if it does not support bounds.

    trust-constr supports bounds, but with a further constraint it may end far from the optimum where bounds fix a
    variable.
    """
    return np.ones(len(lower), dtype=bool) if METHODS[name].bounds and name != "trust-constr" else lower != upper


_WITHOUT_GRADIENTS = ("nelder-mead", "powell", "cobyla", "cobyqa", "differential_evolution")


def find_method(name: str, *, bounded: bool, constrained: bool) -> str:
    """The method's name in its own spelling.

    Raises
    ------
    InputError
        If no method has that name, or it does not support bounds or constraints that are given.
    """
    found = next((known for known in METHODS if known.lower() == str(name).lower()), None)
    if found is None:
        hint = did_you_mean(name, METHODS)
        if str(name).lower() in _WITHOUT_GRADIENTS:
            hint = (
                "; these take gradients: for a method that takes none, give the value of an Evaluator to "
                "scipy.optimize.minimize, or the map of one where a method takes many points"
            )
        raise InputError(f"method: must be one of {', '.join(METHODS)} (was {name!r}){hint}")
    for what, asked in (("bounds", bounded), ("constraints", constrained)):
        if asked and not getattr(METHODS[found], what):
            others = ", ".join(known for known, traits in METHODS.items() if getattr(traits, what))
            raise InputError(f"method: {found} cannot handle {what}; remove them, or use one of {others}")
    return found
