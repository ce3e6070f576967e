"""The gradient methods of scipy.optimize.minimize, and what each of them takes."""

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
    """What a method takes beside value and gradient.

    Attributes
    ----------
    bounds, constraints : bool
    second : str
        What it needs of second derivatives: "hvp" for products with the Hessian, "hessian" for all of it.
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
"""Methods of scipy.optimize.least_squares, and distfd's own."""
MODEL: Literal["model"] = "model"
"""The one that is not SciPy's."""
OWN = "L-BFGS"
"""The one that is not SciPy's."""
TELL_OF_TRIALS = ("SLSQP",)
"""Methods of SciPy whose callback is given the first trial of each line search, accepted or not."""
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
    """Whether a variable that can move has a bound; fixed ones are taken out of the problem."""
    moves = lower != upper
    return bool(np.isfinite(lower[moves]).any() or np.isfinite(upper[moves]).any())


def takes_out(name: str, lower: NDArray[np.float64], upper: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The variables, (d,), that the method of this name gets: all, or those that can move if it knows no bounds.

    trust-constr knows bounds, but with a constraint besides it may end far from the optimum where they fix a variable.
    """
    return np.ones(len(lower), dtype=bool) if METHODS[name].bounds and name != "trust-constr" else lower != upper


def find_method(name: str, *, bounded: bool, constrained: bool) -> str:
    """The method by its own spelling.

    Raises
    ------
    InputError
        If there is none of that name, or it does not take bounds or constraints, and there are some.
    """
    found = next((known for known in METHODS if known.lower() == str(name).lower()), None)
    if found is None:
        raise InputError(f"method: must be one of {', '.join(METHODS)} (was {name!r}){did_you_mean(name, METHODS)}")
    for what, asked in (("bounds", bounded), ("constraints", constrained)):
        if asked and not getattr(METHODS[found], what):
            others = ", ".join(known for known, traits in METHODS.items() if getattr(traits, what))
            raise InputError(f"method: {found} cannot handle {what}; remove them, or use one of {others}")
    return found
