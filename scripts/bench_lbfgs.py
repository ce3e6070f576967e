"""Tables of scripts/bench_minimize.py: the method "L-BFGS" with many slots, and where noise stops it."""

from __future__ import annotations

import math
import statistics
import sys
import time
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from counted_rounds import Rounds, stopped
from counted_rounds import by_optimparallel as optimparallel
from scipy.optimize import minimize, rosen, rosen_der

import distfd
from distfd.events import WaveStarted
from distfd.executors.serial import SerialExecutor

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

TUNED = (
    "rosenbrock", "beale", "helical valley", "powell singular", "wood", "brown dennis", "biggs", "logistic regression",
    "chebyquad", "extended rosenbrock", "variably dimensioned", "trigonometric", "boundary value",
    "broyden tridiagonal", "watson", "osborne two", "penalty one", "zakharov", "kowalik osborne",
)  # fmt: skip
HELD_OUT = (
    "extended powell", "brown almost linear", "integral equation", "broyden banded", "bard", "box", "freudenstein roth",
    "jennrich sampson", "penalty two", "mccormick", "styblinski tang", "gaussian", "branin",
)  # fmt: skip
"""Not looked at when the method was made."""
CLOSE = 1e-6
DRAWS = 3
"""Starts that differ in the tenth digit: the side directions are drawn by x."""


class Wide(SerialExecutor):
    """One process that says it has W slots."""

    def __init__(self, slots: int) -> None:
        super().__init__()
        self.slots = slots


class Counted:
    """J, with the rounds that W slots take until a value is as low as the target."""

    def __init__(self, fun: Any, target: float, slots: int) -> None:
        self.fun, self.target, self.slots = fun, target, slots
        self.rounds, self.reached = 0, math.inf

    def __call__(self, x: Any) -> float:
        value = float(self.fun(np.asarray(x, dtype=float)))
        if value <= self.target:
            self.reached = min(self.reached, self.rounds)
        return value

    def watch(self, event: Any) -> None:
        """Count a wave."""
        if isinstance(event, WaveStarted) and event.n_points > event.n_reused:
            self.rounds += math.ceil((event.n_points - event.n_reused) / self.slots)


def problems() -> dict[str, tuple[Any, Any, Floats]]:
    """J, its gradient and x0."""
    from problems import PROBLEMS

    made: dict[str, tuple[Any, Any, Floats]] = {}
    for name in (*TUNED, *HELD_OUT):
        each = PROBLEMS[name]
        made[name] = (lambda x, each=each: float(each.value(x[None])[0])), each.gradient, each.x0
    made["rosenbrock 10"] = rosen, rosen_der, np.array([1.3, 0.7, 0.8, 1.9, 1.2] * 2)
    made["rosenbrock 20"] = rosen, rosen_der, np.where(np.arange(20) % 2 == 0, -1.2, 1.0)
    for power in (2, 4, 6):
        rng = np.random.default_rng(power)
        q, _ = np.linalg.qr(rng.normal(size=(20, 20)))
        a = (q * np.logspace(0, power, 20)) @ q.T
        start = rng.normal(size=20)
        made[f"quadratic 1e{power}"] = (lambda x, a=a: float(x @ a @ x) / 2), (lambda x, a=a: a @ x), start
    return made


def least(fun: Any, grad: Any, x0: Floats) -> float:
    """The least value that SciPy finds."""
    tight = {"ftol": 0.0, "gtol": 1e-11, "maxiter": 20000, "maxfun": 20000, "maxcor": 30}
    runs = [minimize(fun, x0, jac=grad, method="BFGS", options={"gtol": 1e-11, "maxiter": 3000})]
    runs.append(minimize(fun, x0, jac=grad, method="L-BFGS-B", options=tight))
    return float(np.nanmin([run.fun for run in runs]))


def by_lbfgs(fun: Any, x0: Floats, target: float, slots: int) -> float:
    """Rounds of "L-BFGS", with forward differences."""
    counted = Counted(fun, target, slots)
    distfd.minimize(
        counted,
        x0,
        method="L-BFGS",
        executor=Wide(slots),
        observers=[counted.watch],
        options={"ftol": 0, "gtol": 0, "maxiter": 400},
        limits=distfd.Limits(target=target, max_evaluations=400 * slots),
    )
    return counted.reached


def by_optimparallel(fun: Any, x0: Floats, target: float, slots: int) -> float:
    """Rounds of optimparallel: one for each value with its forward differences, where there are d + 1 slots."""
    found = stopped(Rounds(fun, target, slots), partial(optimparallel, x0=x0))
    return math.inf if found is None else float(found)


def rounds() -> None:
    """Rounds with W = 4 (d + 1), by counting."""
    print("| rounds to target, W = 4 (d + 1) | d | optimparallel | L-BFGS | ratio |\n|---|---|---|---|---|")
    ratios: dict[str, list[float]] = {"tuned on": [], "held out": []}
    for name, (fun, grad, x0) in problems().items():
        low, slots = least(fun, grad, x0), 4 * (len(x0) + 1)
        target = low + CLOSE * (fun(x0) - low)
        starts = [x0 * (1 + k * 1e-10) + (x0 == 0) * k * 1e-10 for k in range(DRAWS)]
        ours = [by_lbfgs(fun, start, target, slots) for start in starts]
        theirs = by_optimparallel(fun, x0, target, slots)
        kind = "held out" if name in HELD_OUT else "tuned on"
        both = math.isinf(theirs) and math.isinf(statistics.median(ours))
        ratio = math.nan if both else statistics.median(ours) / theirs
        ratios[kind] += [] if both else [ratio]
        shown = ", ".join(f"{n:g}" for n in ours)
        print(
            f"| {name}{' *' if kind == 'held out' else ''} | {len(x0)} | {theirs:g} | {shown} | {ratio:.2f} |",
            flush=True,
        )
    every = [ratio for column in ratios.values() for ratio in column]
    for kind, column in (*ratios.items(), ("all", every)):
        few, many = sum(ratio <= 0.8 for ratio in column), sum(ratio > 1 for ratio in column)
        print(f"{kind}: median {statistics.median(column):.2f} of {len(column)}; {few} at most 0.8, {many} above 1")


class Sleeping:
    """J that takes a while."""

    def __init__(self, name: str, seconds: float) -> None:
        self.name, self.seconds = name, seconds

    def __call__(self, x: Floats) -> float:
        from problems import PROBLEMS

        time.sleep(self.seconds)
        return float(PROBLEMS[self.name].value(np.asarray(x, dtype=float)[None])[0])


def lbfgs_wall() -> None:
    """The same on Ray, by the clock, beside L-BFGS-B of distfd, which takes the rounds that optimparallel does."""
    seconds = 0.25
    print(f"\n| seconds over those of one evaluation ({seconds:g} s), W = 4 (d + 1), Ray | d | L-BFGS-B | L-BFGS |")
    print("|---|---|---|---|")
    for name in ("beale", "powell singular", "kowalik osborne", "bard"):
        fun, grad, x0 = problems()[name]
        low, slots = least(fun, grad, x0), 4 * (len(x0) + 1)
        limits = distfd.Limits(target=low + 1e-4 * (fun(x0) - low))
        spent = []
        for method in ("L-BFGS-B", "L-BFGS"):
            executor = distfd.RayExecutor(max_slots=slots, num_cpus=slots)
            with distfd.Evaluator(Sleeping(name, seconds), executor=executor) as ev:
                ev.start(wait=True)
                ev.gradient(x0 + 1)
                begin = time.perf_counter()
                distfd.minimize(ev, x0, method=method, limits=limits, options={"ftol": 0, "gtol": 0})
                spent.append((time.perf_counter() - begin) / seconds)
        print(f"| {name} | {len(x0)} | {spent[0]:.1f} | {spent[1]:.1f} |", flush=True)


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


RUNS: tuple[dict[str, Any], ...] = (
    {"method": "L-BFGS", "step": "auto"},
    {"method": "L-BFGS-B", "step": "auto"},
    {"method": "L-BFGS-B"},
)
LIMIT = distfd.Limits(max_evaluations=20000)


def noise() -> None:
    """(J - J*) / sigma at the end, and evaluations."""
    print("\n| problem | noise | L-BFGS, step auto | L-BFGS-B, step auto | L-BFGS-B |\n|---|---|---|---|---|")
    chosen = problems()
    for name in ("logistic regression", "beale", "brown dennis", "trigonometric", "zakharov", "quadratic 1e2"):
        fun, grad, x0 = chosen[name]
        best, scale = least(fun, grad, x0), abs(fun(x0))
        for kind, part in (("normal", 1e-8), ("normal", 1e-4), ("uniform", 1e-6), ("rounded", 1e-6)):
            sigma = part * scale
            cells = []
            for options in RUNS:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    found = distfd.minimize(Noisy(fun, sigma, kind), x0, executor="serial", limits=LIMIT, **options)
                cells.append(f"{(fun(found.x) - best) / sigma:.3g} ({found.n_evaluations})")
            print(f"| {name} | {kind}, {part:g} | " + " | ".join(cells) + " |", flush=True)
