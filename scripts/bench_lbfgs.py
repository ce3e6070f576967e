"""Rounds of "L-BFGS" beside SciPy's L-BFGS-B with value and gradient in one round each, and where noise stops both.

    python scripts/bench_lbfgs.py [rounds | noise]

``rounds`` counts on paper: W slots hold W // (d + 1) gradients a round, and values in what is left; nothing sleeps.
``noise`` takes J - J* of the smooth J at the end, over the standard deviation of the noise.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize, rosen, rosen_der

import distfd
from distfd.executors.serial import SerialExecutor
from distfd.optimizing.lbfgs import Found, Search

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from problems import PROBLEMS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

NAMES = (
    "rosenbrock", "beale", "helical valley", "powell singular", "wood", "brown dennis", "biggs", "logistic regression",
    "chebyquad", "extended rosenbrock", "variably dimensioned", "trigonometric", "boundary value",
    "broyden tridiagonal", "watson", "osborne two", "penalty one", "zakharov", "kowalik osborne",
)  # fmt: skip
TARGETS = (1e-6, 1e-10)


def problems() -> dict[str, tuple[Any, Any, Floats]]:
    """J, its gradient and x0."""
    made: dict[str, tuple[Any, Any, Floats]] = {}
    for name in NAMES:
        each = PROBLEMS[name]
        made[name] = (lambda x, each=each: float(each.value(x[None])[0])), each.gradient, each.x0
    made["rosenbrock 10"] = rosen, rosen_der, np.array([1.3, 0.7, 0.8, 1.9, 1.2] * 2)
    made["rosenbrock 20"] = rosen, rosen_der, np.where(np.arange(20) % 2 == 0, -1.2, 1.0)
    for power in (2, 4, 6):
        rng = np.random.default_rng(power)
        q, _ = np.linalg.qr(rng.normal(size=(20, 20)))
        a = (q * np.logspace(0, power, 20)) @ q.T
        made[f"quadratic 1e{power}"] = (
            (lambda x, a=a: float(x @ a @ x) / 2),
            (lambda x, a=a: a @ x),
            rng.normal(size=20),
        )
    return made


def least(fun: Any, grad: Any, x0: Floats) -> float:
    """The least value that SciPy finds."""
    tight = {"ftol": 0.0, "gtol": 1e-11, "maxiter": 20000, "maxfun": 20000, "maxcor": 30}
    runs = [minimize(fun, x0, jac=grad, method="BFGS", options={"gtol": 1e-11, "maxiter": 3000})]
    runs.append(minimize(fun, x0, jac=grad, method="L-BFGS-B", options=tight))
    return float(min(run.fun for run in runs))


def scipys(fun: Any, grad: Any, x0: Floats) -> list[float]:
    """The values of its calls, one a round."""
    values: list[float] = []

    def both(x: Floats) -> Any:
        values.append(fun(x))
        return values[-1], grad(x)

    minimize(both, x0, jac=True, method="L-BFGS-B", options={"ftol": 0.0, "gtol": 0.0, "maxiter": 5000, "maxfun": 5000})
    return values


def ours(fun: Any, grad: Any, x0: Floats, room: tuple[int, int], *, seed: int, most: int) -> list[float]:
    """The least value of each round."""
    wide = np.full(len(x0), np.inf)
    search, values = Search(np.array(x0, dtype=float), -wide, wide, seed=seed), []
    for _ in range(most):
        found = [Found(x, fun(x), grad(x) if wants else None) for x, wants in search.ask(*room)]
        search.tell(found)
        values.append(float(np.nanmin([each.value for each in found])))
    return values


def first(values: list[float], target: float) -> float:
    """Rounds until a value is as low as the target."""
    return next((k + 1.0 for k, value in enumerate(values) if value <= target), np.inf)


def rounds() -> None:
    """Ratios of rounds, by problem and by slots."""
    ratios: dict[str, list[list[float]]] = {}
    widths = {"W = 4 (d + 1)": (4, 0), "W = d + 4": (1, 3), "W = d + 1": (1, 0)}
    for name, (fun, grad, x0) in problems().items():
        best, theirs = least(fun, grad, x0), scipys(fun, grad, x0)
        line = f"{name:22} d={len(x0):<3}"
        for part in TARGETS:
            target = best + part * (fun(x0) - best)
            base = first(theirs, target)
            line += f" | {base:5.0f}"
            for width, room in widths.items():
                runs = [
                    ours(fun, grad, x0, room, seed=seed, most=int(3 * base) + 20)
                    for seed in range(3 if room[0] > 1 else 1)
                ]
                found = float(np.median([first(run, target) for run in runs])) / base
                ratios.setdefault(f"{width}, to {part:g}", []).append([found])
                line += f" {found:5.2f}"
        print(line, flush=True)
    for what, column in ratios.items():
        print(f"{what}: median ratio {np.median(column):.2f}")


class Noisy:
    """A J with noise, the same at the same x."""

    def __init__(self, fun: Any, level: float, kind: str) -> None:
        self.fun, self.level, self.kind = fun, level, kind

    def __call__(self, x: Floats) -> float:
        value = float(self.fun(x))
        if self.kind == "rounded":
            return float(np.round(value / self.level) * self.level)
        seed = np.frombuffer(np.ascontiguousarray(x).tobytes(), np.uint32)
        draw = np.random.default_rng(seed.tolist())
        shift = draw.normal() if self.kind == "normal" else draw.uniform(-1.7, 1.7)
        return value + self.level * float(shift)


def noise() -> None:
    """(J - J*) / sigma at the end, and evaluations."""
    chosen = problems()
    for name in ("logistic regression", "beale", "brown dennis", "trigonometric", "zakharov", "quadratic 1e2"):
        fun, grad, x0 = chosen[name]
        best, scale = least(fun, grad, x0), abs(fun(x0))
        for kind, part in (("normal", 1e-8), ("normal", 1e-4), ("uniform", 1e-6), ("rounded", 1e-6)):
            sigma = part * scale
            line = f"{name:20} {kind:8} {part:g}"
            for options in ({"method": "L-BFGS", "step": "auto"}, {"method": "L-BFGS-B"}):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    found = distfd.minimize(Noisy(fun, sigma, kind), x0, executor=SerialExecutor(), **options)
                line += f" | {(fun(found.x) - best) / sigma:10.3g} {found.n_evaluations:6}"
            print(line, flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore", RuntimeWarning)
    np.seterr(all="ignore")
    for what in sys.argv[1:] or ["rounds", "noise"]:
        {"rounds": rounds, "noise": noise}[what]()
