"""Rounds to the same target on W slots, by counting: least squares beside SciPy's trf and DFO-LS.

    python scripts/bench_least_squares.py [--only TABLE] [--slots W ...]

A round is one evaluation's time: a wave of n new points on W slots takes ceil(n / W), a call by itself one. Sums over
problems of the rounds until the cost is f* + tau (f(x0) - f*), an unsolved one counting 150, for tau 1e-3 and 1e-6.
W is 1, 4, d + 1 and 4 (d + 1). ``hillstrom`` are the 31 problems of More, Garbow & Hillstrom; ``untuned`` are fits that
no setting was chosen on, from their starts and from starts perturbed by 10 %; ``noise`` and ``failures`` are the 31
with noise of 1e-6 and 1e-3 of the residuals at x0 (without and with the level known), and with 5 % of the evaluations
failing; ``bounds`` are the 31 in a box that cuts the way to the solution. DFO-LS (pip install DFO-LS) is left out where
it is not installed.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import warnings
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import fit_problems
import numpy as np

import distfd
from distfd.results import events

if TYPE_CHECKING:
    from collections.abc import Callable

    from fit_problems import Fit

TAUS = (1e-3, 1e-6)
UNSOLVED = 150
PACKAGES = ("scipy", "DFO-LS")
"""Ways of other packages."""
SLOTS: dict[str, Callable[[int], int]] = {
    "1": lambda _: 1,
    "4": lambda _: 4,
    "d+1": lambda d: d + 1,
    "4(d+1)": lambda d: 4 * (d + 1),
}


class SolvedError(BaseException):  # no observer may hold it up
    """All targets are reached, or too many rounds are spent."""


@dataclass
class Counter:
    """Residuals whose rounds on W slots are counted.

    Parameters
    ----------
    fit : Fit
    slots : int
    noise : float
        Standard deviation of what is added to each residual, drawn by x's bits.
    failing : float
        Share of the evaluations that fail, but for the first.
    """

    fit: Fit
    slots: int
    noise: float = 0.0
    failing: float = 0.0
    rounds: int = 0
    in_wave: bool = False
    reached: list[int | None] = field(default_factory=lambda: [None] * len(TAUS))
    calls: int = 0

    def __post_init__(self) -> None:
        first = self._cost(self.fit.x0)
        self.targets = [self.fit.least + tau * (first - self.fit.least) for tau in TAUS]

    def __call__(self, x: Any) -> Any:
        x = np.asarray(x, dtype=float)
        if not self.in_wave:
            self.rounds += 1
        self.calls += 1
        cost = self._cost(x)
        for k, target in enumerate(self.targets):
            if self.reached[k] is None and cost <= target:
                self.reached[k] = self.rounds
        if not self.in_wave:
            self.check()
        seed = int.from_bytes(hashlib.blake2b(x.tobytes(), digest_size=8).digest(), "little")
        rng = np.random.default_rng(seed)
        if self.calls > 1 and rng.random() < self.failing:
            raise ArithmeticError("one of the evaluations that fail")
        residuals = np.asarray(self.fit.residuals(x))
        if not np.isfinite(residuals).all():
            raise ArithmeticError("not finite")
        return residuals + self.noise * rng.standard_normal(len(residuals))

    def map(self, fun: Callable[[Any], Any], items: Any) -> list[Any]:
        """A map on W slots."""
        todo = list(items)
        self.rounds += math.ceil(len(todo) / self.slots)
        self.in_wave = True
        found = [fun(item) for item in todo]
        self.in_wave = False
        self.check()
        return found

    def check(self) -> None:
        """Stop once there is nothing more to be learnt."""
        if self.rounds >= UNSOLVED or all(self.reached):
            raise SolvedError

    def watch(self, event: Any) -> None:
        """Count distfd's waves."""
        if isinstance(event, events.WaveStarted) and event.n_points > event.n_reused:
            self.rounds += math.ceil((event.n_points - event.n_reused) / self.slots)
        if isinstance(event, events.WaveEnded):
            self.check()

    def _cost(self, x: Any) -> float:
        with np.errstate(all="ignore"):
            cost = 0.5 * float(np.sum(np.square(self.fit.residuals(x))))
        return cost if math.isfinite(cost) else math.inf


def by_distfd(counter: Counter, method: str, *, known: bool = False) -> None:
    """distfd.least_squares"""  # noqa: D400  # the name of a row
    options: dict[str, Any] = {"ftol": 0, "xtol": 0, "gtol": 0} if method == "model" else {"ftol": None, "gtol": None}
    if known and method == "model" and counter.noise:
        options["noise"] = counter.noise
    counter.in_wave = True
    distfd.least_squares(
        counter,
        counter.fit.x0,
        method=method,  # type: ignore[arg-type]  # one of them
        bounds=counter.fit.bounds,
        executor="serial",
        on_failure="nan",
        slots=counter.slots,
        observers=[counter.watch],
        options=options,
    )


def by_scipy(counter: Counter) -> None:
    """scipy trf, 2-point, workers"""  # noqa: D400, D403  # the name of a row
    from scipy.optimize import least_squares

    def residuals(x: Any) -> Any:
        try:
            return counter(x)
        except ArithmeticError:
            return np.full(len(counter.fit.residuals(counter.fit.x0)), np.nan)

    bounds = counter.fit.bounds or (-np.inf, np.inf)
    tight = {"ftol": 1e-15, "xtol": 1e-15, "gtol": 1e-15, "max_nfev": 1000}
    least_squares(residuals, counter.fit.x0, bounds=bounds, workers=counter.map, **tight)


def by_dfols(counter: Counter) -> None:
    """DFO-LS"""  # noqa: D400  # the name of a row
    import dfols

    def residuals(x: Any) -> Any:
        try:
            return counter(x)
        except ArithmeticError:
            return np.full(len(counter.fit.residuals(counter.fit.x0)), 1e10)

    d = len(counter.fit.x0)
    # Its first d + 1 points could go out together: that is granted to it.
    start = Starting(counter, d + 1)
    dfols.solve(
        start(residuals),
        counter.fit.x0,
        bounds=counter.fit.bounds,
        maxfun=UNSOLVED + d + 1,
        rhoend=1e-14,
        objfun_has_noise=bool(counter.noise),
        user_params={"model.abs_tol": 0.0, "model.rel_tol": 0.0},
    )


@dataclass
class Starting:
    """Counts a method's first n calls as one wave."""

    counter: Counter
    n: int

    def __call__(self, fun: Callable[[Any], Any]) -> Callable[[Any], Any]:
        calls = 0

        def counted(x: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > self.n:
                return fun(x)
            self.counter.in_wave = True
            if calls % self.counter.slots == 1 or self.counter.slots == 1:
                self.counter.rounds += 1
            found = fun(x)
            self.counter.in_wave = False
            return found

        return counted


def rounds_of(way: Callable[[Counter], None], counter: Counter) -> list[int]:
    """The rounds until each target."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            way(counter)
    except SolvedError:
        pass
    except (ValueError, distfd.EvaluationError, distfd.InputError, np.linalg.LinAlgError):
        pass  # it gave up
    return [UNSOLVED if n is None else min(n, UNSOLVED) for n in counter.reached]


def peers() -> dict[str, Callable[[Counter], None]]:
    """Ways to fit that are installed."""
    found: dict[str, Callable[[Counter], None]] = {
        "model": partial(by_distfd, method="model"),
        "trf": partial(by_distfd, method="trf"),
        "scipy": by_scipy,
    }
    try:
        import dfols  # noqa: F401  # whether it is there
    except ImportError:
        return found
    return {**found, "DFO-LS": by_dfols}


def table(title: str, fits: list[Fit], ways: dict[str, Any], wanted: list[str], **how: Any) -> None:
    """Print sums of rounds of each way at each W."""
    print(f"\n{title}: {len(fits)} problems, rounds to {' / '.join(map(str, TAUS))} (unsolved)")
    for name in wanted:
        each = {way: [] for way in ways}
        for fit in fits:
            size = float(np.sqrt(np.mean(np.square(fit.residuals(fit.x0)))))
            more = {**how, "noise": how.get("noise", 0.0) * size}
            for way, solve in ways.items():
                each[way].append(rounds_of(solve, Counter(fit, SLOTS[name](len(fit.x0)), **more)))
        sums = {way: np.sum(rows, axis=0) for way, rows in each.items()}
        lost = {way: sum(row[-1] >= UNSOLVED for row in rows) for way, rows in each.items()}
        cells = [f"{way} {sums[way][0]}/{sums[way][1]} ({lost[way]})" for way in ways]
        print(f"W = {name:7} " + "   ".join(cells), flush=True)
        packages = [way for way in ways if way in PACKAGES]
        if packages and "model" in each:
            best = min(packages, key=lambda way: sums[way][-1])
            others = [way for way in ways if way not in ("model", "known")]
            either = np.min([np.array(each[way]) for way in others], axis=0)[:, -1]
            best_there = np.array(each[best])[:, -1]
            slower = [int(np.sum(np.array(each["model"])[:, -1] > 1.5 * rounds)) for rounds in (best_there, either)]
            print(
                f"{'':12} above 1.5 times {best}, the best package in sum, on {slower[0]} of {len(fits)}; "
                f"above 1.5 times whichever way is best there on {slower[1]} (tau {TAUS[-1]})",
                flush=True,
            )


def boxed(fit: Fit) -> Fit:
    """The same in a box whose upper bounds are half way from x0 to where it would go; the least cost is SciPy's."""
    from scipy.optimize import least_squares

    with np.errstate(all="ignore"):
        free = least_squares(fit.residuals, fit.x0, x_scale="jac").x
    middle = (fit.x0 + free) / 2
    wide = 10 * (np.abs(fit.x0) + np.abs(free) + 1)
    lower, upper = np.where(free < fit.x0, middle, fit.x0 - wide), np.where(free > fit.x0, middle, fit.x0 + wide)
    lower[1::2], upper[1::2] = (fit.x0 - wide)[1::2], (fit.x0 + wide)[1::2]
    with np.errstate(all="ignore"):
        tight = {"ftol": 1e-15, "xtol": 1e-15, "gtol": 1e-15, "max_nfev": 2000, "jac": "3-point"}
        costs = [
            least_squares(fit.residuals, fit.x0, bounds=(lower, upper), method=m, **tight).cost
            for m in ("trf", "dogbox")
        ]
    return replace(fit, bounds=(lower, upper), least=min(costs))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("hillstrom", "untuned", "noise", "failures", "bounds"), nargs="*")
    parser.add_argument("--slots", choices=tuple(SLOTS), nargs="*", default=list(SLOTS))
    parser.add_argument("--ways", nargs="*", help="model, trf, scipy, DFO-LS; all by default")
    asked = parser.parse_args()
    ways = {name: way for name, way in peers().items() if asked.ways is None or name in asked.ways}
    only = asked.only or ("hillstrom", "untuned", "noise", "failures", "bounds")
    fits = fit_problems.of_hillstrom() if set(only) - {"untuned"} else []
    if "hillstrom" in only:
        table("More, Garbow & Hillstrom", fits, ways, asked.slots)
    if "untuned" in only:
        table("not tuned on", fit_problems.untuned(), ways, asked.slots)
    if "noise" in only:
        known = {"known": partial(by_distfd, method="model", known=True)}
        table("noise 1e-6", fits, {**ways, **known}, asked.slots, noise=1e-6)
        table("noise 1e-3", fits, {**ways, **known}, asked.slots, noise=1e-3)
    if "failures" in only:
        table("5 % failures", fits, ways, asked.slots, failing=0.05)
    if "bounds" in only:
        table("bounds", [boxed(fit) for fit in fits], ways, asked.slots)


if __name__ == "__main__":
    main()
